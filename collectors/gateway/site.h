/* SPDX-License-Identifier: PostgreSQL
 *
 * site.h -- the web files, held in memory.
 *
 * The directory is read once (and on SIGHUP). A request is looked up by name in that
 * list and never turned into a file name, so no request can reach another file.
 */
#ifndef PCTL_GATEWAY_SITE_H
#define PCTL_GATEWAY_SITE_H

#include <stdbool.h>
#include <stddef.h>

#include "gateway/input.h"

#define SITE_FILE_MAX  (32 << 20)
#define SITE_TOTAL_MAX (256 << 20)

struct site_variant
{
	char *data; /* NULL when there is no such variant */
	size_t len;
	char etag[24]; /* quotes included */
};

struct site_file
{
	char *path; /* "/assets/app-1a2b3c4d.js" */
	const char *type;
	bool immutable; /* its name changes with its content */
	struct site_variant plain, gzip;
};

struct site;

/* root NULL or "": an empty site. NULL with a sentence part in err on failure. */
struct site *site_load(const char *root, char *err, size_t errlen);
void site_free(struct site *site);
size_t site_count(const struct site *site);

/* The file of a path; for "/" and for a path whose last segment has no extension
 * index.html, which routes by itself. NULL: not found. */
const struct site_file *site_find(const struct site *site, const struct input_path *path);

#endif
