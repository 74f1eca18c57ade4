/* SPDX-License-Identifier: PostgreSQL
 *
 * bench_peer.h -- other people's programs beside ours in a benchmark, and the agent as one of them.
 *
 * Failures end the program with a sentence, as everywhere in the benchmarks.
 */
#ifndef PCTL_CLI_BENCH_PEER_H
#define PCTL_CLI_BENCH_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct peer_outcome
{
	double cpu_us, seconds;
	char *output; /* standard output and error */
};

/* The first of the NULL-terminated names that is there; NULL: none. */
const char *peer_installed(const char *const *names);

/* The agent of this build. */
const char *peer_agent(void);

/* Starts a program with both outputs in a file. */
pid_t peer_launch(const char *const *argv, const char *output);

/* Runs one to its end; its exit status may be 0 or 1. */
struct peer_outcome peer_run(const char *const *argv, const char *folder);

/* A connection to a port of loopback, or -1. */
int peer_dial(uint16_t port);
uint16_t peer_free_port(void);

/* Waits until something listens there. */
void peer_wait(uint16_t port, const char *what);

/* ---- blackbox_exporter ---- */

extern const char *const peer_blackbox_names[];

struct peer_blackbox
{
	uint16_t port;
	pid_t pid;
	int64_t cpu_us; /* what its start took */
};

/* modules is its configuration. */
struct peer_blackbox peer_blackbox_start(const char *program, const char *folder,
                                         const char *modules);

/* The metrics of one probe, valid until the next; NULL when it did not succeed. */
const char *peer_blackbox_probe(uint16_t port, const char *module, const char *target);

/* Ends it: microseconds of CPU since the start. */
double peer_blackbox_stop(struct peer_blackbox *blackbox);

#endif
