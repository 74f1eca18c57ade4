/* SPDX-License-Identifier: PostgreSQL
 *
 * home.c -- the state directory.
 *
 * Started as root, the cluster runs as postgres and the rest as probectl. Both
 * must be able to walk to the directory, and a Unix socket in run/ must fit in
 * sun_path (107 bytes); /root is closed to them, so the directory is then a link
 * to /var/lib/probectl/<hash of the name>. What root trusts (etc/, the state of
 * the supervisor) stands in folders that only root can write.
 */
#include "cli/home.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/proc.h"
#include "cli/util.h"
#include "lib/hash.h"

#define SERVICE_USER  "probectl"
#define POSTGRES_USER "postgres"
#define ROOT_STORE    "/var/lib/probectl"

/* sun_path without its NUL, less "/run/.s.PGSQL.5432.lock". */
#define HOME_LENGTH_MAX (107 - 23)

/* A fresh cluster with the extension takes 60 MB; WAL grows to its minimum of 80. */
#define HOME_FREE_MIN (256LL << 20)

enum owner
{
	OWNER_SELF, /* root, or the one user */
	OWNER_POSTGRES,
	OWNER_SERVICE
};

/*
 * run/ is written by both service users: owned by one, group of the other, sticky
 * so that neither removes what the other made. What the supervisor publishes there is
 * believed only if it belongs to the one who reads it, or to root (super.c).
 */
static const struct
{
	const char *path;
	mode_t mode;
	enum owner user;
	enum owner group;
} folders[] = {
    {"etc", 0755, OWNER_SELF, OWNER_SELF},         {"pg", 0755, OWNER_POSTGRES, OWNER_POSTGRES},
    {"run", 01770, OWNER_SERVICE, OWNER_POSTGRES}, {"pki", 0755, OWNER_SELF, OWNER_SELF},
    {"log", 0755, OWNER_SELF, OWNER_SELF},         {"agent", 0755, OWNER_SERVICE, OWNER_SERVICE},
};

char *
home_name(const char *option)
{
	const char *name = option ? option : getenv("PROBECTL_HOME");
	char cwd[PATH_MAX];
	char *out;
	size_t n;

	if (!name || !*name)
	{
		const char *base = getenv("HOME");

		if (option)
			util_fail(EXIT_USAGE, "--home needs a directory");
		if (!base || !*base)
			util_fail(EXIT_USAGE, "HOME is not set: name the state directory with --home");
		name = util_fmt("%s/.probectl", base);
	}
	if (name[0] == '/')
		out = util_dup(name);
	else if (getcwd(cwd, sizeof(cwd)))
		out = util_fmt("%s/%s", cwd, name);
	else
		util_fail(EXIT_CANNOT, "the current directory is gone: name --home by a full path");
	for (n = strlen(out); n > 1 && out[n - 1] == '/'; n--)
		out[n - 1] = '\0';
	return out;
}

static bool
user_lookup(const char *name, struct home_user *user)
{
	struct passwd *pw = getpwnam(name);

	if (!pw)
		return false;
	snprintf(user->name, sizeof(user->name), "%s", name);
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	return true;
}

static void
user_self(struct home_user *user)
{
	struct passwd *pw = getpwuid(geteuid());

	if (!pw)
		util_fail(EXIT_CANNOT, "user %u has no name: PostgreSQL needs one", (unsigned) geteuid());
	snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
	user->uid = geteuid();
	user->gid = getegid();
}

/* A locked system account: no password, no shell, no home. */
static void
user_create(void)
{
	bool group = getgrnam(SERVICE_USER) != NULL;
	const char *argv[] = {"useradd",
	                      "--system",
	                      "--no-create-home",
	                      "--home-dir",
	                      "/nonexistent",
	                      "--shell",
	                      "/usr/sbin/nologin",
	                      "--comment",
	                      "probectl services",
	                      group ? "--no-user-group" : "--user-group",
	                      group ? "--gid=" SERVICE_USER : "--system",
	                      SERVICE_USER,
	                      NULL};
	struct util_error err;

	if (!proc_run(argv, NULL, NULL, &err))
		util_fail(EXIT_CANNOT, "could not create the system user %s: %s", SERVICE_USER, err.text);
}

static void
users_find(struct home *home, bool create)
{
	home->root = geteuid() == 0;
	if (!home->root)
	{
		user_self(&home->postgres);
		user_self(&home->service);
		return;
	}
	if (!user_lookup(POSTGRES_USER, &home->postgres) && create)
		util_fail(EXIT_CANNOT, "there is no system user postgres: "
		                       "install PostgreSQL with 'apt-get install postgresql-15'");
	if (!user_lookup(SERVICE_USER, &home->service) && create)
	{
		user_create();
		if (!user_lookup(SERVICE_USER, &home->service))
			util_fail(EXIT_CANNOT, "the system user %s was not created", SERVICE_USER);
	}
}

