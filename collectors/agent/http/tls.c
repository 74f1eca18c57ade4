/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.c -- TLS as a test looks at it.
 *
 * Verification is OpenSSL's, run by verify.c, which notes every problem and lets the handshake
 * go on. Contexts are kept by CA file, and made again when the file changes: parsing
 * a system bundle takes milliseconds, which is more than most handshakes.
 */
#include "agent/http/tls.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/http/certs.h"
#include "agent/http/chains.h"
#include "agent/http/staple.h"
#include "agent/http/verify.h"

#define CONTEXTS_MAX    8
#define CONTEXT_FRESH_S 1 /* so long the file of CA certificates is not looked at again */

struct tls_context
{
	char *path;
	struct timespec mtime;
	off_t size;
	ino_t inode;
	uint64_t used;   /* for eviction */
	int64_t checked; /* monotonic seconds */
	SSL_CTX *ctx;
};

struct tls
{
	SSL *ssl;
	char host[256];
	struct verdict verdict;
};

static struct tls_context contexts[CONTEXTS_MAX];
static uint64_t context_clock;
static uint64_t context_number; /* of the newest; for chains.h */

/* ---- contexts ---- */

static int64_t
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec;
}

/* In place of OpenSSL's own verification, which it calls for a chain that is not known. */
static int
on_chain(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *tls = SSL_get_app_data(ssl);
	uint64_t trust = (uintptr_t) SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (chains_known(store, trust, tls->host, seconds()))
		return 1;
	if (!verify_chain(store, &tls->verdict))
		return 0;
	if (verify_passed(&tls->verdict))
		chains_keep(store, trust, tls->host, seconds());
	return 1;
}

/* "5ad8a5d6.0" */
static bool
is_hash_link(const char *name)
{
	size_t i = 0;

	while (isxdigit((unsigned char) name[i]))
		i++;
	return i == 8 && name[8] == '.' && isdigit((unsigned char) name[9]);
}

const char *
tls_ca_default(void)
{
	static const char *found; /* every test asks */
	DIR *dir = found ? NULL : opendir(TLS_CA_DIR);
	const struct dirent *entry;
	bool hashed = false;

	if (found)
		return found;
	while (dir && !hashed && (entry = readdir(dir)))
		hashed = is_hash_link(entry->d_name);
	if (dir)
		closedir(dir);
	found = hashed ? TLS_CA_DIR : TLS_CA_FILE;
	return found;
}

static SSL_CTX *
context_make(const char *path, bool is_dir, char *err, size_t errlen)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (ctx == NULL)
	{
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	ERR_clear_error();
	if ((is_dir ? SSL_CTX_load_verify_dir(ctx, path) : SSL_CTX_load_verify_file(ctx, path)) != 1)
	{
		snprintf(err, errlen, "no CA certificates in %.120s: %.80s", path,
		         ERR_reason_error_string(ERR_peek_last_error()));
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return NULL;
	}
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	/* Those with pre-shared keys and SRP could never be offered, but each hello would go through them. */
	SSL_CTX_set_cipher_list(ctx, "ALL:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0");
	/* TLS 1.3 in the order of the browsers: AES-128 first. */
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:"
	                              "TLS_AES_256_GCM_SHA384");
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_LEGACY_SERVER_CONNECT | SSL_OP_NO_RENEGOTIATION |
	                             SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	                          SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, on_chain, NULL);
	SSL_CTX_set_read_ahead(ctx, 1); /* a record is one read instead of two */
	SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1);
	SSL_CTX_set_app_data(ctx, (void *) (uintptr_t) ++context_number);
	return ctx;
}

static void
context_drop(struct tls_context *context)
{
	if (context->ctx)
		chains_forget((uintptr_t) SSL_CTX_get_app_data(context->ctx));
	SSL_CTX_free(context->ctx);
	free(context->path);
	memset(context, 0, sizeof(*context));
}

/* One that was looked at just now, as every run does some times in a row. */
static SSL_CTX *
context_fresh(const char *path)
{
	for (size_t i = 0; i < CONTEXTS_MAX; i++)
		if (contexts[i].path && strcmp(contexts[i].path, path) == 0 &&
		    seconds() < contexts[i].checked + CONTEXT_FRESH_S)
			return contexts[i].ctx;
	return NULL;
}

