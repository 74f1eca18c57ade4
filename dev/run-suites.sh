#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# The engine behind make check: runs the suites that are named, one after the other,
# and counts. A suite consists of parts, each one run of one test runner; the runner's
# output goes to build/test-logs/<suite>.log between two marker lines, from which it is
# counted afterwards. A part that ran no test, or whose runner failed although no
# test did, counts as one failure, so that nothing is green by not running.
#
#   dev/run-suites.sh regress isolation
#   dev/run-suites.sh all
#   KEEP=1 dev/run-suites.sh regress       keep the private server's folder
#
# The last line is always "N passed, N failed", and ", N skipped" behind it when a test could not run
# on this machine; the part it is in says so too.

set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOP=$PWD
. dev/lib/server.sh

readonly ALL=(lint unit regress isolation pgtap tenancy system web)
readonly LOGS=build/test-logs
readonly PYTHON=/usr/bin/python3 # Debian's: the modules of dev/packages/test belong to it
readonly FUZZ_SECONDS=${FUZZ_SECONDS:-5}
readonly PART_SECONDS=${PART_SECONDS:-900}
readonly HOSTILE_STATEMENTS=${HOSTILE_STATEMENTS:-100000}
readonly HOSTILE_SEED=${HOSTILE_SEED:-20261}
WORK=
server_state=none
total_passed=0
total_failed=0
total_skipped=0

# ---- parts ---------------------------------------------------------------------------

# part KIND NAME COMMAND...: one run of one runner. KIND says how it is counted.
part()
{
	local kind=$1 name=$2 started rc
	shift 2
	started=$(date +%s%N)
	printf '@@ begin %s %s\n' "$kind" "$name" >>"$LOG"
	"$@" >>"$LOG" 2>&1 </dev/null
	rc=$?
	printf '\n@@ end %d %d\n' "$rc" $((($(date +%s%N) - started) / 1000000)) >>"$LOG"
	count_parts "$LOG" | tail -n 1 | {
		local passed failed skipped ms
		read -r passed failed skipped ms name
		if [ "$failed" -ne 0 ]; then
			printf '  FAILED  %-40s %4d %8s s\n' "$name" "$failed" "$(seconds "$ms")"
		elif [ "$skipped" -ne 0 ]; then
			printf '  ok      %-40s %4d %8s s   SKIPPED: %d\n' "$name" "$passed" "$(seconds "$ms")" "$skipped"
		else
			printf '  ok      %-40s %4d %8s s\n' "$name" "$passed" "$(seconds "$ms")"
		fi
	}
}

