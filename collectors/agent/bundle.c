/* SPDX-License-Identifier: PostgreSQL
 *
 * bundle.c -- see bundle.h; what is signed and by whom stands in docs/81-contracts.md section 5.
 */
#include "agent/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/crypto.h"
#include "lib/files.h"
#include "lib/identity.h"
#include "lib/log.h"
#include "lib/mem.h"
#include "lib/metrics.h"
#include "probectl/agent/v1/agent.pb-c.h"

#define REFUSED(why, words)                                                                        \
	[why] = METRIC_COUNTER("probectl_agent_tests_refused_total", "reason=\"" words "\"",           \
	                       "Bundles of tests that were not taken, by reason.")

static struct metric rows[BUNDLE_REFUSALS] = {
    [BUNDLE_OK] = METRIC_GAUGE("probectl_agent_tests_revision", NULL,
                               "Revision of the pulled tests that run."),
    REFUSED(BUNDLE_UNREADABLE, "unreadable"),
    REFUSED(BUNDLE_UNSIGNED, "signature"),
    REFUSED(BUNDLE_STRANGER, "identity"),
    REFUSED(BUNDLE_ROLLBACK, "rollback"),
};

void
bundle_metrics(void)
{
	metrics_register(rows, BUNDLE_REFUSALS);
}

/* Signature first: nothing else of what a stranger sent is read. */
static enum bundle_refusal
answer_check(const struct bundle *b, const Probectl__Agent__V1__PullTestsResponse *answer,
             bool any_time, char *err, size_t errlen)
{
	const struct crypto_signed by = {
	    .ca_file = b->identity->ca_file,
	    .chain_pem = answer->signer_pem,
	    .uri = BUNDLE_SIGNER,
	    .domain = BUNDLE_DOMAIN,
	    .data = answer->bundle.data,
	    .len = answer->bundle.len,
	    .signature = answer->signature.data,
	    .signature_len = answer->signature.len,
	    .any_time = any_time,
	};

	return crypto_signed_verify(&by, err, errlen) ? BUNDLE_OK : BUNDLE_UNSIGNED;
}

static enum bundle_refusal
answer_read(const struct bundle *b, const void *bytes, size_t len, bool any_time,
            uint64_t *revision, char *err, size_t errlen)
{
	Probectl__Agent__V1__PullTestsResponse *answer =
	    probectl__agent__v1__pull_tests_response__unpack(NULL, len, bytes);
	enum bundle_refusal verdict = BUNDLE_UNREADABLE;
	struct test_list tests = {0};

	if (!answer)
	{
		snprintf(err, errlen, "the answer cannot be read");
		return BUNDLE_UNREADABLE;
	}
	verdict = answer_check(b, answer, any_time, err, errlen);
	if (verdict == BUNDLE_OK)
		verdict = tests_decode(&tests, answer->bundle.data, answer->bundle.len, b->identity,
		                       revision, err, errlen);
	probectl__agent__v1__pull_tests_response__free_unpacked(answer, NULL);
	tests_free(&tests);
	if (verdict == BUNDLE_OK && *revision < b->revision)
	{
		snprintf(err, errlen, "revision %" PRIu64 " is older than %" PRIu64 ", which runs",
		         *revision, b->revision);
		verdict = BUNDLE_ROLLBACK;
	}
	return verdict;
}

/* It was read before, so it can be read. */
static void
answer_keep(struct bundle *b, const void *answer, size_t len, uint64_t revision)
{
	free(b->answer);
	b->answer = mem_alloc(len);
	memcpy(b->answer, answer, len);
	b->answer_len = len;
	b->revision = revision;
	metric_set(&rows[BUNDLE_OK], (int64_t) revision);
}

void
bundle_tests(const struct bundle *b, struct test_list *into)
{
	Probectl__Agent__V1__PullTestsResponse *answer = NULL;
	uint64_t revision;
	char err[256];

	if (b->answer_len > 0)
		answer = probectl__agent__v1__pull_tests_response__unpack(NULL, b->answer_len, b->answer);
	if (!answer)
		return;
	tests_decode(into, answer->bundle.data, answer->bundle.len, b->identity, &revision, err,
	             sizeof(err));
	probectl__agent__v1__pull_tests_response__free_unpacked(answer, NULL);
}

enum bundle_refusal
bundle_take(struct bundle *b, const void *answer, size_t len)
{
	char err[sizeof(b->problem)] = "";
	uint64_t revision = 0;
	enum bundle_refusal verdict = answer_read(b, answer, len, false, &revision, err, sizeof(err));

	memcpy(b->problem, err, sizeof(b->problem));
	if (verdict != BUNDLE_OK)
	{
		b->refused++;
		metric_add(&rows[verdict], 1);
		log_limited(LOG_LEVEL_ERROR, "tests", NULL,
		            "the bundle of the control plane is refused: %s; revision %" PRIu64 " runs on",
		            err, b->revision);
		return verdict;
	}
	b->problem[0] = '\0';
	answer_keep(b, answer, len, revision);
	if (!files_write(b->file, answer, len, 0600))
		log_warning("tests", b->file, "not kept for a restart: %s", strerror(errno));
	log_info("tests", NULL, "revision %" PRIu64 " of the control plane's tests", revision);
	return BUNDLE_OK;
}

void
bundle_open(struct bundle *b, const struct identity *identity, const char *dir)
{
	struct buf file = BUF_INIT(BUNDLE_BYTES_MAX);
	uint64_t revision = 0;
	char err[256];

	memset(b, 0, sizeof(*b));
	b->identity = identity;
	if (snprintf(b->file, sizeof(b->file), "%s/tests.signed", dir) >= (int) sizeof(b->file))
		b->file[0] = '\0';
	if (!files_read(b->file, &file))
	{
		buf_free(&file);
		return;
	}
	/* Its time is not looked at: it was in order when it came, and a machine that starts without
	 * a link may have no clock yet. */
	if (answer_read(b, file.data, file.len, true, &revision, err, sizeof(err)) == BUNDLE_OK)
		answer_keep(b, file.data, file.len, revision);
	else
		log_warning("tests", b->file, "kept tests are not used: %s", err);
	buf_free(&file);
}

void
bundle_close(struct bundle *b)
{
	free(b->answer);
	b->answer = NULL;
	b->answer_len = 0;
}
