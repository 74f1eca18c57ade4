/* SPDX-License-Identifier: PostgreSQL
 *
 * crypto.h -- the only door to OpenSSL.
 *
 * Algorithms are fetched by name, so that a FIPS provider is a matter of configuration. Agent links
 * are TLS 1.3 with both certificates; sessions are never resumed, because resumption would
 * skip the checks of the first handshake. Errors are sentences in a buffer.
 */
#ifndef PCTL_LIB_CRYPTO_H
#define PCTL_LIB_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

struct ssl_ctx_st; /* SSL_CTX */
struct ssl_st;     /* SSL */

#define CRYPTO_SHA256_BYTES 32
#define CRYPTO_SERIAL_MAX   64
#define CRYPTO_URI_MAX      256
#define CRYPTO_URIS_MAX     4

void crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_BYTES]);
void crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                        uint8_t out[CRYPTO_SHA256_BYTES]);
bool crypto_random(void *out, size_t len);

/* ---- contexts ---- */

/* Client of a link whose server is verified with ca_file. With cert_file and key_file it shows a
 * certificate. min13: TLS 1.3 only, else 1.2 at least. alpn: protocol name, NULL = none. */
struct crypto_client
{
	const char *ca_file;
	const char *cert_file; /* NULL = none */
	const char *key_file;
	bool min13;
	const char *alpn;
};

struct ssl_ctx_st *crypto_client_ctx(const struct crypto_client *want, char *err, size_t errlen);

/* Server with a certificate chain; TLS 1.2 at least, no session tickets. */
struct ssl_ctx_st *crypto_server_ctx(const char *cert_file, const char *key_file, char *err,
                                     size_t errlen);
void crypto_ctx_free(struct ssl_ctx_st *ctx);

/* ---- non-blocking TLS client on a connected socket ---- */

enum crypto_io
{
	CRYPTO_DONE,       /* handshake done, or bytes moved */
	CRYPTO_WANT_READ,  /* wait until the socket is readable */
	CRYPTO_WANT_WRITE, /* ... writable */
	CRYPTO_CLOSED,     /* the peer ended the stream in order */
	CRYPTO_FAILED,     /* a sentence is in err */
};

/* The server's certificate must be for host, a name or an address. NULL on failure. */
struct ssl_st *crypto_tls_new(struct ssl_ctx_st *ctx, int fd, const char *host, char *err,
                              size_t errlen);
enum crypto_io crypto_tls_handshake(struct ssl_st *tls, char *err, size_t errlen);
enum crypto_io crypto_tls_read(struct ssl_st *tls, void *to, size_t len, size_t *got, char *err,
                               size_t errlen);
enum crypto_io crypto_tls_write(struct ssl_st *tls, const void *from, size_t len, size_t *put,
                                char *err, size_t errlen);

/* Sends close_notify when that is possible without waiting, and frees. */
void crypto_tls_free(struct ssl_st *tls);

/* ---- keys and certificates ---- */

/* A P-256 key as PKCS#8 PEM, to be freed with free after crypto_wipe. NULL on failure. */
char *crypto_key_new(void);
void crypto_wipe(char *secret);

/* A certificate request for the key, without names: the server sets them. */
char *crypto_csr_new(const char *key_pem, char *err, size_t errlen);

/* True when the certificate is for this key. */
bool crypto_key_matches(const char *key_pem, const char *cert_pem);

/* SHA-256 of the SubjectPublicKeyInfo of a private key's public half. */
bool crypto_key_fingerprint(const char *key_pem, uint8_t out[CRYPTO_SHA256_BYTES]);

/* ECDSA or Ed25519 signature over the text, with SHA-256 where the key wants a digest; DER for
 * ECDSA. *len is what fits into out, and what was put there. */
bool crypto_sign(const char *key_pem, const char *text, uint8_t *out, size_t *len);

struct crypto_cert
{
	char serial[CRYPTO_SERIAL_MAX]; /* lower-case hex without leading zeros */
	int64_t not_before, not_after;  /* Unix seconds */
	char uris[CRYPTO_URIS_MAX][CRYPTO_URI_MAX];
	size_t uri_count; /* all URI names; more than CRYPTO_URIS_MAX are counted, not kept */
};

/* The first certificate in the text. */
bool crypto_cert_parse(const char *pem, struct crypto_cert *cert, char *err, size_t errlen);

/* What somebody signed with an Ed25519 key: domain and then data. */
struct crypto_signed
{
	const char *ca_file;   /* roots, PEM; intermediates in it only help */
	const char *chain_pem; /* certificate of the key first */
	const char *uri;       /* the one name that certificate must have, and the use "code signing" */
	const char *domain;
	const void *data;
	size_t len;
	const uint8_t *signature;
	size_t signature_len;
	bool any_time; /* validity does not count: it was verified before, or the clock is unsure */
};

/* False with a sentence in err that goes on after "... is refused: ". */
bool crypto_signed_verify(const struct crypto_signed *s, char *err, size_t errlen);

/* Whether every self-signed certificate of the text is in the file as well, and there is one at
 * least to read: nobody is made to trust a new root over a link. */
bool crypto_roots_known(const char *ca_pem, const char *ca_file);

/* spiffe://probectl/tenant/<uuid>/agent/<uuid>, lower case, exactly. */
bool crypto_spiffe_parse(const char *uri, char tenant_id[37], char agent_id[37]);

#endif
