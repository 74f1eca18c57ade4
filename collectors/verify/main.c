/* SPDX-License-Identifier: PostgreSQL
 *
 * main.c -- probectl-audit-verify: is this export, or this proof, what was signed? Needs no database.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "verify/check.h"

static char line[16 << 20]; /* the longest line that is read */

static const char help[] =
    "probectl-audit-verify: checks what `probectl audit export` and `probectl audit proof` "
    "wrote\n\n"
    "Usage: probectl-audit-verify [--key HEX]... [FILE | -]\n"
    "       probectl-audit-verify [--key HEX]... --inclusion FILE | --consistency FILE\n\n"
    "  --key HEX  public key of the server, kept outside of it: `probectl audit key`\n\n"
    "Exit code: 0 it holds, 1 it was tampered with, 2 it cannot be read.\n";

static enum check_result
export_check(struct check *c, FILE *in)
{
	enum check_result result = CHECK_GOOD;

	while (result == CHECK_GOOD && fgets(line, sizeof(line), in))
		result = check_line(c, line, strlen(line));
	return result == CHECK_GOOD ? check_end(c) : result;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"key", 1, NULL, 'k'},  {"inclusion", 1, NULL, 'i'}, {"consistency", 1, NULL, 'c'},
	    {"help", 0, NULL, 'h'}, {"version", 0, NULL, 'v'},   {0}};
	static struct check c;
	const char *file = NULL;
	enum check_result result;
	int option, kind = 'e';
	FILE *in;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		if (option == 'h' || option == 'v')
			return puts(option == 'h' ? help : "probectl-audit-verify " PROBECTL_VERSION) < 0;
		if (option != 'k' && option != '?' && kind == 'e')
			file = (kind = option, optarg);
		else if (option != 'k' || c.key_count == CHECK_KEYS_MAX ||
		         !check_hex(optarg, c.keys[c.key_count++], CHECK_HASH))
			return fprintf(stderr, "--key takes 64 digits 0-9a-f; one proof at a time\n"), 2;
	}
	if (argc - optind > (kind == 'e'))
		return fprintf(stderr, "unexpected argument %s: see --help\n", argv[optind]), 2;
	file = file ? file : optind < argc ? argv[optind] : "-";
	if (!(in = strcmp(file, "-") == 0 ? stdin : fopen(file, "r")))
		return perror(file), 2;
	result = kind == 'e' ? export_check(&c, in)
	                     : check_proof(&c, line, fread(line, 1, sizeof(line), in), kind == 'i');
	if (ferror(in))
		return perror(file), 2;
	if (c.key_count == 0)
		fprintf(stderr,
		        "WARNING: without --key the keys in the text itself are believed: who wrote "
		        "all of it anew passes\n");
	if (c.signed_size < c.seq && result == CHECK_GOOD)
		fprintf(stderr, "WARNING: events after %lld are not signed\n", (long long) c.signed_size);
	if (result == CHECK_MALFORMED)
		fprintf(stderr, "%s:%lld: %s\n", file, (long long) c.lines, c.why);
	else if (result == CHECK_BAD)
		printf("bad: event %lld: %s\n", (long long) c.bad, c.why);
	else if (kind != 'e')
		printf("ok: the proof holds\n");
	else
		printf("ok: %lld events, %lld to %lld, of %s; %lld checkpoints, signed up to %lld\n",
		       (long long) c.events, (long long) c.pruned + 1, (long long) c.seq, c.stream,
		       (long long) c.checkpoints, (long long) c.signed_size);
	return (int) result;
}
