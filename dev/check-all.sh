#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Runs every dev/check-*.sh and counts. A check that cannot run has failed.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

passed=0 failed=0
for check in ./check-*.sh; do
	[ "$check" != ./check-all.sh ] || continue
	if "$check"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
