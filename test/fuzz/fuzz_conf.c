/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz_conf.c -- the settings reader on any text.
 *
 * Invariants: a refusal names a line of the text and a reason; what is accepted is inside its
 * ranges, and printed as --check-config does, is accepted again and means the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/conf.h"
#include "lib/log.h"

#define MUST(x)                                                                                    \
	do                                                                                             \
	{                                                                                              \
		if (!(x))                                                                                  \
			abort();                                                                               \
	} while (0)

struct settings
{
	char *listen;
	int64_t count, size, wait;
	bool on;
	int level;
};

#define AT(m) offsetof(struct settings, m)

static const struct conf_key keys[] = {
    {"listen", CONF_STRING, AT(listen), .def = "127.0.0.1:1", .help = "a"},
    {"limits.count", CONF_INT, AT(count), .def = "4", .min = -5, .max = 64, .help = "b"},
    {"limits.size", CONF_BYTES, AT(size), .def = "4MiB", .min = 1, .max = 1 << 30, .help = "c"},
    {"limits.wait", CONF_DURATION, AT(wait), .def = "30s", .min = 10, .max = 86400000, .help = "d"},
    {"on", CONF_BOOL, AT(on), .def = "true", .help = "e"},
    CONF_KEY_LOG_LEVEL(AT(level)),
};

static const struct conf_spec spec = {.process = "fuzz",
                                      .keys = keys,
                                      .key_count = sizeof(keys) / sizeof(keys[0]),
                                      .size = sizeof(struct settings)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Line breaks as YAML counts them, generously. */
static unsigned
lines(const uint8_t *data, size_t size)
{
	unsigned count = 2;

	for (size_t i = 0; i < size; i++)
		count += data[i] == '\n' || data[i] == '\r' || data[i] >= 0x80 || data[i] == 0;
	return count;
}

static void
check_again(const struct settings *s)
{
	struct conf_error err = {0};
	struct settings again;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	MUST(out);
	conf_print(&spec, s, out);
	fclose(out);
	conf_defaults(&spec, &again);
	MUST(conf_read_text(&spec, &again, text, len, &err));
	MUST(strcmp(s->listen ? s->listen : "", again.listen ? again.listen : "") == 0);
	MUST(s->count == again.count && s->size == again.size && s->wait == again.wait);
	MUST(s->on == again.on && s->level == again.level);
	conf_clear(&spec, &again);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_error err = {0};
	struct settings s;

	conf_defaults(&spec, &s);
	if (conf_read_text(&spec, &s, (const char *) data, size, &err))
	{
		MUST(s.count >= -5 && s.count <= 64);
		MUST(s.size >= 1 && s.size <= 1 << 30);
		MUST(s.wait >= 10 && s.wait <= 86400000);
		MUST(s.level >= LOG_LEVEL_ERROR && s.level <= LOG_LEVEL_DEBUG);
		check_again(&s);
	}
	else
	{
		MUST(*err.text);
		MUST(err.line >= 1 && err.line <= lines(data, size));
	}
	conf_clear(&spec, &s);
	return 0;
}
