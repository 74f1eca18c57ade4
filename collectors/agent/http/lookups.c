/* SPDX-License-Identifier: PostgreSQL
 *
 * lookups.c -- see lookups.h. What is kept is a thread's own, so it needs no lock.
 */
#include "agent/http/lookups.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum kind
{
	KIND_MD,
	KIND_MAC,
	KIND_KDF
};

struct found
{
	enum kind kind;
	char name[LOOKUPS_NAME_MAX];
	void *method; /* a reference is ours */
};

struct names
{
	const EVP_KEYMGMT *keys; /* a reference is ours */
	char names[LOOKUPS_NAMES_MAX][LOOKUPS_NAME_MAX];
	size_t count;
	bool whole;
};

static _Thread_local struct found founds[LOOKUPS_MAX];
static _Thread_local size_t found_count;
static _Thread_local struct names known[LOOKUPS_MAX];
static _Thread_local size_t known_count;

/* ---- methods ---- */

/* The default context, which the library also calls by its address, is there to the end. */
static bool
lasting(const OSSL_LIB_CTX *ctx, const char *name, const char *properties)
{
	return name && (properties == NULL || properties[0] == '\0') &&
	       (ctx == NULL || ctx == OSSL_LIB_CTX_get0_global_default());
}

static void *
find(enum kind kind, const char *name)
{
	for (size_t i = 0; i < found_count; i++)
		if (founds[i].kind == kind && strcmp(founds[i].name, name) == 0)
			return founds[i].method;
	return NULL;
}

/* False: not kept. */
static bool
keep(enum kind kind, const char *name, void *method)
{
	struct found *found = &founds[found_count];

	if (method == NULL || found_count == LOOKUPS_MAX || strlen(name) >= sizeof(found->name))
		return false;
	*found = (struct found){.kind = kind, .method = method};
	snprintf(found->name, sizeof(found->name), "%s", name);
	found_count++;
	return true;
}

#define LOOKUP(TYPE, KIND)                                                                         \
	TYPE *__real_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);      \
	TYPE *__wrap_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties);      \
                                                                                                   \
	TYPE *__wrap_##TYPE##_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties)       \
	{                                                                                              \
		bool lasts = lasting(ctx, name, properties), kept;                                         \
		TYPE *method = lasts ? find(KIND, name) : NULL;                                            \
                                                                                                   \
		kept = method != NULL;                                                                     \
		if (!kept)                                                                                 \
			method = __real_##TYPE##_fetch(ctx, name, properties);                                 \
		if (!kept && lasts)                                                                        \
			kept = keep(KIND, name, method);                                                       \
		if (kept)                                                                                  \
			TYPE##_up_ref(method);                                                                 \
		return method;                                                                             \
	}

LOOKUP(EVP_MD, KIND_MD)
LOOKUP(EVP_MAC, KIND_MAC)
LOOKUP(EVP_KDF, KIND_KDF)

/* ---- the names of a kind of key ---- */

int __real_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys,
                                    void (*each)(const char *name, void *data), void *data);
int __wrap_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys,
                                    void (*each)(const char *name, void *data), void *data);

static void
on_name(const char *name, void *data)
{
	struct names *names = data;

	if (names->count == LOOKUPS_NAMES_MAX || strlen(name) >= LOOKUPS_NAME_MAX)
		names->whole = false;
	else
		snprintf(names->names[names->count++], LOOKUPS_NAME_MAX, "%s", name);
}

static const struct names *
names_of(const EVP_KEYMGMT *keys)
{
	struct names *names = &known[known_count];

	for (size_t i = 0; i < known_count; i++)
		if (known[i].keys == keys)
			return &known[i];
	if (known_count == LOOKUPS_MAX)
		return NULL;
	*names = (struct names){.keys = keys, .whole = true};
	if (!__real_EVP_KEYMGMT_names_do_all(keys, on_name, names) || !names->whole ||
	    !EVP_KEYMGMT_up_ref((EVP_KEYMGMT *) keys))
		return NULL;
	known_count++;
	return names;
}

int
__wrap_EVP_KEYMGMT_names_do_all(const EVP_KEYMGMT *keys, void (*each)(const char *name, void *data),
                                void *data)
{
	const struct names *names = names_of(keys);

	if (names == NULL)
		return __real_EVP_KEYMGMT_names_do_all(keys, each, data);
	for (size_t i = 0; i < names->count; i++)
		each(names->names[i], data);
	return 1;
}
