/* SPDX-License-Identifier: PostgreSQL
 *
 * site.c -- the web files, held in memory.
 *
 * Symbolic links, hidden files and anything that is not a regular file are left out. A
 * file `x.gz` beside `x` is its compressed variant and has no address of its own.
 * Entity tags come from the content, so a rebuilt but equal file stays cached.
 */
#include "gateway/site.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/mem.h"

struct site
{
	struct site_file *files; /* sorted by path */
	size_t count;
	size_t total;
};

static const struct
{
	const char *extension;
	const char *type;
} types[] = {
    {".css", "text/css; charset=utf-8"},
    {".gif", "image/gif"},
    {".html", "text/html; charset=utf-8"},
    {".ico", "image/x-icon"},
    {".jpg", "image/jpeg"},
    {".js", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".map", "application/json"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".pdf", "application/pdf"},
    {".png", "image/png"},
    {".svg", "image/svg+xml"},
    {".ttf", "font/ttf"},
    {".txt", "text/plain; charset=utf-8"},
    {".wasm", "application/wasm"},
    {".webmanifest", "application/manifest+json"},
    {".webp", "image/webp"},
    {".woff", "font/woff"},
    {".woff2", "font/woff2"},
    {".xml", "application/xml"},
};

static const char *
content_type(const char *path)
{
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
		if (strcasecmp(dot, types[i].extension) == 0)
			return types[i].type;
	return "application/octet-stream";
}

/* A bundler's name: below assets/, "-" and eight or more characters of hash before the
 * extension, with a digit or a capital among them (which an ordinary word has not). */
static bool
name_is_hashed(const char *path)
{
	const char *base = strrchr(path, '/') + 1;
	const char *dot = strchr(base, '.');
	size_t n = 0;
	bool marked = false;

	if (strncmp(path, "/assets/", 8) != 0 || dot == NULL)
		return false;
	for (const char *p = dot; p > base; p--)
	{
		char ch = p[-1];

		if (ch == '-' && n >= 8)
			return marked;
		if (!((ch >= '0' && ch <= '9') || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
		      ch == '_' || ch == '-'))
			return false;
		marked = marked || (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z');
		n++;
	}
	return false;
}

/* FNV-1a, 64 bits: tells versions of one file apart, protects nothing. */
static void
etag_make(struct site_variant *v, char kind)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < v->len; i++)
		h = (h ^ (unsigned char) v->data[i]) * UINT64_C(0x100000001b3);
	snprintf(v->etag, sizeof v->etag, "\"%016llx%c\"", (unsigned long long) h, kind);
}

