/* SPDX-License-Identifier: PostgreSQL
 *
 * step.c -- one line a step. The state is the process's: there is one terminal.
 * A step that fails ends its own line first, so that the message on stderr
 * starts a new one (step_failed is registered to run at exit).
 */
#include "cli/step.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/util.h"

#define STEP_WIDTH    44   /* columns of the text */
#define STEP_QUIET_MS 2000 /* no mark before this */

static struct
{
	bool open;
	bool registered;
	int number;
	int64_t began;
	int64_t next_mark;
} step;

void
step_begin(const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!step.registered)
		atexit(step_failed);
	step.registered = true;
	step.open = true;
	step.began = util_now_ms();
	step.next_mark = step.began + STEP_QUIET_MS;
	printf("%2d  %-*s ", ++step.number, STEP_WIDTH, text);
	fflush(stdout);
}

void
step_tick(void)
{
	if (!step.open || util_now_ms() < step.next_mark)
		return;
	step.next_mark += 1000;
	putchar('.');
	fflush(stdout);
}

void
step_done(const char *fmt, ...)
{
	va_list ap;

	if (!step.open)
		return;
	step.open = false;
	if (step.next_mark > step.began + STEP_QUIET_MS)
		putchar(' ');
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (%.1f s)\n", (double) (util_now_ms() - step.began) / 1000.0);
	fflush(stdout);
}

void
step_failed(void)
{
	if (!step.open)
		return;
	step.open = false;
	printf("failed\n");
	fflush(stdout);
}
