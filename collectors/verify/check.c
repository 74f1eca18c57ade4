/* SPDX-License-Identifier: PostgreSQL
 *
 * check.c -- hashes, tree and signatures of an export.
 *
 * Written from the format alone; shares no code with the server. A line has the keys below and no
 * others, hexadecimal has one form, and what is not hashed follows from what is, so that no other
 * text passes. Hashed of an event: "probectl.audit.v1", stream, seq, at_us, actor, action, target,
 * outcome, data_text, prev_hash, each after its length in 8 bytes; numbers have 8 bytes.
 */
#include "verify/check.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define EPOCH_2000 INT64_C(946684800)
#define TEXTS      5

static enum check_result
fail(struct check *c, enum check_result code, int64_t seq, const char *why)
{
	c->bad = seq;
	snprintf(c->why, sizeof(c->why), "%s", why);
	return code;
}

bool
check_hex(const char *text, uint8_t *out, size_t bytes)
{
	static const char digits[] = "0123456789abcdef";

	if (!text || strlen(text) != bytes * 2 || strspn(text, digits) != bytes * 2)
		return false;
	for (size_t i = 0; i < bytes * 2; i++)
		out[i / 2] = (uint8_t) (out[i / 2] << 4 | (strchr(digits, text[i]) - digits));
	return true;
}

static bool
hex(json_t *line, const char *key, uint8_t *out, size_t bytes)
{
	return check_hex(json_string_value(json_object_get(line, key)), out, bytes);
}

static bool
number(json_t *line, const char *key, int64_t *out)
{
	*out = json_integer_value(json_object_get(line, key));
	return json_is_integer(json_object_get(line, key));
}

static bool
kind_is(json_t *line, const char *kind)
{
	const char *given = json_string_value(json_object_get(line, "kind"));

	return given && strcmp(given, kind) == 0;
}

/* The first line says which stream it is. */
static bool
same_stream(struct check *c, json_t *line)
{
	const char *stream = json_string_value(json_object_get(line, "stream"));

	if (stream && !*c->stream && strlen(stream) < sizeof(c->stream))
		snprintf(c->stream, sizeof(c->stream), "%s", stream);
	return stream && *stream && strcmp(c->stream, stream) == 0;
}

static void
sha256(const uint8_t *data, size_t len, uint8_t out[CHECK_HASH])
{
	static EVP_MD *md;

	if (!md)
		md = EVP_MD_fetch(NULL, "SHA256", NULL);
	if (!md || EVP_Digest(data, len, out, NULL, md, NULL) != 1)
		abort(); /* nothing may pass without it */
}

/* RFC 6962 section 2.1: H(0 | leaf), or H(1 | left | right). */
static void
node(const uint8_t *left, const uint8_t *right, uint8_t out[CHECK_HASH])
{
	uint8_t data[1 + 2 * CHECK_HASH] = {right ? 1 : 0};

	memcpy(data + 1, left, CHECK_HASH);
	if (right)
		memcpy(data + 1 + CHECK_HASH, right, CHECK_HASH);
	sha256(data, right ? sizeof(data) : 1 + CHECK_HASH, out);
}

static uint8_t *
put(uint8_t *to, const void *data, size_t len)
{
	uint64_t prefix = __builtin_bswap64(len);

	memcpy(to, &prefix, 8);
	memcpy(to + 8, data, len);
	return to + 8 + len;
}

