/* SPDX-License-Identifier: PostgreSQL
 *
 * test_gw_site.c -- which files are served, under which names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "gateway/site.h"

static char dir[] = "/tmp/test_gw_site.XXXXXX";

static const char *const names[] = {"web/index.html",
                                    "web/assets/app-Ab12Cd34.js",
                                    "web/assets/app-Ab12Cd34.js.gz",
                                    "web/assets/long-component.js",
                                    "web/lone.gz",
                                    "web/.secret",
                                    "web/.git/config",
                                    "outside.txt"};

static char *
name_of(const char *name)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static int
make(void **state)
{
	assert_non_null(mkdtemp(dir));
	mkdir(name_of("web"), 0755);
	mkdir(name_of("web/assets"), 0755);
	mkdir(name_of("web/.git"), 0755);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
	{
		FILE *f = fopen(name_of(names[i]), "w");

		fprintf(f, "content of %s", names[i]);
		fclose(f);
	}
	return symlink("../outside.txt", name_of("web/link.txt"));
}

static int
clean(void **state)
{
	unlink(name_of("web/link.txt"));
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		unlink(name_of(names[i]));
	rmdir(name_of("web/.git"));
	rmdir(name_of("web/assets"));
	rmdir(name_of("web"));
	return rmdir(dir);
}

static const struct site_file *
find(const struct site *site, const char *text)
{
	static struct input_path path;
	struct http_slice s = {text, strlen(text)};
	struct input_error err;

	return input_path(&path, &s, &err) ? site_find(site, &path) : NULL;
}

static void
serves_what_is_there(void **state)
{
	char err[400];
	struct site *site = site_load(name_of("web"), err, sizeof err);
	const struct site_file *f;

	assert_non_null(site);
	assert_int_equal(site_count(site), 4);
	f = find(site, "/assets/app-Ab12Cd34.js");
	assert_true(f->immutable);
	assert_string_equal(f->gzip.data, "content of web/assets/app-Ab12Cd34.js.gz");
	assert_string_not_equal(f->plain.etag, f->gzip.etag);
	assert_string_equal(f->type, "text/javascript; charset=utf-8");
	assert_false(find(site, "/assets/long-component.js")->immutable);
	assert_null(find(site, "/assets/app-Ab12Cd34.js.gz"));
	assert_non_null(find(site, "/lone.gz"));
	f = find(site, "/");
	assert_string_equal(f->path, "/index.html");
	assert_ptr_equal(find(site, "/some/page"), f);
	assert_ptr_equal(find(site, "/some/page/"), f);
	site_free(site);
}

static void
serves_nothing_else(void **state)
{
	static const char *const none[] = {"/link.txt",
	                                   "/.secret",
	                                   "/.git/config",
	                                   "/../outside.txt",
	                                   "/%2e%2e/outside.txt",
	                                   "/..%2foutside.txt",
	                                   "/missing.js",
	                                   "/assets%2fapp-Ab12Cd34.js",
	                                   "/assets//app-Ab12Cd34.js"};
	char err[400];
	struct site *site = site_load(name_of("web"), err, sizeof err);

	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		if (find(site, none[i]) != NULL)
			fail_msg("%s is served", none[i]);
	site_free(site);
	site = site_load(NULL, err, sizeof err);
	assert_null(find(site, "/"));
	site_free(site);
	assert_null(site_load(name_of("none"), err, sizeof err));
	assert_non_null(strstr(err, "web_root"));
	assert_null(site_load(name_of("outside.txt"), err, sizeof err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(serves_what_is_there),
	    cmocka_unit_test(serves_nothing_else),
	};

	return cmocka_run_group_tests(tests, make, clean);
}
