/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_up.c -- from nothing to results on the screen.
 *
 * A list of steps, each of which looks first whether its work is done already:
 * a run that was killed anywhere is completed by the next one. What could fail
 * for a reason outside (program missing, port taken, disk full) is looked at
 * before anything is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/admin.h"
#include "cli/cert.h"
#include "cli/cli.h"
#include "cli/cluster.h"
#include "cli/db.h"
#include "cli/fetch.h"
#include "cli/health.h"
#include "cli/home.h"
#include "cli/latest.h"
#include "cli/services.h"
#include "cli/step.h"
#include "cli/super.h"
#include "cli/util.h"

#define SERVICES_WAIT_MS     30000
#define RESULTS_ALL_MS       20000
#define RESULTS_WAIT_MS      60000
#define RESULTS_INTERVAL_MAX 30 /* seconds; rarer tests are not waited for */
#define TOKEN_TTL            "10 years"
#define LINK_TTL             "1 hour"
#define REVISIONS_SKIPPED    "1000000" /* more changes of tests than are made between two backups */

struct up
{
	struct cli_args *args;
	struct home *home;
	struct services services;
	char *programs; /* of PostgreSQL */
	bool agent;
	int64_t began_ms; /* wall clock */
	struct fetch_target target;
};

/* ---- is it there already ---- */

static void
option_check(const struct up *up, const char *option, const char *key)
{
	const char *asked = cli_value(up->args, option);

	if (asked && strcmp(asked, home_text(up->home, key)) != 0)
		util_fail(EXIT_CANNOT,
		          "probectl is running with %s %s: run 'probectl down' first, then "
		          "'probectl up --%s %s'",
		          key, home_text(up->home, key), option, asked);
}

/* True when all is up: says so and changes nothing. */
static bool
already_up(struct up *up)
{
	struct health rows[HEALTH_MAX];
	enum health_sum sum;
	int count;

	up->home = home_find(cli_value(up->args, "home"));
	if (!up->home || !home_true(up->home, "complete"))
		return false;
	count = health_read(up->home, rows, &sum);
	if (sum != HEALTH_GOOD)
		return false;
	option_check(up, "gateway-listen", "gateway_listen");
	option_check(up, "ingest-listen", "ingest_listen");
	printf("probectl is already running at %s\n\n", home_url(up->home));
	health_print(rows, count);
	printf("\nNothing was changed. 'probectl signin' prints a fresh sign-in link.\n");
	return true;
}

/* ---- what is looked at first ---- */

static void
listen_set(struct up *up, const char *option, const char *key, const char *standard)
{
	const char *value = cli_value(up->args, option);
	char host[256], port[8];

	if (!value)
		value = *home_text(up->home, key) ? home_text(up->home, key) : standard;
	if (!util_host_port(value, host, sizeof(host), port, sizeof(port)))
		util_fail(EXIT_USAGE, "--%s %s is not HOST:PORT (for example %s)", option, value, standard);
	home_set(up->home, key, json_string(value));
}

static void
port_check(const struct up *up, const char *process, const char *option, const char *key)
{
	const char *listen_on = home_text(up->home, key);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
	char host[256], port[8];
	int fd, one = 1, fault = 0;

	/* Its own process listens there, or is about to. */
	if (super_child_alive(up->home, process))
		return;
	util_host_port(listen_on, host, sizeof(host), port, sizeof(port));
	if (getaddrinfo(host, port, &hints, &list) != 0 || !list)
		util_fail(EXIT_USAGE, "--%s %s: there is no such address", option, listen_on);
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, 1) != 0)
		fault = errno;
	if (fd >= 0)
		close(fd);
	freeaddrinfo(list);
	if (fault == EADDRINUSE)
		util_fail(EXIT_CANNOT,
		          "%s is taken by another process: choose another one with --%s HOST:PORT",
		          listen_on, option);
	if (fault)
		util_fail(EXIT_CANNOT, "could not listen on %s: %s: choose another one with --%s HOST:PORT",
		          listen_on, strerror(fault), option);
}

static void
step_programs(struct up *up)
{
	step_begin("programs");
	up->services = services_find(cli_value(up->args, "prefix"));
	step_done("%s%s", up->services.programs, up->services.web ? "" : ", no web page built");
}

static void
step_postgres(struct up *up)
{
	step_begin("PostgreSQL and the extension");
	up->programs = cluster_programs();
	cluster_check_extension(up->programs);
	step_done("%s", up->programs);
}

