/* SPDX-License-Identifier: PostgreSQL
 *
 * test_identity.c -- keys, certificates, the versioned directory, and what enrolment is told.
 *
 * Certificates are made with OpenSSL here, independent of the code under test.
 */
#include "unit.h"

#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "lib/crypto.h"
#include "lib/identity.h"

#define TENANT "11111111-1111-4111-8111-111111111111"
#define AGENT  "22222222-2222-4222-8222-222222222222"
#define URI    "spiffe://probectl/tenant/" TENANT "/agent/" AGENT

/* A self-signed certificate for key with these alternative names; free the text. */
static char *
certificate(const char *key_pem, const char *names)
{
	BIO *in = BIO_new_mem_buf(key_pem, -1), *out = BIO_new(BIO_s_mem());
	EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
	X509 *x = X509_new();
	X509_EXTENSION *extension;
	char *data, *text;
	long len;

	assert_non_null(key);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), 0x0abcdef);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	if (names)
	{
		extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
		assert_non_null(extension);
		X509_add_ext(x, extension, -1);
		X509_EXTENSION_free(extension);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	PEM_write_bio_X509(out, x);
	len = BIO_get_mem_data(out, &data);
	text = strndup(data, (size_t) len);
	X509_free(x);
	EVP_PKEY_free(key);
	BIO_free(in);
	BIO_free(out);
	return text;
}

static void
a_request_is_for_the_key(void **state)
{
	char *key = crypto_key_new(), *csr, err[256];
	BIO *bio;
	X509_REQ *req;

	assert_non_null(key);
	csr = crypto_csr_new(key, err, sizeof(err));
	assert_non_null(csr);
	bio = BIO_new_mem_buf(csr, -1);
	req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	assert_non_null(req);
	assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
	assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
	X509_REQ_free(req);
	BIO_free(bio);
	assert_null(crypto_csr_new("not a key", err, sizeof(err)));
	crypto_wipe(key);
	assert_string_equal(key, "");
	free(key);
	free(csr);
}

static void
a_certificate_says_what_it_says(void **state)
{
	char *key = crypto_key_new(), *pem = certificate(key, "URI:" URI), err[256];
	struct crypto_cert cert;
	char tenant[37], agent[37];

	assert_true(crypto_cert_parse(pem, &cert, err, sizeof(err)));
	assert_string_equal(cert.serial, "abcdef"); /* no leading zero */
	assert_int_equal(cert.not_after - cert.not_before, 3600);
	assert_int_equal(cert.uri_count, 1);
	assert_true(crypto_spiffe_parse(cert.uris[0], tenant, agent));
	assert_string_equal(tenant, TENANT);
	assert_string_equal(agent, AGENT);
	assert_false(crypto_cert_parse("rubbish", &cert, err, sizeof(err)));
	free(pem);
	free(key);
}

static void
only_one_form_of_name_is_an_agent(void **state)
{
	static const char *const wrong[] = {
	    "",
	    "spiffe://probectl/tenant/" TENANT,
	    "spiffe://probectl/tenant/" TENANT "/agent/",
	    URI "/",
	    URI "x",
	    "spiffe://other/tenant/" TENANT "/agent/" AGENT,
	    "SPIFFE://probectl/tenant/" TENANT "/agent/" AGENT,
	    "spiffe://probectl/tenant/AAAAAAAA-1111-4111-8111-111111111111/agent/" AGENT,
	    "spiffe://probectl/tenant/" TENANT "/agents/" AGENT,
	    "spiffe://probectl/tenant/11111111-1111-4111-8111-11111111111/agent/" AGENT,
	};
	char tenant[37], agent[37];

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(crypto_spiffe_parse(wrong[i], tenant, agent));
	assert_true(crypto_spiffe_parse(URI, tenant, agent));
}

static void
an_identity_is_installed_in_one_step(void **state)
{
	char *dir = unit_dir(), err[512], link[2][64] = {"", ""}, path[512];
	struct identity id;
	struct stat st;

	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_MISSING);
	snprintf(path, sizeof(path), "%s/current", dir);
	for (int i = 0; i < 2; i++)
	{
		char *key = identity_pending_key(dir, err, sizeof(err));
		char *same = identity_pending_key(dir, err, sizeof(err));
		char *cert = certificate(key, "URI:" URI);

		assert_string_equal(key, same); /* a retry asks with the same key */
		if (!identity_install(dir, key, cert, cert, err, sizeof(err)))
			fail_msg("%s", err);
		assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_OK);
		assert_string_equal(id.agent_id, AGENT);
		assert_string_equal(id.serial, "abcdef");
		assert_true(readlink(path, link[i], sizeof(link[i]) - 1) > 0);
		assert_int_equal(stat(id.key_file, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		free(key);
		free(same);
		free(cert);
	}
	assert_string_not_equal(link[0], link[1]);
	snprintf(path, sizeof(path), "%s/pending.key", dir);
	assert_int_not_equal(access(path, F_OK), 0);
	unit_dir_remove(dir);
}

