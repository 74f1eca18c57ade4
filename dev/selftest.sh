#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Proves that the checks find what they are for: each is run on a small tree with one
# fault of its kind, then on one without. A check that cannot fail is no check.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TOP=$PWD
ROOT=$(mktemp -d)
trap 'rm -rf "$ROOT"' EXIT
failed=0

# A fresh tree with the checks in it, as the current folder.
tree()
{
	rm -rf "$ROOT/t"
	mkdir -p "$ROOT/t/src/core" "$ROOT/t/collectors/agent" "$ROOT/t/docs" "$ROOT/t/deploy/etc" \
		"$ROOT/t/sql" "$ROOT/t/expected" "$ROOT/t/test/fuzz"
	cp -r "$TOP/dev" "$TOP/.clang-format" "$ROOT/t/"
	cd "$ROOT/t"
	git init -q .
	printf 'REGRESS = one\nISOLATION =\nSQL_FILES = src/core/schema.sql\n' >Makefile
	echo 'SELECT 1;' >sql/one.sql
	echo '1' >expected/one.out
	echo 'CREATE TABLE probectl.t ();' >src/core/schema.sql
	printf '# Settings\n' >docs/20-configure.md
}

# expect fails|passes CHECK [PATTERN that its output has to hold]
expect()
{
	local want=$1 check=$2 pattern=${3:-} out rc=0
	git add -A
	out=$("dev/$check" ${4:-} 2>&1) || rc=$?
	if { [ "$want" = fails ] && [ $rc -ne 1 ]; } || { [ "$want" = passes ] && [ $rc -ne 0 ]; } ||
		{ [ -n "$pattern" ] && ! grep -qE -- "$pattern" <<<"$out"; }; then
		printf 'not as expected: %s %s (exit %d, wanted /%s/)\n%s\n' "$check" "$want" "$rc" "$pattern" "$out"
		failed=$((failed + 1))
	fi
}

function_of()
{
	printf '#include <stddef.h>\n\nint\nlong_one(void)\n{\n'
	for ((i = 0; i < $1; i++)); do printf '\t(void) 0;\n'; done
	printf '\treturn 0;\n}\n'
}

tree
expect passes check-format.sh
expect passes check-function-length.sh
expect passes check-banned-functions.sh
expect passes check-tests.sh
expect passes check-docs.sh
expect passes check-headers.sh
expect passes check-sql.sh OK --static

printf 'int x  =1 ;\n' >collectors/agent/bad.c
expect fails check-format.sh '^collectors/agent/bad.c:1: not as'
printf 'text \n' >docs/page.md
rm collectors/agent/bad.c
expect fails check-format.sh '^docs/page.md:1: white space'
printf 'no end' >docs/page.md
expect fails check-format.sh '^docs/page.md:[0-9]+: no newline'

tree
function_of 121 >collectors/agent/long.c
expect fails check-function-length.sh '^collectors/agent/long.c:4: long_one has 124 lines'
function_of 90 >collectors/agent/long.c
expect passes check-function-length.sh 'note: collectors/agent/long.c:4: long_one has 93'
{ for ((i = 0; i < 1501; i++)); do echo; done; } >collectors/agent/long.c
expect fails check-function-length.sh 'the file has 1501 lines'

tree
printf 'void\nf(char *a)\n{\n\tstrcpy(a, "x");\n}\n' >collectors/agent/b.c
expect fails check-banned-functions.sh '^collectors/agent/b.c:4: strcpy'
printf '/* strcpy( */\nconst char *s = "sprintf(x)";\nint my_sleep(int);\n\tsleep(1); /* banned-ok: a test hook */\n' >collectors/agent/b.c
expect passes check-banned-functions.sh
printf '\tsleep(1); /* banned-ok: */\n' >collectors/agent/b.c
expect fails check-banned-functions.sh ':1: sleep'

tree
printf 'struct a\n{\n\tsize_t n;\n};\n' >collectors/agent/h.h
expect fails check-headers.sh '^collectors/agent/h.h:3: does not compile alone'
printf '#include <stddef.h>\n\nstruct a\n{\n\tsize_t n;\n};\n' >collectors/agent/h.h
expect passes check-headers.sh

