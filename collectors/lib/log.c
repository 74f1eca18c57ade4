/* SPDX-License-Identifier: PostgreSQL
 *
 * log.c -- formats a line on the stack and writes it at once.
 *
 * No allocation and no lock: usable from any thread and when memory is out. A line is cut
 * at LOG_LINE_MAX, which stays below PIPE_BUF (4,096) so that the write is atomic on a pipe.
 */
#include "lib/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048

const char *const log_level_names[] = {"error", "warning", "info", "debug", NULL};

static _Atomic int log_threshold = LOG_LEVEL_INFO;

void
log_set_level(enum log_level level)
{
	log_threshold = (int) level;
}

bool
log_enabled(enum log_level level)
{
	return (int) level <= log_threshold;
}

/* Appends text with control characters as \xNN; bytes above 0x7f pass (UTF-8). */
static size_t
log_escape(char *line, size_t at, size_t end, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && at + 4 < end; text++)
	{
		unsigned char c = (unsigned char) *text;

		if (c >= 0x20 && c != 0x7f)
		{
			line[at++] = (char) c;
			continue;
		}
		line[at++] = '\\';
		line[at++] = 'x';
		line[at++] = hex[c >> 4];
		line[at++] = hex[c & 15];
	}
	return at;
}

static void __attribute__((format(printf, 4, 0)))
log_line(enum log_level level, const char *subsystem, const char *entity, const char *fmt,
         va_list args)
{
	char message[LOG_LINE_MAX], line[LOG_LINE_MAX + 8];
	struct timespec now;
	struct tm tm;
	size_t at;
	ssize_t written;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	at = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	at += (size_t) snprintf(line + at, sizeof(line) - at, ".%06ldZ %s %s", now.tv_nsec / 1000,
	                        log_level_names[level], subsystem);
	if (entity && *entity)
	{
		line[at++] = ' ';
		at = log_escape(line, at, LOG_LINE_MAX / 2, entity);
	}
	line[at++] = ':';
	line[at++] = ' ';
	vsnprintf(message, sizeof(message), fmt, args);
	at = log_escape(line, at, LOG_LINE_MAX, message);
	line[at++] = '\n';
	do
		written = write(STDERR_FILENO, line, at);
	while (written < 0 && errno == EINTR);
}

void
log_write(enum log_level level, const char *subsystem, const char *entity, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, fmt);
	errno = saved;
	log_line(level, subsystem, entity, fmt, args);
	va_end(args);
	errno = saved;
}

void
log_fatal(const char *subsystem, const char *entity, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_line(LOG_LEVEL_ERROR, subsystem, entity, fmt, args);
	va_end(args);
	exit(1);
}

bool
log_limit_pass(struct log_limit *limit, uint64_t *held)
{
	struct timespec now;
	int64_t due = limit->next;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec + 1 < due ||
	    !atomic_compare_exchange_strong(&limit->next, &due, now.tv_sec + 1 + LOG_LIMIT_SECONDS))
	{
		limit->held++;
		return false;
	}
	*held = atomic_exchange(&limit->held, 0);
	return true;
}
