#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Installs the Debian packages of dev/packages/<purpose> that are missing, and only
# those: on a machine that has them all it touches nothing and needs no root.
#
#   dev/install-packages.sh build run test
#   dev/install-packages.sh --list test      print what is missing, install nothing
#
# Debian's postgresql-15 makes and starts a cluster called main when it is first
# installed. probectl runs a private cluster, so that is switched off for the
# time of the installation.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/packages"

readonly CREATECLUSTER=/etc/postgresql-common/createcluster.d/probectl-install.conf
list_only=no
log=

die()
{
	echo "install-packages: $*" >&2
	exit 1
}

# A newer node than Debian's must not be replaced by it.
have_node()
{
	local version
	command -v npm >/dev/null || return 1
	version=$(node --version 2>/dev/null) || return 1
	version=${version#v}
	[ "${version%%.*}" -ge 18 ]
}

installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Prints the packages of one list that are not there.
missing_of()
{
	local package condition rest
	while read -r package condition rest; do
		case $package in '' | '#'*) continue ;; esac
		case $condition in
			unless=*) if "have_${condition#unless=}"; then continue; fi ;;
		esac
		installed "$package" || echo "$package"
	done <"$1"
}

as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

can_be_root()
{
	[ "$(id -u)" -eq 0 ] && return 0
	command -v sudo >/dev/null || return 1
	[ -t 0 ] || sudo -n true 2>/dev/null
}

# apt-get quietly, with a line at every tenth of the way; its own output is in
# the log and shown only when it fails.
apt()
{
	local kind subject percent text shown=0 at options=(-q -y -o DPkg::Lock::Timeout=300)

	# sudo closes the descriptor that progress comes through.
	[ "$(id -u)" -ne 0 ] || options+=(-o APT::Status-Fd=3)
	{
		as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" "$@" \
			3>&1 >>"$log" 2>&1 </dev/null || echo "failed:::"
	} | {
		while IFS=: read -r kind subject percent text; do
			case $kind in
				failed)
					tail -n 25 "$log" >&2
					die "apt-get $1 failed; the whole output is in $log"
					;;
				dlstatus | pmstatus)
					at=${percent%%.*}
					if [ "${at:-0}" -ge $((shown + 10)) ]; then
						shown=$((at / 10 * 10))
						[ "$kind" = dlstatus ] && text=downloading || text=installing
						echo "  $text: $shown %"
					fi
					[ "${at:-0}" -ge "$shown" ] || shown=0
					;;
			esac
		done
	}
}

main()
{
	local purpose packages=() lists=()

	for purpose in "$@"; do
		case $purpose in
			--list) list_only=yes ;;
			-h | --help)
				echo "usage: dev/install-packages.sh [--list] <$(ls | paste -sd'|')>..."
				exit 0
				;;
			*)
				[ -f "$purpose" ] || die "no list called \"$purpose\"; there are: $(ls | paste -sd' ')"
				lists+=("$purpose")
				;;
		esac
	done
	[ ${#lists[@]} -gt 0 ] || die "say what for: $(ls | paste -sd' ')"

	command -v dpkg-query >/dev/null ||
		die "this machine has no dpkg; install by hand what dev/packages lists"

	mapfile -t packages < <(for purpose in "${lists[@]}"; do missing_of "$purpose"; done | sort -u)
	if [ "$list_only" = yes ]; then
		[ ${#packages[@]} -eq 0 ] || printf '%s\n' "${packages[@]}"
		return
	fi
	if [ ${#packages[@]} -eq 0 ]; then
		echo "packages: all there (${lists[*]})"
		return
	fi

	can_be_root ||
		die "missing: ${packages[*]}
install-packages: run as root, or: sudo apt-get install --no-install-recommends ${packages[*]}"

	log=$(mktemp /tmp/probectl-apt.XXXXXX)
	echo "packages: installing ${#packages[@]} for ${lists[*]}: ${packages[*]}"
	apt update
	if ! installed postgresql-15; then
		as_root mkdir -p "${CREATECLUSTER%/*}"
		echo 'create_main_cluster = false' | as_root tee "$CREATECLUSTER" >/dev/null
		trap 'as_root rm -f "$CREATECLUSTER"' EXIT
	fi
	apt install --no-install-recommends "${packages[@]}"
	rm -f "$log"
	echo "packages: done"
}

main "$@"
