/* SPDX-License-Identifier: PostgreSQL
 *
 * util.c -- strings, files and time for the command line.
 *
 * The pool is a list hanging from one static pointer, so a leak checker sees it
 * as reachable and real leaks stand out. Files that other processes read are
 * only ever replaced by rename: a reader sees the old or the new one, whole.
 */
#include "cli/util.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct pool_block
{
	struct pool_block *next;
	max_align_t data[];
};

static struct pool_block *pool;

bool
util_error_set(struct util_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return false;
}

void
util_fail(int code, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "probectl: %s\n", text);
	exit(code);
}

void *
util_alloc(size_t size)
{
	struct pool_block *block;

	if (size > SIZE_MAX - sizeof(*block))
		util_fail(EXIT_CANNOT, "out of memory");
	block = calloc(1, sizeof(*block) + size);
	if (!block)
		util_fail(EXIT_CANNOT, "out of memory");
	block->next = pool;
	pool = block;
	return block->data;
}

char *
util_fmt(const char *fmt, ...)
{
	va_list ap, again;
	char *text;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		util_fail(EXIT_CANNOT, "could not format a message");
	text = util_alloc((size_t) n + 1);
	vsnprintf(text, (size_t) n + 1, fmt, again);
	va_end(again);
	return text;
}

char *
util_dup(const char *text)
{
	return util_fmt("%s", text);
}

static int64_t
clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t
util_now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

int64_t
util_wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

void
util_pause_ms(int ms)
{
	int64_t until = util_now_ms() + ms;

	for (int64_t left = ms; left > 0; left = until - util_now_ms())
		poll(NULL, 0, (int) left);
}

const char *
util_age(int64_t seconds, char *out, size_t size)
{
	static const struct
	{
		int64_t below;
		int64_t unit;
		const char *name;
	} steps[] = {{120, 1, "s"}, {7200, 60, "min"}, {172800, 3600, "h"}, {INT64_MAX, 86400, "d"}};

	if (seconds < 0)
		seconds = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
	{
		if (seconds < steps[i].below)
		{
			snprintf(out, size, "%lld %s", (long long) (seconds / steps[i].unit), steps[i].name);
			break;
		}
	}
	return out;
}

const char *
util_time(int64_t unix_seconds, char *out, size_t size)
{
	time_t t = (time_t) unix_seconds;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

bool
util_read(const char *path, size_t max, char **data, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	char *buf;

	*data = NULL;
	if (fd < 0)
		return false;
	buf = malloc(max + 1);
	while (buf && used < max)
	{
		ssize_t n = read(fd, buf + used, max - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t) n;
	}
	close(fd);
	if (!buf)
		return false;
	buf[used] = '\0';
	*data = buf;
	if (size)
		*size = used;
	return true;
}

static bool
write_all(int fd, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		size -= (size_t) n;
	}
	return true;
}

static bool
write_failed(struct util_error *err, const char *path, const char *temp, int fd)
{
	int saved = errno;

	if (fd >= 0)
	{
		close(fd);
		unlink(temp);
	}
	if (saved == ENOSPC || saved == EDQUOT)
		return util_error_set(
		    err, "the disk is full: could not write %s: free some space, then retry", path);
	return util_error_set(err, "could not write %s: %s", path, strerror(saved));
}

bool
util_write(const char *path, const void *data, size_t size, mode_t mode, uid_t uid, gid_t gid,
           struct util_error *err)
{
	char temp[PATH_MAX];
	char tag[17];
	int fd;

	if (!util_random_hex(8, tag) ||
	    snprintf(temp, sizeof(temp), "%s.%s", path, tag) >= (int) sizeof(temp))
	{
		errno = ENAMETOOLONG;
		return write_failed(err, path, temp, -1);
	}
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return write_failed(err, path, temp, fd);
	if (!write_all(fd, data, size) || fchown(fd, uid, gid) != 0 || fchmod(fd, mode) != 0 ||
	    fsync(fd) != 0 || rename(temp, path) != 0)
		return write_failed(err, path, temp, fd);
	close(fd);
	return true;
}

bool
util_mkdir(const char *path, mode_t mode, uid_t uid, gid_t gid, struct util_error *err)
{
	struct stat st;
	int fd;
	bool ok;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
	{
		if (errno == ENOSPC || errno == EDQUOT)
			return util_error_set(err, "the disk is full: could not make %s", path);
		return util_error_set(err, "could not make %s: %s", path, strerror(errno));
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return util_error_set(err, "%s is not a folder", path);
	ok = fstat(fd, &st) == 0;
	if (ok && ((uid != (uid_t) -1 && st.st_uid != uid) || (gid != (gid_t) -1 && st.st_gid != gid)))
		ok = fchown(fd, uid, gid) == 0;
	if (ok && (st.st_mode & 07777) != mode)
		ok = fchmod(fd, mode) == 0;
	if (!ok)
		util_error_set(err, "could not set the owner of %s: %s", path, strerror(errno));
	close(fd);
	return ok;
}

bool
util_copy(const char *from, const char *to, struct util_error *err)
{
	struct stat src, dst;
	char temp[PATH_MAX];
	off_t done = 0;
	int in = -1, out = -1;
	bool ok = false;

	if (stat(from, &src) != 0)
		return util_error_set(err, "could not read %s: %s", from, strerror(errno));
	if (stat(to, &dst) == 0 && dst.st_size == src.st_size && dst.st_mtime == src.st_mtime)
		return true;
	snprintf(temp, sizeof(temp), "%s.new", to);
	in = open(from, O_RDONLY | O_CLOEXEC);
	unlink(temp);
	out = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = in >= 0 && out >= 0;
	while (ok && done < src.st_size)
	{
		ssize_t n = sendfile(out, in, &done, (size_t) (src.st_size - done));

		ok = n > 0 || (n < 0 && errno == EINTR);
	}
	if (ok)
	{
		struct timespec times[2] = {src.st_atim, src.st_mtim};

		ok = fchmod(out, src.st_mode & 07777) == 0 && futimens(out, times) == 0 &&
		     rename(temp, to) == 0;
	}
	if (!ok)
		util_error_set(err, "could not copy %s to %s: %s", from, to, strerror(errno));
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

bool
util_random_hex(size_t bytes, char *out)
{
	unsigned char raw[64];

	if (bytes > sizeof(raw) || getrandom(raw, bytes, 0) != (ssize_t) bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", raw[i]);
	return true;
}

static bool
port_valid(const char *text)
{
	char *end;
	long port;

	if (!isdigit((unsigned char) text[0]))
		return false;
	port = strtol(text, &end, 10);
	return *end == '\0' && port >= 1 && port <= 65535;
}

bool
util_host_port(const char *text, char *host, size_t host_size, char *port, size_t port_size)
{
	const char *colon = strrchr(text, ':');
	const char *from = text;
	size_t n;

	if (!colon || colon == text || !port_valid(colon + 1))
		return false;
	n = (size_t) (colon - text);
	if (text[0] == '[')
	{
		if (n < 3 || text[n - 1] != ']')
			return false;
		from++;
		n -= 2;
	}
	else if (memchr(text, ':', n))
		return false;
	if (n >= host_size || strlen(colon + 1) >= port_size)
		return false;
	memcpy(host, from, n);
	host[n] = '\0';
	snprintf(port, port_size, "%s", colon + 1);
	return true;
}
