#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# make bench: every benchmark of `probectl bench`, each on a private instance of its own,
# as one table with what was aimed at. The JSON lines are kept in build/bench.jsonl. A
# benchmark that fails makes this fail; a figure that misses its aim does not, because
# what limits it is for a person to judge.
#
#   dev/bench.sh              all
#   dev/bench.sh rls agent    some

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PROGRAM=build/bin/probectl
readonly LINES=build/bench.jsonl
failed=0

[ -x "$PROGRAM" ] || { echo "bench: $PROGRAM is missing; run make first" >&2; exit 1; }
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
	# From the program's own table.
	mapfile -t names < <("$PROGRAM" help bench | awk '/^Benchmarks:/ { on = 1; next } on && !NF { exit } on { print $1 }')
fi
[ ${#names[@]} -gt 0 ] || { echo "bench: the program names no benchmark" >&2; exit 1; }

: >"$LINES"
for name in "${names[@]}"; do
	echo "bench: $name ..." >&2
	"$PROGRAM" bench "$name" >>"$LINES" || { echo "bench: $name failed" >&2; failed=1; }
done

perl -MJSON::PP -e '
	# benchmark, figure, aim, whether it is met
	my @aims = (
		[ingest => results_per_s => "20000 (aim 60000)", sub { $_[0] >= 20000 }],
		[ingest => p95_ack_ms => "< 200", sub { $_[0] < 200 }],
		[ingest => lost => "0", sub { $_[0] == 0 }],
		[ingest => duplicated => "0", sub { $_[0] == 0 }],
		[rls => ratio_aggregate => "<= 1.05", sub { $_[0] <= 1.05 }],
		[rls => ratio_indexed => "<= 1.05", sub { $_[0] <= 1.05 }],
		[audit => appends_per_s => ">= 50000", sub { $_[0] >= 50000 }],
		[audit => durable_appends_per_s => ">= 10000", sub { $_[0] >= 10000 }],
		[audit => durable_single_appends_per_s => ">= 10000", sub { $_[0] >= 10000 }],
		[audit => verify_rows_per_s => ">= 600000", sub { $_[0] >= 600000 }],
		[metric => samples_in_per_s => ">= 5000000", sub { $_[0] >= 5e6 }],
		[metric => bytes_per_sample => "<= 6", sub { $_[0] <= 6 }],
		[metric => samples_aggregated_per_s => ">= 60000000", sub { $_[0] >= 6e7 }],
		["remote-write" => samples_per_s => ">= 600000", sub { $_[0] >= 6e5 }],
		["remote-write" => us_per_sample => "<= 1.5", sub { $_[0] <= 1.5 }],
		["remote-write" => us_per_sample_backlog => "<= 1.5", sub { $_[0] <= 1.5 }],
		[tenants => p95_ratio => "<= 1.3", sub { $_[0] <= 1.3 }],
		[tenants => provision_p95_ms => "< 100", sub { $_[0] < 100 }],
		[pooled => p95_ms => "<= 2", sub { $_[0] <= 2 }],
		[pooled => violations => "0", sub { $_[0] == 0 }],
		[fairness => p95_ratio => "<= 1.2", sub { $_[0] <= 1.2 }],
		[tier => p95_ack_ms => "< 50 (S)", sub { $_[0] < 50 }],
		[tier => lost => "0", sub { $_[0] == 0 }],
		[gateway => requests_per_s => "5000 (aim 10000)", sub { $_[0] >= 5000 }],
		[gateway => p99_ms => "< 10", sub { $_[0] < 10 }],
		[spool => appended_per_s => ">= 50000", sub { $_[0] >= 50000 }],
		[spool => drain_depth_ratio => "<= 2", sub { $_[0] <= 2 }],
		[spool => offline_mb => "<= 64", sub { $_[0] <= 64 }],
		[spool => offline_lost => "0", sub { $_[0] == 0 }],
		[icmp => us_per_probe => "<= 12", sub { $_[0] <= 12 }],
		[icmp => loss_percent => "0", sub { $_[0] == 0 }],
		[icmp => probes_per_s => ">= 19000 (aim 20000)", sub { $_[0] >= 19000 }],
		[http => waterfalls_per_s => ">= 10000", sub { $_[0] >= 10000 }],
		[http => us_per_waterfall => "<= 60", sub { $_[0] <= 60 }],
		[http => tls_waterfalls_per_s => ">= 3000", sub { $_[0] >= 3000 }],
		[agent => rss_mb => "<= 6", sub { $_[0] <= 6 }],
		[agent => rss_idle_mb => "<= 6", sub { $_[0] <= 6 }],
		[agent => rss_1000_tests_mb => "<= 12", sub { $_[0] <= 12 }],
		[agent => cpu_percent => "<= 0.1", sub { $_[0] <= 0.1 }]);
	my (%figures, $machine, %seen);
	while (<>) {
		next unless /^\{/;
		my $line = decode_json($_);
		$machine = delete $line->{machine};
		$figures{delete $line->{bench}} = $line;
	}
	printf "%-12s %-32s %14s   %-20s %s\n", qw(benchmark figure measured wanted), "";
	for my $aim (@aims) {
		my ($name, $figure, $want, $met) = @$aim;
		my $value = $figures{$name}{$figure};
		next unless defined $value;
		$seen{"$name $figure"} = 1;
		printf "%-12s %-32s %14.6g   %-20s %s\n", $name, $figure, $value, $want, $met->($value) ? "" : "missed";
	}
	for my $name (sort keys %figures) {
		for my $figure (sort keys %{$figures{$name}}) {
			my $value = $figures{$name}{$figure};
			next if ref $value || $seen{"$name $figure"} || $value !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/;
			printf "%-12s %-32s %14.6g\n", $name, $figure, $value;
		}
	}
	printf "machine: %s\n", join ", ", map { "$_ $machine->{$_}" } sort keys %$machine if ref $machine;' "$LINES"
exit $failed
