/* SPDX-License-Identifier: PostgreSQL
 *
 * name.h -- domain names in wire form.
 *
 * A name is a pointer to labels that end in the root label, at most 255 bytes, in lower
 * case unless said otherwise. Only dname_read and dname_parse make names from foreign
 * input, so that everything else may walk the labels without a length beside them.
 */
#ifndef PCTL_AGENT_DNS_NAME_H
#define PCTL_AGENT_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/dnswire.h"
#include "lib/buf.h"

#define DNAME_LABELS_MAX 127
#define DNAME_TEXT_MAX   1016 /* every byte as \DDD, dots and the terminating zero */

/* Reads the name at c of the message c reads, following pointers when compressed names are
 * allowed here; keep_case leaves the letters as they came. False when it is not a name. */
bool dname_read(struct cursor *c, struct dns_name *name, bool compressed, bool keep_case);

/* "www.example.net", "." or with \. and \DDD escapes; the final dot may be missing. */
bool dname_parse(const char *text, struct dns_name *name);

/* With the final dot and with escapes. Returns buf. */
const char *dname_text(const uint8_t *name, char *buf, size_t len);

/* Bytes of the wire form, with the root label. */
size_t dname_len(const uint8_t *name);

/* Labels without the root: 0 for ".", 3 for "*.example.net". */
unsigned dname_labels(const uint8_t *name);

void dname_copy(struct dns_name *to, const uint8_t *name);
void dname_lower(struct dns_name *to, const uint8_t *name);
bool dname_equal(const uint8_t *a, const uint8_t *b);

/* name is zone or below it. */
bool dname_under(const uint8_t *name, const uint8_t *zone);

/* The last labels of name; all of it when it has no more. */
const uint8_t *dname_tail(const uint8_t *name, unsigned labels);

/* Labels that both end in. */
unsigned dname_common(const uint8_t *a, const uint8_t *b);

/* The canonical order of RFC 4034 section 6.1: negative, 0 or positive. */
int dname_compare(const uint8_t *a, const uint8_t *b);

static inline bool
dname_is_wildcard(const uint8_t *name)
{
	return name[0] == 1 && name[1] == '*';
}

/* "*." in front of name; false when that is too long. */
bool dname_wildcard(const uint8_t *name, struct dns_name *wildcard);

/* name with its tail from replaced by to (RFC 6672); false when that is too long. */
bool dname_replace(const uint8_t *name, const uint8_t *from, const uint8_t *to,
                   struct dns_name *replaced);

#endif
