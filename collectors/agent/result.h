/* SPDX-License-Identifier: PostgreSQL
 *
 * result.h -- one run of a test, before it becomes a probectl.result.v1.Result.
 *
 * Fixed-size and free of pointers to foreign memory, so that a canary builds it on its own
 * run and nothing is freed twice. Names of metrics and attributes are string literals.
 */
#ifndef PCTL_AGENT_RESULT_H
#define PCTL_AGENT_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESULT_METRICS_MAX    32
#define RESULT_ATTRIBUTES_MAX 48
#define RESULT_NOTES_MAX      4   /* attributes beyond those, for what is said of the run */
#define RESULT_VALUE_MAX      512 /* longer attribute values are cut */
#define RESULT_ERROR_MAX      256

/* OTel error.type: the failure taxonomy. Words, not numbers, go on the wire. */
enum error_type
{
	ERROR_NONE = 0,
	ERROR_DNS_NXDOMAIN,
	ERROR_DNS_SERVFAIL,
	ERROR_DNS_TIMEOUT,
	ERROR_CONNECT_REFUSED,
	ERROR_CONNECT_TIMEOUT,
	ERROR_NET_UNREACHABLE,
	ERROR_HOST_UNREACHABLE,
	ERROR_ADMIN_PROHIBITED,
	ERROR_TTL_EXCEEDED,
	ERROR_TLS_EXPIRED,
	ERROR_TLS_NOT_YET_VALID,
	ERROR_TLS_UNKNOWN_CA,
	ERROR_TLS_NAME_MISMATCH,
	ERROR_TLS_HANDSHAKE,
	ERROR_HTTP_STATUS,
	ERROR_HTTP_BODY,
	ERROR_READ_TIMEOUT,
	ERROR_RESET,
	ERROR_NO_REPLY, /* every packet of the round was lost */
	ERROR_GUARD_DENIED,
	ERROR_LOCAL_FAULT,
	ERROR_CONFIG,
	ERROR_DNS_BOGUS,        /* DNSSEC: the answer contradicts its chain of trust */
	ERROR_DNS_ANSWER,       /* answered, but not with what the test expects */
	ERROR_DNS_MALFORMED,    /* what came is no DNS message */
	ERROR_DNS_LAME,         /* no server of a zone answers for it */
	ERROR_PEER_UNAVAILABLE, /* the other agent answers no tests at the moment */
	ERROR_TLS_REVOKED,      /* says the OCSP staple */
	ERROR_TLS_STAPLE,       /* the certificate demands a staple, and there is no good one */
	ERROR_HTTP_HEADER,      /* a header is not as the test expects */
	ERROR_TYPE_COUNT
};

const char *error_type_name(enum error_type type); /* "dns_nxdomain"; "" for none */

struct result_metric
{
	const char *name;
	double value;
};

struct result_attribute
{
	const char *name;
	char value[RESULT_VALUE_MAX];
};

struct result
{
	char test_id[37];
	char result_id[37]; /* UUID minted when the run started */
	const char *type;
	char server_address[256];
	uint32_t server_port;
	const char *network_transport;     /* "icmp", "tcp" or "" */
	const char *network_protocol_name; /* "http" or "" */
	bool success;
	enum error_type error_type;
	char error[RESULT_ERROR_MAX];
	int64_t start_unix_nano;
	int64_t duration_nano;
	int64_t packet_late_nano; /* the most that a packet left after its slot; not on the wire */
	size_t metric_count;
	struct result_metric metrics[RESULT_METRICS_MAX];
	size_t attribute_count;
	struct result_attribute attributes[RESULT_ATTRIBUTES_MAX + RESULT_NOTES_MAX];
};

/* Both are no-ops once the result is full. */
void result_metric(struct result *r, const char *name, double value);
void result_attribute(struct result *r, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* An attribute about how the run was made, not about what it saw: there is room for it when a
 * canary has filled the result. */
void result_note(struct result *r, const char *name, const char *value);

/* Marks the run failed; the first call wins, a later cause is not the cause. */
void result_fail(struct result *r, enum error_type type, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A fresh UUID (version 7, RFC 9562: ordered by the given wall clock time) as text. */
void result_id_make(char id[37], int64_t unix_nano);

/* Makes text valid UTF-8 without control characters, in place: bytes from the wire end in
 * messages and attributes, and the database refuses what is not UTF-8. */
void result_clean(char *text);

/* Protobuf bytes of probectl.result.v1.Result into buf; 0 when it does not fit. */
size_t result_encode(const struct result *r, uint8_t *buf, size_t len);

#endif
