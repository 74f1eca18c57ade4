#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Functions that overrun, hide errors, keep hidden state or block a loop do not
# appear in product code. A use with a reason carries it in the same line:
#     usleep(10); /* banned-ok: the debugger hook waits for a human */

. "$(dirname "$0")/lib/check.sh"

mapfile -t files < <(c_files src collectors)
if [ ${#files[@]} -gt 0 ]; then
	findings_from < <(perl -e '
		my %instead = (
			strcpy => "strlcpy or a buffer with a length", strcat => "strlcat or a buffer with a length",
			sprintf => "snprintf", vsprintf => "vsnprintf", strtok => "strspn and strcspn",
			atoi => "strtol with its end pointer checked", atol => "strtol with its end pointer checked",
			atof => "strtod with its end pointer checked", gets => "fgets", alloca => "an allocation with a limit",
			sleep => "a timer of the loop or a latch", usleep => "a timer of the loop or a latch",
			nanosleep => "a timer of the loop or a latch", pg_usleep => "WaitLatch",
			strncpy => "strlcpy", tmpnam => "mkstemp", mktemp => "mkstemp");
		my $names = join "|", keys %instead;
		for my $file (@ARGV) {
			open my $in, "<", $file or die "$file: $!\n";
			local $/;
			my $text = <$in>;
			my @raw = split /\n/, $text, -1;
			# Comments and literals go, lines stay where they are.
			$text =~ s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27)}
				{my $t = $1; $t =~ s/[^\n]/ /g; $t}gse;
			my $n = 0;
			for my $line (split /\n/, $text, -1) {
				$n++;
				next if $raw[$n - 1] =~ m{/\*\s*banned-ok:\s*[^\s*]};
				while ($line =~ /(?<![\w>.])($names)\s*\(/g) {
					print "$file:$n: $1: use $instead{$1}\n";
				}
			}
		}' "${files[@]}")
fi
finish "${#files[@]} files"
