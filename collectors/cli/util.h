/* SPDX-License-Identifier: PostgreSQL
 *
 * util.h -- strings, files and time for the command line.
 *
 * A command runs for seconds and ends, so its strings come from one pool that
 * lives until the process ends (util_fmt and friends never fail and are never
 * freed). The supervisor lives for years: in its loop it uses fixed buffers and
 * the functions here that return bool.
 */
#ifndef PCTL_CLI_UTIL_H
#define PCTL_CLI_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit codes of the command line; status adds its own (cmd_status.c). */
enum util_exit
{
	EXIT_CANNOT = 1, /* cannot run now: port taken, disk full, not running */
	EXIT_USAGE = 2   /* the caller's mistake: option, setting, argument */
};

/* A message with room for a path and a reason. */
struct util_error
{
	char text[1024];
};

bool util_error_set(struct util_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* One line "probectl: ..." on stderr, then the end of the process. */
void util_fail(int code, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Pool memory: lives until the process ends, zeroed, never NULL. */
void *util_alloc(size_t size);
char *util_fmt(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *util_dup(const char *text);

/* Monotonic and wall clock, milliseconds. */
int64_t util_now_ms(void);
int64_t util_wall_ms(void);

/* Waits on no event, interrupted by none: for polling a foreign process. */
void util_pause_ms(int ms);

/* "3 s", "4 min", "2 h", "5 d". */
const char *util_age(int64_t seconds, char *out, size_t size);

/* RFC 3339 UTC with seconds. */
const char *util_time(int64_t unix_seconds, char *out, size_t size);

/* Reads a whole file of at most max bytes; *data is malloc'ed and ends in NUL. */
bool util_read(const char *path, size_t max, char **data, size_t *size);

/*
 * Replaces a file in one step: temporary name in the same folder, write, fsync,
 * rename. Never follows a symbolic link at either name. uid/gid -1 = unchanged.
 */
bool util_write(const char *path, const void *data, size_t size, mode_t mode, uid_t uid, gid_t gid,
                struct util_error *err);

/* Makes a folder when absent and sets owner and mode on it; refuses a link. */
bool util_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct util_error *err);

/* Copies a file (mode kept) unless the target has the same size and time. */
bool util_copy(const char *from, const char *to, struct util_error *err);

/* Random bytes as lower-case hex; out has 2 * bytes + 1. */
bool util_random_hex(size_t bytes, char *out);

/* "HOST:PORT", "[v6]:PORT" -> parts; false when it is not of that form. */
bool util_host_port(const char *text, char *host, size_t host_size, char *port, size_t port_size);

#endif
