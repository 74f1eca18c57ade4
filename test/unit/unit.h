/* SPDX-License-Identifier: PostgreSQL
 *
 * unit.h -- what every driver includes: cmocka in the order it wants, and a private directory.
 */
#ifndef PCTL_TEST_UNIT_H
#define PCTL_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A fresh directory under $TMPDIR; unit_dir_remove deletes it with all that is in it. */
static inline char *
unit_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char *path = NULL;

	if (asprintf(&path, "%s/probectl-unit-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0 ||
	    !mkdtemp(path))
		abort();
	return path;
}

static inline void
unit_dir_remove(char *path)
{
	char *command = NULL;

	if (asprintf(&command, "rm -rf '%s'", path) < 0 || system(command) != 0)
		abort();
	free(command);
	free(path);
}

static inline void
unit_write(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "we");

	if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0)
		abort();
}

#endif
