/* SPDX-License-Identifier: PostgreSQL
 *
 * files.h -- files that are whole or not there, whatever stops the machine.
 *
 * All functions set errno and return false on failure.
 */
#ifndef PCTL_LIB_FILES_H
#define PCTL_LIB_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct buf;

/* Temporary name beside path, write, fsync, rename, fsync of the directory. */
bool files_write(const char *path, const void *data, size_t len, mode_t mode);

/* Appends the content to out, which bounds it (EFBIG). */
bool files_read(const char *path, struct buf *out);

/* All of data at offset; short writes are continued. */
bool files_pwrite(int fd, const void *data, size_t len, off_t offset);

/* Fsync of a directory, so that names made or removed in it last. */
bool files_sync_dir(const char *path);

/* The directory and its missing parents. An existing directory is success. */
bool files_mkdirs(const char *path, mode_t mode);

/* The symbolic link at path now points to target, in one step. */
bool files_symlink(const char *target, const char *path);

#endif
