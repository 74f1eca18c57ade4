/* SPDX-License-Identifier: PostgreSQL
 *
 * crypto.c -- see crypto.h. TLS contexts and the non-blocking client; keys and certificates
 * stand in cert.c.
 */
#include "lib/crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "lib/log.h"

/* Curves of agent links and servers: RFC 7748 and NIST. */
#define CRYPTO_GROUPS "X25519:P-256"

/* Fills err with what and the oldest error of OpenSSL's queue, and empties it. */
static void
explain(char *err, size_t errlen, const char *what)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	if (reason)
		snprintf(err, errlen, "%s: %s", what, reason);
	else if (code && ERR_GET_LIB(code) == ERR_LIB_SYS)
		snprintf(err, errlen, "%s: %s", what, strerror(ERR_GET_REASON(code)));
	else
		snprintf(err, errlen, "%s", what);
	ERR_clear_error();
}

void
crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_BYTES])
{
	EVP_MD *md = EVP_MD_fetch(NULL, "SHA256", NULL);

	if (!md || !EVP_Digest(data, len, out, NULL, md, NULL))
		log_fatal("crypto", NULL, "SHA-256 is not available");
	EVP_MD_free(md);
}

void
crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                   uint8_t out[CRYPTO_SHA256_BYTES])
{
	size_t out_len = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len, data, len, out,
	               CRYPTO_SHA256_BYTES, &out_len))
		log_fatal("crypto", NULL, "HMAC-SHA-256 is not available");
}

bool
crypto_random(void *out, size_t len)
{
	return RAND_bytes(out, (int) len) == 1;
}

/* ---- contexts ---- */

static bool
ctx_identity(SSL_CTX *ctx, const char *cert_file, const char *key_file, char *err, size_t errlen)
{
	char what[512];

	snprintf(what, sizeof(what), "certificate %s", cert_file);
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
	{
		explain(err, errlen, what);
		return false;
	}
	snprintf(what, sizeof(what), "key %s", key_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
	{
		explain(err, errlen, what);
		return false;
	}
	if (SSL_CTX_check_private_key(ctx) != 1)
	{
		ERR_clear_error();
		snprintf(err, errlen, "key %s does not belong to certificate %s", key_file, cert_file);
		return false;
	}
	return true;
}

/* What clients and servers have in common. */
static SSL_CTX *
ctx_new(const SSL_METHOD *method, int version, char *err, size_t errlen)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, version) != 1 ||
	    SSL_CTX_set1_groups_list(ctx, CRYPTO_GROUPS) != 1)
	{
		explain(err, errlen, "TLS cannot be set up");
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(ctx, 0);
	/* Buffers of idle connections are given back: memory matters more than a malloc. */
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return ctx;
}

static bool
ctx_alpn(SSL_CTX *ctx, const char *name)
{
	unsigned char wire[64];
	size_t len = strlen(name);

	if (len == 0 || len >= sizeof(wire))
		return false;
	wire[0] = (unsigned char) len;
	memcpy(wire + 1, name, len);
	return SSL_CTX_set_alpn_protos(ctx, wire, (unsigned) len + 1) == 0;
}

SSL_CTX *
crypto_client_ctx(const struct crypto_client *want, char *err, size_t errlen)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method(), want->min13 ? TLS1_3_VERSION : TLS1_2_VERSION, err,
	                       errlen);
	char what[512];

	if (!ctx)
		return NULL;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (SSL_CTX_load_verify_file(ctx, want->ca_file) != 1)
	{
		snprintf(what, sizeof(what), "CA certificate %s", want->ca_file);
		explain(err, errlen, what);
		goto fail;
	}
	if (want->alpn && !ctx_alpn(ctx, want->alpn))
	{
		snprintf(err, errlen, "ALPN name \"%s\" is not valid", want->alpn);
		goto fail;
	}
	if (want->cert_file && !ctx_identity(ctx, want->cert_file, want->key_file, err, errlen))
		goto fail;
	return ctx;

