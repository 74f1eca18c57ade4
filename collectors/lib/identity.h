/* SPDX-License-Identifier: PostgreSQL
 *
 * identity.h -- who a producer is: a key, a certificate, the CA it trusts; and how it comes
 * by them.
 *
 * On disk an identity is a directory of its own, never changed once it is made; the symbolic
 * link "current" is moved to a new one in a single step. A reader therefore sees the three
 * files of one identity or of the other. The key for the first enrolment is made before
 * anything is sent and kept in pending.key, so that a retry after a lost answer asks for the
 * same identity.
 */
#ifndef PCTL_LIB_IDENTITY_H
#define PCTL_LIB_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct event_base;
struct enroll;

#define IDENTITY_PATH_MAX 1024

struct identity
{
	char key_file[IDENTITY_PATH_MAX];
	char cert_file[IDENTITY_PATH_MAX];
	char ca_file[IDENTITY_PATH_MAX];
	char tenant_id[37];
	char agent_id[37];
	char serial[64];
	char version[64];              /* directory that current led to */
	int64_t not_before, not_after; /* Unix seconds */
};

enum identity_state
{
	IDENTITY_OK,
	IDENTITY_MISSING, /* not enrolled yet */
	IDENTITY_BROKEN,  /* err says what is wrong */
};

/* The files are named by their version, not by way of current: they stay of one identity when
 * current moves on, until the version after the next. */
enum identity_state identity_load(const char *dir, struct identity *id, char *err, size_t errlen);

/* Makes a new version and points current at it; removes pending.key and the versions before the
 * previous one. */
bool identity_install(const char *dir, const char *key_pem, const char *cert_pem,
                      const char *ca_pem, char *err, size_t errlen);

/* The private key of an identity; free with crypto_wipe and free. NULL with err. */
char *identity_key(const struct identity *id, char *err, size_t errlen);

/* The key to enrol with, made when there is none. Free with crypto_wipe and free. */
char *identity_pending_key(const char *dir, char *err, size_t errlen);

/* ---- enrolment: POST /enroll/agent ---- */

struct enroll_options
{
	const char *dir;
	const char *host; /* of the server, for the certificate and the Host header */
	uint16_t port;
	const char *ca_file; /* what the server's certificate must lead to */
	const char *token;
	const char *hostname;
};

enum enroll_outcome
{
	ENROLL_DONE,   /* the identity is installed */
	ENROLL_RETRY,  /* the server was not reached or not ready */
	ENROLL_REFUSED /* asking again will not help: text says what to do */
};

typedef void (*enroll_done)(enum enroll_outcome outcome, const char *text, void *arg);

/* One attempt. done is called once, from the loop; the attempt is gone after it. NULL with err
 * when it cannot start. */
struct enroll *enroll_start(struct event_base *base, const struct enroll_options *options,
                            const struct sockaddr *addr, socklen_t addrlen, enroll_done done,
                            void *arg, char *err, size_t errlen);
void enroll_cancel(struct enroll *e);

/* The token of the environment variable PROBECTL_ENROLL_TOKEN, else the first word of token_file.
 * Free with crypto_wipe and free. */
char *enroll_token(const char *token_file, char *err, size_t errlen);

/* "https://host[:port][/]"; port 443 by default. */
bool enroll_url_parse(const char *url, char *host, size_t hostlen, uint16_t *port);

#endif