static bool
file_read(const char *name, struct site_variant *v, char *err, size_t errlen)
{
	struct stat st;
	int fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	if (ok && st.st_size > SITE_FILE_MAX)
	{
		snprintf(err, errlen, "web_root: %s is larger than %d MiB", name, SITE_FILE_MAX >> 20);
		close(fd);
		return false;
	}
	v->data = mem_alloc(ok ? (size_t) st.st_size + 1 : 1);
	while (ok && v->len < (size_t) st.st_size)
	{
		ssize_t n = read(fd, v->data + v->len, (size_t) st.st_size - v->len);

		if (n <= 0 && errno != EINTR)
			ok = false;
		else if (n > 0)
			v->len += (size_t) n;
	}
	if (!ok)
		snprintf(err, errlen, "web_root: cannot read %s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ok;
}

static void
file_clear(struct site_file *f)
{
	free(f->path);
	free(f->plain.data);
	free(f->gzip.data);
}

static bool
site_add(struct site *site, const char *root, const char *name, char *err, size_t errlen)
{
	struct site_file f = {0};
	bool ok;

	f.path = mem_strdup(name + strlen(root));
	ok = file_read(name, &f.plain, err, errlen);
	site->total += f.plain.len;
	if (ok && site->total > SITE_TOTAL_MAX)
	{
		snprintf(err, errlen, "web_root: more than %d MiB of files", SITE_TOTAL_MAX >> 20);
		ok = false;
	}
	if (!ok)
	{
		file_clear(&f);
		return false;
	}
	site->files = mem_resize(site->files, site->count + 1, sizeof f);
	site->files[site->count++] = f;
	return true;
}

static int
file_compare(const void *a, const void *b)
{
	return strcmp(((const struct site_file *) a)->path, ((const struct site_file *) b)->path);
}

static struct site_file *
site_lookup(const struct site *site, const char *path)
{
	struct site_file key = {.path = (char *) (uintptr_t) path};

	if (site->count == 0)
		return NULL;
	return bsearch(&key, site->files, site->count, sizeof key, file_compare);
}

/* Moves every x.gz to the variant of its x, then fills in what depends on content. */
static void
site_settle(struct site *site)
{
	size_t kept = 0;

	qsort(site->files, site->count, sizeof *site->files, file_compare);
	for (size_t i = 0; i < site->count; i++)
	{
		const char *path = site->files[i].path;
		size_t len = strlen(path);
		struct site_file *base;
		char *plain;

		if (len < 4 || strcmp(path + len - 3, ".gz") != 0)
			continue;
		plain = mem_strdup(path);
		plain[len - 3] = '\0';
		base = site_lookup(site, plain);
		free(plain);
		if (base == NULL)
			continue;
		base->gzip = site->files[i].plain;
		site->files[i].plain.data = NULL; /* moved: dropped below */
	}
	for (size_t i = 0; i < site->count; i++)
	{
		struct site_file *f = &site->files[i];

		if (f->plain.data == NULL)
		{
			file_clear(f);
			continue;
		}
		f->type = content_type(f->path);
		f->immutable = name_is_hashed(f->path);
		etag_make(&f->plain, 'p');
		if (f->gzip.data != NULL)
			etag_make(&f->gzip, 'z');
		site->files[kept++] = *f;
	}
	site->count = kept;
}

static bool
site_walk(struct site *site, const char *root, char *err, size_t errlen)
{
	char *roots[] = {(char *) (uintptr_t) root, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	bool ok = fts != NULL;
	FTSENT *e;

	while (ok && (e = fts_read(fts)) != NULL)
	{
		if (e->fts_level > 0 && e->fts_name[0] == '.')
			fts_set(fts, e, FTS_SKIP);
		else if (e->fts_info == FTS_F)
			ok = site_add(site, root, e->fts_path, err, errlen);
		else if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
		{
			snprintf(err, errlen, "web_root: cannot read %s: %s", e->fts_path,
			         strerror(e->fts_errno));
			ok = false;
		}
	}
	if (fts != NULL)
		fts_close(fts);
	return ok;
}

struct site *
site_load(const char *root, char *err, size_t errlen)
{
	struct site *site = mem_alloc(sizeof *site);
	struct stat st;
	char *real;

	if (root == NULL || root[0] == '\0')
		return site;
	real = realpath(root, NULL); /* the root itself may be a symbolic link */
	if (real == NULL || stat(real, &st) != 0 || !S_ISDIR(st.st_mode))
	{
		snprintf(err, errlen, "web_root %s: %s; give the folder of the built web files", root,
		         real == NULL ? strerror(errno) : "not a directory");
		free(real);
		free(site);
		return NULL;
	}
	if (!site_walk(site, real, err, errlen))
	{
		free(real);
		site_free(site);
		return NULL;
	}
	free(real);
	if (site->count > 0)
		site_settle(site);
	return site;
}

void
site_free(struct site *site)
{
	if (site == NULL)
		return;
	for (size_t i = 0; i < site->count; i++)
		file_clear(&site->files[i]);
	free(site->files);
	free(site);
}

size_t
site_count(const struct site *site)
{
	return site->count;
}

const struct site_file *
site_find(const struct site *site, const struct input_path *path)
{
	char name[HTTP_LINE_MAX + INPUT_SEGMENTS_MAX];
	const struct http_slice *last = path->count > 0 ? &path->segments[path->count - 1] : NULL;
	const struct site_file *f;
	size_t n = 0;

	if (path->overflow)
		return NULL;
	for (size_t i = 0; i < path->count; i++)
	{
		const struct http_slice *seg = &path->segments[i];

		if (memchr(seg->ptr, '/', seg->len) != NULL || (seg->len > 0 && seg->ptr[0] == '.'))
			return NULL; /* an encoded slash or a hidden name is no page's address */
		name[n++] = '/';
		memcpy(name + n, seg->ptr, seg->len);
		n += seg->len;
	}
	name[n] = '\0';
	f = n > 0 ? site_lookup(site, name) : NULL;
	if (f != NULL)
		return f;
	if (last != NULL && memchr(last->ptr, '.', last->len) != NULL)
		return NULL;
	return site_lookup(site, "/index.html");
}