bool
home_user_can(const struct home_user *user, const char *path, int mode)
{
	int status = 0;
	pid_t pid;

	if (geteuid() != 0)
		return access(path, mode) == 0;
	pid = fork();
	if (pid == 0)
	{
		/* Real ids count for access(2). */
		if (initgroups(user->name, user->gid) != 0 ||
		    setresgid(user->gid, user->gid, user->gid) != 0 ||
		    setresuid(user->uid, user->uid, user->uid) != 0)
			_exit(1);
		_exit(access(path, mode) == 0 ? 0 : 1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static void
link_make(const struct home *home)
{
	char *store = util_fmt("%s/%016llx", ROOT_STORE, (unsigned long long) hash_text(home->named));
	struct util_error err;

	if (!util_mkdir(ROOT_STORE, 0755, 0, 0, &err) || !util_mkdir(store, 0755, 0, 0, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
	if (rmdir(home->named) != 0 && errno != ENOENT)
		util_fail(EXIT_CANNOT,
		          "%s is not empty and the service users cannot reach it: name another --home",
		          home->named);
	if (symlink(store, home->named) != 0)
		util_fail(EXIT_CANNOT, "could not make %s: %s", home->named, strerror(errno));
}

static void
parents_make(const char *path)
{
	char part[PATH_MAX];

	if (snprintf(part, sizeof(part), "%s", path) >= (int) sizeof(part))
		util_fail(EXIT_USAGE, "the name of the state directory is too long");
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/'))
	{
		*slash = '\0';
		if (mkdir(part, 0755) != 0 && errno != EEXIST)
			util_fail(EXIT_CANNOT, "could not make %s: %s", part, strerror(errno));
		*slash = '/';
	}
}

/* The folder itself, a link to one, or nothing yet. */
static void
place_make(struct home *home)
{
	char parent[PATH_MAX], real[PATH_MAX];
	struct util_error err;
	struct stat st;

	parents_make(home->named);
	snprintf(parent, sizeof(parent), "%s", home->named);
	*strrchr(parent, '/') = '\0';
	if (lstat(home->named, &st) != 0 || !S_ISLNK(st.st_mode))
	{
		const char *dir = *parent ? parent : "/";
		bool reach = home_user_can(&home->postgres, dir, X_OK) &&
		             home_user_can(&home->service, dir, X_OK);

		if (home->root && (!reach || strlen(home->named) > HOME_LENGTH_MAX))
			link_make(home);
		else if (!util_mkdir(home->named, 0755, -1, -1, &err))
			util_fail(EXIT_CANNOT, "%s", err.text);
	}
	if (!realpath(home->named, real))
		util_fail(EXIT_CANNOT, "could not reach %s: %s", home->named, strerror(errno));
	if (strlen(real) > HOME_LENGTH_MAX)
		util_fail(EXIT_USAGE,
		          "%s is too long for the sockets in it (%d characters at most): name a shorter "
		          "--home",
		          real, HOME_LENGTH_MAX);
	home->dir = util_dup(real);
}

static void
space_check(const struct home *home)
{
	struct statvfs fs;

	if (access(home_path(home, "pg/data/PG_VERSION"), F_OK) == 0)
		return;
	if (statvfs(home->dir, &fs) == 0 &&
	    (long long) fs.f_bavail * (long long) fs.f_frsize < HOME_FREE_MIN)
		util_fail(EXIT_CANNOT,
		          "the disk is full: %s has %lld MB free and %lld are needed: free some space or "
		          "name another --home",
		          home->dir, (long long) fs.f_bavail * (long long) fs.f_frsize >> 20,
		          HOME_FREE_MIN >> 20);
}

static void
folders_make(const struct home *home)
{
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
	{
		const uid_t uids[] = {geteuid(), home->postgres.uid, home->service.uid};
		const gid_t gids[] = {getegid(), home->postgres.gid, home->service.gid};
		struct util_error err;

		if (!util_mkdir(home_path(home, "%s", folders[i].path), folders[i].mode,
		                uids[folders[i].user], gids[folders[i].group], &err))
			util_fail(EXIT_CANNOT, "%s", err.text);
	}
}

static void
settings_load(struct home *home)
{
	char *path = home_path(home, "etc/home.json");
	json_error_t at;

	home->settings = json_load_file(path, JSON_REJECT_DUPLICATES, &at);
	if (home->settings && json_is_object(home->settings))
		return;
	if (access(path, F_OK) == 0)
		util_fail(EXIT_USAGE, "%s:%d: %s: correct the file, or remove it and run probectl up", path,
		          at.line, home->settings ? "not an object" : at.text);
	home->settings = json_object();
}

/*
 * Root is no exception: what a user's files say must not make root signal or start
 * anything, and a cluster that changes owner does not start.
 */
static void
owner_check(const struct home *home, const char *dir)
{
	struct passwd *pw;
	struct stat st;

	if (stat(util_fmt("%s/etc", dir), &st) != 0 || st.st_uid == geteuid())
		return;
	pw = getpwuid(st.st_uid);
	util_fail(EXIT_CANNOT, "%s belongs to %s: run this as %s, or name another --home", home->named,
	          pw ? pw->pw_name : util_fmt("user %u", (unsigned) st.st_uid),
	          pw ? pw->pw_name : "that user");
}

struct home *
home_make(const char *option)
{
	struct home *home = util_alloc(sizeof(*home));

	home->named = home_name(option);
	owner_check(home, home->named);
	users_find(home, true);
	place_make(home);
	space_check(home);
	folders_make(home);
	settings_load(home);
	return home;
}

struct home *
home_find(const char *option)
{
	struct home *home = util_alloc(sizeof(*home));
	char real[PATH_MAX];

	home->named = home_name(option);
	if (!realpath(home->named, real))
	{
		if (errno == EACCES)
			util_fail(EXIT_CANNOT, "no permission to enter %s: run this as its owner", home->named);
		return NULL;
	}
	home->dir = util_dup(real);
	owner_check(home, real);
	if (access(home_path(home, "etc/home.json"), F_OK) != 0)
		return NULL;
	users_find(home, false);
	settings_load(home);
	return home;
}

struct home *
home_open(const char *option)
{
	struct home *home = home_find(option);

	if (!home)
		util_fail(EXIT_CANNOT, "there is no probectl at %s: start one with 'probectl up'",
		          home_name(option));
	return home;
}

char *
home_path(const struct home *home, const char *fmt, ...)
{
	char tail[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(tail, sizeof(tail), fmt, ap);
	va_end(ap);
	return util_fmt("%s/%s", home->dir, tail);
}

const char *
home_text(const struct home *home, const char *key)
{
	const char *text = json_string_value(json_object_get(home->settings, key));

	return text ? text : "";
}

bool
home_true(const struct home *home, const char *key)
{
	return json_is_true(json_object_get(home->settings, key));
}

void
home_set(struct home *home, const char *key, json_t *value)
{
	if (json_object_set_new(home->settings, key, value) != 0)
		util_fail(EXIT_CANNOT, "out of memory");
}

void
home_save(struct home *home)
{
	char *text = json_dumps(home->settings, JSON_INDENT(2) | JSON_SORT_KEYS);
	char *lines = util_fmt("%s\n", text ? text : "{}");
	struct util_error err;

	free(text);
	if (!util_write(home_path(home, "etc/home.json"), lines, strlen(lines), 0644, -1, -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
}

static char *
url_make(const struct home *home, const char *everywhere4, const char *everywhere6)
{
	char host[256], port[8];
	const char *to = host;

	if (!util_host_port(home_text(home, "gateway_listen"), host, sizeof(host), port, sizeof(port)))
		util_fail(EXIT_USAGE, "etc/home.json: gateway_listen is not HOST:PORT");
	/* An address that means "every one" is no address to visit. */
	if (strcmp(host, "0.0.0.0") == 0)
		to = everywhere4;
	else if (strcmp(host, "::") == 0)
		to = everywhere6;
	return util_fmt(strchr(to, ':') ? "https://[%s]:%s" : "https://%s:%s", to, port);
}

char *
home_url(const struct home *home)
{
	return url_make(home, "127.0.0.1", "::1");
}

char *
home_page(const struct home *home)
{
	char machine[256] = {0};

	if (gethostname(machine, sizeof(machine) - 1) != 0 || !*machine)
		snprintf(machine, sizeof(machine), "localhost");
	return url_make(home, machine, machine);
}

extern char **environ;

/* libpq and the command line have settings of their own; a service has only its file. */
void
home_clean_environment(void)
{
	static const char *const names[] = {"PROBECTL_HOME", "PROBECTL_URL", "PROBECTL_CA",
	                                    "PROBECTL_TOKEN", "PROBECTL_INGEST"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	for (char **var = environ; *var;)
	{
		const char *equals = strchr(*var, '=');
		char name[64];

		if (strncmp(*var, "PG", 2) != 0 || !equals || equals - *var >= (int) sizeof(name))
		{
			var++;
			continue;
		}
		snprintf(name, sizeof(name), "%.*s", (int) (equals - *var), *var);
		unsetenv(name);
		var = environ;
	}
}

int
home_check_config(const char *option)
{
	struct home *home = home_find(option);
	char host[256], port[8];
	static const char *const listens[] = {"gateway_listen", "ingest_listen"};

	if (!home)
	{
		printf("nothing is set up at %s\n", home_name(option));
		return 0;
	}
	for (size_t i = 0; i < 2; i++)
		if (!util_host_port(home_text(home, listens[i]), host, sizeof(host), port, sizeof(port)))
			util_fail(EXIT_USAGE, "%s/etc/home.json: %s is not HOST:PORT", home->dir, listens[i]);
	printf("%s/etc/home.json is in order\n", home->dir);
	return 0;
}