tree
mkdir build
printf 'int pctl_ok(void) { return 0; }\nint leak(void) { return 0; }\n' | gcc -shared -fPIC -x c -o build/probectl.so -
expect fails check-exported-symbols.sh 'leak is exported'
printf 'int pctl_gone(void);\nint pctl_ok(void) { return pctl_gone(); }\n' | gcc -shared -fPIC -x c -o build/probectl.so -
expect fails check-exported-symbols.sh 'pctl_gone is used but nowhere defined'
printf 'int pctl_ok(void) { return 0; }\n' | gcc -shared -fPIC -x c -o build/probectl.so -
expect passes check-exported-symbols.sh

tree
echo 'SELECT 2;' >sql/two.sql
expect fails check-tests.sh '^sql/two.sql:1: not in REGRESS'
expect fails check-tests.sh '^sql/two.sql:1: no expected/two.out'
rm sql/two.sql
echo 2 >expected/two.out
expect fails check-tests.sh '^expected/two.out:1: no test'
rm expected/two.out
printf 'int x; /* asserts nothing */\n' >test/fuzz/fuzz_a.c
expect fails check-tests.sh 'no seeds in test/fuzz/corpus/a'
expect fails check-tests.sh 'asserts no invariant'

tree
mkdir -p src/tenant
echo 'SELECT 1;' >src/tenant/policy.sql
expect fails check-sql.sh '^src/tenant/policy.sql:1: not in' --static
rm src/tenant/policy.sql
mkdir -p build
echo 'create or replace function f()' >build/probectl--0.1.sql
expect fails check-sql.sh '^build/probectl--0.1.sql:1: OR REPLACE' --static

tree
printf '# One\n\n[a](nowhere.md) [b](#none) [c](20-configure.md#settings)\n' >docs/page.md
expect fails check-docs.sh '^docs/page.md:3: nowhere.md leads nowhere'
expect fails check-docs.sh '^docs/page.md:3: #none: no such heading'
mkdir -p docs/decisions
touch docs/decisions/0002-b.md
printf '# One\n\n[decision 0001](decisions/0002-b.md)\n' >docs/page.md
expect fails check-docs.sh '^docs/page.md:3: decision 0001 is a link to 0002'
rm -r docs/page.md docs/decisions
printf '\tDefineCustomIntVariable("probectl.some_thing",\n' >src/core/guc.c
expect fails check-docs.sh '^src/core/guc.c:1: probectl.some_thing is not in'
printf '# Settings\n\n| `probectl.some_thing` | 1 |\n| `probectl.gone` | 1 |\n' >docs/20-configure.md
expect fails check-docs.sh '^docs/20-configure.md:4: no setting probectl.gone'
rm src/core/guc.c
printf '\t{"spool.dir", CONF_STRING, 0, .def = "/x"},\n' >collectors/agent/settings.c
printf '# Settings\n' >docs/20-configure.md
expect fails check-docs.sh '^collectors/agent/settings.c:1: spool.dir of probectl-agent is not in'
expect fails check-docs.sh 'no sample file'
printf '# Settings\n\n## probectl-agent\n\n| `spool.dir` | /y | a folder |\n' >docs/20-configure.md
expect fails check-docs.sh '^collectors/agent/settings.c:1: spool.dir of probectl-agent is "/x"'
printf '# Settings\n\n## probectl-agent\n\n| `spool.dir` | /x | a folder |\n' >docs/20-configure.md
printf 'spool:\n  dir: x\n' >deploy/etc/agent.yaml
expect passes check-docs.sh

