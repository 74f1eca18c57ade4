/* SPDX-License-Identifier: PostgreSQL
 *
 * bundle.h -- the tests of the control plane: signed by it, meant for this agent, newer than those
 * it has, kept on disk for a start without a link.
 *
 * What is read is the answer to PullTests as it came, from the wire and from disk alike. A bundle that
 * is refused changes nothing: the tests that run stay, the refusal is counted by reason and
 * told in one line.
 */
#ifndef PCTL_AGENT_BUNDLE_H
#define PCTL_AGENT_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/tests.h"

struct identity;

#define BUNDLE_BYTES_MAX (4 * 1024 * 1024) /* one gRPC message */
#define BUNDLE_SIGNER    "spiffe://probectl/control/tests"
#define BUNDLE_DOMAIN    "probectl.tests.v1\n"

/* The tests are kept as they came, a hundred bytes each, and made when they are asked for. */
struct bundle
{
	uint8_t *answer;
	size_t answer_len;
	uint64_t revision;               /* 0 = there is none */
	uint64_t refused;                /* since the start */
	char problem[256];               /* of the newest one; empty: it was taken */
	const struct identity *identity; /* whose tests, and whose root vouches for the signer */
	char file[4096];                 /* where the accepted answer is kept */
};

/* Reads what was kept in dir; nothing there, or nothing usable, is a bundle of revision 0. */
void bundle_open(struct bundle *b, const struct identity *identity, const char *dir);
void bundle_close(struct bundle *b);

/* Adds its tests to a list. */
void bundle_tests(const struct bundle *b, struct test_list *into);

/* A marshalled PullTestsResponse: its tests take the place of those in b and are kept, or nothing
 * changes. */
enum bundle_refusal bundle_take(struct bundle *b, const void *answer, size_t len);

/* Registers the rows of this module with lib/metrics. */
void bundle_metrics(void);

#endif
