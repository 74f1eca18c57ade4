#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# A test that is in the tree but in no list runs nowhere and rots. Every test
# belongs to a suite, every expected output to a test, every fuzz target to a corpus.

. "$(dirname "$0")/lib/check.sh"

count=0

# pg_regress style: folder of inputs, suffix, folder of outputs, Makefile variable.
check_listed()
{
	local inputs=$1 suffix=$2 outputs=$3 variable=$4 file name listed
	listed=" $(make_value "$variable") "

	for file in "$inputs"/*."$suffix"; do
		[ -f "$file" ] || continue
		count=$((count + 1))
		name=$(basename "$file" ".$suffix")
		case $listed in *" $name "*) ;; *) finding "$file:1: not in $variable of the Makefile" ;; esac
		[ -f "$outputs/$name.out" ] || finding "$file:1: no $outputs/$name.out"
	done
	for file in "$outputs"/*.out; do
		[ -f "$file" ] || continue
		name=$(basename "$file" .out)
		# name_1.out is another accepted output of name.
		[ -f "$inputs/$name.$suffix" ] || [ -f "$inputs/${name%_[0-9]}.$suffix" ] ||
			finding "$file:1: no test $inputs/$name.$suffix"
	done
	for name in $listed; do
		[ -f "$inputs/$name.$suffix" ] || finding "Makefile:0: $variable lists $name, there is no $inputs/$name.$suffix"
	done
}

check_listed sql sql expected REGRESS
check_listed test/isolation/specs spec test/isolation/expected ISOLATION

for file in test/unit/test_*.c; do
	[ -f "$file" ] || continue
	count=$((count + 1))
	grep -qsw -- "$(basename "$file" .c)" test/Makefile Makefile || grep -qs 'wildcard unit/test_' test/Makefile ||
		finding "$file:1: no Makefile builds it"
done
for file in test/fuzz/fuzz_*.c; do
	[ -f "$file" ] || continue
	count=$((count + 1))
	name=$(basename "$file" .c)
	name=${name#fuzz_}
	[ -n "$(find "test/fuzz/corpus/$name" -type f -print -quit 2>/dev/null)" ] ||
		finding "$file:1: no seeds in test/fuzz/corpus/$name"
	grep -qE 'abort\(|assert\(|require\(|__builtin_trap|FUZZ_CHECK' "$file" || finding "$file:1: asserts no invariant"
done
for dir in test/fuzz/corpus/*/; do
	[ -d "$dir" ] || continue
	[ -f "test/fuzz/fuzz_$(basename "$dir").c" ] || finding "${dir%/}:0: corpus without a fuzz target"
done
for file in test/system/*.py test/net/*.py test/tenancy/*.py; do
	[ -f "$file" ] || continue
	name=$(basename "$file")
	case $name in test_*.py) count=$((count + 1)) ;; esac
	case $name in
		test_*.py | conftest.py | __init__.py) ;;
		*) grep -qE '^[[:space:]]*def test_' "$file" && finding "$file:1: has tests, but pytest looks at test_*.py only" || true ;;
	esac
	# A test that is skipped for good is no test.
	findings_from < <(grep -nE '@pytest\.mark\.(skip\b|xfail)' "$file" | sed "s|^\([0-9]*\):.*|$file:\1: skipped for good|")
	findings_from < <(grep -nE '\btime\.sleep\([^)]*[1-9][0-9]*(\.[0-9]+)?\)' "$file" | grep -vE 'sleep\(0?\.[0-9]+\)|sleep-ok:' |
		sed "s|^\([0-9]*\):.*|$file:\1: waits by the clock; wait for a published state with a deadline|")
done
[ "$count" -gt 0 ] || finding "test:0: no test at all"
finish "$count test files"
