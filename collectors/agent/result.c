/* SPDX-License-Identifier: PostgreSQL
 *
 * result.c -- building a result and packing it for the wire.
 *
 * Packing goes through the generated protobuf code with every sub-message on the stack:
 * nothing is allocated, and the schema stays the only description of the format.
 */
#include "agent/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "probectl/result/v1/result.pb-c.h"

static const char *const error_names[ERROR_TYPE_COUNT] = {
    [ERROR_NONE] = "",
    [ERROR_DNS_NXDOMAIN] = "dns_nxdomain",
    [ERROR_DNS_SERVFAIL] = "dns_servfail",
    [ERROR_DNS_TIMEOUT] = "dns_timeout",
    [ERROR_CONNECT_REFUSED] = "connect_refused",
    [ERROR_CONNECT_TIMEOUT] = "connect_timeout",
    [ERROR_NET_UNREACHABLE] = "net_unreachable",
    [ERROR_HOST_UNREACHABLE] = "host_unreachable",
    [ERROR_ADMIN_PROHIBITED] = "admin_prohibited",
    [ERROR_TTL_EXCEEDED] = "ttl_exceeded",
    [ERROR_TLS_EXPIRED] = "tls_expired",
    [ERROR_TLS_NOT_YET_VALID] = "tls_not_yet_valid",
    [ERROR_TLS_UNKNOWN_CA] = "tls_unknown_ca",
    [ERROR_TLS_NAME_MISMATCH] = "tls_name_mismatch",
    [ERROR_TLS_HANDSHAKE] = "tls_handshake",
    [ERROR_HTTP_STATUS] = "http_status",
    [ERROR_HTTP_BODY] = "http_body",
    [ERROR_READ_TIMEOUT] = "read_timeout",
    [ERROR_RESET] = "reset",
    [ERROR_NO_REPLY] = "no_reply",
    [ERROR_GUARD_DENIED] = "guard_denied",
    [ERROR_LOCAL_FAULT] = "local_fault",
    [ERROR_CONFIG] = "config_error",
    [ERROR_DNS_BOGUS] = "dns_bogus",
    [ERROR_DNS_ANSWER] = "dns_answer",
    [ERROR_DNS_MALFORMED] = "dns_malformed",
    [ERROR_DNS_LAME] = "dns_lame",
    [ERROR_PEER_UNAVAILABLE] = "peer_unavailable",
    [ERROR_TLS_REVOKED] = "tls_revoked",
    [ERROR_TLS_STAPLE] = "tls_staple",
    [ERROR_HTTP_HEADER] = "http_header",
};

const char *
error_type_name(enum error_type type)
{
	return (unsigned) type < ERROR_TYPE_COUNT ? error_names[type] : "";
}

/* Length of the well-formed UTF-8 sequence at p (Unicode table 3-7), 0 when it is none. */
static size_t
utf8_length(const unsigned char *p)
{
	size_t length;
	unsigned char low = 0x80, high = 0xbf;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		length = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		length = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		length = 4;
	else
		return 0;
	/* Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte. */
	low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : low;
	high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : high;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((p[i] & 0xc0) != 0x80) /* stops at the terminating zero as well */
			return 0;
	return length;
}

