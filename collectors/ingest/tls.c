/* SPDX-License-Identifier: PostgreSQL
 *
 * tls.c -- see tls.h.
 *
 * The certificates are handed to gRPC by a callback at each handshake, so a renewed file takes
 * effect without a restart. A failed handshake reaches no call; gRPC only logs it, so its
 * log function is ours: it counts those, writes one line and drops the rest.
 */
#include "ingest/tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include "ingest/stats.h"
#include "lib/buf.h"
#include "lib/crypto.h"
#include "lib/log.h"

#define TLS_FILE_MAX (1024 * 1024)
#define TLS_FAILURES 16

static struct
{
	pthread_mutex_t lock; /* guards what follows */
	char *cert, *key, *ca;
	unsigned generation; /* of the files */
	unsigned given;      /* generation gRPC has */
	char last_error[256];
} tls = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- files ---- */

static char *
tls_read(const char *what, const char *path, char *err, size_t errlen)
{
	struct buf text = BUF_INIT(TLS_FILE_MAX);
	FILE *file = fopen(path, "re");
	char chunk[4096], *copy = NULL;
	size_t n;

	if (file == NULL)
	{
		snprintf(err, errlen, "%s: cannot read %s: %s", what, path, strerror(errno));
		return NULL;
	}
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
		buf_put(&text, chunk, n);
	if (ferror(file) || text.failed || buf_cstr(&text) == NULL)
		snprintf(err, errlen, "%s: cannot read %s: %s", what, path,
		         ferror(file) ? strerror(errno) : "larger than 1 MiB");
	else
		copy = strdup(buf_cstr(&text));
	fclose(file);
	buf_free(&text);
	return copy;
}

static bool
tls_certificate(const char *what, const char *path, const char *pem, char *err, size_t errlen)
{
	struct crypto_cert cert;
	char why[160];

	if (!crypto_cert_parse(pem, &cert, why, sizeof(why)))
		snprintf(err, errlen, "%s: %s: %s", what, path, why);
	else if (cert.not_after <= (int64_t) time(NULL))
		snprintf(err, errlen, "%s: the certificate in %s has expired; issue a new one", what, path);
	else
		return true;
	return false;
}

/* gRPC would accept a key of another certificate and fail every handshake. */
static bool
tls_match(const char *cert_file, const char *cert, const char *key_file, const char *key,
          const char *ca_file, const char *ca, char *err, size_t errlen)
{
	if (!tls_certificate("tls.cert_file", cert_file, cert, err, errlen) ||
	    !tls_certificate("tls.ca_file", ca_file, ca, err, errlen))
		return false;
	if (crypto_key_matches(key, cert))
		return true;
	snprintf(err, errlen, "tls.key_file: %s is not the private key of the certificate in %s",
	         key_file, cert_file);
	return false;
}

bool
tls_load(const char *cert_file, const char *key_file, const char *ca_file, char *err, size_t errlen)
{
	char *cert = tls_read("tls.cert_file", cert_file, err, errlen);
	char *key = cert ? tls_read("tls.key_file", key_file, err, errlen) : NULL;
	char *ca = key ? tls_read("tls.ca_file", ca_file, err, errlen) : NULL;
	char *old;
	bool ok = false;

	if (ca != NULL && tls_match(cert_file, cert, key_file, key, ca_file, ca, err, errlen))
	{
		pthread_mutex_lock(&tls.lock);
		old = tls.cert, tls.cert = cert, cert = old;
		old = tls.key, tls.key = key, key = old;
		old = tls.ca, tls.ca = ca, ca = old;
		tls.generation++;
		pthread_mutex_unlock(&tls.lock);
		ok = true;
	}
	free(cert);
	crypto_wipe(key);
	free(key);
	free(ca);
	return ok;
}

/* ---- credentials ---- */

static grpc_ssl_certificate_config_reload_status
tls_fetch(void *arg, grpc_ssl_server_certificate_config **config)
{
	grpc_ssl_certificate_config_reload_status status = GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;

	pthread_mutex_lock(&tls.lock);
	if (tls.given != tls.generation)
	{
		grpc_ssl_pem_key_cert_pair pair = {tls.key, tls.cert};

		*config = grpc_ssl_server_certificate_config_create(tls.ca, &pair, 1);
		tls.given = tls.generation;
		status = *config != NULL ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
		                         : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
	}
	pthread_mutex_unlock(&tls.lock);
	return status;
}

grpc_server_credentials *
tls_credentials(void)
{
	grpc_ssl_server_credentials_options *options =
	    grpc_ssl_server_credentials_create_options_using_config_fetcher(
	        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, tls_fetch, NULL);

	tls.given = 0;
	return grpc_ssl_server_credentials_create_with_options(options);
}

/* ---- what gRPC logs ---- */

/* gRPC reports a tree of errors as text; what the system said is in its leaves. */
static void
tls_keep_error(const char *message)
{
	static const char mark[] = "os_error:\"";
	const char *cause = strstr(message, mark);

	if (cause == NULL)
		return;
	cause += sizeof(mark) - 1;
	pthread_mutex_lock(&tls.lock);
	snprintf(tls.last_error, sizeof(tls.last_error), "%.*s", (int) strcspn(cause, "\""), cause);
	pthread_mutex_unlock(&tls.lock);
}

static void
tls_log(gpr_log_func_args *args)
{
	/* One limit for each kind of failure, told apart by a hash of the text. */
	static struct log_limit limits[TLS_FAILURES];
	uint64_t held;
	unsigned hash = 5381;

	if (args->severity == GPR_LOG_SEVERITY_ERROR && strstr(args->message, "andshak") != NULL)
	{
		stat_add(STAT_REFUSED_HANDSHAKE, 1);
		for (const char *p = args->message; *p != '\0'; p++)
			hash = hash * 33 + (unsigned char) *p;
		if (log_limit_pass(&limits[hash % TLS_FAILURES], &held))
			log_warning("refused", NULL, "TLS handshake: %s (%llu more like this)", args->message,
			            (unsigned long long) held);
	}
	else if (args->severity == GPR_LOG_SEVERITY_ERROR)
	{
		tls_keep_error(args->message);
	}
	log_debug("grpc", NULL, "%s:%d: %s", args->file, args->line, args->message);
}

const char *
tls_last_error(void)
{
	return tls.last_error[0] != '\0' ? tls.last_error : "not an address of this machine";
}

void
tls_init(void)
{
	/* The C API cannot set the lowest TLS version. What it can set is the list of ciphers up to
	 * TLS 1.2, and one that needs a pre-shared key, which nobody has, leaves TLS 1.3 only. */
	setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
	gpr_set_log_function(tls_log);
	gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);
	grpc_init();
}

void
tls_shutdown(void)
{
	grpc_shutdown();
}
