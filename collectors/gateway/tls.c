/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.c -- TLS 1.2 and 1.3 on non-blocking sockets.
 *
 * Cipher choice is OpenSSL's own policy above a floor: TLS 1.2 with forward secrecy and
 * authenticated encryption only. Renegotiation is off: it has no use here and
 * lets a client spend our CPU. Read-ahead fetches a record's header and body in one call.
 */
#include "gateway/tls.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "lib/mem.h"

#define TLS12_CIPHERS                                                                              \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct tls_ctx
{
	SSL_CTX *ssl;
};

struct tls_conn
{
	SSL *ssl;
};

static char last_reason[160];

static void
keep_reason(const char *fallback)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	snprintf(last_reason, sizeof last_reason, "%s", text != NULL ? text : fallback);
	ERR_clear_error();
}

const char *
tls_reason(void)
{
	return last_reason;
}

/* ALPN (RFC 7301): HTTP/1.1 is the only protocol spoken; a client that offers only
 * others is served HTTP/1.1 without an answer to its offer, as without the extension. */
static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
            unsigned inlen, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";

	if (SSL_select_next_proto((unsigned char **) out, outlen, ours, sizeof ours - 1, in, inlen) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	return SSL_TLSEXT_ERR_OK;
}

static bool
load_files(SSL_CTX *ssl, const char *cert_file, const char *key_file, char *err, size_t errlen)
{
	if (SSL_CTX_use_certificate_chain_file(ssl, cert_file) != 1)
	{
		keep_reason("unreadable");
		snprintf(err, errlen, "tls.cert_file %s: cannot load the certificate (%s); give a PEM file",
		         cert_file, last_reason);
		return false;
	}
	if (SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1)
	{
		keep_reason("unreadable");
		snprintf(err, errlen, "tls.key_file %s: cannot load the key of %s (%s); give its PEM file",
		         key_file, cert_file, last_reason);
		return false;
	}
	if (SSL_CTX_check_private_key(ssl) != 1)
	{
		keep_reason("mismatch");
		snprintf(err, errlen, "tls.key_file %s does not belong to %s (%s)", key_file, cert_file,
		         last_reason);
		return false;
	}
	return true;
}

struct tls_ctx *
tls_ctx_load(const char *cert_file, const char *key_file, char *err, size_t errlen)
{
	struct tls_ctx *ctx;
	SSL_CTX *ssl;

	ERR_clear_error();
	ssl = SSL_CTX_new(TLS_server_method());
	if (ssl == NULL || SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ssl, TLS12_CIPHERS) != 1)
	{
		keep_reason("no context");
		snprintf(err, errlen, "cannot set up TLS (%s)", last_reason);
		SSL_CTX_free(ssl);
		return NULL;
	}
	SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                             SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                          SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ssl, 1);
	SSL_CTX_set_num_tickets(ssl, 1);
	SSL_CTX_set_session_id_context(ssl, (const unsigned char *) "probectl", 8);
	SSL_CTX_set_alpn_select_cb(ssl, choose_alpn, NULL);
	if (!load_files(ssl, cert_file, key_file, err, errlen))
	{
		SSL_CTX_free(ssl);
		return NULL;
	}
	ctx = mem_alloc(sizeof *ctx);
	ctx->ssl = ssl;
	return ctx;
}

void
tls_ctx_free(struct tls_ctx *ctx)
{
	if (ctx == NULL)
		return;
	SSL_CTX_free(ctx->ssl);
	free(ctx);
}

struct tls_conn *
tls_conn_new(struct tls_ctx *ctx, int fd)
{
	struct tls_conn *tc;
	SSL *ssl = SSL_new(ctx->ssl);

	if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
	{
		keep_reason("out of memory");
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	tc = mem_alloc(sizeof *tc);
	tc->ssl = ssl;
	return tc;
}

void
tls_conn_free(struct tls_conn *tc)
{
	if (tc == NULL)
		return;
	SSL_free(tc->ssl);
	free(tc);
}

static enum tls_status
status_of(struct tls_conn *tc, int rc)
{
	switch (SSL_get_error(tc->ssl, rc))
	{
		case SSL_ERROR_NONE: return TLS_DONE;
		case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
		case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
		case SSL_ERROR_ZERO_RETURN: return TLS_CLOSED;
		case SSL_ERROR_SYSCALL:
			keep_reason(errno != 0 ? strerror(errno) : "connection closed");
			return errno == 0 || errno == ECONNRESET || errno == EPIPE ? TLS_CLOSED : TLS_FAILED;
		default: keep_reason("protocol error"); return TLS_FAILED;
	}
}

enum tls_status
tls_handshake(struct tls_conn *tc)
{
	ERR_clear_error();
	errno = 0;
	return status_of(tc, SSL_do_handshake(tc->ssl));
}

enum tls_status
tls_read(struct tls_conn *tc, void *buf, size_t len, size_t *done)
{
	ERR_clear_error();
	errno = 0;
	return status_of(tc, SSL_read_ex(tc->ssl, buf, len, done));
}

enum tls_status
tls_write(struct tls_conn *tc, const void *buf, size_t len, size_t *done)
{
	ERR_clear_error();
	errno = 0;
	return status_of(tc, SSL_write_ex(tc->ssl, buf, len, done));
}

bool
tls_pending(const struct tls_conn *tc)
{
	return SSL_has_pending(tc->ssl) == 1;
}

void
tls_shutdown(struct tls_conn *tc)
{
	ERR_clear_error();
	if (SSL_is_init_finished(tc->ssl))
		SSL_shutdown(tc->ssl);
	ERR_clear_error();
}
