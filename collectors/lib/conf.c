/* SPDX-License-Identifier: PostgreSQL
 *
 * conf.c -- the table of keys at work: read, override, print, explain.
 *
 * A value has one textual form, whatever its source: default, file, environment and --set all go
 * through value_set, so they accept and refuse the same things. Settings are read into a
 * zeroed struct of the process; a reload reads into a second one and moves over what
 * may change.
 */
#include "lib/conf.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/log.h"
#include "lib/mem.h"

#define CONF_FILE_MAX (4 * 1024 * 1024)
#define CONF_NAME_MAX 128

extern char **environ;

struct unit
{
	const char *name;
	int64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1},      {"s", 1000},     {"m", 60000}, {"min", 60000},
    {"h", 3600000}, {"d", 86400000}, {"", 1000},   {NULL, 0},
};

static const struct unit bytes_units[] = {
    {"", 1},      {"b", 1},        {"kib", 1 << 10},   {"mib", 1 << 20}, {"gib", 1 << 30},
    {"kb", 1000}, {"mb", 1000000}, {"gb", 1000000000}, {NULL, 0},
};

static bool value_set(const struct conf_key *key, void *settings, const struct conf_node *node,
                      struct conf_error *err);

/* ---- values ---- */

bool
conf_parse_int(const char *text, int64_t *value)
{
	char *end;
	long long v;

	if (!isdigit((unsigned char) text[0]) && !(text[0] == '-' && isdigit((unsigned char) text[1])))
		return false;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || *end)
		return false;
	*value = v;
	return true;
}

/* "<digits>[spaces]<unit>" times the unit's factor; false on overflow, too. */
static bool
parse_with_unit(const char *text, const struct unit *units, int64_t *value)
{
	char *end;
	long long v;

	if (!isdigit((unsigned char) text[0]))
		return false;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno)
		return false;
	while (*end == ' ')
		end++;
	for (; units->name; units++)
		if (strcasecmp(end, units->name) == 0)
			return !__builtin_mul_overflow(v, units->factor, value);
	return false;
}

bool
conf_parse_duration(const char *text, int64_t *ms)
{
	return parse_with_unit(text, duration_units, ms);
}

bool
conf_parse_bytes(const char *text, int64_t *bytes)
{
	return parse_with_unit(text, bytes_units, bytes);
}

bool
conf_parse_bool(const char *text, bool *value)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i]) == 0)
		{
			*value = i % 2 == 1;
			return true;
		}
	return false;
}

static void
print_duration(FILE *out, int64_t ms)
{
	/* Largest unit that divides: what a person would have written. */
	static const struct unit by_size[] = {
	    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
	size_t i = 0;

	while (ms == 0 ? i < 3 : ms % by_size[i].factor != 0)
		i++;
	fprintf(out, "%" PRId64 "%s", ms / by_size[i].factor, by_size[i].name);
}

static void
print_bytes(FILE *out, int64_t bytes)
{
	static const struct unit by_size[] = {
	    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}};
	size_t i = 0;

	while (bytes == 0 ? i < 3 : bytes % by_size[i].factor != 0)
		i++;
	fprintf(out, "%" PRId64 "%s", bytes / by_size[i].factor, by_size[i].name);
}

static void
print_number(FILE *out, enum conf_type type, int64_t value)
{
	if (type == CONF_DURATION)
		print_duration(out, value);
	else if (type == CONF_BYTES)
		print_bytes(out, value);
	else
		fprintf(out, "%" PRId64, value);
}

static bool
check_range(const struct conf_key *key, int64_t value, unsigned line, struct conf_error *err)
{
	char range[128];
	FILE *out;

	if ((key->min == 0 && key->max == 0) || (value >= key->min && value <= key->max))
		return true;
	memset(range, 0, sizeof(range));
	out = fmemopen(range, sizeof(range) - 1, "w");
	if (out)
	{
		print_number(out, key->type, key->min);
		fputs(" .. ", out);
		print_number(out, key->type, key->max);
		fclose(out);
	}
	return conf_fail(err, line, "%s must be in %s", key->name, range);
}

