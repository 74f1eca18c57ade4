/* SPDX-License-Identifier: PostgreSQL
 *
 * home.h -- the state directory: where it is, who owns what in it, and the
 * settings `probectl up` was given (etc/home.json), so that the second run and
 * every other command find what the first one chose.
 */
#ifndef PCTL_CLI_HOME_H
#define PCTL_CLI_HOME_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#define HOME_GATEWAY_LISTEN "127.0.0.1:8443"
#define HOME_INGEST_LISTEN  "127.0.0.1:9443"
#define HOME_AGENT          "local" /* name of the agent `up` enrols */
#define HOME_DATABASE       "probectl"
#define HOME_SUPERUSER      "probectl"
#define HOME_TENANT         "default"
#define HOME_ADMIN          "admin@localhost"
#define HOME_RESTORED       "restored" /* setting: from a backup, and not started since */
#define HOME_PG_PORT        "5432"     /* only a part of the socket's name */

struct home_user
{
	char name[64];
	uid_t uid;
	gid_t gid;
};

struct home
{
	char *named; /* as the caller named it: a symbolic link perhaps */
	char *dir;   /* the folder itself */
	bool root;   /* started as root: two service users */
	struct home_user postgres;
	struct home_user service;
	json_t *settings; /* etc/home.json */
};

/* $PROBECTL_HOME or ~/.probectl, made absolute. */
char *home_name(const char *option);

/* Finds an existing home and its settings; NULL when there is none. */
struct home *home_find(const char *option);

/* The same, or the end of the process: "there is nothing at ...: run probectl up". */
struct home *home_open(const char *option);

/* Makes or completes the state directory, creates the service user. */
struct home *home_make(const char *option);

/* A path inside the home, in pool memory. */
char *home_path(const struct home *home, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Settings: text ("" when absent) and truth values; set keeps them in memory. */
const char *home_text(const struct home *home, const char *key);
bool home_true(const struct home *home, const char *key);
void home_set(struct home *home, const char *key, json_t *value);
void home_save(struct home *home);

/* https://HOST:PORT of the gateway as this machine reaches it. */
char *home_url(const struct home *home);

/* The same as others reach it: with the machine's name where it listens everywhere. */
char *home_page(const struct home *home);

/* Whether that user may search every folder on the way and read (X_OK: run) the file. */
bool home_user_can(const struct home_user *user, const char *path, int mode);

/* Removes what stands in the environment of a service and is not for it. */
void home_clean_environment(void);

/* --check-config: 0, or EXIT_USAGE with one line per fault. */
int home_check_config(const char *option);

#endif