# Reads a log with markers; writes "<passed> <failed> <skipped> <ms> <name>" for each part. The
# runners colour their output; escapes are removed first.
count_parts()
{
	sed -e 's/\x1b\[[0-9;?]*[A-Za-z]//g' -e 's/\r$//' "$1" | awk '
		function number(text, word,    at, rest) {
			if (!match(text, "[0-9]+ " word)) return 0
			rest = substr(text, RSTART, RLENGTH)
			return rest + 0
		}
		/^@@ begin / { kind = $3; name = $4; passed = failed = skipped = 0; next }
		/^@@ end / {
			if (kind == "check") { if ($3 == 0) passed = 1; else failed = 1 }
			if ($3 != 0 && failed == 0) failed = 1
			if (passed + failed + skipped == 0) failed = 1
			print passed, failed, skipped, $4, name
			kind = ""
			next
		}
		kind == "regress" && /\.\.\. +ok +[0-9]+ ms/ { passed++ }
		kind == "regress" && /\.\.\. +(FAILED|failed)/ { failed++ }
		kind == "tap" && /^not ok [0-9]+/ && !/# TODO/ { failed++ }
		kind == "tap" && /^ok [0-9]+/ { passed++ }
		kind == "gate" && /^not ok [0-9]+/ { failed++ }
		kind == "gate" && /^ok [0-9]+/ { if (/# (skip|SKIP|TODO)/) failed++; else passed++ }
		kind == "cmocka" && /^\[  PASSED  \] [0-9]+ test/ { passed += $4 }
		kind == "cmocka" && /^\[  FAILED  \] [0-9]+ test/ { failed += $4 }
		kind ~ /^pytest/ && /(passed|failed|error|skipped|no tests ran).* in [0-9.]+s/ {
			passed += number($0, "passed")
			failed += number($0, "failed") + number($0, "error")
			if (kind == "pytest-gate") failed += number($0, "skipped") + number($0, "xfailed")
			else skipped += number($0, "skipped")
		}
		# vitest, node --test, Playwright
		kind == "web" && /^ *Tests +[0-9]/ { passed += number($0, "passed"); failed += number($0, "failed") }
		kind == "web" && /^(#|ℹ) pass [0-9]+$/ { passed += $3 }
		kind == "web" && /^(#|ℹ) fail [0-9]+$/ { failed += $3 }
		kind == "web" && /^(#|ℹ) (skipped|cancelled) [1-9][0-9]*$/ { failed += $3 }
		kind == "web" && /^ +[0-9]+ passed( \(|$)/ { passed += $1 }
		kind == "web" && /^ +[0-9]+ (failed|did not run)$/ { failed += $1 }
		kind == "cmocka" && /^\[  SKIPPED \] [0-9]+ test/ { skipped += $4 }
		END { if (kind != "") print 0, 1, 0, 0, name }'
}

seconds()
{
	printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100))
}

# What a failed suite has to say: of each failed part the lines that tell of a failure with
# what follows them, or else its end.
show_failures()
{
	awk -v keep=60 -v after=8 '
		function show(    i, shown, until) {
			print "  ---- " name
			until = -1
			for (i = 0; i < n && shown < keep; i++) {
				if (lines[i] ~ telling) until = i + after
				if (i <= until) { print "  | " lines[i]; shown++ }
			}
			if (!shown)
				for (i = (n > keep ? n - keep : 0); i < n; i++) print "  | " lines[i]
			else if (i < n)
				print "  | ..."
		}
		BEGIN { telling = "^ *not ok |\\.\\.\\. +FAILED|^\\[  (ERROR|FAILED)|^E   |^FAILED|^[+-][^+-]|: error:|^  x |SUMMARY: |^[^ ]+:[0-9]+: " }
		/^@@ begin / { n = 0; name = $4; bad = 0; next }
		/^@@ end / {
			if ($3 != 0 || bad) show()
			n = 0; name = ""
			next
		}
		/^not ok/ { bad = 1 }
		{ lines[n++] = $0 }
		END { if (name != "") show() }' "$1"
}

# ---- what suites need ------------------------------------------------------------------

# One private server for all suites that need one; started once, checked at the end.
need_server()
{
	case $server_state in
		up) return 0 ;;
		failed) return 1 ;;
	esac
	if server_tree && server_start; then
		server_state=up
		mkdir "$WORK/in"
		cp -r sql expected "$WORK/in/" 2>/dev/null
		[ ! -d test/isolation ] || cp -r test/isolation "$WORK/in/"
		[ ! -d test/pgtap ] || cp -r test/pgtap "$WORK/in/"
		[ "$(id -u)" -ne 0 ] || chown -R "$SERVER_USER:" "$WORK/in"
	else
		server_state=failed
		return 1
	fi
}

make_value()
{
	printf 'include Makefile\nprint-value-of: ; @echo $(%s)\n.PHONY: print-value-of\n' "$1" |
		make -s --no-print-directory -f - print-value-of 2>/dev/null || true
}

# pg_regress or its isolation twin, on the private server.
pg_tests()
{
	local runner=$1 inputs=$2 outputs=$WORK/out-$3 rc
	shift 3
	need_server || return 1
	as_tester mkdir -p "$outputs"
	as_tester timeout "$PART_SECONDS" "$runner" --bindir="$TREE_BIN" --inputdir="$inputs" \
		--outputdir="$outputs" --host="$WORK" --port=5432 --user=postgres "$@"
	rc=$?
	if [ -s "$outputs/regression.diffs" ]; then
		cp "$outputs/regression.diffs" "$LOGS/${outputs##*/out-}.diffs"
		cat "$outputs/regression.diffs"
	fi
	return $rc
}

pgxs_tests()
{
	echo "$(dirname "$(dirname "$(pg_config --pgxs)")")/test/$1"
}

# pg_prove over files in the database NAME, which is made for it.
prove()
{
	local name=$1
	shift
	need_server || return 1
	"$TREE_BIN/psql" -XqAt -d postgres -c "DROP DATABASE IF EXISTS $name WITH (FORCE)" || return 1
	server_database "$name" || return 1
	"$TREE_BIN/psql" -Xq -v ON_ERROR_STOP=1 -c 'CREATE SCHEMA tap' \
		-c 'CREATE EXTENSION pgtap SCHEMA tap' \
		-c "ALTER DATABASE $name SET search_path = public, tap" || return 1
	(cd "$WORK/in" && timeout "$PART_SECONDS" pg_prove --verbose \
		--psql-bin "$TREE_BIN/psql" --host "$WORK" --username postgres --dbname "$name" "$@")
}

# Debian's Python without what a user's environment adds.
run_pytest()
{
	timeout "$PART_SECONDS" env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PYTHONPATH -u PYTHONHOME \
		PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -P -m pytest -p no:cacheprovider -ra --tb=short "$@"
}

# ---- the suites ------------------------------------------------------------------------

suite_lint()
{
	local check
	part check checks-find-faults dev/selftest.sh
	part check private-server lint_server
	for check in dev/check-*.sh; do
		[ "$check" = dev/check-all.sh ] || part check "$(basename "$check" .sh)" "$check"
	done
	unset PGDATABASE
}

lint_server()
{
	need_server && server_database regress_probectl_lint
}

# Modules in C: what they do with good input, then what they do with any.
suite_unit()
{
	local source test
	part check build-unit-tests make -s -j2 -C test unit
	for source in test/unit/test_*.c; do
		test=build/test/unit/$(basename "$source" .c)
		part cmocka "${test##*/}" timeout "$PART_SECONDS" "$test"
	done
	suite_fuzz
}

suite_fuzz()
{
	local source name
	part check build-fuzz-targets make -s -j2 -C test fuzz
	for source in test/fuzz/fuzz_*.c; do
		name=$(basename "$source" .c)
		part check "$name" fuzz_one "$name"
	done
}

fuzz_one()
{
	local name=$1 corpus=$TOP/test/fuzz/corpus/${1#fuzz_} work rc
	work=$(mktemp -d)
	# The seeds first and exactly once, then new inputs for a few seconds.
	(cd "$work" && timeout 120 "$TOP/build/fuzz/$name" -runs=0 "$corpus" &&
		mkdir new &&
		timeout $((FUZZ_SECONDS + 60)) "$TOP/build/fuzz/$name" -max_total_time="$FUZZ_SECONDS" \
			-timeout=10 -rss_limit_mb=1024 -print_final_stats=1 new "$corpus")
	rc=$?
	if [ $rc -ne 0 ]; then
		mkdir -p "$LOGS/fuzz-findings"
		find "$work" -maxdepth 1 -type f -exec cp {} "$LOGS/fuzz-findings/" \;
		echo "inputs that failed: $LOGS/fuzz-findings"
	fi
	rm -rf "$work"
	return $rc
}

suite_regress()
{
	part regress pg_regress regress_tests
}

regress_tests()
{
	local option options=() tests=()
	for option in $(make_value REGRESS_OPTS); do
		case $option in
			--inputdir=* | --outputdir=* | --temp-* | --bindir=* | --host=* | --port=* | --user=*) ;;
			*) options+=("$option") ;;
		esac
	done
	read -ra tests < <(make_value REGRESS)
	[ ${#tests[@]} -gt 0 ] || { echo "REGRESS of the Makefile is empty"; return 1; }
	case " ${options[*]:-} " in *" --dbname="*) ;; *) options+=(--dbname=regress_probectl) ;; esac
	need_server || return 1
	pg_tests "$(pgxs_tests regress)/pg_regress" "$WORK/in" regress "${options[@]}" "${tests[@]}"
}

suite_isolation()
{
	part regress isolationtester isolation_tests
}

isolation_tests()
{
	local option options=() tests=()
	for option in $(make_value ISOLATION_OPTS); do
		case $option in
			--inputdir=* | --outputdir=* | --temp-* | --bindir=* | --host=* | --port=* | --user=*) ;;
			*) options+=("$option") ;;
		esac
	done
	read -ra tests < <(make_value ISOLATION)
	[ ${#tests[@]} -gt 0 ] || { echo "ISOLATION of the Makefile is empty"; return 1; }
	case " ${options[*]:-} " in *" --load-extension="*) ;; *) options+=(--load-extension=probectl) ;; esac
	case " ${options[*]} " in *" --dbname="*) ;; *) options+=(--dbname=regress_probectl_isolation) ;; esac
	need_server || return 1
	pg_tests "$(pgxs_tests isolation)/pg_isolation_regress" "$WORK/in/isolation" isolation "${options[@]}" "${tests[@]}"
}

