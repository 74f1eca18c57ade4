/* SPDX-License-Identifier: PostgreSQL
 *
 * fuzz.h -- what a fuzz target gives the fuzzer, and how it says that an invariant does not hold.
 */
#ifndef PCTL_TEST_FUZZ_H
#define PCTL_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void
require(bool condition)
{
	if (!condition)
		abort();
}

#endif
