#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Puts headers and static archives of dev/arm64-libraries, for arm64, into build/arm64/sysroot. The
# machine does not learn a second architecture for that, which would change every later use of apt on
# it: apt keeps lists of its own below build/arm64, with the machine's sources and keys, the packages are
# verified as ever, and unpacked instead of installed. Needs no root. Does nothing when it
# has done it before.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly BASE=$PWD/build/arm64
readonly STAMP=$BASE/sysroot/.complete

mapfile -t packages < <(sed -e 's/#.*//' -e '/^ *$/d' -e 's/ .*//' dev/arm64-libraries)
if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "${packages[*]}" ]; then
	exit 0
fi

rm -rf "$BASE/sysroot" "$BASE/apt"
mkdir -p "$BASE/sysroot" "$BASE/apt/lists/partial" "$BASE/apt/cache/archives/partial" "$BASE/apt/debs" "$BASE/apt/parts"
: >"$BASE/apt/status"
# What the machine's apt knows of proxies and transports, without what it does to the machine afterwards.
for part in /etc/apt/apt.conf.d/*; do
	[ ! -r "$part" ] || grep -q Invoke "$part" || cp "$part" "$BASE/apt/parts/"
done
cat >"$BASE/apt/conf" <<END
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::Etc::parts "$BASE/apt/parts";
Dir::State "$BASE/apt";
Dir::State::lists "$BASE/apt/lists";
Dir::State::status "$BASE/apt/status";
Dir::Cache "$BASE/apt/cache";
END
export APT_CONFIG=$BASE/apt/conf

die()
{
	echo "arm64-sysroot: $*" >&2
	tail -n 15 "$BASE/apt/log" >&2
	exit 1
}

echo "arm64: fetching ${packages[*]}"
# A source that has nothing for arm64, or is away, matters only if a package is missing afterwards.
timeout 300 apt-get -q update >"$BASE/apt/log" 2>&1 || true
(cd "$BASE/apt/debs" && timeout 300 apt-get -q download "${packages[@]}") >>"$BASE/apt/log" 2>&1 ||
	die "could not fetch the libraries"
for package in "$BASE"/apt/debs/*.deb; do
	dpkg-deb -x "$package" "$BASE/sysroot"
done
[ -f "$BASE/sysroot/usr/lib/aarch64-linux-gnu/libcrypto.a" ] || die "a package holds no static library"
rm -rf "$BASE/apt"
echo "${packages[*]}" >"$STAMP"
