/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.h -- TLS as a test looks at it: not only to be safe, but to see.
 *
 * A handshake goes on with a certificate that does not verify, so that the certificate can be
 * reported; nothing is sent over such a connection, and the test fails with the class of
 * what is wrong. Versions from TLS 1.0 and weak ciphers are accepted for the same reason.
 */
#ifndef PCTL_AGENT_HTTP_TLS_H
#define PCTL_AGENT_HTTP_TLS_H

#include <openssl/types.h>

#include "agent/result.h"

#define TLS_CA_FILE "/etc/ssl/certs/ca-certificates.crt"
#define TLS_CA_DIR  "/etc/ssl/certs"

#define TLS_CHAIN_MAX 8 /* certificates that are reported */

/* Where the system's CA certificates are: the directory, where it has links by hash of the name, for then
 * only the certificates that are asked for are read (a bundle is 150 of them: 0.8 MB of memory
 * and 25 ms of a core); else the bundle. */
const char *tls_ca_default(void);

enum tls_io
{
	TLS_DONE,
	TLS_WANT_READ,
	TLS_WANT_WRITE,
	TLS_END,   /* the peer closed, with or without a close_notify */
	TLS_FAILED /* see tls_failure; errno for a failed system call */
};

/* What was seen of the server. */
struct tls_seen
{
	bool certificate;
	bool verified;
	enum error_type error; /* why it is not */
	char problem[200];
	char version[16]; /* "1.3", as OTel has it */
	char cipher[64];
	char subject[RESULT_VALUE_MAX], issuer[RESULT_VALUE_MAX], san[RESULT_VALUE_MAX];
	int64_t not_before, not_after; /* seconds since 1970 */
	size_t chain_count;
	char chain[TLS_CHAIN_MAX][RESULT_VALUE_MAX]; /* a line each, as shown, leaf first */
	bool stapled;
	char staple[120]; /* "none", "good, until ...", "revoked on ...", "invalid: ..." */
};

struct tls;

/* ca_file is a file in PEM or a directory with links by hash (openssl rehash). Reads the file unless that has been done: it takes longer than a handshake, and
 * is not to be measured as one. False with a sentence in err. */
bool tls_prepare(const char *ca_file, char *err, size_t errlen);

/* A client on a connected socket. host is a name or an address without brackets. NULL with a
 * sentence in err: the file of CA certificates cannot be used, or memory is out. */
struct tls *tls_new(int fd, const char *host, const char *ca_file, char *err, size_t errlen);
void tls_free(struct tls *tls);

/* Before the handshake: the application protocols to offer (ALPN, RFC 7301) instead of
 * http/1.1, in wire form. False when memory is out. */
bool tls_offer(struct tls *tls, const uint8_t *protocols, size_t len);

/* After it: whether the server chose this one. */
bool tls_chosen(const struct tls *tls, const char *protocol);

enum tls_io tls_handshake(struct tls *tls);
enum tls_io tls_read(struct tls *tls, void *data, size_t len, size_t *got);
enum tls_io tls_write(struct tls *tls, const void *data, size_t len, size_t *put);

/* The same on a connection that may have no TLS (tls is NULL): then straight on the socket. */
enum tls_io stream_read(struct tls *tls, int fd, void *data, size_t len, size_t *got);
enum tls_io stream_write(struct tls *tls, int fd, const void *data, size_t len, size_t *put);

/* Fills seen after a handshake, successful or not. */
void tls_inspect(struct tls *tls, struct tls_seen *seen);

/* Words for the last TLS_FAILED. */
void tls_failure(char *buf, size_t len);

/* Frees the CA certificates that are kept between runs. */
void tls_forget(void);

#endif
