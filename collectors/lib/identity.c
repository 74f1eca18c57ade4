/* SPDX-License-Identifier: PostgreSQL
 *
 * identity.c -- the versioned directory (identity.h); enrolment stands in enroll.c.
 */
#include "lib/identity.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/files.h"

#define IDENTITY_FILE_MAX (64 * 1024)
#define IDENTITY_PREFIX   "v-"

/* dir/a/b into path; false when it is too long. */
static bool
join(char *path, size_t len, const char *dir, const char *a, const char *b)
{
	int n = snprintf(path, len, "%s/%s%s%s", dir, a, b ? "/" : "", b ? b : "");

	if (n >= 0 && (size_t) n < len)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

/* The file as text; NULL with err. */
static char *
read_text(const char *path, char *err, size_t errlen)
{
	struct buf file = BUF_INIT(IDENTITY_FILE_MAX);
	char *text = NULL;

	if (!files_read(path, &file))
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
	else if (buf_cstr(&file))
	{
		text = strdup((const char *) file.data);
		explicit_bzero(file.data, file.len);
	}
	buf_free(&file);
	return text;
}

enum identity_state
identity_load(const char *dir, struct identity *id, char *err, size_t errlen)
{
	enum identity_state state = IDENTITY_BROKEN;
	char why[256], *key = NULL, *cert = NULL;
	struct crypto_cert parsed;
	char link[IDENTITY_PATH_MAX];
	ssize_t n;

	memset(id, 0, sizeof(*id));
	if (!join(link, sizeof(link), dir, "current", NULL))
		n = -1;
	else if ((n = readlink(link, id->version, sizeof(id->version) - 1)) < 0 && errno == ENOENT)
	{
		snprintf(err, errlen, "identity %s: not enrolled", dir);
		return IDENTITY_MISSING;
	}
	/* A directory that a person put there, or a link that leads elsewhere, serves as well. */
	if (n == (ssize_t) sizeof(id->version) - 1 || (n < 0 && errno == EINVAL) ||
	    strchr(id->version, '/'))
		n = snprintf(id->version, sizeof(id->version), "current");
	if (n < 0 || !join(id->key_file, sizeof(id->key_file), dir, id->version, "key.pem") ||
	    !join(id->cert_file, sizeof(id->cert_file), dir, id->version, "cert.pem") ||
	    !join(id->ca_file, sizeof(id->ca_file), dir, id->version, "ca.pem"))
	{
		snprintf(err, errlen, "identity %s: %s", dir, strerror(errno));
		return IDENTITY_BROKEN;
	}
	key = read_text(id->key_file, err, errlen);
	cert = key ? read_text(id->cert_file, err, errlen) : NULL;
	if (!cert)
		goto out;
	if (!crypto_cert_parse(cert, &parsed, why, sizeof(why)))
		snprintf(err, errlen, "%s: %s", id->cert_file, why);
	else if (!crypto_key_matches(key, cert))
		snprintf(err, errlen, "%s: the certificate is not for this key", id->cert_file);
	else if (parsed.uri_count != 1 ||
	         !crypto_spiffe_parse(parsed.uris[0], id->tenant_id, id->agent_id))
		snprintf(err, errlen, "%s: the certificate does not name one agent", id->cert_file);
	else
	{
		memcpy(id->serial, parsed.serial, sizeof(id->serial));
		id->not_before = parsed.not_before;
		id->not_after = parsed.not_after;
		state = IDENTITY_OK;
	}
out:
	crypto_wipe(key);
	free(key);
	free(cert);
	return state;
}

/* Removes versions that are neither the new nor the previous one. */
static void
versions_prune(const char *dir, const char *keep, const char *previous)
{
	static const char *const names[] = {"key.pem", "cert.pem", "ca.pem"};
	char path[PATH_MAX], file[PATH_MAX];
	DIR *d = opendir(dir);
	struct dirent *entry;

	while (d && (entry = readdir(d)))
	{
		if (strncmp(entry->d_name, IDENTITY_PREFIX, strlen(IDENTITY_PREFIX)) != 0 ||
		    strcmp(entry->d_name, keep) == 0 || strcmp(entry->d_name, previous) == 0 ||
		    !join(path, sizeof(path), dir, entry->d_name, NULL))
			continue;
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (join(file, sizeof(file), path, names[i], NULL))
				unlink(file);
		rmdir(path);
	}
	if (d)
		closedir(d);
}

bool
identity_install(const char *dir, const char *key_pem, const char *cert_pem, const char *ca_pem,
                 char *err, size_t errlen)
{
	struct file
	{
		const char *name, *text;
	} files[] = {{"key.pem", key_pem}, {"cert.pem", cert_pem}, {"ca.pem", ca_pem}};
	char version[64], previous[256] = "", path[PATH_MAX], file[PATH_MAX];
	ssize_t n;
	bool ok;

	if (!crypto_key_matches(key_pem, cert_pem))
	{
		snprintf(err, errlen, "identity %s: the certificate is not for our key", dir);
		return false;
	}
	snprintf(version, sizeof(version), IDENTITY_PREFIX "%" PRId64, clock_unix_nano());
	ok = join(path, sizeof(path), dir, version, NULL) && files_mkdirs(path, 0700);
	for (size_t i = 0; ok && i < sizeof(files) / sizeof(files[0]); i++)
		ok = join(file, sizeof(file), path, files[i].name, NULL) &&
		     files_write(file, files[i].text, strlen(files[i].text), 0600);
	ok = ok && files_sync_dir(dir) && join(file, sizeof(file), dir, "current", NULL);
	if (ok)
	{
		n = readlink(file, previous, sizeof(previous) - 1);
		previous[n > 0 ? n : 0] = '\0';
		ok = files_symlink(version, file);
	}
	if (!ok)
	{
		snprintf(err, errlen, "identity %s: %s", dir, strerror(errno));
		return false;
	}
	versions_prune(dir, version, previous);
	if (join(file, sizeof(file), dir, "pending.key", NULL))
		unlink(file);
	return true;
}

char *
identity_key(const struct identity *id, char *err, size_t errlen)
{
	return read_text(id->key_file, err, errlen);
}

char *
identity_pending_key(const char *dir, char *err, size_t errlen)
{
	char path[PATH_MAX], *key;

	if (!files_mkdirs(dir, 0700) || !join(path, sizeof(path), dir, "pending.key", NULL))
	{
		snprintf(err, errlen, "identity %s: %s", dir, strerror(errno));
		return NULL;
	}
	key = access(path, F_OK) == 0 ? read_text(path, err, errlen) : NULL;
	if (key && strstr(key, "PRIVATE KEY"))
		return key;
	free(key);
	key = crypto_key_new();
	if (!key)
		snprintf(err, errlen, "identity %s: cannot make a key", dir);
	else if (!files_write(path, key, strlen(key), 0600))
	{
		snprintf(err, errlen, "%s: %s", path, strerror(errno));
		crypto_wipe(key);
		free(key);
		key = NULL;
	}
	return key;
}
