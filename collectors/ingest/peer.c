/* SPDX-License-Identifier: PostgreSQL
 *
 * peer.c -- reads the properties gRPC took from the verified certificate.
 *
 * gRPC sets the SPIFFE property only for a certificate with one URI; the number of URIs is
 * counted in the certificate all the same, because the rule is ours and must not rest on that.
 */
#include "ingest/peer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <grpc/grpc_security.h>

#include "lib/crypto.h"

/* Our certificates are about 1 KiB. */
#define PEER_PEM_MAX 16384

/* The last property of that name, and how many there are. */
static int
peer_property(const grpc_auth_context *context, const char *name,
              const grpc_auth_property **property)
{
	grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(context, name);
	const grpc_auth_property *next;
	int count = 0;

	while ((next = grpc_auth_property_iterator_next(&it)) != NULL)
	{
		*property = next;
		count++;
	}
	return count;
}

/* The property is not terminated by a NUL. */
static bool
peer_certificate(const grpc_auth_property *pem, struct crypto_cert *cert, char *err, size_t errlen)
{
	char text[PEER_PEM_MAX];

	if (pem->value_length >= sizeof(text))
		return false;
	memcpy(text, pem->value, pem->value_length);
	text[pem->value_length] = '\0';
	return crypto_cert_parse(text, cert, err, errlen);
}

static bool
peer_of_context(const grpc_auth_context *context, struct peer *peer, enum stat *reason,
                const char **text)
{
	const grpc_auth_property *spiffe = NULL, *pem = NULL;
	struct crypto_cert cert;
	char err[160];
	int spiffes = peer_property(context, GRPC_PEER_SPIFFE_ID_PROPERTY_NAME, &spiffe);
	int pems = peer_property(context, GRPC_X509_PEM_CERT_PROPERTY_NAME, &pem);

	*reason = STAT_REFUSED_BAD_CERTIFICATE;
	*text = "the client certificate cannot be read";
	if (pems != 1 || !peer_certificate(pem, &cert, err, sizeof(err)))
		return false;
	snprintf(peer->serial, sizeof(peer->serial), "%s", cert.serial);
	peer->not_after = cert.not_after;
	*reason = STAT_REFUSED_SEVERAL_URIS;
	*text = "the client certificate names several URIs, exactly one is allowed";
	if (cert.uri_count > 1 || spiffes > 1)
		return false;
	*reason = STAT_REFUSED_NO_SPIFFE_ID;
	*text = "the client certificate names no SPIFFE identity; enrol the agent again";
	if (spiffes == 0)
		return false;
	*reason = STAT_REFUSED_MALFORMED_ID;
	*text = "the client certificate's identity is not of the form "
	        "spiffe://probectl/tenant/<uuid>/agent/<uuid>";
	if (!spiffe_parse(spiffe->value, spiffe->value_length, &peer->id))
		return false;
	*reason = STAT_REFUSED_EXPIRED;
	*text = "the client certificate has expired; renew it";
	return peer->not_after > (int64_t) time(NULL);
}

bool
peer_of_call(grpc_call *call, struct peer *peer, enum stat *reason, const char **text)
{
	grpc_auth_context *context = grpc_call_auth_context(call);
	bool ok = false;

	*reason = STAT_REFUSED_BAD_CERTIFICATE;
	*text = "a client certificate is required";
	if (context != NULL && grpc_auth_context_peer_is_authenticated(context))
		ok = peer_of_context(context, peer, reason, text);
	grpc_auth_context_release(context);
	return ok;
}
