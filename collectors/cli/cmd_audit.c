/* SPDX-License-Identifier: PostgreSQL
 *
 * cmd_audit.c -- the audit chain of a tenant, or the provider's, for whoever audits: verify it here, or take it
 * elsewhere (export, proof, key) and check it there with probectl-audit-verify.
 *
 * What leaves is signed to its end: a checkpoint is made first. An export reads one snapshot in pages, so that
 * its size costs no memory here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/db.h"
#include "cli/home.h"
#include "cli/util.h"

#define PAGE "5000"

/* What stands for a chain in SQL. */
struct chain
{
	const char *tenant;      /* NULL: the provider's */
	const char *functions;   /* and _verify, _inclusion, _consistency */
	const char *checkpoint;  /* function that makes one */
	const char *lines;       /* function (after, page) with the lines of the export */
	const char *checkpoints; /* table */
};

struct audit_verb
{
	const char *name;
	int words; /* after the verb */
	int (*run)(PGconn *conn, const struct chain *chain, struct cli_args *args);
};

/* Opens a transaction that reads the chain. */
static void
chain_enter(PGconn *conn, const struct chain *chain)
{
	if (chain->tenant)
		db_enter_tenant(conn, chain->tenant);
	else
		db_run(conn, "BEGIN");
}

static void
checkpoint_make(PGconn *conn, const struct chain *chain)
{
	chain_enter(conn, chain);
	db_run(conn, util_fmt("SELECT %s()", chain->checkpoint));
	db_run(conn, "COMMIT");
}

static const char *
number_word(const char *what, const char *text)
{
	char *end;

	errno = 0;
	if (strtoll(text, &end, 10) < 0 || *end || end == text || errno)
		util_fail(EXIT_USAGE, "audit: %s must be a sequence number, not %s", what, text);
	return text;
}

static int
audit_verify(PGconn *conn, const struct chain *chain, struct cli_args *args)
{
	PGresult *row;
	int code = 0;

	(void) args;
	chain_enter(conn, chain);
	row = db_query(
	    conn, NULL,
	    util_fmt("SELECT ok, events, first_bad, reason FROM %s_verify()", chain->functions), 0,
	    NULL);
	if (strcmp(PQgetvalue(row, 0, 0), "t") == 0)
		printf("ok: %s events\n", PQgetvalue(row, 0, 1));
	else
	{
		printf("bad: event %s: %s\n", PQgetvalue(row, 0, 2), PQgetvalue(row, 0, 3));
		code = EXIT_CANNOT;
	}
	PQclear(row);
	return code;
}

/*
 * Writes a page; the sequence number of its last event, NULL when it had none. A page begins with the checkpoint
 * the one before it may have ended with: goes_on leaves that out.
 */
static const char *
page_write(PGconn *conn, const struct chain *chain, const char *after, bool goes_on, FILE *out)
{
	static const char key[] = "\"seq\":"; /* stands before everything a user can write */
	const char *const params[] = {after};
	PGresult *page = db_query(
	    conn, NULL, util_fmt("SELECT line FROM %s($1, " PAGE ") line", chain->lines), 1, params);
	const char *last = NULL;

	for (int i = 0; i < PQntuples(page); i++)
	{
		const char *line = PQgetvalue(page, i, 0);

		if (i == 0 && goes_on && strncmp(line, "{\"kind\":\"checkpoint\"", 20) == 0)
			continue;
		if (fprintf(out, "%s\n", line) < 0)
			util_fail(EXIT_CANNOT, "audit: could not write: %s", strerror(errno));
		if (strncmp(line, "{\"kind\":\"event\"", 15) == 0)
		{
			const char *seq = strstr(line, key) + sizeof(key) - 1;

			last = util_fmt("%.*s", (int) strspn(seq, "0123456789"), seq);
		}
	}
	PQclear(page);
	return last;
}

