/* SPDX-License-Identifier: PostgreSQL
 *
 * child.h -- one process under the supervisor: its row in etc/processes.json, its
 * state, and the one function that changes that state.
 *
 *            child_start            child_stop
 *   STOPPED ------------> RUNNING ------------> STOPPING
 *      ^                    | died                 | gone
 *      |   child_stop       v                      |
 *      +----------------- BACKOFF                  |
 *      +-------------------------------------------+
 *
 * BACKOFF waits 0.2 s, doubling to 10 s, and starts again; a minute of health
 * resets it. A child whose revision in the table changed is stopped and started.
 */
#ifndef PCTL_CLI_CHILD_H
#define PCTL_CLI_CHILD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/home.h"
#include "cli/proc.h"

#define CHILD_BACKOFF_MIN_MS 200
#define CHILD_BACKOFF_MAX_MS 10000
#define CHILD_HEALTHY_MS     60000
#define CHILD_ARGS_MAX       16

enum child_state
{
	CHILD_STOPPED,  /* -> RUNNING */
	CHILD_RUNNING,  /* -> BACKOFF, STOPPING */
	CHILD_BACKOFF,  /* -> RUNNING, STOPPED */
	CHILD_STOPPING, /* -> STOPPED */
	CHILD_STATES
};

extern const char *const child_state_names[CHILD_STATES];

/* A row of etc/processes.json, all of it allocated. */
struct child_spec
{
	char *name;
	char *user;     /* as root: who it runs as */
	char *revision; /* changes when it must be started anew */
	char *argv[CHILD_ARGS_MAX + 1];
	int stop_signal;
	int stop_ms;  /* then SIGKILL */
	bool net_raw; /* keeps CAP_NET_RAW */
};

struct child
{
	struct child_spec spec;
	bool wanted;   /* false: stop it, then forget it */
	bool own;      /* ours to wait for; false: adopted from a supervisor that died */
	bool outdated; /* spec changed since it was started */
	char running_revision[64];
	enum child_state state;
	struct proc_id id;
	int pidfd;
	int64_t since_wall_ms; /* of the running process */
	int64_t since_ms;
	int64_t backoff_ms;
	int64_t start_at_ms; /* BACKOFF */
	int64_t kill_at_ms;  /* STOPPING */
	unsigned restarts;
	char last_exit[64]; /* "exit 1", "signal 9"; empty = never ended */
};

/* One row of the table; false with a message when it is not of the right form. */
bool child_spec_parse(const json_t *row, struct child_spec *spec, struct util_error *err);
void child_spec_free(struct child_spec *spec);

/* Forks and executes; the output goes to log/<name>.log, the identity to run/<name>.pid. */
void child_start(struct child *child, const struct home *home);

/* Takes over a process that an earlier supervisor started; false when it is gone. */
bool child_adopt(struct child *child, const json_t *row);

/* Asks it to end. */
void child_stop(struct child *child);

/* Its pidfd became readable: it is gone. */
void child_gone(struct child *child, const struct home *home);

/* What is due by time: SIGKILL, end of backoff, health. */
void child_tick(struct child *child, const struct home *home, bool stopping);

/* When child_tick is next needed, monotonic ms; INT64_MAX = not. */
int64_t child_deadline(const struct child *child);

json_t *child_json(const struct child *child);

#endif
