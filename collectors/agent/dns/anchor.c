/* SPDX-License-Identifier: PostgreSQL
 *
 * anchor.c -- where trust and walks begin.
 *
 * ldns reads the text of records; what they mean is checked here.
 */
#include "agent/dns/anchor.h"

#include <errno.h>
#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/probe.h"

#define KEY_ZONE   0x0100
#define KEY_REVOKE 0x0080

/* https://data.iana.org/root-anchors/root-anchors.xml: key tags 20326 and 38696. */
static const char *const root_anchors[] = {
    ". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
};

/* https://www.internic.net/domain/named.root */
static const struct
{
	const char *name, *v4, *v6;
} root_servers[] = {
    {"a.root-servers.net.", "198.41.0.4", "2001:503:ba3e::2:30"},
    {"b.root-servers.net.", "170.247.170.2", "2801:1b8:10::b"},
    {"c.root-servers.net.", "192.33.4.12", "2001:500:2::c"},
    {"d.root-servers.net.", "199.7.91.13", "2001:500:2d::d"},
    {"e.root-servers.net.", "192.203.230.10", "2001:500:a8::e"},
    {"f.root-servers.net.", "192.5.5.241", "2001:500:2f::f"},
    {"g.root-servers.net.", "192.112.36.4", "2001:500:12::d0d"},
    {"h.root-servers.net.", "198.97.190.53", "2001:500:1::53"},
    {"i.root-servers.net.", "192.36.148.17", "2001:7fe::53"},
    {"j.root-servers.net.", "192.58.128.30", "2001:503:c27::2:30"},
    {"k.root-servers.net.", "193.0.14.129", "2001:7fd::1"},
    {"l.root-servers.net.", "199.7.83.42", "2001:500:9f::42"},
    {"m.root-servers.net.", "202.12.27.33", "2001:dc3::35"},
};

#define ROOT_SERVERS (sizeof(root_servers) / sizeof(root_servers[0]))

/* Calls take for every record of a zone-file text; false when one is broken or take refuses. */
static bool
each_record(const char *text, bool (*take)(const ldns_rr *rr, void *to, char *err, size_t errlen),
            void *to, char *err, size_t errlen)
{
	FILE *in = fmemopen((void *) (uintptr_t) text, strlen(text), "r");
	uint32_t ttl = 3600;
	int line = 1;
	bool ok = in != NULL;
	ldns_rdf *origin = ldns_dname_new_frm_str("."), *previous = NULL;

	if (in == NULL)
		snprintf(err, errlen, "%s", text[0] ? "out of memory" : "it is empty");
	while (ok && !feof(in))
	{
		ldns_rr *rr = NULL;
		int at = line;
		ldns_status status = ldns_rr_new_frm_fp_l(&rr, in, &ttl, &origin, &previous, &line);

		if (status == LDNS_STATUS_OK)
			ok = take(rr, to, err, errlen);
		else if (status != LDNS_STATUS_SYNTAX_EMPTY && status != LDNS_STATUS_SYNTAX_TTL &&
		         status != LDNS_STATUS_SYNTAX_ORIGIN)
		{
			snprintf(err, errlen, "line %d: %s", at, ldns_get_errorstr_by_id(status));
			ok = false;
		}
		ldns_rr_free(rr);
	}
	ldns_rdf_deep_free(origin);
	ldns_rdf_deep_free(previous);
	if (in)
		fclose(in);
	return ok;
}

/* The record as dnsmsg has it, by way of its wire form. */
static bool
owner_of(const ldns_rr *rr, struct dns_name *owner)
{
	struct cursor c;

	cursor_init(&c, ldns_rdf_data(ldns_rr_owner(rr)), ldns_rdf_size(ldns_rr_owner(rr)));
	return dname_read(&c, owner, false, false);
}

static bool
take_anchor(const ldns_rr *rr, void *to, char *err, size_t errlen)
{
	struct anchors *anchors = to;
	struct anchor *anchor = &anchors->list[anchors->count];
	size_t used = 0;
	uint16_t flags;

	if (ldns_rr_get_type(rr) != LDNS_RR_TYPE_DS && ldns_rr_get_type(rr) != LDNS_RR_TYPE_DNSKEY)
	{
		snprintf(err, errlen, "only DS and DNSKEY records are trust anchors");
		return false;
	}
	if (anchors->count == ANCHORS_MAX)
	{
		snprintf(err, errlen, "more than %d trust anchors", ANCHORS_MAX);
		return false;
	}
	for (size_t i = 0; i < ldns_rr_rd_count(rr); i++)
	{
		const ldns_rdf *field = ldns_rr_rdf(rr, i);

		if (used + ldns_rdf_size(field) > sizeof(anchor->rdata))
		{
			snprintf(err, errlen, "a key is longer than any that is in use");
			return false;
		}
		memcpy(anchor->rdata + used, ldns_rdf_data(field), ldns_rdf_size(field));
		used += ldns_rdf_size(field);
	}
	anchor->type = (uint16_t) ldns_rr_get_type(rr);
	anchor->rdlen = (uint16_t) used;
	if (used < 5 || !owner_of(rr, &anchor->zone))
	{
		snprintf(err, errlen, "a record is too short");
		return false;
	}
	flags = (uint16_t) (anchor->rdata[0] << 8 | anchor->rdata[1]);
	if (anchor->type == DNS_TYPE_DS || ((flags & KEY_ZONE) && !(flags & KEY_REVOKE)))
		anchors->count++;
	return true;
}

