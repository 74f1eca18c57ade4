/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_audit_export.c -- the verifier of audit exports on exports that were tampered with.
 *
 * The input is a list of edits of an export that is made and signed here, or, when its first byte is odd,
 * a text of its own. Invariants: what passes with the key pinned says the same, line for line, as the signed
 * one did up to some line (an export may end early, its newest
 * checkpoint be missing, and a checkpoint come twice where one was resumed); what is refused has a reason; the untouched export passes. Proofs: no input is one, as none
 * was signed here.
 */
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/check.h"

#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

#define STREAM "0192e4a2-0000-7000-8000-000000000001"
#define EVENTS 9
#define LINES  64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *export;
static size_t export_len;
static uint8_t public_key[CHECK_HASH];

static void
digest(const void *data, size_t len, uint8_t out[CHECK_HASH])
{
	MUST(EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) == 1);
}

static const char *
hex_of(const uint8_t *data, size_t len)
{
	static char text[8][130];
	static int at;
	char *to = text[at++ % 8];

	for (size_t i = 0; i < len; i++)
		snprintf(to + 2 * i, 3, "%02x", data[i]);
	return to;
}

/* MTH of RFC 6962 section 2.1, as the RFC states it. */
static void
tree(uint8_t (*hashes)[CHECK_HASH], int n, uint8_t out[CHECK_HASH])
{
	uint8_t data[1 + 2 * CHECK_HASH] = {n > 1};
	int k = 1;

	while (k * 2 < n)
		k *= 2;
	if (n == 1)
		memcpy(data + 1, hashes[0], CHECK_HASH);
	else
	{
		tree(hashes, k, data + 1);
		tree(hashes + k, n - k, data + 1 + CHECK_HASH);
	}
	digest(data, n > 1 ? sizeof(data) : 1 + CHECK_HASH, out);
}

static void
field(FILE *form, const void *data, size_t len)
{
	for (int i = 56; i >= 0; i -= 8)
		fputc((int) ((uint64_t) len >> i & 0xff), form);
	fwrite(data, 1, len, form);
}

static void
event_write(FILE *out, int seq, const uint8_t prev[CHECK_HASH], uint8_t hash[CHECK_HASH])
{
	const char *texts[5] = {"user:1", "test.update", "x", "ok", "{\"n\": 9007199254740993}"};
	uint8_t number[8] = {0}, zero[8] = {0};
	char *form_text;
	size_t form_len;
	FILE *form = open_memstream(&form_text, &form_len);

	MUST(form);
	number[7] = (uint8_t) seq;
	field(form, "probectl.audit.v1", 17);
	field(form, STREAM, strlen(STREAM));
	field(form, number, 8);
	field(form, zero, 8);
	for (int i = 0; i < 5; i++)
		field(form, texts[i], strlen(texts[i]));
	field(form, prev, CHECK_HASH);
	fclose(form);
	digest(form_text, form_len, hash);
	free(form_text);
	fprintf(out,
	        "{\"kind\":\"event\",\"stream\":\"" STREAM "\",\"seq\":%d,\"at_us\":0,\"at\":"
	        "\"2000-01-01T00:00:00.000000Z\",\"actor\":\"user:1\",\"action\":\"test.update\","
	        "\"target\":\"x\","
	        "\"outcome\":\"ok\",\"data_text\":\"{\\\"n\\\": "
	        "9007199254740993}\",\"prev_hash\":\"%s\",\"hash\":\"%s\"}\n",
	        seq, hex_of(prev, CHECK_HASH), hex_of(hash, CHECK_HASH));
}

static void
checkpoint_write(FILE *out, EVP_PKEY *key, int size, int before, uint8_t (*hashes)[CHECK_HASH])
{
	static const char at[] = "2026-01-01T00:00:00.000000Z";
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t root[CHECK_HASH], signature[64];
	size_t len = sizeof(signature);
	char text[400];

	tree(hashes, size, root);
	snprintf(text, sizeof(text), "probectl.checkpoint.v1\n" STREAM "\n%d\n%d\n%s\n%s\n%s\n", size,
	         before, at, hex_of(hashes[size - 1], CHECK_HASH), hex_of(root, CHECK_HASH));
	MUST(ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
	     EVP_DigestSign(ctx, signature, &len, (uint8_t *) text, strlen(text)) == 1);
	EVP_MD_CTX_free(ctx);
	fprintf(out,
	        "{\"kind\":\"checkpoint\",\"stream\":\"" STREAM
	        "\",\"size\":%d,\"prev_size\":%d,\"at\":\"%s\","
	        "\"head_hash\":\"%s\",\"root\":\"%s\",\"signature\":\"%s\",\"public_key\":\"%s\"}\n",
	        size, before, at, hex_of(hashes[size - 1], CHECK_HASH), hex_of(root, CHECK_HASH),
	        hex_of(signature, 64), hex_of(public_key, CHECK_HASH));
}