static SSL_CTX *
context_get(const char *path, char *err, size_t errlen)
{
	struct tls_context *spare = &contexts[0];
	SSL_CTX *fresh = context_fresh(path);
	struct stat st;

	if (fresh)
		return fresh;
	if (stat(path, &st) != 0)
	{
		snprintf(err, errlen,
		         "no CA certificates in %.120s: %s; install ca-certificates or set ca_file", path,
		         strerror(errno));
		return NULL;
	}
	for (size_t i = 0; i < CONTEXTS_MAX; i++)
	{
		struct tls_context *context = &contexts[i];

		if (context->used < spare->used)
			spare = context;
		if (context->path == NULL || strcmp(context->path, path) != 0)
			continue;
		if (context->mtime.tv_sec == st.st_mtim.tv_sec &&
		    context->mtime.tv_nsec == st.st_mtim.tv_nsec && context->size == st.st_size &&
		    context->inode == st.st_ino)
		{
			context->used = ++context_clock;
			context->checked = seconds();
			return context->ctx;
		}
		spare = context;
		break;
	}
	context_drop(spare);
	spare->ctx = context_make(path, S_ISDIR(st.st_mode), err, errlen);
	spare->path = strdup(path);
	if (spare->ctx == NULL || spare->path == NULL)
	{
		context_drop(spare);
		return NULL;
	}
	spare->mtime = st.st_mtim;
	spare->size = st.st_size;
	spare->inode = st.st_ino;
	spare->used = ++context_clock;
	spare->checked = seconds();
	return spare->ctx;
}

bool
tls_prepare(const char *ca_file, char *err, size_t errlen)
{
	return context_get(ca_file, err, errlen) != NULL;
}

void
tls_forget(void)
{
	for (size_t i = 0; i < CONTEXTS_MAX; i++)
		if (contexts[i].path)
			context_drop(&contexts[i]);
	certs_forget();
}

/* ---- one connection ---- */

struct tls *
tls_new(int fd, const char *host, const char *ca_file, char *err, size_t errlen)
{
	SSL_CTX *ctx = context_get(ca_file, err, errlen);
	struct tls *tls = ctx ? calloc(1, sizeof(*tls)) : NULL;
	X509_VERIFY_PARAM *param;
	unsigned char address[16];
	bool named;

	if (ctx == NULL)
		return NULL;
	if (tls)
		tls->ssl = SSL_new(ctx);
	if (tls == NULL || tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1)
	{
		snprintf(err, errlen, "out of memory");
		tls_free(tls);
		return NULL;
	}
	SSL_set_app_data(tls->ssl, tls);
	snprintf(tls->host, sizeof(tls->host), "%s", host);
	param = SSL_get0_param(tls->ssl);
	named = inet_pton(AF_INET, host, address) != 1 && inet_pton(AF_INET6, host, address) != 1;
	/* An address is never sent as a server name (RFC 6066 section 3). */
	if (named ? SSL_set_tlsext_host_name(tls->ssl, host) != 1 ||
	                X509_VERIFY_PARAM_set1_host(param, host, 0) != 1
	          : X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
	{
		snprintf(err, errlen, "the host cannot be checked against a certificate");
		tls_free(tls);
		return NULL;
	}
	if (named)
		X509_VERIFY_PARAM_set_hostflags(param, VERIFY_HOST_FLAGS);
	SSL_set_tlsext_status_type(tls->ssl, TLSEXT_STATUSTYPE_ocsp);
	SSL_set_connect_state(tls->ssl);
	return tls;
}

void
tls_free(struct tls *tls)
{
	if (tls == NULL)
		return;
	SSL_free(tls->ssl);
	free(tls);
}

bool
tls_offer(struct tls *tls, const uint8_t *protocols, size_t len)
{
	return SSL_set_alpn_protos(tls->ssl, protocols, (unsigned) len) == 0;
}

bool
tls_chosen(const struct tls *tls, const char *protocol)
{
	const unsigned char *name;
	unsigned len;

	SSL_get0_alpn_selected(tls->ssl, &name, &len);
	return len == strlen(protocol) && memcmp(name, protocol, len) == 0;
}

/* An end of the stream without close_notify is an end: whether something is missing is for the
 * parser of the body to say. */
static enum tls_io
outcome(struct tls *tls, int ret)
{
	unsigned long code = ERR_peek_last_error();

	if (ret > 0)
		return TLS_DONE;
	switch (SSL_get_error(tls->ssl, ret))
	{
		case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
		case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
		case SSL_ERROR_ZERO_RETURN: return TLS_END;
		case SSL_ERROR_SSL:
			if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
				return TLS_END;
			errno = 0;
			return TLS_FAILED;
		default: return TLS_FAILED;
	}
}

enum tls_io
tls_handshake(struct tls *tls)
{
	int ret;

	ERR_clear_error();
	errno = 0;
	certs_meant(true);
	ret = SSL_do_handshake(tls->ssl);
	certs_meant(false);
	return outcome(tls, ret);
}

enum tls_io
tls_read(struct tls *tls, void *data, size_t len, size_t *got)
{
	ERR_clear_error();
	errno = 0;
	return outcome(tls, SSL_read_ex(tls->ssl, data, len, got));
}

enum tls_io
tls_write(struct tls *tls, const void *data, size_t len, size_t *put)
{
	ERR_clear_error();
	errno = 0;
	return outcome(tls, SSL_write_ex(tls->ssl, data, len, put));
}

static enum tls_io
plain_outcome(ssize_t n, enum tls_io want, size_t *done)
{
	if (n > 0)
	{
		*done = (size_t) n;
		return TLS_DONE;
	}
	if (n == 0)
		return TLS_END;
	return errno == EAGAIN || errno == EINTR ? want : TLS_FAILED;
}

enum tls_io
stream_read(struct tls *tls, int fd, void *data, size_t len, size_t *got)
{
	if (tls)
		return tls_read(tls, data, len, got);
	return plain_outcome(recv(fd, data, len, 0), TLS_WANT_READ, got);
}

enum tls_io
stream_write(struct tls *tls, int fd, const void *data, size_t len, size_t *put)
{
	if (tls)
		return tls_write(tls, data, len, put);
	return plain_outcome(send(fd, data, len, MSG_NOSIGNAL), TLS_WANT_WRITE, put);
}

void
tls_failure(char *buf, size_t len)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(buf, len, "%s", reason ? reason : "the connection failed");
}

