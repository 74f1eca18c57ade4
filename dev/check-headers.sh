#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Each header compiles alone: who includes it needs to know nothing else. Headers of
# the extension may assume postgres.h, as everywhere in PostgreSQL.

. "$(dirname "$0")/lib/check.sh"
need gcc
need pg_config

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

server=(-Isrc -I. -I"$(pg_config --includedir-server)" -Ibuild/proto -include postgres.h)
daemon=(-Icollectors -Ibuild/proto -I"$(pg_config --includedir)" -D_GNU_SOURCE -DPROBECTL_VERSION='"check"')
common=(-fsyntax-only -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare
	-Wno-missing-field-initializers -x c)

mapfile -t headers < <(c_files src collectors -- '*.h')
if [ ${#headers[@]} -gt 0 ] && grep -lq 'pb-c\.h' "${headers[@]}" && [ ! -d build/proto ]; then
	cannot "generated headers are missing; run make -C collectors proto"
fi

for header in "${headers[@]}"; do
	case $header in
		src/*) args=("${server[@]}") ;;
		*) args=("${daemon[@]}") ;;
	esac
	printf '%q ' gcc "${common[@]}" "${args[@]}" "$header"
	printf '2>&1\n'
done | xargs -d '\n' -P 2 -I{} bash -c '{} || exit 0' >"$work/out" || true
findings_from < <(grep -E '^[^ ]+:[0-9]+:[0-9]+: (fatal )?error:' "$work/out" | sed -E 's/^([^:]+:[0-9]+):[0-9]+: (fatal )?error:/\1: does not compile alone:/' | sort -u)
finish "${#headers[@]} headers"
