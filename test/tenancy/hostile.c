/* SPDX-License-Identifier: PostgreSQL
 *
 * hostile.c -- runs a script of hostile statements over one connection and reads everything that comes
 * back for what another party owns.
 *
 * The script is made by statements.py; a line is five fields with tabs between: operation, parties whose
 * secrets may not be seen, kind of statement, most rows it may answer or touch (-1: any), SQL.
 *
 *   T  begins a transaction; the SQL enters a tenant and must succeed
 *   S  one statement; whatever it does is rolled back to the savepoint after it
 *   K  one statement whose effect stays until the end of the transaction
 *   P  name, \x01, SQL: prepares by the protocol; X name: executes it
 *   C  COPY ... TO STDOUT; Q several statements in one simple query
 *   E  ends the transaction with the SQL
 *
 * Statements travel in libpq's pipeline mode, a transaction at a time, so that the server is never
 * waited for; that is what makes a hundred thousand of them fit into a build.
 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#define MAX_PARTIES 8
#define MAX_FORMS   24
#define MAX_KINDS   64
#define MAX_PENDING 512
#define LEAKS_SHOWN 20
#define EXCERPT_LEN 400

/* One party's secrets, in every form a function could have brought them into. */
typedef struct Party
{
	char letter;
	int forms;
	char *form[MAX_FORMS];
} Party;

typedef struct Kind
{
	char name[32];
	long statements, answered, rows, refused, denied, failed;
} Kind;

typedef struct Line
{
	char op;
	const char *forbid;
	Kind *kind;
	long max_rows;
	const char *sql;
	bool counted; /* a statement of the script, not a savepoint around it */
} Line;

static Party parties[MAX_PARTIES];
static int party_count;
static Kind kinds[MAX_KINDS];
static int kind_count;
static Line pending[MAX_PENDING];
static int pending_count, pending_read;
static long leaks, own_seen, statements;
static const Line *current; /* for the notice processor */
static PGconn *conn;

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "hostile: %s: %s\n", what, detail);
	exit(2);
}

/* A party's file: a line a form, the first character of each line is its letter. */
static void
read_parties(const char *path)
{
	FILE *file = fopen(path, "r");
	char text[256];

	if (file == NULL)
		die(path, strerror(errno));
	while (fgets(text, sizeof(text), file) != NULL)
	{
		Party *party = NULL;

		text[strcspn(text, "\n")] = '\0';
		for (int i = 0; i < party_count; i++)
			if (parties[i].letter == text[0])
				party = &parties[i];
		if (party == NULL)
		{
			if (party_count == MAX_PARTIES)
				die(path, "too many parties");
			party = &parties[party_count++];
			party->letter = text[0];
		}
		if (party->forms == MAX_FORMS || strlen(text) < 8)
			die(path, text);
		party->form[party->forms++] = strdup(text + 2);
	}
	fclose(file);
}

