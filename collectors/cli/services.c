/* SPDX-License-Identifier: PostgreSQL
 *
 * services.c -- ingest, gateway and agents.
 *
 * A settings file is written here and then belongs to the operator: as long as
 * it is what was written last (its hash is kept in etc/home.json) it follows the
 * options of `up`; once edited it is left alone. A process is started anew when
 * its settings changed: the revision is their hash.
 */
#include "cli/services.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/admin.h"
#include "cli/db.h"
#include "cli/super.h"
#include "cli/util.h"
#include "lib/hash.h"

static const char *const programs[] = {"probectl-ingest", "probectl-gateway", "probectl-agent"};
#define PROGRAMS (sizeof(programs) / sizeof(programs[0]))

#define FOLDER_DEPTH_MAX 8

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

struct services
services_find(const char *prefix)
{
	struct services found = {0};
	char self[PATH_MAX] = {0}, real[PATH_MAX];
	char *slash;

	if (prefix)
	{
		if (!realpath(prefix, real))
			util_fail(EXIT_USAGE, "--prefix %s: %s", prefix, strerror(errno));
		found.programs = util_fmt("%s/bin", real);
	}
	else
	{
		if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
			util_fail(EXIT_CANNOT, "could not find the own program: is /proc mounted?");
		slash = strrchr(self, '/');
		*slash = '\0';
		found.programs = util_dup(self);
		slash = strrchr(self, '/');
		snprintf(real, sizeof(real), "%.*s", (int) (slash ? slash - self : 0), self);
	}
	for (size_t i = 0; i < PROGRAMS; i++)
		if (access(util_fmt("%s/%s", found.programs, programs[i]), X_OK) != 0)
			util_fail(EXIT_CANNOT, "%s/%s is missing: build it with 'make'", found.programs,
			          programs[i]);
	/* The build tree has web/ beside bin/, an installation has share/probectl/web. */
	if (is_folder(util_fmt("%s/web", real)))
		found.web = util_fmt("%s/web", real);
	else if (is_folder(util_fmt("%s/share/probectl/web", real)))
		found.web = util_fmt("%s/share/probectl/web", real);
	return found;
}