static bool
time_follows(int64_t at_us, const char *at)
{
	int64_t us = (at_us % 1000000 + 1000000) % 1000000;
	time_t seconds = (time_t) ((at_us / 1000000 - (at_us % 1000000 < 0)) + EPOCH_2000);
	char text[80];
	struct tm tm;

	if (!at || !gmtime_r(&seconds, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return false;
	snprintf(text + strlen(text), 9, ".%06dZ", (int) us);
	return strcmp(text, at) == 0;
}

static enum check_result
line_start(struct check *c, json_t *line)
{
	static const uint8_t genesis[CHECK_HASH];

	if (c->lines != 1 || json_object_size(line) != 5 || !same_stream(c, line) ||
	    !number(line, "pruned_seq", &c->seq) || c->seq < 0 ||
	    !hex(line, "pruned_hash", c->prev, CHECK_HASH) ||
	    !hex(line, "pruned_frontier", c->frontier[0],
	         (size_t) __builtin_popcountll((uint64_t) c->seq) * CHECK_HASH))
		return fail(c, CHECK_MALFORMED, 0,
		            "a start that is not the first line, or contradicts itself");
	if (c->seq == 0 && memcmp(c->prev, genesis, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, 0, "the chain does not begin with zeros");
	c->pruned = c->seq;
	return CHECK_GOOD;
}

/* What an event says of itself, and whether its hash is that of what it says. */
static enum check_result
event(struct check *c, json_t *line, int64_t *seq, uint8_t prev[CHECK_HASH],
      uint8_t hash[CHECK_HASH])
{
	static const char *const keys[TEXTS] = {"actor", "action", "target", "outcome", "data_text"};
	uint8_t *form, *to, made[CHECK_HASH];
	size_t room = 256;
	int64_t at_us;
	uint64_t wire[2];

	for (int i = 0; i < TEXTS; i++)
		room += json_string_length(json_object_get(line, keys[i])) + 8;
	if (!kind_is(line, "event") || json_object_size(line) != 12 || !number(line, "seq", seq) ||
	    !number(line, "at_us", &at_us) || !hex(line, "prev_hash", prev, CHECK_HASH) ||
	    !hex(line, "hash", hash, CHECK_HASH))
		return fail(c, CHECK_MALFORMED, 0, "an event that lacks a field or has one too many");
	if (!same_stream(c, line))
		return fail(c, CHECK_BAD, *seq, "the event is of another stream");
	wire[0] = __builtin_bswap64((uint64_t) *seq);
	wire[1] = __builtin_bswap64((uint64_t) at_us);
	if (!(form = malloc(room)))
		abort();
	to = put(put(form, "probectl.audit.v1", 17), c->stream, strlen(c->stream));
	to = put(put(to, &wire[0], 8), &wire[1], 8);
	for (int i = 0; i < TEXTS; i++)
	{
		json_t *text = json_object_get(line, keys[i]);

		to = put(to, json_is_string(text) ? json_string_value(text) : "", json_string_length(text));
	}
	sha256(form, (size_t) (put(to, prev, CHECK_HASH) - form), made);
	free(form);
	return memcmp(made, hash, CHECK_HASH) == 0 &&
	               time_follows(at_us, json_string_value(json_object_get(line, "at")))
	           ? CHECK_GOOD
	           : fail(c, CHECK_BAD, *seq, "the event was changed");
}

static enum check_result
line_event(struct check *c, json_t *line)
{
	uint8_t prev[CHECK_HASH], hash[CHECK_HASH];
	int count = __builtin_popcountll((uint64_t) c->seq);
	int64_t seq;
	enum check_result result = event(c, line, &seq, prev, hash);

	if (result == CHECK_MALFORMED)
		return result;
	if (c->seq == INT64_MAX || seq != c->seq + 1)
		return fail(c, CHECK_BAD, seq <= c->seq ? seq : c->seq + 1,
		            "the event is missing or misplaced");
	if (memcmp(prev, c->prev, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, seq, "the event does not follow the one before it");
	memcpy(c->prev, hash, CHECK_HASH);
	/* Like a carry: each low bit set is a perfect subtree as wide as what is added. */
	node(hash, NULL, hash);
	for (int64_t bits = c->seq; bits & 1; bits >>= 1)
		node(c->frontier[--count], hash, hash);
	memcpy(c->frontier[count], hash, CHECK_HASH);
	c->seq = seq;
	c->events += result == CHECK_GOOD;
	return result;
}

static enum check_result
checkpoint(struct check *c, json_t *line, int64_t *size, int64_t *before, uint8_t *head,
           uint8_t *root)
{
	const char *at = json_string_value(json_object_get(line, "at"));
	uint8_t signature[64], key[CHECK_HASH];
	bool holds = c->key_count == 0;
	char text[400];
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;

	if (!kind_is(line, "checkpoint") || json_object_size(line) != 9 ||
	    !number(line, "size", size) || *size < 1 || !number(line, "prev_size", before) ||
	    !hex(line, "head_hash", head, CHECK_HASH) || !hex(line, "root", root, CHECK_HASH) ||
	    !hex(line, "signature", signature, 64) || !hex(line, "public_key", key, CHECK_HASH) ||
	    !at || strlen(at) > 40)
		return fail(c, CHECK_MALFORMED, 0,
		            "neither start, event nor checkpoint, or one with other fields");
	if (!same_stream(c, line))
		return fail(c, CHECK_BAD, *size, "the checkpoint is of another stream");
	snprintf(text, sizeof(text), "probectl.checkpoint.v1\n%s\n%lld\n%lld\n%s\n%.64s\n%.64s\n",
	         c->stream, (long long) *size, (long long) *before, at,
	         json_string_value(json_object_get(line, "head_hash")),
	         json_string_value(json_object_get(line, "root")));
	for (int i = 0; i < c->key_count; i++)
		holds |= memcmp(c->keys[i], key, CHECK_HASH) == 0;
	pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, key, CHECK_HASH);
	ctx = EVP_MD_CTX_new();
	holds = holds && pkey && ctx &&
	        EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
	        EVP_DigestVerify(ctx, signature, 64, (uint8_t *) text, strlen(text)) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return holds ? CHECK_GOOD
	             : fail(c, CHECK_BAD, *size, "no key that is believed signed the checkpoint");
}

static enum check_result
line_checkpoint(struct check *c, json_t *line)
{
	uint8_t head[CHECK_HASH], root[CHECK_HASH], made[CHECK_HASH];
	int64_t size, before;
	int last = __builtin_popcountll((uint64_t) c->seq) - 1;
	enum check_result result = checkpoint(c, line, &size, &before, head, root);

	if (result != CHECK_GOOD)
		return result;
	/* Before the one at which retention has cut there is none left; where an export goes on, the
	 * last one may come again. */
	if (size == c->seq && size == c->signed_size)
		c->checkpoints--;
	else if (size != c->seq || (size == c->pruned ? c->checkpoints > 0 : before != c->signed_size))
		return fail(c, CHECK_BAD, size < c->seq ? size : c->seq + 1,
		            "events or a checkpoint are missing or misplaced");
	memcpy(made, c->frontier[last], CHECK_HASH);
	while (--last >= 0)
		node(c->frontier[last], made, made);
	if (memcmp(head, c->prev, CHECK_HASH) != 0 || memcmp(root, made, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, size, "the events are not those that were signed");
	c->signed_size = size;
	c->checkpoints++;
	return CHECK_GOOD;
}

enum check_result
check_end(struct check *c)
{
	return c->lines == 0 ? fail(c, CHECK_MALFORMED, 0, "the export is empty")
	       : c->pruned > 0 && c->checkpoints == 0
	           ? fail(c, CHECK_BAD, c->pruned, "what was before the first event is not signed")
	           : CHECK_GOOD;
}

enum check_result
check_line(struct check *c, const char *line, size_t len)
{
	json_error_t e = {0};
	json_t *json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
	enum check_result result;

	if (++c->lines > CHECK_LINES_MAX || !json)
		result = fail(c, CHECK_MALFORMED, 0, json ? "too many lines" : e.text);
	else if (kind_is(json, "start"))
		result = line_start(c, json);
	else if (c->lines == 1)
		result = fail(c, CHECK_MALFORMED, 0,
		              "the first line is no start: export from the beginning");
	else if (!kind_is(json, "event"))
		result = line_checkpoint(c, json);
	else
		result = (result = check_end(c)) == CHECK_GOOD ? line_event(c, json) : result;
	json_decref(json);
	return result;
}

/* RFC 9162 sections 2.1.3.2 and 2.1.4.2: up from an event, or an older checkpoint, to a newer one. */
enum check_result
check_proof(struct check *c, const char *text, size_t len, bool leaf)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *step;
	json_t *lower = json_object_get(json, leaf ? "event" : "first");
	json_t *upper = json_object_get(json, leaf ? "checkpoint" : "second");
	uint8_t head[CHECK_HASH], low[CHECK_HASH], top[CHECK_HASH], path[CHECK_HASH];
	uint8_t up[CHECK_HASH], old[CHECK_HASH]; /* up to the newer root, and to the older one */
	int64_t first = 0, second = 0, before;
	enum check_result result = checkpoint(c, upper, &second, &before, head, top);
	uint64_t fn, sn;
	size_t i;

	if (result == CHECK_GOOD)
		result = leaf ? event(c, lower, &first, head, low)
		              : checkpoint(c, lower, &first, &before, head, low);
	if (result == CHECK_GOOD && (first < 1 || first > second || json_object_size(json) != 4 ||
	                             !kind_is(json, leaf ? "inclusion" : "consistency")))
		result = fail(c, CHECK_MALFORMED, 0, "the proof is of another kind or order");
	if (leaf)
		node(low, NULL, low);
	fn = (uint64_t) first - 1;
	sn = (uint64_t) second - 1;
	for (; !leaf && result == CHECK_GOOD && (fn & 1); fn >>= 1)
		sn >>= 1;
	memcpy(old, low, CHECK_HASH);
	memcpy(up, low, CHECK_HASH);
	json_array_foreach(json_object_get(json, "proof"), i, step)
	{
		if (result == CHECK_GOOD &&
		    (!check_hex(json_string_value(step), path, CHECK_HASH) || i > 128))
			result = fail(c, CHECK_MALFORMED, 0, "a node of the proof is none");
		if (result != CHECK_GOOD)
			break;
		if (i == 0 && !leaf && fn != 0) /* the older tree is no power of two */
		{
			memcpy(old, path, CHECK_HASH);
			memcpy(up, path, CHECK_HASH);
			continue;
		}
		if (sn == 0)
			fn = sn = UINT64_MAX; /* a node too many: never comes down to zero */
		if ((fn & 1) || fn == sn)
		{
			node(path, up, up);
			node(path, old, old);
			for (; !(fn & 1) && fn != 0; fn >>= 1)
				sn >>= 1;
		}
		else
			node(up, path, up);
		fn >>= 1;
		sn >>= 1;
	}
	if (result == CHECK_GOOD && (sn != 0 || memcmp(up, top, CHECK_HASH) != 0 ||
	                             (!leaf && memcmp(old, low, CHECK_HASH) != 0)))
		result = fail(c, CHECK_BAD, first, "the proof does not lead to what was signed");
	json_decref(json);
	return result;
}
