/* SPDX-License-Identifier: PostgreSQL
 *
 * x509.c -- the agent CA's certificates (RFC 5280), P-256 throughout.
 *
 * A CSR is trusted for nothing but its key: subject, names, usages and lifetimes are set here. Its
 * self-signature is checked, so nobody enrols a key that is not his. OpenSSL objects are
 * freed on every path: each function collects what it made and raises only after the clean-up.
 */
#include "core/x509.h"

#include <arpa/inet.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "core/clock.h"
#include "core/crypto.h"
#include "core/errors.h"
#include "utils/timestamp.h"

#define SERIAL_BYTES     16
#define BACKDATE_SECONDS 60 /* clocks that run a little behind accept a fresh certificate */
#define CSR_BYTES_MAX    16384

static int64
unix_seconds(TimestampTz at)
{
	return at / USECS_PER_SEC + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

/* Text of a memory BIO, palloc'd; the BIO is freed. */
static char *
bio_text(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	char *text = pnstrdup(data, len);

	BIO_free(bio);
	return text;
}

static char *
certificate_pem(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	PEM_write_bio_X509(bio, cert);
	return bio_text(bio);
}

static char *
key_pem(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	return bio_text(bio);
}

static X509 *
certificate_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *
key_read(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, "");

	BIO_free(bio);
	return key;
}

static bool
extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&ctx);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* What sets one kind of leaf apart from another. */
static const struct
{
	const char *common_name;
	const char *extended; /* extended key usage: a leaf serves for one thing */
	int name_type;
} leaf_uses[] = {
    [PCTL_LEAF_AGENT] = {"probectl agent", "clientAuth", GEN_URI},
    [PCTL_LEAF_SERVER] = {"probectl server", "serverAuth", GEN_DNS},
    [PCTL_LEAF_TESTS] = {"probectl tests", "codeSigning", GEN_URI},
};

/* Names go in as structures, not as configuration text: a comma in one adds no other. */
static bool
names_add(X509 *cert, PctlLeafUse use, const char *const *names, int count)
{
	GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
	bool ok = list != NULL;

	for (int i = 0; ok && i < count; i++)
	{
		GENERAL_NAME *name = GENERAL_NAME_new();
		unsigned char address[16];
		int len = inet_pton(AF_INET, names[i], address) == 1    ? 4
		          : inet_pton(AF_INET6, names[i], address) == 1 ? 16
		                                                        : 0;

		if (use == PCTL_LEAF_SERVER && len > 0)
		{
			ASN1_OCTET_STRING *ip = ASN1_OCTET_STRING_new();

			ASN1_OCTET_STRING_set(ip, address, len);
			GENERAL_NAME_set0_value(name, GEN_IPADD, ip);
		}
		else
		{
			ASN1_IA5STRING *text = ASN1_IA5STRING_new();

			ASN1_STRING_set(text, names[i], -1);
			GENERAL_NAME_set0_value(name, leaf_uses[use].name_type, text);
		}
		ok = sk_GENERAL_NAME_push(list, name) > 0;
	}
	ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, list, 0, X509V3_ADD_DEFAULT) == 1;
	GENERAL_NAMES_free(list);
	return ok;
}

/* Version, random serial, validity, subject and key: what every certificate has. */
static bool
certificate_fill(X509 *cert, const char *common_name, EVP_PKEY *key, int64 seconds,
                 TimestampTz *from, TimestampTz *until)
{
	unsigned char serial[SERIAL_BYTES];
	BIGNUM *number;
	X509_NAME *subject = X509_get_subject_name(cert);
	int64 now = unix_seconds(pctl_now());
	bool ok;

	pctl_random(serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7F) | 0x10; /* positive, and no leading zero digit */
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL &&
	     X509_set_version(cert, X509_VERSION_3) == 1 &&
	     ASN1_TIME_set(X509_getm_notBefore(cert), now - BACKDATE_SECONDS) != NULL &&
	     ASN1_TIME_set(X509_getm_notAfter(cert), now + seconds) != NULL &&
	     X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *) "probectl",
	                                -1, -1, 0) == 1 &&
	     X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
	                                (const unsigned char *) common_name, -1, -1, 0) == 1 &&
	     X509_set_pubkey(cert, key) == 1;
	BN_free(number);
	*from = (now - BACKDATE_SECONDS -
	         (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) *
	        USECS_PER_SEC;
	*until = *from + (seconds + BACKDATE_SECONDS) * USECS_PER_SEC;
	return ok;
}