static void *
field(const struct conf_key *key, const void *settings)
{
	return (char *) settings + key->offset;
}

static bool
number_set(const struct conf_key *key, void *settings, const char *text, unsigned line,
           struct conf_error *err)
{
	static const char *const wants[] = {
	    [CONF_INT] = "a whole number",
	    [CONF_BYTES] = "a size such as 4MiB",
	    [CONF_DURATION] = "a duration such as 30s or 250ms",
	};
	static bool (*const parse[])(const char *, int64_t *) = {
	    [CONF_INT] = conf_parse_int,
	    [CONF_BYTES] = conf_parse_bytes,
	    [CONF_DURATION] = conf_parse_duration,
	};
	int64_t value;

	if (!parse[key->type](text, &value))
		return conf_fail(err, line, "%s must be %s, not \"%.100s\"", key->name, wants[key->type],
		                 text);
	if (!check_range(key, value, line, err))
		return false;
	*(int64_t *) field(key, settings) = value;
	return true;
}

static bool
enum_set(const struct conf_key *key, void *settings, const char *text, unsigned line,
         struct conf_error *err)
{
	char known[256] = "";
	size_t at = 0;

	for (int i = 0; key->choices[i]; i++)
	{
		if (strcmp(key->choices[i], text) == 0)
		{
			*(int *) field(key, settings) = i;
			return true;
		}
		if (at < sizeof(known))
			at += (size_t) snprintf(known + at, sizeof(known) - at, "%s%s", i ? ", " : "",
			                        key->choices[i]);
	}
	return conf_fail(err, line, "%s must be one of %s, not \"%.100s\"", key->name, known, text);
}

static bool
scalar_set(const struct conf_key *key, void *settings, const char *text, unsigned line,
           struct conf_error *err)
{
	char **string;

	switch (key->type)
	{
		case CONF_INT:
		case CONF_BYTES:
		case CONF_DURATION: return number_set(key, settings, text, line, err);
		case CONF_ENUM: return enum_set(key, settings, text, line, err);
		case CONF_BOOL:
			if (!conf_parse_bool(text, field(key, settings)))
				return conf_fail(err, line, "%s must be true or false, not \"%.100s\"", key->name,
				                 text);
			return true;
		case CONF_STRING:
			string = field(key, settings);
			free(*string);
			*string = *text ? mem_strdup(text) : NULL;
			return true;
		case CONF_TREE: break;
	}
	return conf_fail(err, line, "%s has a type that is not known here", key->name);
}

static bool
value_set(const struct conf_key *key, void *settings, const struct conf_node *node,
          struct conf_error *err)
{
	const char *text;

	if (key->type == CONF_TREE)
	{
		key->tree->clear(settings);
		return key->tree->read(settings, node, err);
	}
	text = conf_node_text(node);
	if (!text)
		return conf_fail(err, node->line, "%s must be a single value, not a %s", key->name,
		                 node->kind == CONF_NODE_LIST ? "list" : "group of keys");
	return scalar_set(key, settings, text, node->line, err);
}

/* From an override: text is YAML for trees, the bare value for everything else. */
static bool
text_set(const struct conf_key *key, void *settings, const char *text, struct conf_error *err)
{
	struct conf_node *node;
	bool ok;

	if (key->type != CONF_TREE)
		return scalar_set(key, settings, text, 0, err);
	node = conf_node_parse(text, strlen(text), err);
	ok = node && value_set(key, settings, node, err);
	conf_node_free(node);
	err->line = 0;
	return ok;
}

/* ---- sources ---- */

static const struct conf_key *
key_find(const struct conf_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->key_count; i++)
		if (strcmp(spec->keys[i].name, name) == 0)
			return &spec->keys[i];
	return NULL;
}