static void
a_broken_identity_says_why(void **state)
{
	char *dir = unit_dir(), err[512], path[512];
	char *key = crypto_key_new(), *other = crypto_key_new();
	char *cert = certificate(key, "URI:" URI), *plain = certificate(key, "DNS:a.example");
	char *two = certificate(key, "URI:" URI ",URI:" URI);
	struct identity id;

	assert_false(identity_install(dir, other, cert, cert, err, sizeof(err)));
	assert_non_null(strstr(err, "not for our key"));
	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_MISSING);
	assert_true(identity_install(dir, key, plain, cert, err, sizeof(err)));
	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_BROKEN);
	assert_non_null(strstr(err, "does not name one agent"));
	assert_true(identity_install(dir, key, two, cert, err, sizeof(err)));
	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_BROKEN);
	assert_true(identity_install(dir, key, cert, cert, err, sizeof(err)));
	snprintf(path, sizeof(path), "%s/current/key.pem", dir);
	unit_write(path, other, strlen(other));
	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_BROKEN);
	assert_non_null(strstr(err, "not for this key"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(identity_load(dir, &id, err, sizeof(err)), IDENTITY_BROKEN);
	free(key);
	free(other);
	free(cert);
	free(plain);
	free(two);
	unit_dir_remove(dir);
}

static void
tokens_come_from_the_variable_or_the_file(void **state)
{
	char *dir = unit_dir(), path[512], err[512], *token;

	snprintf(path, sizeof(path), "%s/token", dir);
	unsetenv("PROBECTL_ENROLL_TOKEN");
	assert_null(enroll_token(NULL, err, sizeof(err)));
	assert_non_null(strstr(err, "enroll.token_file"));
	assert_null(enroll_token(path, err, sizeof(err)));
	unit_write(path, "\n", 1);
	assert_null(enroll_token(path, err, sizeof(err)));
	assert_non_null(strstr(err, "empty"));
	unit_write(path, " pjt_abc \n", 10);
	token = enroll_token(path, err, sizeof(err));
	assert_string_equal(token, "pjt_abc");
	free(token);
	setenv("PROBECTL_ENROLL_TOKEN", "pjt_env", 1);
	token = enroll_token(path, err, sizeof(err));
	assert_string_equal(token, "pjt_env");
	free(token);
	unsetenv("PROBECTL_ENROLL_TOKEN");
	unit_dir_remove(dir);
}

static void
addresses_of_the_server(void **state)
{
	char host[64];
	uint16_t port;

	assert_true(enroll_url_parse("https://a.example", host, sizeof(host), &port));
	assert_string_equal(host, "a.example");
	assert_int_equal(port, 443);
	assert_true(enroll_url_parse("https://127.0.0.1:8443/", host, sizeof(host), &port));
	assert_int_equal(port, 8443);
	assert_true(enroll_url_parse("https://[::1]:8443", host, sizeof(host), &port));
	assert_string_equal(host, "::1");
	assert_false(enroll_url_parse("http://a.example", host, sizeof(host), &port));
	assert_false(enroll_url_parse("https://", host, sizeof(host), &port));
	assert_false(enroll_url_parse("https://a:0", host, sizeof(host), &port));
	assert_false(enroll_url_parse("https://a:1/path", host, sizeof(host), &port));
	assert_false(enroll_url_parse("https://[::1", host, sizeof(host), &port));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_is_for_the_key),
	    cmocka_unit_test(a_certificate_says_what_it_says),
	    cmocka_unit_test(only_one_form_of_name_is_an_agent),
	    cmocka_unit_test(an_identity_is_installed_in_one_step),
	    cmocka_unit_test(a_broken_identity_says_why),
	    cmocka_unit_test(tokens_come_from_the_variable_or_the_file),
	    cmocka_unit_test(addresses_of_the_server),
	};

	return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