/* ---- what was seen ---- */

/* As the server showed it, the leaf first. */
static void
inspect_chain(const struct tls *tls, struct tls_seen *seen)
{
	STACK_OF(X509) *shown = SSL_get_peer_cert_chain(tls->ssl);

	for (int i = 0; i < sk_X509_num(shown) && seen->chain_count < TLS_CHAIN_MAX; i++)
	{
		const struct cert_text *text = certs_text(sk_X509_value(shown, i));

		if (text)
			snprintf(seen->chain[seen->chain_count++], sizeof(seen->chain[0]), "%s", text->line);
	}
}

/* What the chain's verdict leaves to say comes first: a staple is the issuer's word. */
static void
judge_staple(const struct tls *tls, X509 *certificate, struct tls_seen *seen)
{
	enum staple_verdict verdict = staple_judge(tls->ssl, certificate, seen->staple,
	                                           sizeof(seen->staple));

	seen->stapled = verdict != STAPLE_NONE;
	if (verdict == STAPLE_NONE)
		snprintf(seen->staple, sizeof(seen->staple), "none");
	if (!seen->verified)
		return;
	if (verdict == STAPLE_REVOKED)
	{
		seen->error = ERROR_TLS_REVOKED;
		snprintf(seen->problem, sizeof(seen->problem), "%s, says the OCSP staple", seen->staple);
	}
	else if (verdict != STAPLE_GOOD && staple_demanded(certificate))
	{
		seen->error = ERROR_TLS_STAPLE;
		snprintf(seen->problem, sizeof(seen->problem),
		         "the certificate demands an OCSP staple that says good; this one: %s",
		         seen->staple);
	}
	seen->verified = seen->error == ERROR_NONE;
}

void
tls_inspect(struct tls *tls, struct tls_seen *seen)
{
	X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
	const char *version = SSL_get_version(tls->ssl);
	const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
	const struct cert_text *text;

	memset(seen, 0, sizeof(*seen));
	if (cipher)
	{
		/* "TLSv1.3" -> "1.3", "TLSv1" -> "1.0": OTel's tls.protocol.version is the number. */
		snprintf(seen->version, sizeof(seen->version), "%s",
		         strncmp(version, "TLSv", 4) == 0 ? version + 4 : version);
		if (strcmp(seen->version, "1") == 0)
			snprintf(seen->version, sizeof(seen->version), "1.0");
		snprintf(seen->cipher, sizeof(seen->cipher), "%s", SSL_CIPHER_standard_name(cipher));
	}
	if (certificate == NULL)
		return;
	seen->certificate = true;
	text = certs_text(certificate);
	if (text)
	{
		snprintf(seen->subject, sizeof(seen->subject), "%s", text->subject);
		snprintf(seen->issuer, sizeof(seen->issuer), "%s", text->issuer);
		snprintf(seen->san, sizeof(seen->san), "%s", text->san);
		seen->not_before = text->not_before;
		seen->not_after = text->not_after;
	}
	inspect_chain(tls, seen);
	seen->verified = verify_passed(&tls->verdict);
	seen->error = verify_judge(&tls->verdict, seen->problem, sizeof(seen->problem));
	judge_staple(tls, certificate, seen);
	X509_free(certificate);
}
