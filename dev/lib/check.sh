# SPDX-License-Identifier: PostgreSQL
#
# What every dev/check-*.sh shares: source it first. A check prints its findings as
# "file:line: text", one a line, and ends with `finish "what was looked at"`: the
# OK line, or exit status 1. How to fix what a check finds stands in dev/README.md.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

CHECK=$(basename "$0" .sh)
findings=0

# Our C files; generated code never leaves build/. Arguments: folders, then the
# patterns after "--" (default *.c and *.h).
c_files()
{
	local dirs=() patterns=('*.c' '*.h') dir
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		[ -d "$1" ] && dirs+=("$1")
		shift
	done
	[ $# -gt 1 ] && shift && patterns=("$@")
	[ ${#dirs[@]} -gt 0 ] || return 0
	for dir in "${patterns[@]}"; do
		find "${dirs[@]}" -name "$dir" -type f
	done | sort
}

# Prints a finding and counts it.
finding()
{
	printf '%s\n' "$*"
	findings=$((findings + 1))
}

# Takes findings from stdin, one a line.
findings_from()
{
	local line
	while IFS= read -r line; do
		[ -z "$line" ] || finding "$line"
	done
}

cannot()
{
	echo "$CHECK: $*" >&2
	exit 2
}

need()
{
	command -v "$1" >/dev/null || cannot "$1 is missing; run dev/install-packages.sh build test"
}

# Value of a variable of the top Makefile.
make_value()
{
	printf 'include Makefile\nprint-value-of: ; @echo $(%s)\n.PHONY: print-value-of\n' "$1" |
		make -s --no-print-directory -f - print-value-of 2>/dev/null || true
}

finish()
{
	if [ "$findings" -gt 0 ]; then
		echo "$CHECK: $findings found; dev/README.md says how to fix them" >&2
		exit 1
	fi
	echo "$CHECK: OK ($*)"
}