static Kind *
kind_of(const char *name)
{
	for (int i = 0; i < kind_count; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	if (kind_count == MAX_KINDS)
		die("too many kinds", name);
	snprintf(kinds[kind_count].name, sizeof(kinds[0].name), "%s", name);
	return &kinds[kind_count++];
}

static void
report(const Line *line, const char *what, const char *where, const char *text)
{
	if (leaks++ >= LEAKS_SHOWN)
		return;
	printf("leak: kind %s: %s in %s\n  statement: %.2000s\n  came back: %.*s\n", line->kind->name,
	       what, where, line->sql, EXCERPT_LEN, text);
}

/* Looks for secrets without regard to case; what upper() or initcap() did to them is still them. */
static void
scan(const Line *line, const char *where, const char *text)
{
	static char *low = NULL;
	static size_t size = 0;
	size_t len = text == NULL ? 0 : strlen(text);

	if (len < 6)
		return;
	if (len >= size)
	{
		size = len * 2 + 1;
		low = realloc(low, size);
		if (low == NULL)
			die("memory", "exhausted");
	}
	for (size_t i = 0; i <= len; i++)
		low[i] = (char) tolower((unsigned char) text[i]);
	for (int i = 0; i < party_count; i++)
	{
		bool forbidden = strchr(line->forbid, parties[i].letter) != NULL;

		for (int form = 0; form < parties[i].forms; form++)
		{
			char *hit = strstr(low, parties[i].form[form]);

			if (hit == NULL)
				continue;
			if (!forbidden)
				own_seen++;
			else
			{
				size_t at = (size_t) (hit - low);

				report(line, parties[i].form[form], where, text + (at > 100 ? at - 100 : 0));
			}
			break;
		}
	}
}

static void
notice(void *arg, const PGresult *result)
{
	static const int fields[] = {PG_DIAG_MESSAGE_PRIMARY, PG_DIAG_MESSAGE_DETAIL,
	                             PG_DIAG_MESSAGE_HINT, PG_DIAG_CONTEXT, PG_DIAG_INTERNAL_QUERY};

	(void) arg;
	for (size_t i = 0; current != NULL && i < sizeof(fields) / sizeof(fields[0]); i++)
		scan(current, "a notice", PQresultErrorField(result, fields[i]));
}

static void
judge_error(const Line *line, const PGresult *result)
{
	static const int fields[] = {
	    PG_DIAG_MESSAGE_PRIMARY, PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT, PG_DIAG_CONTEXT,
	    PG_DIAG_INTERNAL_QUERY,  PG_DIAG_SCHEMA_NAME,    PG_DIAG_TABLE_NAME,   PG_DIAG_COLUMN_NAME,
	    PG_DIAG_DATATYPE_NAME,   PG_DIAG_CONSTRAINT_NAME};
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		scan(line, "an error", PQresultErrorField(result, fields[i]));
	if (state == NULL)
		die("the connection broke", PQerrorMessage(conn));
	if (line->op == 'T' && line->counted)
		die("a tenant could not be entered", PQresultErrorMessage(result));
	if (strncmp(state, "57P", 3) == 0 || strncmp(state, "XX", 2) == 0)
		fprintf(stderr, "hostile: %s: %s\n  statement: %.2000s\n", state,
		        PQresultErrorMessage(result), line->sql);
	if (strcmp(state, "PC403") == 0)
		line->kind->refused++;
	else if (strcmp(state, "42501") == 0)
		line->kind->denied++;
	else
		line->kind->failed++;
}

static void
judge_rows(const Line *line, const PGresult *result)
{
	int columns = PQnfields(result), rows = PQntuples(result);
	const char *touched = PQcmdTuples((PGresult *) result);

	for (int i = 0; i < columns; i++)
		scan(line, "a column's name", PQfname(result, i));
	for (int row = 0; row < rows; row++)
		for (int i = 0; i < columns; i++)
			if (!PQgetisnull(result, row, i))
				scan(line, "a row", PQgetvalue(result, row, i));
	line->kind->answered++;
	line->kind->rows += rows;
	if (line->max_rows >= 0 && *touched != '\0' && strtol(touched, NULL, 10) > line->max_rows)
		report(line, "more rows than the tenant has", "the row count", touched);
}

static void
judge(const Line *line, const PGresult *result)
{
	switch (PQresultStatus(result))
	{
		case PGRES_TUPLES_OK:
		case PGRES_COMMAND_OK:
			if (line->counted)
				judge_rows(line, result);
			break;
		case PGRES_FATAL_ERROR: judge_error(line, result); break;
		default: break;
	}
}

/* Reads what the server has to say to everything sent. */
static void
drain(void)
{
	PGresult *result;
	PGnotify *event;

	while (pending_read < pending_count)
	{
		current = &pending[pending_read];
		result = PQgetResult(conn);
		if (result == NULL)
		{
			if (PQstatus(conn) != CONNECTION_OK)
				die("the connection broke", current->sql);
			continue;
		}
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			pending_read++;
			PQclear(result);
			continue;
		}
		if (PQresultStatus(result) == PGRES_COPY_OUT || PQresultStatus(result) == PGRES_COPY_IN)
			die("COPY in a pipeline", current->sql);
		judge(current, result);
		PQclear(result);
		while ((event = PQnotifies(conn)) != NULL)
		{
			scan(current, "a notification", event->extra);
			PQfreemem(event);
		}
	}
	pending_count = pending_read = 0;
}

static void
send_failed(const char *sql)
{
	die(PQerrorMessage(conn), sql);
}

