/* SPDX-License-Identifier: PostgreSQL
 *
 * log.h -- one line per event on standard error.
 *
 *   2026-11-21T19:05:36.123456Z info forward 127.0.0.1:9443: registered, epoch 7
 *
 * Time (RFC 3339, UTC), level, subsystem token, entity (the peer, agent, file the event is
 * about; may be NULL), message: lower-case, no newline. Control characters in a message
 * are escaped, so that hostile input cannot forge a line. A line is one write(2): lines of
 * threads and processes never mix. errno is left as it was.
 *
 * A function that returns an error does not log it; who handles it does.
 */
#ifndef PCTL_LIB_LOG_H
#define PCTL_LIB_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level
{
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

/* Names of the levels in order, NULL-terminated: the choices of the setting log.level. */
extern const char *const log_level_names[];

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *subsystem, const char *entity, const char *fmt,
               ...) __attribute__((format(printf, 4, 5)));

/* Logs as error and exits with 1. */
void log_fatal(const char *subsystem, const char *entity, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#define log_error(sub, ent, ...)   log_write(LOG_LEVEL_ERROR, sub, ent, __VA_ARGS__)
#define log_warning(sub, ent, ...) log_write(LOG_LEVEL_WARNING, sub, ent, __VA_ARGS__)
#define log_info(sub, ent, ...)    log_write(LOG_LEVEL_INFO, sub, ent, __VA_ARGS__)
#define log_debug(sub, ent, ...)                                                                   \
	do                                                                                             \
	{                                                                                              \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
			log_write(LOG_LEVEL_DEBUG, sub, ent, __VA_ARGS__);                                     \
	} while (0)

/* State of one rate-limited place: at most one line per LOG_LIMIT_SECONDS; the next line
 * that passes says how many were held back. May be shared by threads. */
struct log_limit
{
	_Atomic int64_t next; /* monotonic seconds */
	_Atomic uint64_t held;
};

#define LOG_LIMIT_SECONDS 10

/* True when the caller may log now; *held is the number of lines suppressed before. */
bool log_limit_pass(struct log_limit *limit, uint64_t *held);

/* As log_write, rate limited for this place in the code. */
#define log_limited(level, sub, ent, fmt, ...)                                                     \
	do                                                                                             \
	{                                                                                              \
		static struct log_limit limit_;                                                            \
		uint64_t held_;                                                                            \
		if (log_enabled(level) && log_limit_pass(&limit_, &held_))                                 \
		{                                                                                          \
			if (held_)                                                                             \
				log_write(level, sub, ent, fmt " (%llu more like this)", ##__VA_ARGS__,            \
				          (unsigned long long) held_);                                             \
			else                                                                                   \
				log_write(level, sub, ent, fmt, ##__VA_ARGS__);                                    \
		}                                                                                          \
	} while (0)

#endif