static int
audit_export(PGconn *conn, const struct chain *chain, struct cli_args *args)
{
	const char *path = cli_value(args, "output");
	const char *after = cli_value(args, "after"), *next;
	bool goes_on = false;
	FILE *out = stdout;

	after = number_word("--after", after ? after : "0");
	checkpoint_make(conn, chain);
	if (path && !(out = fopen(path, strtoll(after, NULL, 10) > 0 ? "a" : "w")))
		util_fail(EXIT_CANNOT, "audit: could not open %s: %s", path, strerror(errno));
	/* All pages are of one moment. */
	db_run(conn, "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ");
	chain_enter(conn, chain);
	for (; (next = page_write(conn, chain, after, goes_on, out)); goes_on = true)
		after = next;
	if (fflush(out) != 0 || ferror(out) || (path && fclose(out) != 0))
		util_fail(EXIT_CANNOT, "audit: could not write %s: %s", path ? path : "the export",
		          strerror(errno));
	fprintf(stderr, "exported up to event %s; go on later with --after %s\n", after, after);
	return 0;
}

/* A value that a proof is made of; without it there is no proof. */
static const char *
proof_part(PGconn *conn, const char *sql, int count, const char *const *params)
{
	const char *value = db_value(conn, sql, count, params);

	if (!value)
		util_fail(EXIT_CANNOT,
		          "audit: there is no such event or checkpoint; those that can be used "
		          "are in the lines \"checkpoint\" of 'probectl audit export'");
	return value;
}

/* Lines as the export has them, so that the verifier reads one form. */
static const char *
event_line(PGconn *conn, const struct chain *chain, const char *seq)
{
	return proof_part(conn,
	                  util_fmt("SELECT l FROM %s($1::bigint - 1, 1) l "
	                           "WHERE l LIKE '{\"kind\":\"event\"%%'",
	                           chain->lines),
	                  1, &seq);
}

static const char *
checkpoint_line(PGconn *conn, const struct chain *chain, const char *size)
{
	return proof_part(conn,
	                  util_fmt("SELECT l FROM %s($1::bigint, 1) l WHERE l LIKE "
	                           "'{\"kind\":\"checkpoint\"%%' AND (l::json ->> 'size')::bigint = $1",
	                           chain->lines),
	                  1, &size);
}

static const char *
proof_nodes(PGconn *conn, const struct chain *chain, const char *kind, const char *const *params)
{
	return proof_part(
	    conn,
	    util_fmt("SELECT (SELECT coalesce(json_agg(encode(node, 'hex') ORDER BY n)::text, '[]') "
	             "FROM unnest(p.proof) WITH ORDINALITY u (node, n)) "
	             "FROM %s_%s($1::bigint, $2::bigint) p",
	             chain->functions, kind),
	    2, params);
}

static int
audit_proof(PGconn *conn, const struct chain *chain, struct cli_args *args)
{
	const char *kind = args->words[1];
	bool inclusion = strcmp(kind, "inclusion") == 0;
	const char *params[2] = {NULL, NULL};

	if (!inclusion && strcmp(kind, "consistency") != 0)
		util_fail(EXIT_USAGE, "audit proof: inclusion SEQ or consistency FIRST SECOND, not %s",
		          kind);
	if (args->count != (inclusion ? 3 : 4))
		util_fail(EXIT_USAGE,
		          "audit proof: missing argument: inclusion SEQ | consistency FIRST SECOND");
	for (int i = 2; i < args->count; i++)
		params[i - 2] = number_word(inclusion ? "SEQ" : "FIRST and SECOND", args->words[i]);
	if (inclusion)
		checkpoint_make(conn, chain);
	chain_enter(conn, chain);
	if (inclusion)
		params[1] = proof_part(conn, util_fmt("SELECT max(size) FROM %s", chain->checkpoints), 0,
		                       NULL);
	printf("{\"kind\":\"%s\",\"%s\":%s,\"%s\":%s,\"proof\":%s}\n", kind,
	       inclusion ? "event" : "first",
	       inclusion ? event_line(conn, chain, params[0]) : checkpoint_line(conn, chain, params[0]),
	       inclusion ? "checkpoint" : "second", checkpoint_line(conn, chain, params[1]),
	       proof_nodes(conn, chain, kind, params));
	return 0;
}

