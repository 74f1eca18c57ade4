/* SPDX-License-Identifier: PostgreSQL
 *
 * fetch.h -- HTTP as the command line needs it: the gateway's API over TLS with a
 * bearer token, and the status sockets of the processes.
 */
#ifndef PCTL_CLI_FETCH_H
#define PCTL_CLI_FETCH_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/home.h"

struct fetch_target
{
	char *url;   /* https://host:port */
	char *ca;    /* file */
	char *token; /* NULL = none */
};

struct fetch_answer
{
	long status;    /* HTTP; 0 = no answer */
	char *body;     /* pool memory, never NULL */
	char text[256]; /* why there is no answer */
};

/* PROBECTL_URL/CA/TOKEN where set, else those of the home. */
struct fetch_target fetch_target_find(const char *home_option);

/* Those of the home, for commands that set it up. */
struct fetch_target fetch_target_home(const struct home *home);

/* body NULL: none. Waits at most timeout_ms. */
struct fetch_answer fetch_call(const struct fetch_target *target, const char *method,
                               const char *path, const char *body, int timeout_ms);

/* GET /metrics of a status socket. */
struct fetch_answer fetch_status(const char *socket_path);

/* Value of the first sample of that family (label text as given, or NULL); false = none. */
bool fetch_metric(const char *text, const char *name, double *value);

/* A label of the first sample of that family, "" when absent. Pool memory. */
const char *fetch_metric_label(const char *text, const char *name, const char *label);

/* "message" of an error answer, else its text. Pool memory. */
const char *fetch_message(const struct fetch_answer *answer);

#endif
