# SPDX-License-Identifier: PostgreSQL
#
# A private PostgreSQL for tests: source it, call server_tree, then server_start.
#
# The tree is a copy of Debian's binaries with the library and the extension files of
# this build beside them. PostgreSQL finds its files relative to its own binary, so
# nothing is installed into the system, an installed probectl of another version does
# not matter, and two checkouts can be tested at the same time. Everything lies in a
# folder under /tmp that the unprivileged user may read: the server refuses to run as
# root, and a checkout may well be below a folder only root can enter.

SERVER_BIN=$(pg_config --bindir 2>/dev/null || echo /usr/lib/postgresql/15/bin)
SERVER_USER=$(id -un)
[ "$(id -u)" -ne 0 ] || SERVER_USER=postgres

# Runs a command as the unprivileged user, in the tests' folder.
as_tester()
{
	if [ "$(id -un)" = "$SERVER_USER" ]; then
		(cd "$WORK" && "$@")
	else
		(cd "$WORK" && runuser -u "$SERVER_USER" -- "$@")
	fi
}

# Makes $WORK, with $WORK/pg as the tree. Needs a finished build.
server_tree()
{
	local bindir libdir sharedir lib= file

	bindir=$SERVER_BIN
	libdir=$(pg_config --pkglibdir)
	sharedir=$(pg_config --sharedir)
	for file in build/probectl.so probectl.so; do
		[ -f "$file" ] && lib=$file && break
	done
	[ -n "$lib" ] || { echo "no probectl.so; run make first" >&2; return 1; }
	[ "$SERVER_USER" != postgres ] || getent passwd postgres >/dev/null ||
		{ echo "no user postgres; run dev/install-packages.sh build" >&2; return 1; }

	WORK=$(mktemp -d /tmp/probectl-check.XXXXXX)
	chmod 0755 "$WORK"
	# The relative places have to be those of Debian's build.
	TREE_BIN=$WORK/pg${bindir#/usr}
	TREE_LIB=$WORK/pg${libdir#/usr}
	TREE_SHARE=$WORK/pg${sharedir#/usr}
	mkdir -p "$TREE_BIN" "$TREE_LIB" "$TREE_SHARE/extension"
	# Copies, not links: the server resolves links before it looks around.
	cp "$bindir"/* "$TREE_BIN/"
	for file in "$libdir"/*; do
		[ "${file##*/}" = probectl.so ] || ln -s "$file" "$TREE_LIB/"
	done
	for file in "$sharedir"/*; do
		[ "${file##*/}" = extension ] || ln -s "$file" "$TREE_SHARE/"
	done
	for file in "$sharedir"/extension/*; do
		case ${file##*/} in
			probectl--* | probectl.control) ;;
			*) ln -s "$file" "$TREE_SHARE/extension/" ;;
		esac
	done
	cp "$lib" "$TREE_LIB/probectl.so"
	cp probectl.control build/probectl--*.sql "$TREE_SHARE/extension/"
	[ "$(id -u)" -ne 0 ] || chown -R "$SERVER_USER:" "$WORK"
}

# Starts a server with the settings of the tests and exports PGHOST and friends.
# Its durability is off: nothing here outlives the tests.
server_start()
{
	local data=$WORK/data

	as_tester "$TREE_BIN/initdb" -D "$data" -U postgres -A trust -N \
		--no-locale -E UTF8 >"$WORK/initdb.log" 2>&1 || { cat "$WORK/initdb.log" >&2; return 1; }
	{
		cat test/probectl.conf
		printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$WORK'" 'fsync = off' \
			"logging_collector = off"
	} | as_tester tee -a "$data/postgresql.conf" >/dev/null
	as_tester "$TREE_BIN/pg_ctl" -D "$data" -l "$WORK/server.log" -w -t 60 -s start ||
		{ tail -n 20 "$WORK/server.log" >&2; return 1; }
	export PGHOST=$WORK PGPORT=5432 PGUSER=postgres
	unset PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS
}

# A database with the extension in it; its name is exported as PGDATABASE.
server_database()
{
	"$TREE_BIN/createdb" "$1" && export PGDATABASE=$1 &&
		"$TREE_BIN/psql" -XqAt -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION probectl CASCADE' >/dev/null
}

server_stop()
{
	[ -n "${WORK:-}" ] && [ -f "$WORK/data/postmaster.pid" ] || return 0
	as_tester "$TREE_BIN/pg_ctl" -D "$WORK/data" -m immediate -w -s stop || true
}

# For the EXIT trap: leaves nothing behind.
server_remove()
{
	[ -n "${WORK:-}" ] || return 0
	server_stop
	rm -rf "$WORK"
	WORK=
}