void
result_clean(char *text)
{
	unsigned char *p = (unsigned char *) text;

	while (*p)
	{
		size_t length = utf8_length(p);

		/* C1 controls are two bytes, C2 80 to C2 9F. */
		if (length == 0 || *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			*p = '?';
		p += length ? length : 1;
		if (length == 2 && p[-2] == '?')
			p[-1] = '?';
	}
}

/* A cut in the middle of a character leaves a piece of it; take that away as well. */
static void
trim_cut(char *text, size_t size, int wanted)
{
	size_t n = strlen(text), back = 0;

	if (wanted < 0 || (size_t) wanted < size)
		return;
	while (back < 3 && back < n && ((unsigned char) text[n - 1 - back] & 0xc0) == 0x80)
		back++;
	if (back < n && (unsigned char) text[n - 1 - back] >= 0xc0 &&
	    utf8_length((unsigned char *) text + n - 1 - back) == 0)
		text[n - 1 - back] = '\0';
}

void
result_metric(struct result *r, const char *name, double value)
{
	if (r->metric_count == RESULT_METRICS_MAX)
		return;
	r->metrics[r->metric_count++] = (struct result_metric){name, value};
}

void
result_attribute(struct result *r, const char *name, const char *fmt, ...)
{
	struct result_attribute *attribute;
	va_list args;
	int wanted;

	if (r->attribute_count >= RESULT_ATTRIBUTES_MAX)
		return;
	attribute = &r->attributes[r->attribute_count++];
	attribute->name = name;
	va_start(args, fmt);
	wanted = vsnprintf(attribute->value, sizeof(attribute->value), fmt, args);
	va_end(args);
	trim_cut(attribute->value, sizeof(attribute->value), wanted);
	result_clean(attribute->value);
}

void
result_note(struct result *r, const char *name, const char *value)
{
	struct result_attribute *attribute;

	if (r->attribute_count == RESULT_ATTRIBUTES_MAX + RESULT_NOTES_MAX)
		return;
	attribute = &r->attributes[r->attribute_count++];
	attribute->name = name;
	snprintf(attribute->value, sizeof(attribute->value), "%s", value);
}

void
result_fail(struct result *r, enum error_type type, const char *fmt, ...)
{
	va_list args;
	int wanted;

	r->success = false;
	if (r->error_type != ERROR_NONE)
		return;
	r->error_type = type;
	va_start(args, fmt);
	wanted = vsnprintf(r->error, sizeof(r->error), fmt, args);
	va_end(args);
	trim_cut(r->error, sizeof(r->error), wanted);
	result_clean(r->error);
}

void
result_id_make(char id[37], int64_t unix_nano)
{
	uint64_t ms = (uint64_t) unix_nano / 1000000;
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t) sizeof(b))
		__builtin_trap(); /* 16 bytes are never cut short once the pool is up (getrandom(2)) */
	for (int i = 0; i < 6; i++)
		b[i] = (uint8_t) (ms >> (40 - 8 * i));
	b[6] = (uint8_t) (0x70 | (b[6] & 0x0f));
	b[8] = (uint8_t) (0x80 | (b[8] & 0x3f));
	snprintf(id, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
	         b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
	         b[14], b[15]);
}

/* protobuf-c takes char * for what it only reads. */
#define TEXT(s) ((char *) (s))

size_t
result_encode(const struct result *r, uint8_t *buf, size_t len)
{
	Probectl__Result__V1__Result message = PROBECTL__RESULT__V1__RESULT__INIT;
	Probectl__Result__V1__Result__MetricsEntry metrics[RESULT_METRICS_MAX];
	Probectl__Result__V1__Result__MetricsEntry *metric_list[RESULT_METRICS_MAX];
	Probectl__Result__V1__Result__AttributesEntry
	    attributes[RESULT_ATTRIBUTES_MAX + RESULT_NOTES_MAX],
	    *attribute_list[RESULT_ATTRIBUTES_MAX + RESULT_NOTES_MAX];

	for (size_t i = 0; i < r->metric_count; i++)
	{
		probectl__result__v1__result__metrics_entry__init(&metrics[i]);
		metrics[i].key = TEXT(r->metrics[i].name);
		metrics[i].value = r->metrics[i].value;
		metric_list[i] = &metrics[i];
	}
	for (size_t i = 0; i < r->attribute_count; i++)
	{
		probectl__result__v1__result__attributes_entry__init(&attributes[i]);
		attributes[i].key = TEXT(r->attributes[i].name);
		attributes[i].value = TEXT(r->attributes[i].value);
		attribute_list[i] = &attributes[i];
	}
	message.canary_type = TEXT(r->type);
	message.server_address = TEXT(r->server_address);
	message.server_port = r->server_port;
	message.network_transport = TEXT(r->network_transport ? r->network_transport : "");
	message.network_protocol_name = TEXT(r->network_protocol_name ? r->network_protocol_name : "");
	message.success = r->success;
	message.error_message = TEXT(r->error);
	message.error_type = TEXT(error_type_name(r->error_type));
	message.start_time_unix_nano = r->start_unix_nano;
	message.duration_nano = r->duration_nano;
	message.n_metrics = r->metric_count;
	message.metrics = metric_list;
	message.n_attributes = r->attribute_count;
	message.attributes = attribute_list;
	message.result_id = TEXT(r->result_id);
	message.test_id = TEXT(r->test_id);
	if (probectl__result__v1__result__get_packed_size(&message) > len)
		return 0;
	return probectl__result__v1__result__pack(&message, buf);
}
