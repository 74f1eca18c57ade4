/* SPDX-License-Identifier: PostgreSQL
 *
 * super.h -- the supervisor as the commands see it: is it there, start it, tell
 * it that its table changed, stop it.
 */
#ifndef PCTL_CLI_SUPER_H
#define PCTL_CLI_SUPER_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/home.h"
#include "cli/proc.h"

/* run/supervisor.json, if it was written by us (or root); NULL otherwise. New reference. */
json_t *super_state(const struct home *home);

/* Whether it runs; *id is its identity. */
bool super_running(const struct home *home, struct proc_id *id);

/* Row of one child in a state, or NULL. Borrowed. */
json_t *super_child(const json_t *state, const char *name);

/* Whether that child runs now: by the state and by the process itself. */
bool super_child_alive(const struct home *home, const char *name);

/* Sends a signal to that child, if it runs. */
void super_signal(const struct home *home, const char *name, int sig);

/* Starts it, detached; returns when it has published its state, or fails. */
void super_start(const struct home *home);

/* Adds or replaces one row of etc/processes.json (row is stolen); tells no one. */
void super_put(const struct home *home, json_t *row);

/* Makes a running supervisor take the table over; returns when it has. */
void super_reload(const struct home *home);

/* Stops everything; false when nothing ran. Waits at most about 90 s. */
bool super_stop(const struct home *home);

/*
 * How long to wait for a child to become useful: until a deadline, or until it has
 * ended so often meanwhile that it will not get better.
 */
struct super_patience
{
	const struct home *home;
	const char *name;
	int64_t until_ms;
	int restarts;
};

struct super_patience super_patience(const struct home *home, const char *name, int ms);

/* Whether it is over; else a short pause, with progress. */
bool super_patience_over(const struct super_patience *patience);

/* What log/<name>.log ends with, "" when there is none: PostgreSQL's last FATAL. Pool memory. */
const char *super_last_log(const struct home *home, const char *name);

#endif
