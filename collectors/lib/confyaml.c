/* SPDX-License-Identifier: PostgreSQL
 *
 * confyaml.c -- YAML text to a small tree of nodes with line numbers.
 *
 * libyaml gives events; this keeps an explicit stack, so that nothing recurses on the
 * depth of the input, and refuses what a settings file has no use for: a second document, anchors,
 * aliases, tags, keys that are not plain text, the same key twice. Depth, nodes and scalar
 * length are bounded.
 */
#include "lib/conf.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "lib/mem.h"

#define YAML_DEPTH_MAX  16
#define YAML_NODES_MAX  65536
#define YAML_SCALAR_MAX 65536

/* One open list or map. */
struct level
{
	struct conf_node *node;
	char *key; /* maps: read, its value is next */
	unsigned key_line;
};

struct builder
{
	struct conf_node *root;
	struct level levels[YAML_DEPTH_MAX];
	size_t depth;
	size_t nodes;
	bool have_root;
	struct conf_error *err;
};

bool
conf_fail(struct conf_error *err, unsigned line, const char *fmt, ...)
{
	va_list args;

	err->line = line;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return false;
}

static unsigned
event_line(const yaml_event_t *event)
{
	return (unsigned) event->start_mark.line + 1;
}

/* A fresh node where the document stands now; NULL with err. */
static struct conf_node *
builder_slot(struct builder *b, unsigned line)
{
	struct level *top = b->depth ? &b->levels[b->depth - 1] : NULL;
	struct conf_node *node, *slot;

	if (++b->nodes > YAML_NODES_MAX)
	{
		conf_fail(b->err, line, "more than %d values", YAML_NODES_MAX);
		return NULL;
	}
	if (!top)
	{
		b->have_root = true;
		slot = b->root;
	}
	else
	{
		/* Grown in steps of 8: the count says when. */
		node = top->node;
		if (node->count % 8 == 0)
		{
			node->items = mem_resize(node->items, node->count + 8, sizeof(*node->items));
			if (node->kind == CONF_NODE_MAP)
			{
				node->keys = mem_resize(node->keys, node->count + 8, sizeof(*node->keys));
				node->key_lines = mem_resize(node->key_lines, node->count + 8,
				                             sizeof(*node->key_lines));
			}
		}
		slot = &node->items[node->count];
		if (node->kind == CONF_NODE_MAP)
		{
			node->keys[node->count] = top->key;
			node->key_lines[node->count] = top->key_line;
			top->key = NULL;
		}
		node->count++;
	}
	memset(slot, 0, sizeof(*slot));
	slot->line = line;
	return slot;
}

static bool
builder_key(struct builder *b, const yaml_event_t *event)
{
	struct level *top = &b->levels[b->depth - 1];
	const char *text = (const char *) event->data.scalar.value;
	unsigned line = event_line(event);

	if (strlen(text) != event->data.scalar.length || !*text)
		return conf_fail(b->err, line, "a key must be plain text");
	for (size_t i = 0; i < top->node->count; i++)
		if (strcmp(top->node->keys[i], text) == 0)
			return conf_fail(b->err, line, "key \"%.100s\" is given twice, first on line %u", text,
			                 top->node->key_lines[i]);
	top->key = mem_strdup(text);
	top->key_line = line;
	return true;
}

static bool
builder_scalar(struct builder *b, const yaml_event_t *event)
{
	struct level *top = b->depth ? &b->levels[b->depth - 1] : NULL;
	const char *text = (const char *) event->data.scalar.value;
	unsigned line = event_line(event);
	struct conf_node *node;

	if (event->data.scalar.anchor || event->data.scalar.tag)
		return conf_fail(b->err, line, "anchors and tags are not supported");
	if (event->data.scalar.length > YAML_SCALAR_MAX)
		return conf_fail(b->err, line, "value is longer than %d bytes", YAML_SCALAR_MAX);
	if (top && top->node->kind == CONF_NODE_MAP && !top->key)
		return builder_key(b, event);
	if (strlen(text) != event->data.scalar.length)
		return conf_fail(b->err, line, "value contains a NUL byte");
	node = builder_slot(b, line);
	if (!node)
		return false;
	node->kind = CONF_NODE_SCALAR;
	node->text = mem_strdup(text);
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	return true;
}