static void
copy_tree(const char *from, const char *to, int depth)
{
	DIR *dir = opendir(from);
	struct util_error err;
	struct dirent *entry;

	if (!dir || depth > FOLDER_DEPTH_MAX)
		util_fail(EXIT_CANNOT, "could not copy %s: %s", from, dir ? "too deep" : strerror(errno));
	if (!util_mkdir(to, 0755, -1, -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	while ((entry = readdir(dir)))
	{
		char *source = util_fmt("%s/%s", from, entry->d_name);
		char *target = util_fmt("%s/%s", to, entry->d_name);
		struct stat st;

		if (entry->d_name[0] == '.' || stat(source, &st) != 0)
			continue;
		if (S_ISDIR(st.st_mode))
			copy_tree(source, target, depth + 1);
		else if (S_ISREG(st.st_mode) && !util_copy(source, target, &err))
			util_fail(EXIT_CANNOT, "%s", err.text);
	}
	closedir(dir);
}

struct services
services_reachable(const struct services *services, struct home *home)
{
	struct services out = *services;
	struct util_error err;

	if (!home_user_can(&home->service, util_fmt("%s/%s", out.programs, programs[0]), X_OK))
	{
		out.programs = home_path(home, "bin");
		if (!util_mkdir(out.programs, 0755, -1, -1, &err))
			util_fail(EXIT_CANNOT, "%s", err.text);
		for (size_t i = 0; i < PROGRAMS; i++)
			if (!util_copy(util_fmt("%s/%s", services->programs, programs[i]),
			               util_fmt("%s/%s", out.programs, programs[i]), &err))
				util_fail(EXIT_CANNOT, "%s", err.text);
	}
	if (out.web && !home_user_can(&home->service, out.web, R_OK | X_OK))
	{
		out.web = home_path(home, "web");
		copy_tree(services->web, out.web, 0);
	}
	home_set(home, "programs", json_string(out.programs));
	home_set(home, "web", out.web ? json_string(out.web) : json_null());
	home_save(home);
	return out;
}

struct services
services_kept(const struct home *home)
{
	const char *programs_at = home_text(home, "programs"), *web = home_text(home, "web");

	if (!*programs_at)
		util_fail(EXIT_CANNOT, "the set-up is not complete: run 'probectl up'");
	return (struct services){.programs = util_dup(programs_at), .web = *web ? util_dup(web) : NULL};
}

char *
services_reach(const char *listen)
{
	char host[256], port[8];

	if (!util_host_port(listen, host, sizeof(host), port, sizeof(port)))
		return util_dup(listen);
	if (strcmp(host, "0.0.0.0") == 0)
		return util_fmt("127.0.0.1:%s", port);
	if (strcmp(host, "::") == 0)
		return util_fmt("[::1]:%s", port);
	return util_dup(listen);
}

/* ---- settings files ---- */

/* A double-quoted YAML scalar. */
static char *
quoted(const char *text)
{
	char *out = util_alloc(2 * strlen(text) + 3);
	size_t n = 0;

	out[n++] = '"';
	for (; *text; text++)
	{
		if (*text == '"' || *text == '\\')
			out[n++] = '\\';
		out[n++] = *text;
	}
	out[n] = '"';
	return out;
}

static char *
hash_hex(const char *text)
{
	return util_fmt("%016llx", (unsigned long long) hash_text(text));
}

static char *
file_text(const char *path)
{
	char *text, *copy;

	if (!util_read(path, 1 << 20, &text, NULL))
		return NULL;
	copy = util_dup(text);
	free(text);
	return copy;
}

/* Writes the file unless it was edited; returns what stands in it. */
static char *
settings_put(struct home *home, const char *name, const char *text)
{
	char *path = home_path(home, "etc/%s.yaml", name);
	char *key = util_fmt("%s_yaml", name);
	char *old = file_text(path);
	struct util_error err;

	if (old && strcmp(hash_hex(old), home_text(home, key)) != 0 && strcmp(old, text) != 0)
		return old;
	if ((!old || strcmp(old, text) != 0) &&
	    !util_write(path, text, strlen(text), 0644, -1, -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	home_set(home, key, json_string(hash_hex(text)));
	home_save(home);
	return util_dup(text);
}

static void
service_put(struct home *home, const struct services *services, const char *name,
            const char *program, const char *settings, bool net_raw)
{
	char *text = settings_put(home, name, settings);

	super_put(home, json_pack("{s:s, s:s, s:s, s:[s, s, s], s:s, s:i, s:b}", "name", name, "user",
	                          home->service.name, "revision", hash_hex(text), "argv",
	                          util_fmt("%s/%s", services->programs, program), "--config",
	                          home_path(home, "etc/%s.yaml", name), "stop", "TERM", "stop_ms",
	                          10000, "net_raw", net_raw));
}

static char *
settings_server(const struct home *home, const char *name, const char *listen, const char *role,
                const char *more)
{
	return util_fmt("# Written by probectl up; kept as it is once edited.\n"
	                "listen: %s\n"
	                "database: %s\n"
	                "tls:\n"
	                "  cert_file: %s\n"
	                "  key_file: %s\n"
	                "%s"
	                "status_socket: %s\n",
	                quoted(listen), quoted(db_conninfo(home, HOME_DATABASE, role)),
	                quoted(home_path(home, "pki/server.pem")),
	                quoted(home_path(home, "pki/server.key")), more,
	                quoted(home_path(home, "run/%s.sock", name)));
}

void
services_put_ingest(struct home *home, const struct services *services)
{
	char *more = util_fmt("  ca_file: %s\n", quoted(home_path(home, "pki/ca-bundle.pem")));

	service_put(
	    home, services, "ingest", "probectl-ingest",
	    settings_server(home, "ingest", home_text(home, "ingest_listen"), "probectl_ingest", more),
	    false);
}

void
services_put_gateway(struct home *home, const struct services *services)
{
	const char *more = services->web ? util_fmt("web_root: %s\n", quoted(services->web)) : "";

	service_put(home, services, "gateway", "probectl-gateway",
	            settings_server(home, "gateway", home_text(home, "gateway_listen"),
	                            "probectl_gateway", more),
	            false);
}

void
services_reload(const struct home *home)
{
	super_signal(home, "ingest", SIGHUP);
	super_signal(home, "gateway", SIGHUP);
}

char *
services_agent_process(const char *agent)
{
	return strcmp(agent, HOME_AGENT) == 0 ? util_dup("agent") : util_fmt("agent-%s", agent);
}

void
services_put_agent(struct home *home, const struct services *services, const char *agent)
{
	char *process = services_agent_process(agent);
	char *settings = util_fmt(
	    "# Written by probectl; kept as it is once edited.\n"
	    "control_plane:\n"
	    "  grpc_addr: %s\n"
	    "identity:\n"
	    "  dir: %s\n"
	    "enroll:\n"
	    "  server: %s\n"
	    "  token_file: %s\n"
	    "  ca_file: %s\n"
	    "spool:\n"
	    "  dir: %s\n"
	    "status_socket: %s\n",
	    quoted(services_reach(home_text(home, "ingest_listen"))),
	    quoted(home_path(home, "agent/%s/identity", agent)), quoted(home_url(home)),
	    quoted(home_path(home, "agent/%s/join-token", agent)),
	    quoted(home_path(home, "pki/ca.pem")), quoted(home_path(home, "agent/%s/spool", agent)),
	    quoted(home_path(home, "run/%s.sock", process)));

	service_put(home, services, process, "probectl-agent", settings, true);
}

bool
services_agent_enrolled(const struct home *home, const char *agent)
{
	return access(home_path(home, "agent/%s/identity/current/cert.pem", agent), F_OK) == 0;
}

bool
services_agent_prepare(const struct home *home, const char *agent, const char *tenant)
{
	static const char *const folders[] = {"", "/identity", "/spool"};
	struct util_error err;
	PGconn *conn;
	char *token;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (!util_mkdir(home_path(home, "agent/%s%s", agent, folders[i]), 0750, home->service.uid,
		                home->service.gid, &err))
			util_fail(EXIT_CANNOT, "%s", err.text);
	if (services_agent_enrolled(home, agent))
		return false;
	conn = db_connect(home, HOME_DATABASE);
	token = util_fmt("%s\n", admin_join_token(conn, tenant, agent, "1 hour"));
	PQfinish(conn);
	if (!util_write(home_path(home, "agent/%s/join-token", agent), token, strlen(token), 0600,
	                home->service.uid, home->service.gid, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	return true;
}