static int
audit_key(PGconn *conn, const struct chain *chain, struct cli_args *args)
{
	char *key;

	(void) args;
	checkpoint_make(conn, chain); /* makes the key when nothing was signed yet */
	key = db_value(conn, "SELECT encode(probectl.signing_key(), 'hex')", 0, NULL);
	printf("%s\n", key ? key : "");
	return key ? 0 : EXIT_CANNOT;
}

static const struct audit_verb verbs[] = {
    {"verify", 0, audit_verify},
    {"export", 0, audit_export},
    {"proof", 3, audit_proof},
    {"key", 0, audit_key},
};

static const struct chain a_tenant = {NULL, "probectl.audit", "probectl.audit_checkpoint",
                                      "probectl.audit_export", "probectl.audit_checkpoint"};
static const struct chain the_provider = {
    NULL, "probectl.provider_audit", "probectl_internal.provider_audit_checkpoint_make",
    "probectl_internal.provider_audit_lines", "probectl_internal.provider_audit_checkpoint"};

static int
audit_run(struct cli_args *args)
{
	struct home *home = home_open(cli_value(args, "home"));
	const char *tenant = cli_value(args, "tenant");
	bool provider = cli_value(args, "provider") != NULL;
	struct chain chain = provider ? the_provider : a_tenant;

	if (provider && tenant)
		util_fail(EXIT_USAGE, "audit: --provider and --tenant name two chains: give one");
	if (!provider)
		chain.tenant = tenant ? tenant : HOME_TENANT;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i].name, args->words[0]) == 0)
		{
			PGconn *conn;
			int code;

			if (args->count - 1 > verbs[i].words || (verbs[i].words > 0 && args->count < 3))
				util_fail(EXIT_USAGE,
				          "audit %s: wrong number of arguments: see 'probectl help audit'",
				          verbs[i].name);
			conn = db_connect(home, HOME_DATABASE);
			code = verbs[i].run(conn, &chain, args);
			PQfinish(conn);
			return code;
		}
	util_fail(EXIT_USAGE, "audit: unknown verb %s: see 'probectl help audit'", args->words[0]);
}

static const struct cli_option options[] = {
    CLI_OPTION_HOME,
    {"tenant", "SLUG", "tenant (default: " HOME_TENANT ")"},
    {"provider", NULL, "the provider's chain instead"},
    {"after", "SEQ", "export: go on after this event; the file is appended to"},
    {"output", "FILE", "export: write here instead of standard output"},
    CLI_OPTION_END,
};

const struct cli_command cmd_audit = {
    .name = "audit",
    .words = "verify | export | proof inclusion SEQ | proof consistency FIRST SECOND | key",
    .min_words = 1,
    .max_words = 4,
    .summary = "verify the audit chain, or take it and its proofs elsewhere",
    .text = "  probectl audit verify\n"
            "  probectl audit key                      keep this outside of the machine\n"
            "  probectl audit export --output acme.jsonl --tenant acme\n"
            "  probectl audit export --output acme.jsonl --tenant acme --after 4711\n"
            "  probectl audit export --output platform.jsonl --provider\n"
            "  probectl audit proof inclusion 17 >proof.json\n"
            "  probectl-audit-verify --key KEY acme.jsonl\n"
            "  probectl-audit-verify --key KEY --inclusion proof.json\n\n"
            "verify exits with 1 and names the first bad event when the chain was tampered with. "
            "FIRST and "
            "SECOND are\nsizes of checkpoints.\n",
    .options = options,
    .run = audit_run,
};
