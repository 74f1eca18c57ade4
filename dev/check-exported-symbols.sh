#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Every symbol a shared library exports lands in the one name space of the server
# process. Only what the server looks up by name leaves probectl.so: the module's
# magic and init, and SQL-callable functions (pctl_*, with their pg_finfo_*).

. "$(dirname "$0")/lib/check.sh"
need nm

lib=
for candidate in build/probectl.so probectl.so; do
	[ -f "$candidate" ] && lib=$candidate && break
done
[ -n "$lib" ] || cannot "no probectl.so; run make first"

symbols=$(nm -D --defined-only "$lib" | awk '{ print $NF }' | sed 's/@.*//' | sort -u)
findings_from < <(grep -vE '^(Pg_magic_func|_PG_init|pg_finfo_pctl_[a-z0-9_]+|pctl_[a-z0-9_]+)$' <<<"$symbols" |
	sed "s|.*|$lib:0: & is exported; make it static or keep it hidden|")

# A function called from SQL without its pg_finfo record cannot be called at all.
while IFS= read -r record; do
	grep -qx "${record#pg_finfo_}" <<<"$symbols" || finding "$lib:0: $record without its function"
done < <(grep '^pg_finfo_' <<<"$symbols" || true)

# What the linker lets pass and the server refuses to load.
while IFS= read -r name; do
	finding "$lib:0: $name is used but nowhere defined"
done < <(nm -D --undefined-only "$lib" | awk '{ print $NF }' | grep '^pctl_' || true)
finish "$(wc -l <<<"$symbols") symbols in $lib"