fail:
	SSL_CTX_free(ctx);
	return NULL;
}

SSL_CTX *
crypto_server_ctx(const char *cert_file, const char *key_file, char *err, size_t errlen)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method(), TLS1_2_VERSION, err, errlen);

	if (ctx && !ctx_identity(ctx, cert_file, key_file, err, errlen))
	{
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

void
crypto_ctx_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}

/* ---- non-blocking client ---- */

SSL *
crypto_tls_new(SSL_CTX *ctx, int fd, const char *host, char *err, size_t errlen)
{
	SSL *tls = SSL_new(ctx);
	X509_VERIFY_PARAM *param = tls ? SSL_get0_param(tls) : NULL;

	if (!tls || SSL_set_fd(tls, fd) != 1)
		goto fail;
	/* An address is compared with the address names only, a name with the DNS names. */
	if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
	{
		ERR_clear_error();
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		if (SSL_set1_host(tls, host) != 1 || SSL_set_tlsext_host_name(tls, host) != 1)
			goto fail;
	}
	SSL_set_read_ahead(tls, 1); /* a record is one read instead of two */
	SSL_set_connect_state(tls);
	return tls;

fail:
	explain(err, errlen, "TLS cannot be set up");
	SSL_free(tls);
	return NULL;
}

/* What the last call on tls, which returned ret, means. */
static enum crypto_io
io_result(SSL *tls, int ret, int saved_errno, char *err, size_t errlen)
{
	long verdict;

	switch (SSL_get_error(tls, ret))
	{
		case SSL_ERROR_NONE: return CRYPTO_DONE;
		case SSL_ERROR_WANT_READ: return CRYPTO_WANT_READ;
		case SSL_ERROR_WANT_WRITE: return CRYPTO_WANT_WRITE;
		case SSL_ERROR_ZERO_RETURN: return CRYPTO_CLOSED;
		case SSL_ERROR_SYSCALL:
			ERR_clear_error();
			snprintf(err, errlen, "connection lost: %s",
			         saved_errno ? strerror(saved_errno) : "closed by the peer");
			return CRYPTO_FAILED;
		default: break;
	}
	if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
	{
		ERR_clear_error();
		snprintf(err, errlen, "connection lost: closed by the peer without a goodbye");
		return CRYPTO_FAILED;
	}
	verdict = SSL_get_verify_result(tls);
	if (verdict != X509_V_OK)
	{
		ERR_clear_error();
		snprintf(err, errlen, "TLS: the peer's certificate is refused: %s",
		         X509_verify_cert_error_string(verdict));
	}
	else
		explain(err, errlen, "TLS");
	return CRYPTO_FAILED;
}

enum crypto_io
crypto_tls_handshake(SSL *tls, char *err, size_t errlen)
{
	int ret;

	ERR_clear_error();
	errno = 0;
	ret = SSL_do_handshake(tls);
	return ret == 1 ? CRYPTO_DONE : io_result(tls, ret, errno, err, errlen);
}

enum crypto_io
crypto_tls_read(SSL *tls, void *to, size_t len, size_t *got, char *err, size_t errlen)
{
	int ret;

	*got = 0;
	ERR_clear_error();
	errno = 0;
	ret = SSL_read_ex(tls, to, len, got);
	return ret == 1 ? CRYPTO_DONE : io_result(tls, ret, errno, err, errlen);
}

enum crypto_io
crypto_tls_write(SSL *tls, const void *from, size_t len, size_t *put, char *err, size_t errlen)
{
	int ret;

	*put = 0;
	ERR_clear_error();
	errno = 0;
	ret = SSL_write_ex(tls, from, len, put);
	return ret == 1 ? CRYPTO_DONE : io_result(tls, ret, errno, err, errlen);
}

void
crypto_tls_free(SSL *tls)
{
	if (!tls)
		return;
	if (SSL_is_init_finished(tls))
		SSL_shutdown(tls);
	ERR_clear_error();
	SSL_free(tls);
}