/* Puts one statement into the pipeline, followed by a sync so that its error ends with it. */
static void
enqueue(const Line *line, bool counted)
{
	const char *sql = line->sql, *split;
	int sent;

	if (pending_count == MAX_PENDING)
		drain();
	pending[pending_count] = *line;
	pending[pending_count++].counted = counted;
	if (line->op == 'P' && (split = strchr(sql, '\x01')) != NULL)
	{
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int) (split - sql), sql);
		sent = PQsendPrepare(conn, name, split + 1, 0, NULL);
	}
	else if (line->op == 'X')
		sent = PQsendQueryPrepared(conn, sql, 0, NULL, NULL, NULL, 0);
	else
		sent = PQsendQueryParams(conn, sql, 0, NULL, NULL, NULL, NULL, 0);
	if (sent != 1 || PQpipelineSync(conn) != 1)
		send_failed(sql);
}

static void
enqueue_plain(const Line *line, const char *sql)
{
	Line plain = *line;

	plain.op = 'S';
	plain.sql = sql;
	enqueue(&plain, false);
}

/* COPY and simple queries do not go into a pipeline. */
static void
run_alone(const Line *line)
{
	PGresult *result;
	char *row;

	drain();
	if (PQexitPipelineMode(conn) != 1 || PQsendQuery(conn, line->sql) != 1)
		send_failed(line->sql);
	current = line;
	while ((result = PQgetResult(conn)) != NULL)
	{
		if (PQresultStatus(result) == PGRES_COPY_OUT)
			while (PQgetCopyData(conn, &row, 0) > 0)
			{
				scan(line, "a copied row", row);
				line->kind->rows++;
				PQfreemem(row);
			}
		else if (PQresultStatus(result) == PGRES_COPY_IN)
			PQputCopyEnd(conn, "no data");
		else
			judge(line, result);
		PQclear(result);
	}
	if (PQenterPipelineMode(conn) != 1)
		send_failed(line->sql);
}

static void
run_line(Line *line)
{
	line->counted = true;
	if (line->op != 'T' && line->op != 'E')
	{
		line->kind->statements++;
		statements++;
	}
	switch (line->op)
	{
		case 'T':
			enqueue_plain(line, "BEGIN");
			if (line->sql[0] != '\0')
				enqueue(line, true);
			enqueue_plain(line, "SAVEPOINT hostile");
			break;
		case 'C':
		case 'Q':
			run_alone(line);
			enqueue_plain(line, "ROLLBACK TO SAVEPOINT hostile");
			break;
		case 'E':
			enqueue_plain(line, line->sql);
			drain();
			break;
		case 'K': enqueue(line, true); break;
		default:
			enqueue(line, true);
			enqueue_plain(line, "ROLLBACK TO SAVEPOINT hostile");
			break;
	}
}

static void
run_script(char *text)
{
	char *next;

	for (char *p = text; *p != '\0'; p = next)
	{
		char *field[5];
		Line line;

		next = p + strcspn(p, "\n");
		if (*next != '\0')
			*next++ = '\0';
		for (int i = 0; i < 5; i++)
		{
			field[i] = p;
			p = i < 4 ? strchr(p, '\t') : p;
			if (p == NULL)
				die("bad line", field[0]);
			if (i < 4)
				*p++ = '\0';
		}
		line.op = field[0][0];
		line.forbid = field[1];
		line.kind = kind_of(field[2]);
		line.max_rows = strtol(field[3], NULL, 10);
		line.sql = field[4];
		run_line(&line);
	}
	drain();
}

static char *
read_file(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text;
	long size;

	if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0)
		die(path, strerror(errno));
	rewind(file);
	text = malloc((size_t) size + 1);
	if (text == NULL || fread(text, 1, (size_t) size, file) != (size_t) size)
		die(path, "could not be read");
	text[size] = '\0';
	fclose(file);
	return text;
}

int
main(int argc, char **argv)
{
	if (argc != 4)
		die("usage", "hostile CONNINFO SECRETS SCRIPT");
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		die("cannot connect", PQerrorMessage(conn));
	read_parties(argv[2]);
	PQsetNoticeReceiver(conn, notice, NULL);
	if (PQenterPipelineMode(conn) != 1)
		die("pipeline", PQerrorMessage(conn));
	run_script(read_file(argv[3]));
	for (int i = 0; i < kind_count; i++)
		if (kinds[i].statements > 0)
			printf("kind %s %ld %ld %ld %ld %ld %ld\n", kinds[i].name, kinds[i].statements,
			       kinds[i].answered, kinds[i].rows, kinds[i].refused, kinds[i].denied,
			       kinds[i].failed);
	printf("total %ld %ld %ld\n", statements, own_seen, leaks);
	PQfinish(conn);
	return leaks == 0 ? 0 : 1;
}