static void
export_make(void)
{
	static const uint8_t seed[CHECK_HASH] = "fuzzing is not a secret at all!";
	uint8_t hashes[EVENTS][CHECK_HASH], prev[CHECK_HASH] = {0};
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, CHECK_HASH);
	size_t len = CHECK_HASH;
	FILE *out = open_memstream(&export, &export_len);

	MUST(key && out && EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1);
	fprintf(out,
	        "{\"kind\":\"start\",\"stream\":\"" STREAM
	        "\",\"pruned_seq\":0,\"pruned_hash\":\"%s\",\"pruned_frontier\":\"\"}\n",
	        hex_of(prev, CHECK_HASH));
	for (int i = 0; i < EVENTS; i++)
	{
		event_write(out, i + 1, prev, hashes[i]);
		memcpy(prev, hashes[i], CHECK_HASH);
		if (i == 2 || i == 6)
			checkpoint_write(out, key, i + 1, i == 2 ? 0 : 3, hashes);
	}
	fclose(out);
	EVP_PKEY_free(key);
}

/* Lines of a text as JSON; counts those that are. */
static int
lines_of(const char *text, size_t len, json_t *out[LINES])
{
	const char *end = text + len;
	int count = 0;

	for (const char *next; count < LINES && (next = memchr(text, '\n', (size_t) (end - text)));
	     text = next + 1)
		if ((out[count] = json_loadb(text, (size_t) (next - text), 0, NULL)))
			count++;
	return count;
}

static bool
is_checkpoint(json_t *line)
{
	return strcmp(json_string_value(json_object_get(line, "kind")), "checkpoint") == 0;
}

static void
must_say_the_same(const char *text, size_t len)
{
	json_t *ours[LINES], *theirs[LINES];
	int our_count = lines_of(export, export_len, ours), their_count = lines_of(text, len, theirs),
	    at = 0;
	bool less = false;

	for (int i = 0; i < their_count; i++)
	{
		/* The newest checkpoint may be missing: then less is signed, as the verifier says. */
		if (at < our_count && !json_equal(theirs[i], ours[at]) && is_checkpoint(ours[at]))
		{
			at++;
			less = true;
		}
		MUST(!less || !is_checkpoint(theirs[i]));
		if (at < our_count && json_equal(theirs[i], ours[at]))
			at++;
		else
			MUST(at > 0 && json_equal(theirs[i], ours[at - 1]) && is_checkpoint(theirs[i]));
	}
	for (int i = 0; i < our_count; i++)
		json_decref(ours[i]);
	for (int i = 0; i < their_count; i++)
		json_decref(theirs[i]);
}

static void
run(const char *text, size_t len, bool must_pass)
{
	struct check c = {.key_count = 1};
	enum check_result result = CHECK_GOOD;
	const char *end = text + len, *line = text;

	memcpy(c.keys[0], public_key, CHECK_HASH);
	for (const char *next;
	     result == CHECK_GOOD && (next = memchr(line, '\n', (size_t) (end - line)));
	     line = next + 1)
		result = check_line(&c, line, (size_t) (next - line) + 1);
	if (result == CHECK_GOOD)
		result = check_end(&c);
	MUST(result == CHECK_GOOD || (*c.why && !must_pass));
	MUST(c.checkpoints <= c.lines && c.events <= c.lines && c.signed_size <= c.seq);
	/* Nothing an input brings along was signed but the export itself, so what was never signed proves
	 * nothing about these lines: only texts with the signed checkpoint are held to it. */
	if (result == CHECK_GOOD && c.checkpoints > 0)
		must_say_the_same(text, len);
	for (int inclusion = 0; inclusion < 2; inclusion++)
	{
		memset(&c, 0, sizeof(c));
		c.key_count = 1;
		memcpy(c.keys[0], public_key, CHECK_HASH);
		MUST(check_proof(&c, text, len, inclusion) != CHECK_GOOD && *c.why);
	}
}

/* Four bytes an edit: place, kind, value. */
static size_t
edits_apply(char *text, size_t len, size_t room, const uint8_t *data, size_t size)
{
	for (; size >= 4 && len > 0; data += 4, size -= 4)
	{
		size_t at = ((size_t) data[0] << 8 | data[1]) % len;

		switch (data[2] % 5)
		{
			case 0: text[at] = (char) data[3]; break;
			case 1: text[at] ^= (char) (1 << data[3] % 8); break;
			case 2: memmove(text + at, text + at + 1, --len - at); break;
			case 3:
				if (len < room)
				{
					memmove(text + at + 1, text + at, len++ - at);
					text[at] = (char) data[3];
				}
				break;
			default:
				/* A line goes; the last byte of the edit says whether the rest goes with it. */
				{
					char *from = memchr(text + at, '\n', len - at);
					char *to = from ? memchr(from + 1, '\n', len - (size_t) (from + 1 - text))
					                : NULL;

					if (!to)
						break;
					if (data[3] & 1)
						to = text + len - 1;
					memmove(from + 1, to + 1, len - (size_t) (to + 1 - text));
					len -= (size_t) (to - from);
				}
		}
	}
	return len;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;
	size_t len;

	if (!export)
		export_make();
	if (size == 0)
	{
		run(export, export_len, true);
		return 0;
	}
	if (data[0] & 1)
	{
		run((const char *) data + 1, size - 1, false);
		return 0;
	}
	MUST((text = malloc(export_len + size)));
	memcpy(text, export, export_len);
	len = edits_apply(text, export_len, export_len + size, data + 1, size - 1);
	run(text, len, len == export_len && memcmp(text, export, len) == 0);
	free(text);
	return 0;
}