/* Is name a group that keys stand in ("log" of "log.level")? */
static bool
key_is_group(const struct conf_spec *spec, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < spec->key_count; i++)
		if (strncmp(spec->keys[i].name, name, len) == 0 && spec->keys[i].name[len] == '.')
			return true;
	return false;
}

void
conf_defaults(const struct conf_spec *spec, void *settings)
{
	struct conf_error err;

	memset(settings, 0, spec->size);
	for (size_t i = 0; i < spec->key_count; i++)
		if (spec->keys[i].def && !text_set(&spec->keys[i], settings, spec->keys[i].def, &err))
			log_fatal("conf", spec->keys[i].name, "its default is not valid: %s", err.text);
}

/* Keys of a group and of the groups in it. Recursion ends where the table's names do: a
 * group exists only as the prefix of a key. */
static bool
read_group(const struct conf_spec *spec, void *settings, const struct conf_node *map,
           const char *prefix, struct conf_error *err)
{
	for (size_t i = 0; i < map->count; i++)
	{
		const struct conf_node *node = &map->items[i];
		char name[CONF_NAME_MAX];
		const struct conf_key *key;
		int len = snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", map->keys[i]);

		if (len < 0 || (size_t) len >= sizeof(name))
			return conf_fail(err, map->key_lines[i], "unknown key \"%.100s...\"", name);
		key = key_find(spec, name);
		if (key)
		{
			if (!value_set(key, settings, node, err))
				return false;
		}
		else if (!key_is_group(spec, name))
			return conf_fail(err, map->key_lines[i],
			                 "unknown key \"%s\"; --help lists the known ones", name);
		else if (node->kind == CONF_NODE_MAP)
		{
			if (!read_group(spec, settings, node, name, err))
				return false;
		}
		else if (!conf_node_text(node) || *conf_node_text(node))
			return conf_fail(err, node->line, "%s is a group of keys, not a value", name);
	}
	return true;
}

bool
conf_read_text(const struct conf_spec *spec, void *settings, const char *text, size_t len,
               struct conf_error *err)
{
	struct conf_node *root = conf_node_parse(text, len, err);
	bool ok;

	if (!root)
		return false;
	if (root->kind == CONF_NODE_MAP)
		ok = read_group(spec, settings, root, "", err);
	else if (root->kind == CONF_NODE_SCALAR && !*conf_node_text(root))
		ok = true;
	else
		ok = conf_fail(err, root->line, "expected keys and values");
	conf_node_free(root);
	return ok;
}

/* "PROBECTL_AGENT_" + the key in capitals with underscores. */
static void
env_name(const struct conf_spec *spec, const char *key, char *name, size_t len)
{
	snprintf(name, len, "PROBECTL_%s_%s", spec->process, key);
	for (; *name; name++)
		*name = *name == '.' || *name == '-' ? '_' : (char) toupper((unsigned char) *name);
}

bool
conf_read_env(const struct conf_spec *spec, void *settings, char *const *environment,
              struct conf_error *err)
{
	char prefix[CONF_NAME_MAX], name[CONF_NAME_MAX * 2];
	size_t prefix_len;

	env_name(spec, "", prefix, sizeof(prefix));
	prefix_len = strlen(prefix);
	for (; environment && *environment; environment++)
	{
		const char *entry = *environment, *equal = strchr(entry, '=');
		const struct conf_key *found = NULL;
		size_t len = equal ? (size_t) (equal - entry) : 0;

		if (!equal || strncmp(entry, prefix, prefix_len) != 0)
			continue;
		for (size_t i = 0; i < spec->key_count && !found; i++)
		{
			env_name(spec, spec->keys[i].name, name, sizeof(name));
			if (strlen(name) == len && strncmp(name, entry, len) == 0)
				found = &spec->keys[i];
		}
		if (!found)
			return conf_fail(err, 0,
			                 "environment variable %.*s names no setting; --help lists them",
			                 (int) len, entry);
		if (!text_set(found, settings, equal + 1, err))
			return false;
	}
	return true;
}

