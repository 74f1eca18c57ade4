#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# C is laid out as clang-format 14 does with .clang-format; other versions
# disagree in details, so the version is pinned. No text file ends a line in
# white space or lacks its last newline.
#
#   dev/check-format.sh          look
#   dev/check-format.sh --fix    rewrite

. "$(dirname "$0")/lib/check.sh"
need clang-format-14

mapfile -t files < <(c_files src collectors test)
if [ "${1:-}" = --fix ]; then
	[ ${#files[@]} -eq 0 ] || clang-format-14 -i "${files[@]}"
	exit 0
fi

if [ ${#files[@]} -gt 0 ]; then
	findings_from < <(printf '%s\0' "${files[@]}" |
		xargs -0 clang-format-14 --dry-run 2>&1 |
		sed -n 's/^\([^ ]*:[0-9]*\):[0-9]*: warning: .*/\1: not as clang-format-14 writes it/p' | sort -u)
fi

# Expected outputs are compared byte for byte and may hold trailing blanks.
mapfile -t texts < <(git ls-files -- '*.[ch]' '*.sql' '*.sh' '*.py' '*.md' '*.mk' '*.proto' '*.ts' '*.tsx' \
	'*.css' '*.yaml' '*Makefile' '.ci/run' | grep -v '^expected/\|/expected/' || true)
present=()
for file in "${texts[@]}"; do
	[ ! -f "$file" ] || present+=("$file")
done
findings_from < <(grep -nE '[[:blank:]]+$' /dev/null "${present[@]}" | sed 's/^\([^:]*:[0-9]*\):.*/\1: white space at the end of the line/')
for file in "${present[@]}"; do
	[ ! -s "$file" ] || [ -z "$(tail -c1 "$file")" ] || finding "$file:$(wc -l <"$file"): no newline at the end of the file"
done
finish "${#files[@]} C files, ${#present[@]} texts"
