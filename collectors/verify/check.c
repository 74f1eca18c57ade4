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

/* What a line says: of an event seq, prev_hash, hash; of a checkpoint size, prev_size, head_hash, root. */
struct said
{
	int64_t seq, before;
	uint8_t prev[CHECK_HASH], hash[CHECK_HASH];
};

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

/* How many perfect subtrees a tree of that size has side by side. */
static int
nodes(int64_t size)
{
	return __builtin_popcountll((uint64_t) size);
}

static uint8_t *
put(uint8_t *to, const void *data, size_t len)
{
	uint64_t prefix = __builtin_bswap64(len);

	memcpy(to, &prefix, 8);
	memcpy(to + 8, data, len);
	return to + 8 + len;
}

/* The time that can be read, from the one that is hashed: microseconds since 2000. */
static bool
time_follows(int64_t at_us, const char *at)
{
	bool early = at_us % 1000000 < 0;
	time_t seconds = (time_t) (at_us / 1000000 - early + INT64_C(946684800));
	char text[80];
	struct tm tm;

	if (!at || !gmtime_r(&seconds, &tm) || !strftime(text, 64, "%Y-%m-%dT%H:%M:%S", &tm))
		return false;
	snprintf(text + strlen(text), 16, ".%06dZ", (int) (at_us % 1000000 + early * 1000000));
	return strcmp(text, at) == 0;
}