mkdir -p src/api
printf "INSERT INTO x VALUES ('GET', '/v1/new', NULL);\nCREATE FUNCTION probectl.is()\n" >src/api/route.sql
cp src/api/route.sql src/api/api.sql
printf '`GET /v1/old` and `GET /v1/new`, `probectl.is()`\n' >docs/60-api.md
expect fails check-docs.sh '^docs/60-api.md:1: there is no route GET /v1/old'
printf '`probectl.is_not()`\n' >docs/60-api.md
expect fails check-docs.sh 'GET /v1/new is not in docs/60-api.md'
expect fails check-docs.sh '^docs/60-api.md:1: there is no function probectl.is_not'
printf '`GET /v1/new`, `probectl.is()`\n' >docs/60-api.md
expect passes check-docs.sh

# The rules on the catalog, on an extension that is nothing but faults, then on none.
tree
mkdir -p build test
: >build/probectl.so
: >test/probectl.conf
cat >probectl.control <<'SQL'
default_version = '0'
relocatable = false
superuser = true
SQL
cat >build/probectl--0.sql <<'SQL'
CREATE ROLE probectl_app NOLOGIN;
CREATE ROLE probectl_ingest LOGIN BYPASSRLS;
CREATE SCHEMA probectl;
CREATE SCHEMA probectl_internal;
CREATE SCHEMA probectl_api;
GRANT CREATE ON SCHEMA probectl_api TO probectl_app;
CREATE FUNCTION probectl.current_tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
CREATE TABLE probectl.bare (tenant_id uuid, id int PRIMARY KEY, UNIQUE (tenant_id, id));
CREATE TABLE probectl.child (tenant_id uuid NOT NULL, id int, PRIMARY KEY (tenant_id, id), FOREIGN KEY (id) REFERENCES probectl.bare);
CREATE TABLE probectl.parted (tenant_id uuid NOT NULL, day int) PARTITION BY RANGE (day);
CREATE TABLE probectl.parted_20200101 PARTITION OF probectl.parted FOR VALUES FROM (1) TO (2);
GRANT SELECT ON probectl.parted_20200101 TO probectl_app;
GRANT SELECT ON probectl.child TO PUBLIC;
ALTER TABLE probectl.child ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY open ON probectl.child USING (true);
CREATE VIEW probectl.seen AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW probectl.kept AS SELECT 1 AS one;
CREATE FUNCTION probectl.risky() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
SQL
for fault in 'bare: row-level security is not enabled' 'bare: row-level security is not forced' \
	'bare: tenant_id may be NULL' 'bare: no policy' 'bare: unique key bare_pkey does not start' \
	'child: foreign key child_id_fkey' 'child: policy open does not compare' 'child: SELECT is granted to PUBLIC' \
	'parted_20200101: row-level security is not enabled' 'parted_20200101: partition is granted to probectl_app' \
	'seen: security_invoker' 'kept: materialized views' 'risky: SECURITY DEFINER without' \
	'risky: PUBLIC may execute' 'risky: no COMMENT' 'bare: no COMMENT' \
	'probectl_ingest: may ignore' 'probectl_api: probectl_app may create'; do
	faults=${faults:+$faults|}$fault
done
expect fails check-sql.sh "$faults"
found=$(dev/check-sql.sh 2>&1 || true)
while IFS= read -r fault; do
	grep -qF -- "$fault" <<<"$found" || { echo "check-sql.sh does not find: $fault"; failed=$((failed + 1)); }
done < <(tr '|' '\n' <<<"$faults")
cat >build/probectl--0.sql <<'SQL'
CREATE SCHEMA probectl;
CREATE FUNCTION probectl.current_tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
COMMENT ON FUNCTION probectl.current_tenant() IS 'none';
REVOKE ALL ON FUNCTION probectl.current_tenant() FROM PUBLIC;
CREATE TABLE probectl.good (tenant_id uuid NOT NULL, id int, PRIMARY KEY (tenant_id, id));
COMMENT ON TABLE probectl.good IS 'good';
ALTER TABLE probectl.good ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON probectl.good USING (tenant_id = probectl.current_tenant());
SQL
expect passes check-sql.sh '1 tenant tables, 1 functions'

cd "$TOP"
if [ "$failed" -gt 0 ]; then
	echo "$failed checks do not find what they are for" >&2
	exit 1
fi
echo "selftest: OK"