# Every pgTAP file has a database of its own, so that none depends on another.
suite_pgtap()
{
	local file name
	for file in test/pgtap/*.sql; do
		name=$(basename "$file" .sql)
		part tap "$name" prove "regress_probectl_${name//[^a-z0-9_]/_}" "pgtap/$name.sql"
	done
	part check server-did-not-crash server_log_is_clean
}

# The gate between tenants: generated from the catalog, and never skipped.
suite_tenancy()
{
	local file name
	for file in test/pgtap/tenan*.sql; do
		name=$(basename "$file" .sql)
		part gate "$name" prove "regress_probectl_gate_${name//[^a-z0-9_]/_}" "pgtap/$name.sql"
	done
	part check catalog-rules catalog_rules
	part gate hostile-statements tenancy_program hostile --statements "$HOSTILE_STATEMENTS" --seed "$HOSTILE_SEED"
	part gate mutants tenancy_program mutants
	for file in test/tenancy/test_*.py; do
		part pytest-gate "$(basename "$file" .py)" run_pytest "$file"
	done
	part pytest-gate processes run_pytest -m tenancy test/system
}

# A program of test/tenancy, which has a server of its own and prints TAP. Its counts end up in the log.
tenancy_program()
{
	local program=$1
	shift
	timeout "$PART_SECONDS" env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE PYTHONDONTWRITEBYTECODE=1 \
		"$PYTHON" -P "test/tenancy/$program.py" "$@"
}

catalog_rules()
{
	need_server && server_database "regress_probectl_rules_$RANDOM" && dev/check-sql.sh
}

server_log_is_clean()
{
	[ "$server_state" = up ] || return 1
	! grep -nE 'PANIC:|terminated by signal|TRAP:|AddressSanitizer' "$WORK/server.log"
}

suite_system()
{
	local file
	for file in test/system/test_*.py test/net/test_*.py; do
		[ ! -f "$file" ] || part pytest "$(basename "$file" .py)" run_pytest "$file"
	done
}

# In Chromium the page meets a stub of the API, then a whole control plane.
suite_web()
{
	local file
	part check build make -C web build
	part check types npm --prefix web run --silent typecheck
	part web units npm --prefix web test --silent
	for file in web/e2e/*.test.mjs; do
		part web "$(basename "$file" .test.mjs)-in-chromium" page_test "e2e/$(basename "$file")"
	done
}

page_test()
{
	need_server || return 1
	(cd web && timeout "$PART_SECONDS" env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE \
		PG_CONFIG="$TREE_BIN/pg_config" node --test "$1")
}

# ---- running ---------------------------------------------------------------------------

run_suite()
{
	local suite=$1 started passed=0 failed=0 skipped=0 p f s ms name
	LOG=$LOGS/$suite.log
	: >"$LOG"
	started=$(date +%s%N)
	echo "== $suite"
	shopt -s nullglob
	"suite_$suite"
	shopt -u nullglob
	while read -r p f s ms name; do
		passed=$((passed + p))
		failed=$((failed + f))
		skipped=$((skipped + s))
	done < <(count_parts "$LOG")
	if [ $((passed + failed + skipped)) -eq 0 ]; then
		echo "  no test ran"
		failed=1
	fi
	[ "$failed" -eq 0 ] || show_failures "$LOG" | cut -c1-240
	printf '   %s: %d passed, %d failed (%s s; %s)\n' "$suite" "$passed" "$failed" \
		"$(seconds $((($(date +%s%N) - started) / 1000000)))" "$LOG"
	total_passed=$((total_passed + passed))
	total_failed=$((total_failed + failed))
	total_skipped=$((total_skipped + skipped))
}

main()
{
	local suites=() suite started=$SECONDS

	for suite in "$@"; do
		case " ${ALL[*]} fuzz " in
			*" $suite "*) suites+=("$suite") ;;
			*)
				if [ "$suite" = all ]; then
					suites+=("${ALL[@]}")
				else
					echo "run-suites: no suite called \"$suite\"; there are: ${ALL[*]}" >&2
					exit 2
				fi
				;;
		esac
	done
	[ ${#suites[@]} -gt 0 ] || { echo "usage: dev/run-suites.sh all | ${ALL[*]}" >&2; exit 2; }

	mkdir -p "$LOGS"
	trap '[ -n "${KEEP:-}" ] && [ -n "$WORK" ] && server_stop && echo "kept: $WORK" || server_remove' EXIT
	trap 'exit 130' INT TERM
	for suite in "${suites[@]}"; do
		run_suite "$suite"
	done
	if [ "$server_state" = up ] && ! server_log_is_clean; then
		echo "== the private server crashed during the tests; its log: $LOGS/server.log"
		total_failed=$((total_failed + 1))
	fi
	[ ! -f "${WORK:-/nonexistent}/server.log" ] || cp "$WORK/server.log" "$LOGS/server.log"
	echo "== all suites in $((SECONDS - started)) s"
	if [ "$total_skipped" -eq 0 ]; then
		echo "$total_passed passed, $total_failed failed"
	else
		echo "$total_passed passed, $total_failed failed, $total_skipped skipped"
	fi
	[ "$total_failed" -eq 0 ]
}

main "$@"