bool
conf_read_set(const struct conf_spec *spec, void *settings, const char *assignment,
              struct conf_error *err)
{
	const char *equal = strchr(assignment, '=');
	char name[CONF_NAME_MAX];
	const struct conf_key *key;

	if (!equal || (size_t) (equal - assignment) >= sizeof(name))
		return conf_fail(err, 0, "--set wants key=value, not \"%.100s\"", assignment);
	snprintf(name, sizeof(name), "%.*s", (int) (equal - assignment), assignment);
	key = key_find(spec, name);
	if (!key)
		return conf_fail(err, 0, "--set: unknown key \"%s\"; --help lists the known ones", name);
	return text_set(key, settings, equal + 1, err);
}

bool
conf_check(const struct conf_spec *spec, const void *settings, struct conf_error *err)
{
	for (size_t i = 0; i < spec->key_count; i++)
	{
		const struct conf_key *key = &spec->keys[i];

		if ((key->flags & CONF_REQUIRED) && key->type == CONF_STRING &&
		    !*(char **) field(key, settings))
			return conf_fail(err, 0, "%s must be set", key->name);
	}
	return !spec->check || spec->check(settings, err);
}

void
conf_clear(const struct conf_spec *spec, void *settings)
{
	for (size_t i = 0; i < spec->key_count; i++)
	{
		const struct conf_key *key = &spec->keys[i];

		if (key->type == CONF_TREE)
			key->tree->clear(settings);
		if (key->type == CONF_STRING)
		{
			free(*(char **) field(key, settings));
			*(char **) field(key, settings) = NULL;
		}
	}
}

/* The whole file; false with err. */
static bool
read_file(const char *path, struct buf *text, struct conf_error *err)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	size_t n;

	if (!f)
		return conf_fail(err, 0, "%s: %s", path, strerror(errno));
	if (fstat(fileno(f), &st) == 0 && S_ISDIR(st.st_mode))
	{
		fclose(f);
		return conf_fail(err, 0, "%s: is a directory", path);
	}
	do
	{
		uint8_t *to = buf_room(text, 16384);

		n = to ? fread(to, 1, 16384, f) : 0;
		buf_added(text, n);
	} while (n > 0);
	if (ferror(f) || text->failed)
		conf_fail(err, 0, "%s: %s", path, text->failed ? "longer than 4 MiB" : strerror(errno));
	n = ferror(f) || text->failed;
	fclose(f);
	return n == 0;
}

/* Everything in the order of strength. On failure err is a whole line. */
static bool
read_all(const struct conf *conf, void *settings, struct conf_error *err)
{
	struct buf text = BUF_INIT(CONF_FILE_MAX);
	struct conf_error inner;
	bool ok = true;

	conf_defaults(conf->spec, settings);
	if (conf->file)
	{
		ok = read_file(conf->file, &text, err);
		if (ok && !conf_read_text(conf->spec, settings, (const char *) text.data, text.len, &inner))
			ok = conf_fail(err, inner.line, "%s:%u: %s", conf->file, inner.line, inner.text);
		buf_free(&text);
	}
	if (ok)
		ok = conf_read_env(conf->spec, settings, environ, err);
	for (size_t i = 0; ok && i < conf->set_count; i++)
		ok = conf_read_set(conf->spec, settings, conf->sets[i], err);
	if (ok && !conf_check(conf->spec, settings, &inner))
		ok = conf_fail(err, inner.line, "%s%s%s", conf->file ? conf->file : "",
		               conf->file ? ": " : "", inner.text);
	return ok;
}

/* ---- output ---- */

