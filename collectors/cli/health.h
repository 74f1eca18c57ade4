/* SPDX-License-Identifier: PostgreSQL
 *
 * health.h -- how each process is, from what the supervisor published, the status
 * sockets and the database. status prints it; up ends with it.
 */
#ifndef PCTL_CLI_HEALTH_H
#define PCTL_CLI_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/home.h"

#define HEALTH_MAX 64

struct health
{
	char name[64];
	char state[32]; /* running, restarting, stopping, stopped, no answer */
	bool ok;
	int pid;       /* 0 = none */
	int64_t since; /* unix seconds, 0 = not running */
	int restarts;
	char version[32];
	int64_t backlog;     /* -1 = not known */
	int64_t last_result; /* unix seconds, 0 = none yet or not known */
	char note[256];      /* what is wrong */
};

enum health_sum
{
	HEALTH_GOOD = 0, /* exit codes of status */
	HEALTH_DEGRADED = 3,
	HEALTH_DOWN = 4
};

/* Fills rows, the supervisor first; returns the number of rows. */
int health_read(const struct home *home, struct health rows[HEALTH_MAX], enum health_sum *sum);

/* The table of rows on standard output. */
void health_print(const struct health *rows, int count);

#endif
