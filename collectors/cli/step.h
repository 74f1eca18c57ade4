/* SPDX-License-Identifier: PostgreSQL
 *
 * step.h -- the progress `probectl up` shows: one line a step, with its time,
 * and a mark each second for whatever takes longer than two.
 */
#ifndef PCTL_CLI_STEP_H
#define PCTL_CLI_STEP_H

void step_begin(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Called from every loop that waits. Does nothing outside a step. */
void step_tick(void);

/* Ends the line: "ok", or what was found ("kept", "127.0.0.1:8443"). */
void step_done(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Ends the line of a step that is about to fail. */
void step_failed(void);

#endif