/* Two runs at a time would do each step twice; the second waits for the first. */
static void
lock_take(const struct home *home)
{
	char *path = home_path(home, "etc/up.lock");
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		util_fail(EXIT_CANNOT, "could not open %s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) != 0)
	{
		util_pause_ms(100);
		step_tick();
	}
}

static void
step_home(struct up *up)
{
	step_begin("state directory");
	up->home = home_make(cli_value(up->args, "home"));
	lock_take(up->home);
	step_done("%s", up->home->dir);
}

static void
step_settings(struct up *up)
{
	step_begin("ports and settings");
	listen_set(up, "gateway-listen", "gateway_listen", HOME_GATEWAY_LISTEN);
	listen_set(up, "ingest-listen", "ingest_listen", HOME_INGEST_LISTEN);
	if (strcmp(home_text(up->home, "gateway_listen"), home_text(up->home, "ingest_listen")) == 0)
		util_fail(EXIT_USAGE, "--gateway-listen and --ingest-listen are the same");
	port_check(up, "gateway", "gateway-listen", "gateway_listen");
	port_check(up, "ingest", "ingest-listen", "ingest_listen");
	if (cli_value(up->args, "no-agent"))
		home_set(up->home, "agent", json_false());
	else if (!json_object_get(up->home->settings, "agent"))
		home_set(up->home, "agent", json_true());
	up->agent = home_true(up->home, "agent");
	home_set(up->home, "complete", json_false());
	home_save(up->home);
	up->services = services_reachable(&up->services, up->home);
	step_done("%s, %s", home_text(up->home, "gateway_listen"),
	          home_text(up->home, "ingest_listen"));
}

/* ---- the database ---- */

static void
step_cluster(struct up *up)
{
	bool made;

	step_begin("database cluster");
	made = cluster_init(up->home, up->programs);
	cluster_configure(up->home);
	step_done(made ? "made" : "kept");
}

static void
step_start(struct up *up)
{
	step_begin("supervisor and PostgreSQL");
	cluster_put(up->home, up->programs);
	super_start(up->home);
	super_reload(up->home);
	cluster_wait(up->home);
	step_done("running");
}

/* Agents refuse tests older than those they have seen; after a restore those of the backup are. */
static void
revisions_lift(struct up *up)
{
	PGconn *conn = db_connect(up->home, HOME_DATABASE);

	db_run(conn, "UPDATE probectl.tenant_revision SET test_revision = test_revision "
	             "+ " REVISIONS_SKIPPED);
	PQfinish(conn);
	home_set(up->home, HOME_RESTORED, json_false());
	home_save(up->home);
}

static void
step_database(struct up *up)
{
	step_begin("database and extension");
	cluster_database(up->home);
	if (home_true(up->home, HOME_RESTORED))
		revisions_lift(up);
	step_done(HOME_DATABASE);
}

static void
step_certificates(struct up *up)
{
	PGconn *conn = db_connect(up->home, HOME_DATABASE);
	bool made;

	step_begin("certificate authority and server key");
	cert_authority(up->home, conn);
	made = cert_server(up->home, conn);
	PQfinish(conn);
	if (made)
		services_reload(up->home);
	step_done("%s, %d days", made ? "issued" : "kept", cert_days_left(up->home));
}

static void
token_make(struct up *up, PGconn *conn)
{
	char *line = util_fmt("%s\n", admin_api_token(conn, HOME_TENANT, "command line", TOKEN_TTL));
	struct util_error err;

	if (!util_write(home_path(up->home, "etc/token"), line, strlen(line), 0600, -1, -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
}

static void
step_tenant(struct up *up)
{
	PGconn *conn = db_connect(up->home, HOME_DATABASE);

	step_begin("tenant, administrator, API token");
	admin_tenant(conn, HOME_TENANT, "Default");
	admin_user(conn, HOME_TENANT);
	if (access(home_path(up->home, "etc/token"), F_OK) != 0)
		token_make(up, conn);
	PQfinish(conn);
	step_done("%s, %s", HOME_TENANT, HOME_ADMIN);
}

/* ---- the services ---- */

static void
ready_wait(struct up *up)
{
	struct super_patience gateway = super_patience(up->home, "gateway", SERVICES_WAIT_MS);
	struct super_patience ingest = super_patience(up->home, "ingest", SERVICES_WAIT_MS);

	for (;;)
	{
		struct fetch_answer page = fetch_call(&up->target, "GET", "/readyz", NULL, 2000);
		struct fetch_answer door = fetch_status(home_path(up->home, "run/ingest.sock"));

		if (page.status == 200 && door.status == 200)
			return;
		if (page.status != 200 && super_patience_over(&gateway))
			util_fail(EXIT_CANNOT, "the gateway does not get ready (%s): %s", fetch_message(&page),
			          super_last_log(up->home, "gateway"));
		if (door.status != 200 && super_patience_over(&ingest))
			util_fail(EXIT_CANNOT, "ingest does not get ready: %s",
			          super_last_log(up->home, "ingest"));
	}
}

/* The kept token may be of a database that is no more. */
static void
token_check(struct up *up)
{
	struct fetch_answer me = fetch_call(&up->target, "GET", "/v1/me", NULL, 5000);

	if (me.status == 401)
	{
		PGconn *conn = db_connect(up->home, HOME_DATABASE);

		token_make(up, conn);
		PQfinish(conn);
		up->target = fetch_target_home(up->home);
		me = fetch_call(&up->target, "GET", "/v1/me", NULL, 5000);
	}
	if (me.status != 200)
		util_fail(EXIT_CANNOT, "the API does not answer: %s", fetch_message(&me));
}

static void
step_services(struct up *up)
{
	step_begin("ingest and gateway");
	services_put_ingest(up->home, &up->services);
	services_put_gateway(up->home, &up->services);
	super_reload(up->home);
	up->target = fetch_target_home(up->home);
	ready_wait(up);
	token_check(up);
	step_done("%s", up->target.url);
}

static void
step_agent(struct up *up)
{
	struct super_patience patience;
	bool fresh;

	if (!up->agent)
		return;
	step_begin("agent");
	patience = super_patience(up->home, "agent", SERVICES_WAIT_MS);
	fresh = services_agent_prepare(up->home, HOME_AGENT, HOME_TENANT);
	services_put_agent(up->home, &up->services, HOME_AGENT);
	super_reload(up->home);
	while (!services_agent_enrolled(up->home, HOME_AGENT))
		if (super_patience_over(&patience))
			util_fail(EXIT_CANNOT, "the agent does not enrol: %s",
			          super_last_log(up->home, "agent"));
	step_done(fresh ? "enrolled" : "started");
}

/* ---- the first results ---- */

/* What they look at is this machine itself, which an agent's guard refuses to just anybody. */
static void
starter_add(struct up *up, const char *name, const char *type, const char *target, int interval,
            json_t *params)
{
	json_t *test = json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "name", name, "type", type, "target",
	                         target, "interval_seconds", interval, "timeout_seconds", 3, "params",
	                         params);
	struct fetch_answer answer;
	char *text;

	json_object_set_new(params, "allow_private_targets", json_true());
	text = json_dumps(test, JSON_COMPACT);
	answer = fetch_call(&up->target, "POST", "/v1/tests", text, 10000);
	free(text);
	json_decref(test);
	if (answer.status != 201)
		util_fail(EXIT_CANNOT, "could not add the test %s: %s", name, fetch_message(&answer));
}

static bool
test_exists(const json_t *tests, const char *name)
{
	const json_t *items = json_object_get(tests, "items");

	for (size_t i = 0; i < json_array_size(items); i++)
	{
		const char *is = json_string_value(json_object_get(json_array_get(items, i), "name"));

		if (is && strcmp(is, name) == 0)
			return true;
	}
	return false;
}

/* Once: who deletes them does not find them again after the next start. */
static void
step_tests(struct up *up)
{
	char *gateway = services_reach(home_text(up->home, "gateway_listen"));
	char *page = util_fmt("%s/healthz", home_url(up->home));
	struct fetch_answer answer;
	json_t *tests;

	if (!up->agent || home_true(up->home, "starter_tests"))
		return;
	step_begin("starter tests");
	answer = fetch_call(&up->target, "GET", "/v1/tests?limit=100", NULL, 10000);
	tests = json_loads(answer.body, 0, NULL);
	if (answer.status != 200 || !tests)
		util_fail(EXIT_CANNOT, "could not list the tests: %s", fetch_message(&answer));
	if (!test_exists(tests, "loopback ping"))
		starter_add(up, "loopback ping", "icmp", "127.0.0.1", 5, json_object());
	if (!test_exists(tests, "gateway port"))
		starter_add(up, "gateway port", "tcp", gateway, 5, json_object());
	if (!test_exists(tests, "gateway health"))
		starter_add(up, "gateway health", "http", page, 10,
		            json_pack("{s:s}", "ca_file", home_path(up->home, "pki/ca.pem")));
	json_decref(tests);
	home_set(up->home, "starter_tests", json_true());
	home_save(up->home);
	step_done("3 on loopback");
}

struct progress
{
	int tests; /* that the local agent runs often enough to wait for */
	int fresh; /* of those, with a result that arrived since this run began */
};

static struct progress
progress_read(const struct up *up, PGconn *conn)
{
	const char *params[] = {HOME_TENANT, util_fmt("%.3f", (double) up->began_ms / 1000.0),
	                        util_fmt("%d", RESULTS_INTERVAL_MAX)};
	PGresult *row = db_query(
	    conn, NULL,
	    "SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM probectl.result_latest l "
	    "WHERE l.tenant_id = t.tenant_id AND l.test_id = t.test_id AND l.received_at >= "
	    "to_timestamp($2::float8))) FROM probectl.test t JOIN probectl.tenant USING (tenant_id) "
	    "WHERE slug = $1 AND enabled AND agent_id IS NULL AND interval_seconds <= $3::int",
	    3, params);
	struct progress progress = {.tests = (int) strtol(PQgetvalue(row, 0, 0), NULL, 10),
	                            .fresh = (int) strtol(PQgetvalue(row, 0, 1), NULL, 10)};

	PQclear(row);
	return progress;
}

/* Every test, or after a while any: one test that cannot run is no reason to fail. */
static void
step_results(struct up *up)
{
	int64_t from = util_now_ms();
	struct progress progress;
	PGconn *conn;

	if (!up->agent)
		return;
	step_begin("first results");
	conn = db_connect(up->home, HOME_DATABASE);
	db_run(conn, "LISTEN probectl_event");
	for (;;)
	{
		int64_t waited = util_now_ms() - from;

		progress = progress_read(up, conn);
		if (progress.fresh == progress.tests || (progress.fresh > 0 && waited > RESULTS_ALL_MS))
			break;
		if (waited > RESULTS_WAIT_MS)
			util_fail(EXIT_CANNOT, "no test has a result after %d s: %s", RESULTS_WAIT_MS / 1000,
			          super_last_log(up->home, "agent"));
		latest_wait(conn, 500);
		step_tick();
	}
	PQfinish(conn);
	step_done("%d of %d tests", progress.fresh, progress.tests);
	printf("\n");
	latest_print(&up->target, 20);
}

static void
farewell(struct up *up)
{
	PGconn *conn = db_connect(up->home, HOME_DATABASE);
	char *code = admin_signin_code(conn, HOME_TENANT, LINK_TTL);

	PQfinish(conn);
	home_set(up->home, "complete", json_true());
	home_save(up->home);
	printf("\nprobectl is running. Sign in here, once, within an hour:\n\n  %s/signin#%s\n\n",
	       home_page(up->home), code);
	printf("  probectl status    every process: since when, backlog, last result\n"
	       "  probectl top       the newest results, live\n"
	       "  probectl signin    another sign-in link\n"
	       "  probectl enroll    add an agent on another machine\n"
	       "  probectl backup    copy the database while it runs\n"
	       "  probectl down      stop all of it; the data stays\n\n"
	       "Browsers and curl trust the page with the certificate %s\n",
	       home_path(up->home, "pki/ca.pem"));
}

static void (*const steps[])(struct up *up) = {
    step_programs, step_postgres, step_home,         step_settings, step_cluster,
    step_start,    step_database, step_certificates, step_tenant,   step_services,
    step_agent,    step_tests,    step_results,
};

static int
up_run(struct cli_args *args)
{
	struct up up = {.args = args, .began_ms = util_wall_ms()};

	if (already_up(&up))
		return 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		steps[i](&up);
	farewell(&up);
	return 0;
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"gateway-listen", "HOST:PORT", "where page and API listen (default " HOME_GATEWAY_LISTEN ")"},
    {"ingest-listen", "HOST:PORT", "where agents connect (default " HOME_INGEST_LISTEN ")"},
    {"no-agent", NULL, "start no local agent and add no starter tests"},
    {"prefix", "DIR", "take the programs from DIR/bin (default: beside this one)"},
    CLI_OPTION_END,
};

const struct cli_command cmd_up = {
    .name = "up",
    .summary = "start everything, on the first run set it up",
    .text =
        "Makes the state directory, a private PostgreSQL cluster with the extension, a CA, the\n"
        "tenant 'default' with an administrator, and a local agent with tests on loopback; starts\n"
        "all of it and waits for the first results. Run again, it says that all is running, or\n"
        "completes what is missing. Options are kept for the next run.\n\n"
        "  probectl up\n"
        "  probectl up --gateway-listen 0.0.0.0:8443 --ingest-listen 0.0.0.0:9443\n"
        "  probectl up --home /srv/probectl --no-agent\n\n"
        "Exit status: 0 running, 1 cannot run now (the message says what to do), 2 wrong option.\n",
    .options = options,
    .run = up_run,
};