/* The code point at *text, which moves behind it; a byte that is not UTF-8 stands for itself. */
static uint32_t
next_code_point(const char **text)
{
	const unsigned char *p = (const unsigned char *) *text;
	int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : 0;
	uint32_t code = more ? *p & (0x3fu >> more) : *p;

	for (int i = 1; i <= more; i++)
	{
		if ((p[i] & 0xc0) != 0x80)
		{
			(*text)++;
			return *p;
		}
		code = code << 6 | (p[i] & 0x3f);
	}
	*text += more + 1;
	return code;
}

/* May it stand in a YAML file as it is? Line breaks and what YAML calls not printable may not. */
static bool
code_is_printable(uint32_t code)
{
	return (code >= 0x20 && code < 0x7f) ||
	       (code >= 0xa0 && code < 0xd800 && code != 0x2028 && code != 0x2029) ||
	       (code >= 0xe000 && code < 0xfffe && code != 0xfeff) || (code >= 0x10000);
}

void
conf_print_scalar(FILE *out, const char *text)
{
	static const char special[] = "#:{}[],&*!|>'\"%@`\\";
	bool plain = isalnum((unsigned char) *text) || *text == '/' || *text == '.';

	for (const char *p = text; *p && plain; p++)
		plain = *p > 0x20 && *p < 0x7f &&
		        (!strchr(special, *p) || (*p == ':' && p[1] && p[1] != ' '));
	if (plain && strcmp(text, "null") != 0)
	{
		fputs(text, out);
		return;
	}
	fputc('"', out);
	while (*text)
	{
		const char *start = text;
		uint32_t code = next_code_point(&text);

		if (code == '"' || code == '\\')
			fprintf(out, "\\%c", (int) code);
		else if (!code_is_printable(code) || (code >= 0x80 && text == start + 1))
			fprintf(out, code > 0xff ? "\\u%04x" : "\\x%02x", code);
		else
			fprintf(out, "%.*s", (int) (text - start), start);
	}
	fputc('"', out);
}

static void
print_value(FILE *out, const struct conf_key *key, const void *settings)
{
	const void *at = field(key, settings);
	const char *text;

	switch (key->type)
	{
		case CONF_INT:
		case CONF_BYTES:
		case CONF_DURATION: print_number(out, key->type, *(const int64_t *) at); break;
		case CONF_BOOL: fputs(*(const bool *) at ? "true" : "false", out); break;
		case CONF_ENUM: fputs(key->choices[*(const int *) at], out); break;
		case CONF_STRING:
			text = *(char *const *) at;
			if (!text)
				fputs("null", out);
			else
				conf_print_scalar(out, key->flags & CONF_SECRET ? "(set)" : text);
			break;
		case CONF_TREE: break;
	}
}

void
conf_print(const struct conf_spec *spec, const void *settings, FILE *out)
{
	const char *open = "";
	size_t open_len = 0;

	for (size_t i = 0; i < spec->key_count; i++)
	{
		const struct conf_key *key = &spec->keys[i];
		const char *dot = strrchr(key->name, '.');
		size_t group = dot ? (size_t) (dot - key->name) : 0;

		if (group && (group != open_len || strncmp(open, key->name, group) != 0))
			fprintf(out, "%.*s:\n", (int) group, key->name);
		open = key->name;
		open_len = group;
		fprintf(out, "%s%s:", group ? "  " : "", dot ? dot + 1 : key->name);
		if (key->type == CONF_TREE)
		{
			key->tree->print(out, settings);
			continue;
		}
		fputc(' ', out);
		print_value(out, key, settings);
		fputc('\n', out);
	}
}

static void
help_key(const struct conf_spec *spec, const struct conf_key *key, FILE *out)
{
	char name[CONF_NAME_MAX * 2];

	env_name(spec, key->name, name, sizeof(name));
	fprintf(out, "  %s\n      %s", key->name, key->help);
	for (int i = 0; key->type == CONF_ENUM && key->choices[i]; i++)
		fprintf(out, "%s%s", i ? ", " : ": ", key->choices[i]);
	if (key->min || key->max)
	{
		fputs(" (", out);
		print_number(out, key->type, key->min);
		fputs(" .. ", out);
		print_number(out, key->type, key->max);
		fputc(')', out);
	}
	fprintf(out, "\n      default %s, %s%s%s\n", key->def ? key->def : "(none)", name,
	        key->flags & CONF_RELOADABLE ? ", reloadable" : "",
	        key->flags & CONF_REQUIRED ? ", required" : "");
}