static bool
builder_open(struct builder *b, const yaml_event_t *event, enum conf_node_kind kind, bool plain)
{
	struct level *top = b->depth ? &b->levels[b->depth - 1] : NULL;
	struct conf_node *node;

	if (!plain)
		return conf_fail(b->err, event_line(event), "anchors and tags are not supported");
	if (top && top->node->kind == CONF_NODE_MAP && !top->key)
		return conf_fail(b->err, event_line(event), "a key must be plain text");
	if (b->depth == YAML_DEPTH_MAX)
		return conf_fail(b->err, event_line(event), "nested deeper than %d levels", YAML_DEPTH_MAX);
	node = builder_slot(b, event_line(event));
	if (!node)
		return false;
	node->kind = kind;
	b->levels[b->depth++] = (struct level){.node = node};
	return true;
}

static bool
builder_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type)
	{
		case YAML_DOCUMENT_START_EVENT:
			if (b->have_root)
				return conf_fail(b->err, event_line(event), "a second document starts here");
			return true;
		case YAML_ALIAS_EVENT:
			return conf_fail(b->err, event_line(event), "aliases are not supported");
		case YAML_SCALAR_EVENT: return builder_scalar(b, event);
		case YAML_SEQUENCE_START_EVENT:
			return builder_open(b, event, CONF_NODE_LIST,
			                    !event->data.sequence_start.anchor &&
			                        !event->data.sequence_start.tag);
		case YAML_MAPPING_START_EVENT:
			return builder_open(b, event, CONF_NODE_MAP,
			                    !event->data.mapping_start.anchor &&
			                        !event->data.mapping_start.tag);
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT: b->depth--; return true;
		default: return true;
	}
}

static bool
parse_events(yaml_parser_t *parser, struct builder *b)
{
	for (;;)
	{
		yaml_event_t event;
		yaml_event_type_t type;
		bool ok;

		if (!yaml_parser_parse(parser, &event))
			return conf_fail(b->err, (unsigned) parser->problem_mark.line + 1, "not YAML: %s",
			                 parser->problem ? parser->problem : "cannot be read");
		type = event.type;
		ok = builder_event(b, &event);
		yaml_event_delete(&event);
		if (!ok)
			return false;
		if (type == YAML_STREAM_END_EVENT)
			return true;
	}
}

struct conf_node *
conf_node_parse(const char *text, size_t len, struct conf_error *err)
{
	struct builder b = {.err = err};
	yaml_parser_t parser;
	bool ok;

	b.root = mem_alloc(sizeof(*b.root));
	b.root->kind = CONF_NODE_MAP;
	b.root->line = 1;
	if (!yaml_parser_initialize(&parser))
	{
		conf_fail(err, 0, "out of memory");
		free(b.root);
		return NULL;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *) text, len);
	ok = parse_events(&parser, &b);
	yaml_parser_delete(&parser);
	for (size_t i = 0; i < b.depth; i++)
		free(b.levels[i].key);
	if (!ok)
	{
		conf_node_free(b.root);
		return NULL;
	}
	return b.root;
}

/* Depth is at most YAML_DEPTH_MAX, so this recursion is bounded. */
static void
node_clear(struct conf_node *node)
{
	free(node->text);
	for (size_t i = 0; i < node->count; i++)
	{
		node_clear(&node->items[i]);
		if (node->keys)
			free(node->keys[i]);
	}
	free(node->items);
	free(node->keys);
	free(node->key_lines);
}

void
conf_node_free(struct conf_node *node)
{
	if (!node)
		return;
	node_clear(node);
	free(node);
}

const struct conf_node *
conf_node_get(const struct conf_node *map, const char *key)
{
	if (map->kind != CONF_NODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->count; i++)
		if (strcmp(map->keys[i], key) == 0)
			return &map->items[i];
	return NULL;
}

const char *
conf_node_text(const struct conf_node *node)
{
	if (node->kind != CONF_NODE_SCALAR)
		return NULL;
	if (!node->quoted && (strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0))
		return "";
	return node->text;
}
