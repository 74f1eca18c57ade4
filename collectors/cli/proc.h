/* SPDX-License-Identifier: PostgreSQL
 *
 * proc.h -- processes: who one is, running one, ending one.
 *
 * A pid alone names nobody: it is reused. A process is its pid, the tick of the
 * boot clock at which it started (field 22 of /proc/<pid>/stat) and the boot.
 */
#ifndef PCTL_CLI_PROC_H
#define PCTL_CLI_PROC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/util.h"

struct home_user;

struct proc_id
{
	pid_t pid; /* 0 = none */
	uint64_t start;
	char boot[37]; /* /proc/sys/kernel/random/boot_id */
};

/* Identity of a live process; false when it is gone or only a zombie. */
bool proc_identify(pid_t pid, struct proc_id *id);

/* Whether exactly this process still runs. */
bool proc_alive(const struct proc_id *id);

/* A pidfd of exactly this process, or -1. Signals through it cannot go astray. */
int proc_open(const struct proc_id *id);
bool proc_signal(int pidfd, int sig);

/* Waits for the end, at most ms. */
bool proc_wait(int pidfd, int ms);

/* Resident memory (KiB) and CPU time of all threads (us) so far; false when gone. */
bool proc_usage(pid_t pid, int64_t *rss_kib, int64_t *cpu_us);

json_t *proc_json(const struct proc_id *id);
bool proc_from_json(const json_t *json, struct proc_id *id);

/*
 * Runs a program to its end as that user (NULL: as is), stdin from /dev/null.
 * Output is collected: into *out when wanted (malloc'ed); on failure its last
 * line is the message of err. Shows progress while it waits (step.h).
 */
bool proc_run(const char *const *argv, const struct home_user *user, char **out,
              struct util_error *err);

/* Takes on that user for good: groups, gid, uid. For use after fork. */
bool proc_become(const struct home_user *user);

/* Last line that says something, of a text. */
const char *proc_last_line(char *text);

#endif
