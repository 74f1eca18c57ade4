/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_enroll.c -- one more agent: on another machine (prints what to do there) or
 * as one more process here.
 */
#include <stdio.h>
#include <string.h>

#include "cli/admin.h"
#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/services.h"
#include "cli/super.h"
#include "cli/util.h"

#define ENROLL_WAIT_MS 30000

static int
enroll_local(struct home *home, const char *agent, const char *tenant)
{
	struct services services = services_kept(home);
	struct super_patience patience;
	char *process = services_agent_process(agent);

	if (strlen(agent) > 32 ||
	    strspn(agent, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(agent) || !*agent)
		util_fail(EXIT_USAGE, "--local %s: a name has a-z, 0-9 and -, at most 32 characters",
		          agent);
	if (services_agent_enrolled(home, agent) && super_child_alive(home, process))
	{
		printf("agent %s runs already\n", agent);
		return 0;
	}
	patience = super_patience(home, process, ENROLL_WAIT_MS);
	services_agent_prepare(home, agent, tenant);
	services_put_agent(home, &services, agent);
	super_reload(home);
	while (!services_agent_enrolled(home, agent))
		if (super_patience_over(&patience))
			util_fail(EXIT_CANNOT, "agent %s does not enrol: %s", agent,
			          super_last_log(home, process));
	printf("agent %s is enrolled in tenant %s and runs; settings: %s\n", agent, tenant,
	       home_path(home, "etc/%s.yaml", process));
	return 0;
}

static bool
is_loopback(const char *listen)
{
	return strncmp(listen, "127.", 4) == 0 || strncmp(listen, "localhost:", 10) == 0 ||
	       strncmp(listen, "[::1]:", 6) == 0;
}

static int
enroll_remote(struct home *home, const char *tenant, const char *name, const char *ttl)
{
	PGconn *conn = db_connect(home, HOME_DATABASE);
	char *token = admin_join_token(conn, tenant, name, ttl);
	const char *ingest = home_text(home, "ingest_listen");

	PQfinish(conn);
	if (is_loopback(ingest) || is_loopback(home_text(home, "gateway_listen")))
		printf("# Ingest or gateway listen on loopback only: other machines reach them after\n"
		       "# probectl down; probectl up --gateway-listen 0.0.0.0:8443 --ingest-listen "
		       "0.0.0.0:9443\n\n");
	printf("Join token for one agent of tenant %s, valid for %s:\n\n  %s\n\n", tenant, ttl, token);
	printf("On the other machine, with SERVER the name of this one:\n\n"
	       "  scp SERVER:%s /etc/probectl/ca.pem\n"
	       "  umask 077; echo '%s' > /etc/probectl/join-token\n"
	       "  cat > /etc/probectl/agent.yaml <<EOF\n"
	       "control_plane:\n  grpc_addr: SERVER:%s\n"
	       "identity:\n  dir: /var/lib/probectl/identity\n"
	       "enroll:\n  server: https://SERVER:%s\n  token_file: /etc/probectl/join-token\n"
	       "  ca_file: /etc/probectl/ca.pem\n"
	       "spool:\n  dir: /var/lib/probectl/spool\n"
	       "EOF\n"
	       "  probectl-agent --config /etc/probectl/agent.yaml\n",
	       home_path(home, "pki/ca.pem"), token, strrchr(ingest, ':') + 1,
	       strrchr(home_text(home, "gateway_listen"), ':') + 1);
	return 0;
}

static int
enroll_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	const char *tenant = cli_value(args, "tenant");
	const char *ttl = cli_value(args, "ttl");
	const char *local = cli_value(args, "local");

	if (!tenant)
		tenant = HOME_TENANT;
	if (local)
		return enroll_local(home, local, tenant);
	return enroll_remote(home, tenant, cli_value(args, "name"), ttl ? ttl : "1 hour");
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"tenant", "SLUG", "tenant the agent belongs to (default: " HOME_TENANT ")"},
    {"ttl", "TIME", "how long the token works (default: 1 hour)"},
    {"name", "NAME", "what the agent is called (default: its host name)"},
    {"local", "NAME", "start one more agent on this machine instead"},
    CLI_OPTION_END,
};

const struct cli_command cmd_enroll = {
    .name = "enroll",
    .summary = "add an agent: a join token for another machine, or one more here",
    .text = "A token enrols one agent; the tenant it belongs to is part of the token.\n\n"
            "  probectl enroll\n"
            "  probectl enroll --name berlin-1 --tenant acme --ttl '2 days'\n"
            "  probectl enroll --local second\n",
    .options = options,
    .run = enroll_run,
};