void
conf_help(const struct conf_spec *spec, FILE *out)
{
	fprintf(out, "Usage: probectl-%s [--config FILE] [--set KEY=VALUE]... [OPTION]...\n%s\n\n",
	        spec->process, spec->summary);
	fprintf(out, "Options:\n"
	             "  --config FILE    settings (YAML)\n"
	             "  --set KEY=VALUE  a setting that overrides file and environment\n"
	             "  --check-config   check the settings, print what they amount to and exit\n"
	             "  --help           this text\n"
	             "  --version        print the version\n");
	for (size_t i = 0; i < spec->option_count; i++)
	{
		const struct conf_option *o = &spec->options[i];
		int len = fprintf(out, "  --%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");

		fprintf(out, "%*s%s\n", len < 19 ? 19 - len : 1, "", o->help);
	}
	fprintf(out, "\nSettings, and the environment variables that override the file:\n");
	for (size_t i = 0; i < spec->key_count; i++)
		help_key(spec, &spec->keys[i], out);
	if (spec->help_more)
		spec->help_more(out);
}

/* ---- start and reload ---- */

static void __attribute__((noreturn, format(printf, 2, 3)))
die(const struct conf_spec *spec, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "probectl-%s: ", spec->process);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

/* The value of an option given as "--name value" or "--name=value". */
static const char *
option_value(const struct conf_spec *spec, const char *name, const char *inlined, int argc,
             char **argv, int *i)
{
	if (inlined)
		return inlined;
	if (*i + 1 >= argc)
		die(spec, "--%s needs a value; see --help", name);
	return argv[++*i];
}

static void
option_own(const struct conf_spec *spec, const char *name, const char *inlined, int argc,
           char **argv, int *i)
{
	for (size_t o = 0; o < spec->option_count; o++)
	{
		const struct conf_option *option = &spec->options[o];
		const char *value = NULL;

		if (strcmp(option->name, name) != 0)
			continue;
		if (option->arg)
			value = option_value(spec, name, inlined, argc, argv, i);
		else if (inlined)
			die(spec, "--%s takes no value", name);
		if (!option->set(spec->option_arg, value))
			exit(2);
		return;
	}
	die(spec, "unknown option --%s; see --help", name);
}

/* Returns whether --check-config was given. */
static bool
read_options(struct conf *conf, int argc, char **argv)
{
	bool check = false;

	for (int i = 1; i < argc; i++)
	{
		char name[64];
		const char *inlined = strchr(argv[i], '=');
		size_t len = inlined ? (size_t) (inlined - argv[i]) : strlen(argv[i]);

		if (strncmp(argv[i], "--", 2) != 0 || len < 3 || len - 2 >= sizeof(name))
			die(conf->spec, "unexpected argument \"%s\"; see --help", argv[i]);
		snprintf(name, sizeof(name), "%.*s", (int) (len - 2), argv[i] + 2);
		inlined = inlined ? inlined + 1 : NULL;
		if (strcmp(name, "help") == 0)
		{
			conf_help(conf->spec, stdout);
			exit(0);
		}
		else if (strcmp(name, "version") == 0)
		{
			printf("probectl-%s %s\n", conf->spec->process, PROBECTL_VERSION);
			exit(0);
		}
		else if (strcmp(name, "check-config") == 0)
			check = true;
		else if (strcmp(name, "config") == 0)
		{
			free(conf->file);
			conf->file = mem_strdup(option_value(conf->spec, name, inlined, argc, argv, &i));
		}
		else if (strcmp(name, "set") == 0)
		{
			conf->sets = mem_resize(conf->sets, conf->set_count + 1, sizeof(*conf->sets));
			conf->sets[conf->set_count++] = mem_strdup(
			    option_value(conf->spec, name, inlined, argc, argv, &i));
		}
		else
			option_own(conf->spec, name, inlined, argc, argv, &i);
	}
	return check;
}