static enum check_result
line_start(struct check *c, json_t *line)
{
	static const uint8_t genesis[CHECK_HASH];
	json_int_t pruned;

	if (c->lines != 1 || json_object_size(line) != 5 || !same_stream(c, line) ||
	    json_unpack(line, "{s:I}", "pruned_seq", &pruned) != 0 || pruned < 0 ||
	    !hex(line, "pruned_hash", c->prev, CHECK_HASH) ||
	    !hex(line, "pruned_frontier", c->frontier[0], (size_t) nodes(pruned) * CHECK_HASH))
		return fail(c, CHECK_MALFORMED, 0, "a start in the middle, or one that contradicts itself");
	if (pruned == 0 && memcmp(c->prev, genesis, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, 0, "the chain does not begin with zeros");
	c->seq = c->pruned = pruned;
	return CHECK_GOOD;
}

static enum check_result
event(struct check *c, json_t *line, struct said *said)
{
	static const char *const keys[] = {"actor", "action", "target", "outcome", "data_text"};
	uint8_t *form, *to, made[CHECK_HASH];
	json_t *text[5];
	json_int_t seq, at_us;
	uint64_t wire[2];
	size_t room = 256;
	int texts = 0;

	for (int i = 0; i < 5; i++)
	{
		text[i] = json_object_get(line, keys[i]);
		texts += json_is_string(text[i]);
		room += json_string_length(text[i]) + 8;
	}
	if (texts != 5 || !kind_is(line, "event") || json_object_size(line) != 12 ||
	    json_unpack(line, "{s:I, s:I}", "seq", &seq, "at_us", &at_us) != 0 ||
	    !hex(line, "prev_hash", said->prev, CHECK_HASH) ||
	    !hex(line, "hash", said->hash, CHECK_HASH))
		return fail(c, CHECK_MALFORMED, 0, "an event that lacks a field or has one too many");
	said->seq = seq;
	wire[0] = __builtin_bswap64((uint64_t) seq);
	wire[1] = __builtin_bswap64((uint64_t) at_us);
	if (!(form = malloc(room)))
		abort();
	to = put(put(form, "probectl.audit.v1", 17), c->stream, strlen(c->stream));
	to = put(put(to, &wire[0], 8), &wire[1], 8);
	for (int i = 0; i < 5; i++)
		to = put(to, json_string_value(text[i]), json_string_length(text[i]));
	sha256(form, (size_t) (put(to, said->prev, CHECK_HASH) - form), made);
	free(form);
	if (memcmp(made, said->hash, CHECK_HASH) != 0 || !same_stream(c, line) ||
	    !time_follows(at_us, json_string_value(json_object_get(line, "at"))))
		return fail(c, CHECK_BAD, said->seq, "the event was changed");
	return CHECK_GOOD;
}

static enum check_result
line_event(struct check *c, json_t *line)
{
	int count = nodes(c->seq);
	struct said said;
	enum check_result result = event(c, line, &said);

	if (result == CHECK_MALFORMED)
		return result;
	if (said.seq <= c->seq || said.seq - 1 != c->seq)
		return fail(c, CHECK_BAD, said.seq <= c->seq ? said.seq : c->seq + 1,
		            "the event is missing or misplaced");
	if (memcmp(said.prev, c->prev, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, said.seq, "the event does not follow the one before it");
	memcpy(c->prev, said.hash, CHECK_HASH);
	/* Like a carry: each low bit set is a perfect subtree as wide as what is added. */
	node(said.hash, NULL, said.hash);
	for (int64_t bits = c->seq; bits & 1; bits >>= 1)
		node(c->frontier[--count], said.hash, said.hash);
	memcpy(c->frontier[count], said.hash, CHECK_HASH);
	c->seq = said.seq;
	c->events++;
	return result;
}

static enum check_result
checkpoint(struct check *c, json_t *line, struct said *said)
{
	const char *at = json_string_value(json_object_get(line, "at"));
	uint8_t signature[64], key[CHECK_HASH];
	bool holds = same_stream(c, line), known = c->key_count == 0;
	json_int_t size, before;
	char text[400];
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;

	if (!kind_is(line, "checkpoint") || json_object_size(line) != 9 || !at || strlen(at) > 40 ||
	    json_unpack(line, "{s:I, s:I}", "size", &size, "prev_size", &before) != 0 || size < 1 ||
	    !hex(line, "head_hash", said->prev, CHECK_HASH) ||
	    !hex(line, "root", said->hash, CHECK_HASH) || !hex(line, "signature", signature, 64) ||
	    !hex(line, "public_key", key, CHECK_HASH))
		return fail(c, CHECK_MALFORMED, 0, "a line of unknown kind, or with other fields");
	said->seq = size;
	said->before = before;
	snprintf(text, sizeof(text), "probectl.checkpoint.v1\n%s\n%lld\n%lld\n%s\n%.64s\n%.64s\n",
	         c->stream, size, before, at, json_string_value(json_object_get(line, "head_hash")),
	         json_string_value(json_object_get(line, "root")));
	for (int i = 0; i < c->key_count; i++)
		known |= memcmp(c->keys[i], key, CHECK_HASH) == 0;
	pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, key, CHECK_HASH);
	ctx = EVP_MD_CTX_new();
	holds = holds && known &&
	        EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
	        EVP_DigestVerify(ctx, signature, 64, (uint8_t *) text, strlen(text)) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return holds ? CHECK_GOOD : fail(c, CHECK_BAD, said->seq, "no key believed in signed this");
}

static enum check_result
line_checkpoint(struct check *c, json_t *line)
{
	uint8_t root[CHECK_HASH];
	int last = nodes(c->seq) - 1;
	struct said said;
	enum check_result result = checkpoint(c, line, &said);
	bool again = said.seq == c->seq && c->seq == c->signed_size; /* where an export was resumed */

	if (result != CHECK_GOOD)
		return result;
	/* Before the one at which retention has cut there is none left. */
	if (said.seq != c->seq || (!again && c->seq != c->pruned && said.before != c->signed_size))
		return fail(c, CHECK_BAD, said.seq < c->seq ? said.seq : c->seq + 1,
		            "events or a checkpoint are missing or misplaced");
	memcpy(root, c->frontier[last], CHECK_HASH);
	while (--last >= 0)
		node(c->frontier[last], root, root);
	if (memcmp(said.prev, c->prev, CHECK_HASH) != 0 || memcmp(said.hash, root, CHECK_HASH) != 0)
		return fail(c, CHECK_BAD, said.seq, "the events are not those that were signed");
	c->signed_size = said.seq;
	c->checkpoints += !again;
	return CHECK_GOOD;
}

enum check_result
check_end(struct check *c)
{
	if (c->lines == 0)
		return fail(c, CHECK_MALFORMED, 0, "the export is empty");
	if (c->pruned > 0 && c->checkpoints == 0)
		return fail(c, CHECK_BAD, c->pruned, "what was before the first event is not signed");
	return CHECK_GOOD;
}

enum check_result
check_line(struct check *c, const char *line, size_t len)
{
	json_error_t e = {0};
	bool whole = len > 0 && line[len - 1] == '\n';
	json_t *json = whole ? json_loadb(line, len - 1, JSON_REJECT_DUPLICATES, &e) : NULL;
	enum check_result result;

	if (++c->lines > CHECK_LINES_MAX || !whole)
		result = fail(c, CHECK_MALFORMED, 0, "cut off, binary, over 16 MiB, or one line too many");
	else if (!json)
		result = fail(c, CHECK_MALFORMED, 0, e.text);
	else if (kind_is(json, "start"))
		result = line_start(c, json);
	else if (c->lines == 1)
		result = fail(c, CHECK_MALFORMED, 0, "it begins with no start: export from the beginning");
	else if (!kind_is(json, "event"))
		result = line_checkpoint(c, json);
	else
		result = (result = check_end(c)) == CHECK_GOOD ? line_event(c, json) : result;
	json_decref(json);
	return result;
}

/* RFC 9162 sections 2.1.3.2 and 2.1.4.2: up from an event or an older checkpoint to a newer one. */
enum check_result
check_proof(struct check *c, const char *text, size_t len, bool leaf)
{
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *step;
	json_t *lower = json_object_get(json, leaf ? "event" : "first");
	json_t *upper = json_object_get(json, leaf ? "checkpoint" : "second");
	uint8_t path[CHECK_HASH], up[CHECK_HASH], old[CHECK_HASH];
	struct said low = {0}, top = {0};
	enum check_result result = checkpoint(c, upper, &top);
	uint64_t fn, sn;
	size_t i;

	if (result == CHECK_GOOD)
		result = leaf ? event(c, lower, &low) : checkpoint(c, lower, &low);
	if (result == CHECK_GOOD && (low.seq < 1 || low.seq > top.seq || json_object_size(json) != 4 ||
	                             !json_is_array(json_object_get(json, "proof")) ||
	                             !kind_is(json, leaf ? "inclusion" : "consistency")))
		result = fail(c, CHECK_MALFORMED, 0, "the proof is of another kind or order");
	if (leaf)
		node(low.hash, NULL, low.hash);
	fn = (uint64_t) low.seq - 1;
	sn = (uint64_t) top.seq - 1;
	for (; !leaf && result == CHECK_GOOD && (fn & 1 || (fn == sn && fn)); fn >>= 1)
		sn >>= 1;                      /* of equal sizes nothing is left to climb */
	memcpy(old, low.hash, CHECK_HASH); /* up to the older root, and to the newer one */
	memcpy(up, low.hash, CHECK_HASH);
	json_array_foreach(json_object_get(json, "proof"), i, step)
	{
		if (result == CHECK_GOOD &&
		    (i > 64 || sn == 0 || !check_hex(json_string_value(step), path, CHECK_HASH)))
			result = fail(c, CHECK_BAD, low.seq,
			              "the proof has a node too many, or one that is none");
		if (result != CHECK_GOOD)
			break;
		if (i == 0 && !leaf && fn != 0) /* the older tree is no perfect one */
			memcpy(up, memcpy(old, path, CHECK_HASH), CHECK_HASH);
		else
		{
			bool right = (fn & 1) || fn == sn;

			node(right ? path : up, right ? up : path, up);
			if (right)
				node(path, old, old);
			for (; right && !(fn & 1) && fn != 0; fn >>= 1)
				sn >>= 1;
			fn >>= 1;
			sn >>= 1;
		}
	}
	if (result == CHECK_GOOD && (sn != 0 || memcmp(up, top.hash, CHECK_HASH) != 0 ||
	                             (!leaf && memcmp(old, low.hash, CHECK_HASH) != 0)))
		result = fail(c, CHECK_BAD, low.seq, "the proof does not lead to what was signed");
	json_decref(json);
	return result;
}
