#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# The SQL of the extension, first as text, then as what it leaves in a database: the
# tenant boundary on every table, partition, key, view and function is read from
# the catalog, so that a new table cannot be forgotten.
#
#   dev/check-sql.sh               on a private server made for it
#   PGDATABASE=... dev/check-sql.sh   on that database, where the extension is
#   dev/check-sql.sh --static      the text only

. "$(dirname "$0")/lib/check.sh"
. dev/lib/server.sh

check_text()
{
	local file install

	for file in src/header.sql src/*/*.sql; do
		[ ! -f "$file" ] || grep -qF -- "$file" Makefile src/*.mk 2>/dev/null ||
			in_sources "$file" || finding "$file:1: not in the Makefile's list of SQL files"
	done
	for install in build/probectl--*.sql; do
		# Update scripts (two versions in the name) replace; install scripts must not.
		case ${install#build/probectl--} in *--*) continue ;; esac
		[ -f "$install" ] || continue
		findings_from < <(grep -niE '\bOR[[:space:]]+REPLACE\b' "$install" |
			sed "s|^\([0-9]*\):.*|$install:\1: OR REPLACE in an install script adopts what somebody made before|")
	done
}

# The list may name folders and files apart.
in_sources()
{
	local name
	for name in SQL_FILES SQL_SRCS SQL_SOURCES EXTENSION_SQL SQL; do
		case " $(make_value "$name") " in *" $1 "*) return 0 ;; esac
	done
	return 1
}

# src/x/schema.sql:12 for an object of the catalog.
where()
{
	local kind=$1 name=$2 bare
	bare=${name#*.}
	# A partition is made by code; its parent's line is the one to look at.
	[[ $bare =~ ^(.*)_[0-9]{8}$ ]] && bare=${BASH_REMATCH[1]}
	grep -nEi "CREATE (OR REPLACE )?(UNLOGGED )?$kind (IF NOT EXISTS )?([a-z_]+\.)?$bare([^a-z0-9_]|\$)" \
		src/*/*.sql src/*.sql /dev/null 2>/dev/null | head -n 1 | cut -d: -f1,2 || true
}

check_database()
{
	local kind name text place public operator counted=no
	public=$(sed 's/#.*//' dev/lib/public-functions | xargs)
	operator=$(sed 's/#.*//' dev/lib/operator-tables | xargs)

	"${TREE_BIN:-$SERVER_BIN}/psql" -XqAt -c "SELECT 1 / count(*) FROM pg_extension WHERE extname = 'probectl'" >/dev/null 2>&1 ||
		cannot "no extension probectl in database \"${PGDATABASE:-}\" of ${PGHOST:-the local server}"
	while IFS=$'\t' read -r kind name text; do
		if [ "$kind" = COUNTED ]; then
			counted=yes
		elif [ "$counted" = yes ]; then
			summary="$kind tenant tables, $name functions, $text views"
		else
			place=$(where "$kind" "$name")
			finding "${place:-src:0}: $name: $text"
		fi
	done < <("${TREE_BIN:-$SERVER_BIN}/psql" -Xq -v public_functions="$public" -v operator_tables="$operator" -f dev/lib/check-sql.sql || echo "FAILED		")
	[ "$counted" = yes ] && [ -n "${summary:-}" ] || cannot "the catalog could not be read"
}

summary="text only"
check_text
if [ "${1:-}" != --static ]; then
	if [ -z "${PGDATABASE:-}" ]; then
		trap server_remove EXIT
		server_tree && server_start && server_database regress_probectl_lint ||
			cannot "no private server; see the lines above"
	fi
	check_database
fi
finish "$summary"