void
conf_start(struct conf *conf, const struct conf_spec *spec, void *settings, int argc, char **argv)
{
	struct conf_error err = {0};
	bool check;

	memset(conf, 0, sizeof(*conf));
	conf->spec = spec;
	conf->settings = settings;
	check = read_options(conf, argc, argv);
	if (!read_all(conf, settings, &err))
	{
		/* A file's error is printed as compilers do, so that editors jump to it. */
		if (conf->file && strncmp(err.text, conf->file, strlen(conf->file)) == 0)
		{
			fprintf(stderr, "%s\n", err.text);
			exit(2);
		}
		die(spec, "%s", err.text);
	}
	if (check)
	{
		conf_print(spec, settings, stdout);
		exit(fflush(stdout) == 0 ? 0 : 1);
	}
}

static bool
key_changed(const struct conf_key *key, const void *a, const void *b)
{
	const char *text_a, *text_b;

	switch (key->type)
	{
		case CONF_INT:
		case CONF_BYTES:
		case CONF_DURATION:
			return *(const int64_t *) field(key, a) != *(const int64_t *) field(key, b);
		case CONF_BOOL: return *(const bool *) field(key, a) != *(const bool *) field(key, b);
		case CONF_ENUM: return *(const int *) field(key, a) != *(const int *) field(key, b);
		case CONF_STRING:
			text_a = *(char *const *) field(key, a);
			text_b = *(char *const *) field(key, b);
			return strcmp(text_a ? text_a : "", text_b ? text_b : "") != 0;
		case CONF_TREE: break;
	}
	return false; /* not for trees */
}

static const size_t type_size[] = {
    [CONF_STRING] = sizeof(char *),    [CONF_INT] = sizeof(int64_t), [CONF_BYTES] = sizeof(int64_t),
    [CONF_DURATION] = sizeof(int64_t), [CONF_BOOL] = sizeof(bool),   [CONF_ENUM] = sizeof(int),
};

/* Exchanges a plain value of both structs; the loser is freed with its struct. */
static void
key_swap(const struct conf_key *key, void *a, void *b)
{
	char tmp[sizeof(int64_t)];
	size_t size = type_size[key->type];

	memcpy(tmp, field(key, a), size);
	memcpy(field(key, a), field(key, b), size);
	memcpy(field(key, b), tmp, size);
}

bool
conf_reload(struct conf *conf, char *err, size_t errlen)
{
	void *fresh = mem_alloc(conf->spec->size);
	struct conf_error why = {0};
	bool ok = read_all(conf, fresh, &why);

	for (size_t i = 0; ok && i < conf->spec->key_count; i++)
	{
		const struct conf_key *key = &conf->spec->keys[i];

		if (key->type == CONF_TREE)
		{
			if (key->flags & CONF_RELOADABLE)
				key->tree->swap(conf->settings, fresh);
			continue;
		}
		if (!key_changed(key, conf->settings, fresh))
			continue;
		if (key->flags & CONF_RELOADABLE)
			key_swap(key, conf->settings, fresh);
		else
			log_warning("conf", key->name, "changed, but takes effect only with a restart");
	}
	if (!ok)
		snprintf(err, errlen, "%s", why.text);
	conf_clear(conf->spec, fresh);
	free(fresh);
	return ok;
}

void
conf_free(struct conf *conf)
{
	conf_clear(conf->spec, conf->settings);
	for (size_t i = 0; i < conf->set_count; i++)
		free(conf->sets[i]);
	free(conf->sets);
	free(conf->file);
	memset(conf, 0, sizeof(*conf));
}
