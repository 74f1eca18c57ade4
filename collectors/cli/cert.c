/* SPDX-License-Identifier: PostgreSQL
 *
 * cert.c -- the certificate of the servers of this machine.
 *
 * P-256 and SHA-256: what every TLS client speaks, approved by FIPS 140. Key and
 * chain are two files; a crash between their renames leaves a pair that does not
 * match, which cert_server finds and replaces.
 */
#include "cli/cert.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/db.h"
#include "cli/util.h"

#define NAMES_MAX 8

/* What the certificate must cover, in the order of the request; NULL ends it. */
static void
names_collect(const struct home *home, const char **names)
{
	static const char *const keys[] = {"gateway_listen", "ingest_listen"};
	static const char *const always[] = {"localhost", "127.0.0.1", "::1"};
	char machine[256] = {0};
	size_t n = 0;

	for (; n < 3; n++)
		names[n] = always[n];
	if (gethostname(machine, sizeof(machine) - 1) == 0 && *machine &&
	    strcmp(machine, "localhost") != 0)
		names[n++] = util_dup(machine);
	for (size_t i = 0; i < 2; i++)
	{
		char host[256], port[8];
		bool known = false;

		if (!util_host_port(home_text(home, keys[i]), host, sizeof(host), port, sizeof(port)) ||
		    strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
			continue;
		for (size_t j = 0; j < n; j++)
			known = known || strcmp(names[j], host) == 0;
		if (!known)
			names[n++] = util_dup(host);
	}
	names[n] = NULL;
}

static X509 *
cert_load(const char *path)
{
	BIO *bio = BIO_new_file(path, "r");
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return cert;
}

static EVP_PKEY *
key_load(const char *path)
{
	BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	ERR_clear_error();
	return key;
}

static bool
names_covered(X509 *cert, const char *const *names)
{
	for (; *names; names++)
		if (X509_check_host(cert, *names, 0, 0, NULL) != 1 &&
		    X509_check_ip_asc(cert, *names, 0) != 1)
			return false;
	return true;
}

/* Seconds from now to an ASN.1 time; negative when it is past. */
static int64_t
seconds_to(const ASN1_TIME *at)
{
	int days = 0, seconds = 0;

	if (!ASN1_TIME_diff(&days, &seconds, NULL, at))
		return -1;
	return (int64_t) days * 86400 + seconds;
}

/* Verifies leaf + chain of the file against the root of ca.pem. */
static bool
chain_verifies(const struct home *home, X509 *cert)
{
	BIO *bio = BIO_new_file(home_path(home, "pki/server.pem"), "r");
	X509 *root = cert_load(home_path(home, "pki/ca.pem"));
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *next;
	bool ok = false;

	while (bio && chain && (next = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		sk_X509_push(chain, next);
	if (root && store && ctx && chain && X509_STORE_add_cert(store, root) == 1 &&
	    X509_STORE_CTX_init(ctx, store, cert, chain) == 1)
		ok = X509_verify_cert(ctx) == 1;
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	sk_X509_pop_free(chain, X509_free);
	X509_free(root);
	BIO_free(bio);
	ERR_clear_error();
	return ok;
}

static bool
server_usable(const struct home *home, const char *const *names)
{
	X509 *cert = cert_load(home_path(home, "pki/server.pem"));
	EVP_PKEY *key = key_load(home_path(home, "pki/server.key"));
	bool ok = false;

	if (cert && key && X509_check_private_key(cert, key) == 1)
	{
		int64_t left = seconds_to(X509_get0_notAfter(cert));
		int64_t used = -seconds_to(X509_get0_notBefore(cert));

		ok = left > 0 && left * 2 > used && names_covered(cert, names) &&
		     chain_verifies(home, cert);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

int
cert_days_left(const struct home *home)
{
	X509 *cert = cert_load(home_path(home, "pki/server.pem"));
	int64_t left = cert ? seconds_to(X509_get0_notAfter(cert)) : -86400;

	X509_free(cert);
	return (int) (left / 86400);
}

static void
file_put(const char *path, const char *text, mode_t mode, const struct home_user *owner)
{
	struct util_error err;
	char *old = NULL;
	bool same = util_read(path, 1 << 16, &old, NULL) && strcmp(old, text) == 0;

	free(old);
	if (!same && !util_write(path, text, strlen(text), mode, owner ? owner->uid : (uid_t) -1,
	                         owner ? owner->gid : (gid_t) -1, &err))
		util_fail(EXIT_CANNOT, "%s", err.text);
}

void
cert_authority(const struct home *home, PGconn *conn)
{
	db_run(conn, "SELECT probectl.ca_init()");
	file_put(home_path(home, "pki/ca.pem"), db_value(conn, "SELECT probectl.ca_root()", 0, NULL),
	         0644, NULL);
	file_put(home_path(home, "pki/ca-bundle.pem"),
	         db_value(conn, "SELECT probectl.ca_bundle()", 0, NULL), 0644, NULL);
}

static char *
bio_text(BIO *bio)
{
	char *data;
	long n = BIO_get_mem_data(bio, &data);

	return util_fmt("%.*s", (int) n, data);
}

/* A request that proves possession of the key; the names are the CA's to write. */
static bool
request_make(char **key_pem, char **csr_pem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *key_out = BIO_new(BIO_s_mem()), *req_out = BIO_new(BIO_s_mem());
	X509_NAME *name = req ? X509_REQ_get_subject_name(req) : NULL;
	bool ok = false;

	if (key && name && key_out && req_out && X509_REQ_set_version(req, 0) == 1 &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *) "probectl", -1,
	                               -1, 0) == 1 &&
	    X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0 &&
	    PEM_write_bio_PrivateKey(key_out, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	    PEM_write_bio_X509_REQ(req_out, req) == 1)
	{
		*key_pem = bio_text(key_out);
		*csr_pem = bio_text(req_out);
		ok = true;
	}
	BIO_free(key_out);
	BIO_free(req_out);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return ok;
}

/* The names as a PostgreSQL array; host names and addresses need no quoting. */
static char *
names_array(const char *const *names)
{
	char *out = util_fmt("{\"%s\"", names[0]);

	for (names++; *names; names++)
		out = util_fmt("%s,\"%s\"", out, *names);
	return util_fmt("%s}", out);
}

bool
cert_server(const struct home *home, PGconn *conn)
{
	const char *names[NAMES_MAX];
	const char *params[2];
	char *key, *csr, *chain;

	names_collect(home, names);
	if (server_usable(home, names))
		return false;
	if (!request_make(&key, &csr))
		util_fail(EXIT_CANNOT, "could not make the key of the servers: %s",
		          ERR_error_string(ERR_get_error(), NULL));
	params[0] = csr;
	params[1] = names_array(names);
	chain = db_value(conn, "SELECT probectl.ca_issue_server($1, $2::text[])", 2, params);
	if (!chain)
		util_fail(EXIT_CANNOT, "the CA gave no certificate");
	file_put(home_path(home, "pki/server.key"), key, 0600, &home->service);
	file_put(home_path(home, "pki/server.pem"), chain, 0644, &home->service);
	return true;
}
