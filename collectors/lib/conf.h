/* SPDX-License-Identifier: PostgreSQL
 *
 * conf.h -- settings of a process: one table, from which everything is generated.
 *
 * A process lists its keys once, with type, default, range and help, and where the value goes
 * in its settings struct. From that table come the strict YAML reader (unknown or duplicate
 * key, bad value: `file:line: message`, exit 2), the environment override
 * PROBECTL_<PROCESS>_<KEY> (dots become underscores), `--set key=value`, `--check-config` and
 * `--help`. The order of strength: default, file, environment, --set.
 *
 *   struct settings { char *listen; int64_t connections; int level; };
 *   static const struct conf_key keys[] = {
 *       {"listen", CONF_STRING, offsetof(struct settings, listen), .def = "127.0.0.1:9443",
 *        .help = "address and port to listen on"},
 *       {"connections", CONF_INT, offsetof(struct settings, connections), .def = "4", .min = 1, .max = 64,
 *        .help = "connections to the database"},
 *       CONF_KEY_LOG_LEVEL(offsetof(struct settings, level)),
 *   };
 *   static const struct conf_spec spec = {.process = "ingest", .summary = "...", .keys = keys,
 *       .key_count = 3, .size = sizeof(struct settings)};
 *   struct conf conf;
 *   conf_start(&conf, &spec, &settings, argc, argv);     // exits for --help and on errors
 */
#ifndef PCTL_LIB_CONF_H
#define PCTL_LIB_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum conf_type
{
	CONF_STRING,   /* char *, allocated; NULL when unset */
	CONF_INT,      /* int64_t */
	CONF_BYTES,    /* int64_t; "4 MiB", "512KiB", "1048576" */
	CONF_DURATION, /* int64_t milliseconds; "250ms", "30s", "5m", "1h", "7d"; bare = seconds */
	CONF_BOOL,     /* bool; true/false, yes/no, on/off */
	CONF_ENUM,     /* int: index into choices */
	CONF_TREE,     /* anything; the key's tree functions read it */
};

/* A piece of a parsed YAML document. Scalars are text, maps keep their order. */
struct conf_node
{
	enum conf_node_kind
	{
		CONF_NODE_SCALAR,
		CONF_NODE_LIST,
		CONF_NODE_MAP,
	} kind;
	unsigned line; /* from 1 */
	char *text;    /* scalar */
	bool quoted;   /* scalar was quoted: "null" and "" are text */
	struct conf_node *items;
	char **keys; /* maps: keys[i] names items[i] */
	unsigned *key_lines;
	size_t count;
};

/* An error of a file or of an override: what to print after the program's name. */
struct conf_error
{
	unsigned line; /* 0: does not apply */
	char text[512];
};

bool conf_fail(struct conf_error *err, unsigned line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))); /* returns false */

/* What a CONF_TREE key needs. settings is the whole struct. */
struct conf_tree
{
	bool (*read)(void *settings, const struct conf_node *node, struct conf_error *err);
	void (*print)(FILE *out, const void *settings); /* the value, indented YAML, with newline */
	void (*clear)(void *settings);                  /* frees; called before read, too */
	void (*swap)(void *a, void *b);                 /* exchanges the values; for reloadable keys */
};

#define CONF_RELOADABLE 1u /* SIGHUP takes a new value over */
#define CONF_REQUIRED   2u /* must be set and not empty */
#define CONF_SECRET     4u /* --check-config shows whether it is set, not what it is */

struct conf_key
{
	const char *name; /* dotted */
	enum conf_type type;
	size_t offset;              /* in the settings struct */
	const char *def;            /* as it would stand in the file; NULL = unset, 0, false */
	int64_t min, max;           /* both 0 = no bound; in bytes, milliseconds or units */
	const char *const *choices; /* CONF_ENUM, NULL-terminated */
	const struct conf_tree *tree;
	unsigned flags;
	const char *help; /* lower-case phrase */
};

/* A command line option besides the common ones. */
struct conf_option
{
	const char *name; /* without the dashes */
	const char *arg;  /* name of its value for --help; NULL = takes none */
	const char *help;
	bool (*set)(void *arg, const char *value); /* false: message was printed, exit 2 */
};

struct conf_spec
{
	const char *process; /* "agent": probectl-agent, PROBECTL_AGENT_... */
	const char *summary; /* one line for --help */
	const struct conf_key *keys;
	size_t key_count;
	size_t size; /* of the settings struct */

	/* Checks across keys, after everything was read; may be NULL. */
	bool (*check)(const void *settings, struct conf_error *err);

	const struct conf_option *options;
	size_t option_count;
	void *option_arg;
	void (*help_more)(FILE *out); /* appended to --help; may be NULL */
};

struct conf
{
	const struct conf_spec *spec;
	void *settings;
	char *file; /* of --config; NULL = none */
	char **sets;
	size_t set_count;
};

#define CONF_KEY_LOG_LEVEL(where)                                                                  \
	{                                                                                              \
		.name = "log.level", .type = CONF_ENUM, .offset = (where), .def = "info",                  \
		.choices = log_level_names, .flags = CONF_RELOADABLE,                                      \
		.help = "least severe events that are logged"                                              \
	}

/* Reads the command line and the settings. Prints and exits with 0 for --help, --version and
 * --check-config, with 2 for an error. Returns when the process is to run. */
void conf_start(struct conf *conf, const struct conf_spec *spec, void *settings, int argc,
                char **argv);

/* Reads everything again and takes over what is CONF_RELOADABLE; a changed key that is not
 * is logged. On error nothing changes and err says why. */
bool conf_reload(struct conf *conf, char *err, size_t errlen);

void conf_free(struct conf *conf);

/* The steps of conf_start, for tests and for programs with several sources. */
void conf_defaults(const struct conf_spec *spec, void *settings);
bool conf_read_text(const struct conf_spec *spec, void *settings, const char *text, size_t len,
                    struct conf_error *err);
bool conf_read_env(const struct conf_spec *spec, void *settings, char *const *environment,
                   struct conf_error *err);
bool conf_read_set(const struct conf_spec *spec, void *settings, const char *assignment,
                   struct conf_error *err);
bool conf_check(const struct conf_spec *spec, const void *settings, struct conf_error *err);
void conf_clear(const struct conf_spec *spec, void *settings);
void conf_print(const struct conf_spec *spec, const void *settings, FILE *out);
void conf_help(const struct conf_spec *spec, FILE *out);

/* Values of trees are read with the same rules as plain keys. */
bool conf_parse_duration(const char *text, int64_t *ms);
bool conf_parse_bytes(const char *text, int64_t *bytes);
bool conf_parse_bool(const char *text, bool *value);
bool conf_parse_int(const char *text, int64_t *value);

/* Writes text as a YAML scalar, quoted where it must be. */
void conf_print_scalar(FILE *out, const char *text);

/* A YAML document as a tree; NULL with err. An empty document is an empty map. Free with
 * conf_node_free. */
struct conf_node *conf_node_parse(const char *text, size_t len, struct conf_error *err);
void conf_node_free(struct conf_node *node);
const struct conf_node *conf_node_get(const struct conf_node *map, const char *key);

/* The scalar's text; NULL when it is not a scalar. Plain null, ~ and nothing give "". */
const char *conf_node_text(const struct conf_node *node);

#endif
