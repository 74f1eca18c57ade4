/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.h -- certificates of the server, and what gRPC says when a handshake fails.
 */
#ifndef PCTL_INGEST_TLS_H
#define PCTL_INGEST_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include <grpc/grpc_security.h>

/* Reads and checks the files; the connections to come use them. False with a sentence in
 * err: what was loaded before stays in use. Any thread. */
bool tls_load(const char *cert, const char *key, const char *ca, char *err, size_t errlen);

/* Starts gRPC (nothing may fork after it) and takes its log over. */
void tls_init(void);
void tls_shutdown(void);

/* Client certificate required and verified, TLS 1.3 only. */
grpc_server_credentials *tls_credentials(void);

/* What the system said when gRPC could not listen. Before server_run only. */
const char *tls_last_error(void);

#endif