static void
x509_fail(const char *what)
{
	char detail[128] = "no detail";
	unsigned long code = ERR_get_error();

	if (code != 0)
		ERR_error_string_n(code, detail, sizeof(detail));
	ERR_clear_error();
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("%s failed", what),
	                errdetail_log("%s", detail)));
}

void
pctl_x509_ca(const char *common_name, int days, const char *issuer, const char *issuer_key,
             PctlKeyPair *out)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509 *parent = issuer != NULL ? certificate_read(issuer) : NULL;
	EVP_PKEY *parent_key = issuer != NULL ? key_read(issuer_key) : NULL;
	X509 *signer = parent != NULL ? parent : cert;
	bool ok;

	ok = key != NULL && cert != NULL &&
	     (issuer == NULL || (parent != NULL && parent_key != NULL)) &&
	     certificate_fill(cert, common_name, key, (int64) days * SECS_PER_DAY, &out->not_before,
	                      &out->not_after) &&
	     X509_set_issuer_name(cert, X509_get_subject_name(signer)) == 1 &&
	     extension_add(cert, signer, NID_basic_constraints,
	                   issuer == NULL ? "critical,CA:TRUE,pathlen:1"
	                                  : "critical,CA:TRUE,pathlen:0") &&
	     extension_add(cert, signer, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	     extension_add(cert, signer, NID_subject_key_identifier, "hash") &&
	     extension_add(cert, signer, NID_authority_key_identifier, "keyid:always") &&
	     X509_sign(cert, issuer == NULL ? key : parent_key, EVP_sha256()) > 0;
	if (ok)
	{
		out->certificate = certificate_pem(cert);
		out->key = key_pem(key);
	}
	X509_free(cert);
	X509_free(parent);
	EVP_PKEY_free(key);
	EVP_PKEY_free(parent_key);
	if (!ok)
		x509_fail("making a CA certificate");
}

/* The CSR with its self-signature checked; raises PC422 otherwise. */
static X509_REQ *
csr_read(const char *pem)
{
	BIO *bio;
	X509_REQ *csr = NULL;
	EVP_PKEY *key = NULL;
	bool ok;

	if (strlen(pem) <= CSR_BYTES_MAX)
	{
		bio = BIO_new_mem_buf(pem, -1);
		csr = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
		BIO_free(bio);
	}
	key = csr != NULL ? X509_REQ_get0_pubkey(csr) : NULL;
	ok = key != NULL && X509_REQ_verify(csr, key) == 1 &&
	     ((EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) >= 256) ||
	      EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ||
	      (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= 2048 &&
	       EVP_PKEY_get_bits(key) <= 8192));
	if (!ok)
	{
		X509_REQ_free(csr);
		ERR_clear_error();
		ereport(
		    ERROR,
		    (errcode(ERRCODE_PCTL_INVALID),
		     errmsg(
		         "the certificate request is not a PEM PKCS #10 request signed with its own key"),
		     errdetail("field: csr_pem"),
		     errhint("Use a P-256, Ed25519 or RSA (2048 bits or more) key.")));
	}
	return csr;
}

bytea *
pctl_x509_csr_key(const char *pem)
{
	X509_REQ *csr = csr_read(pem);
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(X509_REQ_get0_pubkey(csr), &der);
	bytea *key;

	X509_REQ_free(csr);
	if (len <= 0)
		x509_fail("reading a public key");
	key = palloc(VARHDRSZ + len);
	SET_VARSIZE(key, VARHDRSZ + len);
	memcpy(VARDATA(key), der, len);
	OPENSSL_free(der);
	return key;
}

