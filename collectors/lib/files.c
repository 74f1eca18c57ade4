/* SPDX-License-Identifier: PostgreSQL
 *
 * files.c -- see files.h.
 */
#include "lib/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"

/* The directory part of path; "." when there is none. */
static bool
parent_of(const char *path, char dir[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	int n;

	if (!slash)
		n = snprintf(dir, PATH_MAX, ".");
	else
		n = snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int) (slash - path), path);
	if (n < 0 || n >= PATH_MAX)
	{
		errno = ENAMETOOLONG;
		return false;
	}
	return true;
}

bool
files_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	const char *p = data;

	while (len > 0)
	{
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			return false;
		}
		p += n;
		len -= (size_t) n;
		offset += n;
	}
	return true;
}

bool
files_sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int saved;
	bool ok;

	if (fd < 0)
		return false;
	ok = fsync(fd) == 0;
	saved = errno;
	close(fd);
	errno = saved;
	return ok;
}

bool
files_write(const char *path, const void *data, size_t len, mode_t mode)
{
	char tmp[PATH_MAX], dir[PATH_MAX];
	int fd, saved, n;
	bool ok;

	n = snprintf(tmp, sizeof(tmp), "%s.%ld.tmp", path, (long) getpid());
	if (n < 0 || n >= (int) sizeof(tmp) || !parent_of(path, dir))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return false;
	ok = files_pwrite(fd, data, len, 0) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
	saved = errno;
	if (close(fd) != 0 && ok)
	{
		ok = false;
		saved = errno;
	}
	if (ok && rename(tmp, path) != 0)
	{
		ok = false;
		saved = errno;
	}
	if (!ok)
	{
		unlink(tmp);
		errno = saved;
		return false;
	}
	return files_sync_dir(dir);
}

bool
files_read(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), saved = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	do
	{
		/* Ask for little more than what may still come, so that the bound is exact. */
		size_t left = out->max - out->len;
		size_t want = left < 4096 ? left : 4096;
		uint8_t spare, *to = want ? buf_room(out, want) : &spare;

		n = to ? read(fd, to, want ? want : 1) : -1;
		if (!to)
			saved = ENOMEM;
		else if (n < 0)
			saved = errno;
		else if (n > 0 && !want)
		{
			saved = EFBIG;
			n = -1;
		}
		else
			buf_added(out, (size_t) n);
	} while (n > 0 || (n < 0 && saved == EINTR));
	close(fd);
	errno = saved;
	return n == 0;
}

bool
files_mkdirs(const char *path, mode_t mode)
{
	char partial[PATH_MAX];
	size_t len = strlen(path);
	struct stat st;

	if (len == 0 || len >= sizeof(partial))
	{
		errno = len ? ENAMETOOLONG : ENOENT;
		return false;
	}
	memcpy(partial, path, len + 1);
	for (size_t i = 1; i <= len; i++)
	{
		if (partial[i] != '/' && partial[i] != '\0')
			continue;
		partial[i] = '\0';
		if (mkdir(partial, mode) != 0 && errno != EEXIST)
			return false;
		partial[i] = path[i];
	}
	if (stat(path, &st) != 0)
		return false;
	if (!S_ISDIR(st.st_mode))
	{
		errno = ENOTDIR;
		return false;
	}
	return true;
}

bool
files_symlink(const char *target, const char *path)
{
	char tmp[PATH_MAX], dir[PATH_MAX];
	int n = snprintf(tmp, sizeof(tmp), "%s.%ld.tmp", path, (long) getpid());

	if (n < 0 || n >= (int) sizeof(tmp) || !parent_of(path, dir))
	{
		errno = ENAMETOOLONG;
		return false;
	}
	unlink(tmp);
	if (symlink(target, tmp) != 0)
		return false;
	if (rename(tmp, path) != 0)
	{
		n = errno;
		unlink(tmp);
		errno = n;
		return false;
	}
	return files_sync_dir(dir);
}