bool
anchors_parse(struct anchors *anchors, const char *text, char *err, size_t errlen)
{
	memset(anchors, 0, sizeof(*anchors));
	if (!each_record(text, take_anchor, anchors, err, errlen))
		return false;
	if (anchors->count > 0)
		return true;
	snprintf(err, errlen, "there is no usable DS or DNSKEY record");
	return false;
}

/* The content of a text file, or NULL with a sentence in err. */
static char *
read_text(const char *path, char *err, size_t errlen)
{
	FILE *in = fopen(path, "re");
	char *text = in ? malloc(ANCHOR_FILE_MAX + 1) : NULL;
	size_t len;

	if (text == NULL)
	{
		snprintf(err, errlen, "%.200s: %s", path, in ? "out of memory" : strerror(errno));
		if (in)
			fclose(in);
		return NULL;
	}
	len = fread(text, 1, ANCHOR_FILE_MAX + 1, in);
	if (ferror(in) || len > ANCHOR_FILE_MAX)
	{
		snprintf(err, errlen, "%.200s: %s", path,
		         ferror(in) ? "cannot be read" : "longer than any file of this kind");
		free(text);
		text = NULL;
	}
	else
		text[len] = '\0';
	fclose(in);
	return text;
}

bool
anchors_load(struct anchors *anchors, const char *path, char *err, size_t errlen)
{
	char *text = read_text(path, err, errlen);
	char reason[160];
	bool ok = false;

	if (text == NULL)
		return false;
	ok = anchors_parse(anchors, text, reason, sizeof(reason));
	if (!ok)
		snprintf(err, errlen, "%.200s: %s", path, reason);
	free(text);
	return ok;
}

void
anchors_default(struct anchors *anchors)
{
	char err[160], text[512];

	snprintf(text, sizeof(text), "%s\n%s\n", root_anchors[0], root_anchors[1]);
	if (!anchors_parse(anchors, text, err, sizeof(err)))
		memset(anchors, 0, sizeof(*anchors)); /* memory is out: nothing is trusted */
}

/* ---- hints ---- */

static bool
hints_add(struct hints *hints, const char *name, const char *text, uint32_t port)
{
	struct hint *hint = &hints->list[hints->count];

	if (hints->count == HINTS_MAX || !resolver_literal(text, &hint->address))
		return false;
	snprintf(hint->name, sizeof(hint->name), "%s", name);
	probe_set_port(&hint->address.addr, port);
	hints->count++;
	return true;
}

bool
hints_parse(struct hints *hints, const char *text, char *err, size_t errlen)
{
	memset(hints, 0, sizeof(*hints));
	while (*text)
	{
		struct probe_target target;
		char one[300];
		size_t len;

		text += strspn(text, ", ");
		len = strcspn(text, ", ");
		if (len == 0)
			break;
		snprintf(one, sizeof(one), "%.*s", (int) (len < sizeof(one) ? len : sizeof(one) - 1), text);
		text += len;
		if (!probe_target_parse(one, &target, err, errlen) ||
		    !hints_add(hints, "", target.host, target.port))
		{
			snprintf(err, errlen, "must be up to %d addresses, not \"%.60s\"", HINTS_MAX, one);
			return false;
		}
	}
	if (hints->count > 0)
		return true;
	snprintf(err, errlen, "there is no address");
	return false;
}

static bool
take_hint(const ldns_rr *rr, void *to, char *err, size_t errlen)
{
	ldns_rr_type type = ldns_rr_get_type(rr);
	struct dns_name owner;
	char name[DNAME_TEXT_MAX];
	char *address;

	if ((type != LDNS_RR_TYPE_A && type != LDNS_RR_TYPE_AAAA) || ldns_rr_rd_count(rr) != 1 ||
	    !owner_of(rr, &owner))
		return true;
	address = ldns_rdf2str(ldns_rr_rdf(rr, 0));
	if (address)
		hints_add(to, dname_text(owner.bytes, name, sizeof(name)), address, 0);
	free(address);
	return true;
}

bool
hints_load(struct hints *hints, const char *path, char *err, size_t errlen)
{
	char *text = read_text(path, err, errlen);
	char reason[160];
	bool ok;

	if (text == NULL)
		return false;
	memset(hints, 0, sizeof(*hints));
	ok = each_record(text, take_hint, hints, reason, sizeof(reason));
	if (!ok)
		snprintf(err, errlen, "%.200s: %s", path, reason);
	else if (hints->count == 0)
	{
		snprintf(err, errlen, "%.200s: there is no A or AAAA record", path);
		ok = false;
	}
	free(text);
	return ok;
}

void
hints_default(struct hints *hints)
{
	memset(hints, 0, sizeof(*hints));
	for (size_t i = 0; i < ROOT_SERVERS; i++)
		hints_add(hints, root_servers[i].name, root_servers[i].v4, 0);
	for (size_t i = 0; i < ROOT_SERVERS; i++)
		hints_add(hints, root_servers[i].name, root_servers[i].v6, 0);
}
