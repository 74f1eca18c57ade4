/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.h -- the only door to OpenSSL in the gateway.
 *
 * TLS runs directly on the socket, without a filter between: one record read is one
 * system call and one write one. Nothing here blocks; a status says what to wait for.
 */
#ifndef PCTL_GATEWAY_TLS_H
#define PCTL_GATEWAY_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct tls_ctx;
struct tls_conn;

enum tls_status
{
	TLS_DONE,
	TLS_WANT_READ,
	TLS_WANT_WRITE,
	TLS_CLOSED, /* the peer ended, with or without a close notification */
	TLS_FAILED
};

/* Loads a certificate chain and its key. NULL with a sentence part in err. */
struct tls_ctx *tls_ctx_load(const char *cert_file, const char *key_file, char *err, size_t errlen);

/* Connections made from a context keep what they need of it. */
void tls_ctx_free(struct tls_ctx *ctx);

struct tls_conn *tls_conn_new(struct tls_ctx *ctx, int fd);
void tls_conn_free(struct tls_conn *tc);

enum tls_status tls_handshake(struct tls_conn *tc);

/* On TLS_DONE *done bytes were moved, at least one. */
enum tls_status tls_read(struct tls_conn *tc, void *buf, size_t len, size_t *done);
enum tls_status tls_write(struct tls_conn *tc, const void *buf, size_t len, size_t *done);

/* Whether bytes were already taken from the socket and wait here. */
bool tls_pending(const struct tls_conn *tc);

/* Sends the close notification, if it fits without waiting. */
void tls_shutdown(struct tls_conn *tc);

/* Why the last TLS_FAILED happened, for the log. */
const char *tls_reason(void);

#endif
