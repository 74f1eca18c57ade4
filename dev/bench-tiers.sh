#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Installations of a size, one after the other, each on a private instance of its own: tenants, connected agents, a
# steady rate, every result counted afterwards. Prints rows for the table in docs/91-performance.md; the
# JSON lines are kept in build/bench-tiers.jsonl.
#
#   dev/bench-tiers.sh              S, M and L for a minute each
#   dev/bench-tiers.sh L 1800       L for half an hour, as it is recorded

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PROGRAM=build/bin/probectl
readonly LINES=build/bench-tiers.jsonl
tiers=(S M L)
seconds=60
if [ $# -gt 0 ]; then
	tiers=("$1")
	seconds=${2:-60}
fi

[ -x "$PROGRAM" ] || { echo "bench: $PROGRAM is missing; run make first" >&2; exit 1; }
: >"$LINES"
for tier in "${tiers[@]}"; do
	"$PROGRAM" bench tier --tier "$tier" --seconds "$seconds" >>"$LINES"
done
perl -MJSON::PP -ne '
	my $f = decode_json($_);
	printf "| %s | %d x %d | %d | %.0f s | %.0f | %.1f / %.1f / %.1f | %d | %d | %d | %.0f | %.0f |\n", $f->{tier}, $f->{tenants}, $f->{agents} / $f->{tenants},
		$f->{rate}, $f->{seconds}, $f->{results_per_s}, $f->{p50_ack_ms}, $f->{p95_ack_ms}, $f->{p99_ack_ms}, $f->{lost}, $f->{duplicated}, $f->{misplaced},
		$f->{ingest_pss_mb}, $f->{all_pss_mb};
' "$LINES"