bool
pctl_x509_signed(const bytea *public_key, const void *data, size_t len, const bytea *signature)
{
	const unsigned char *der = (const unsigned char *) VARDATA_ANY(public_key);
	EVP_PKEY *key = d2i_PUBKEY(NULL, &der, (long) VARSIZE_ANY_EXHDR(public_key));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const char *digest = key != NULL && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL
	                                                                                  : "SHA256";
	bool ok = key != NULL && ctx != NULL &&
	          EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key, NULL) == 1 &&
	          EVP_DigestVerify(ctx, (const unsigned char *) VARDATA_ANY(signature),
	                           VARSIZE_ANY_EXHDR(signature), data, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok;
}

static char *
serial_hex(X509 *cert)
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get_serialNumber(cert), NULL);
	char *hex = BN_bn2hex(number);
	char *start = hex;
	char *text;

	while (start[0] == '0' && start[1] != '\0')
		start++;
	text = pstrdup(start);
	for (char *p = text; *p; p++)
		*p = (char) pg_tolower((unsigned char) *p);
	OPENSSL_free(hex);
	BN_free(number);
	return text;
}

/* Certifies a key, which the caller frees; he raises as well when *ok is false. */
static void
leaf_sign(EVP_PKEY *key, PctlLeafUse use, const char *const *names, int name_count, int hours,
          const char *issuer, const char *issuer_key, PctlLeaf *out, bool *ok)
{
	X509 *cert = X509_new();
	X509 *parent = certificate_read(issuer);
	EVP_PKEY *parent_key = key_read(issuer_key);

	*ok = key != NULL && cert != NULL && parent != NULL && parent_key != NULL &&
	      certificate_fill(cert, leaf_uses[use].common_name, key, (int64) hours * SECS_PER_HOUR,
	                       &out->not_before, &out->not_after) &&
	      X509_set_issuer_name(cert, X509_get_subject_name(parent)) == 1 &&
	      extension_add(cert, parent, NID_basic_constraints, "critical,CA:FALSE") &&
	      extension_add(cert, parent, NID_key_usage, "critical,digitalSignature") &&
	      extension_add(cert, parent, NID_ext_key_usage, leaf_uses[use].extended) &&
	      extension_add(cert, parent, NID_subject_key_identifier, "hash") &&
	      extension_add(cert, parent, NID_authority_key_identifier, "keyid:always") &&
	      names_add(cert, use, names, name_count) && X509_sign(cert, parent_key, EVP_sha256()) > 0;
	if (*ok)
	{
		out->certificate = certificate_pem(cert);
		out->serial = serial_hex(cert);
	}
	X509_free(cert);
	X509_free(parent);
	EVP_PKEY_free(parent_key);
}

void
pctl_x509_leaf(const char *csr_pem, PctlLeafUse use, const char *const *names, int name_count,
               int hours, const char *issuer, const char *issuer_key, PctlLeaf *out)
{
	X509_REQ *csr = csr_read(csr_pem);
	bool ok;

	leaf_sign(X509_REQ_get0_pubkey(csr), use, names, name_count, hours, issuer, issuer_key, out,
	          &ok);
	X509_REQ_free(csr);
	if (!ok)
		x509_fail("signing a certificate");
}

void
pctl_x509_tests(const uint8 public[PCTL_ED25519_LEN], const char *name, int hours,
                const char *issuer, const char *issuer_key, PctlLeaf *out)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public, PCTL_ED25519_LEN);
	bool ok;

	leaf_sign(key, PCTL_LEAF_TESTS, &name, 1, hours, issuer, issuer_key, out, &ok);
	EVP_PKEY_free(key);
	if (!ok)
		x509_fail("signing a certificate");
}
