#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# Documentation keeps step with the code: links lead somewhere and to the decision they name, every setting of the
# extension and of each process is described in docs/20-configure.md, every key of
# a process is in its sample file under deploy/etc, and nothing there is unknown.

. "$(dirname "$0")/lib/check.sh"

readonly CONFIGURE=docs/20-configure.md

# file:line<TAB>link for every relative link of the Markdown files.
links()
{
	perl -e '
		for my $file (@ARGV) {
			open my $in, "<", $file or die "$file: $!\n";
			my $fenced = 0;
			while (<$in>) {
				$fenced = !$fenced if /^\s*```/;
				next if $fenced;
				s/`[^`]*`//g;
				while (/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g) {
					my $link = $1;
					next if $link =~ /^(?:[a-z][a-z0-9+.-]*:|\/\/)/i;
					print "$file:$.\t$link\n";
				}
			}
		}' "$@"
}

# Anchors as Git hosts make them from headings.
anchors()
{
	grep -E '^#{1,6} ' "$1" | sed -E 's/^#+ +//; s/`//g; s/\[([^]]*)\]\([^)]*\)/\1/g' |
		tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# process<TAB>key<TAB>file:line<TAB>default for every row of a settings table; the
# default is "required" or "unset" where there is none.
keys()
{
	perl -e '
		my %define;
		for my $file (@ARGV, glob "collectors/*/*.h") {
			open my $in, "<", $file or die "$file: $!\n";
			while (<$in>) {
				$define{$1} = $2 if /^#define\s+(\w+)\s+"((?:\\.|[^"\\])*)"/;
			}
		}
		for my $file (@ARGV) {
			open my $in, "<", $file or die "$file: $!\n";
			local $/;
			my $text = <$in>;
			my ($process) = $file =~ m{^collectors/([^/]+)/};
			while ($text =~ /\{\s*(?:\.name\s*=\s*)?"([a-z][a-z0-9_.]*)",\s*(?:\.type\s*=\s*)?CONF_[A-Z]/g) {
				my $key = $1;
				my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
				my ($row) = substr($text, $-[0]) =~ /^(\{(?:[^{}"]|"(?:\\.|[^"\\])*")*\})/;
				my $default = !defined $row ? "?" : $row =~ /\.def\s*=\s*"((?:\\.|[^"\\])*)"/ ? $1
					: $row =~ /\.def\s*=\s*(\w+)/ && $1 ne "NULL" ? $define{$1} // "?"
					: $row =~ /CONF_REQUIRED/ ? "required" : $row =~ /CONF_BOOL/ ? "false" : "unset";
				print "$process\t$key\t$file:$line\t$default\n";
			}
			if ($text =~ /^\s*CONF_KEY_LOG_LEVEL\(/m) {
				my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
				print "$process\tlog.level\t$file:$line\tinfo\n";
			}
		}' "$@"
}

# The part of the page about one process.
section()
{
	awk -v want="## probectl-$1" '/^## /{ on = (tolower($0) == want) } on' "$CONFIGURE"
}

mapfile -t pages < <(git ls-files -co --exclude-standard -- '*.md')
while IFS=$'\t' read -r at link; do
	target=${link%%#*}
	file=${at%:*}
	if [ -z "$target" ]; then
		target=$file
	elif [ "${target#/}" != "$target" ]; then
		target=.$target
	else
		target=$(dirname "$file")/$target
	fi
	if [ ! -e "$target" ]; then
		finding "$at: $link leads nowhere"
	elif [ "${link#*#}" != "$link" ] && [ "${target%.md}" != "$target" ]; then
		grep -qx -- "${link#*#}" <<<"$(anchors "$target")" || finding "$at: $link: no such heading"
	fi
done < <(links "${pages[@]}")

# A decision is called by the number of its file.
while IFS=: read -r file line link; do
	[[ $link =~ decision\ ([0-9]{4})\]\(.*/?([0-9]{4})- && ${BASH_REMATCH[1]} != "${BASH_REMATCH[2]}" ]] &&
		finding "$file:$line: decision ${BASH_REMATCH[1]} is a link to ${BASH_REMATCH[2]}"
done < <(grep -HnoE '\[decision [0-9]{4}\]\([^)]*[0-9]{4}-[^)]*\)' -- "${pages[@]}")

# Settings of the extension.
settings=0
while IFS=: read -r file line name; do
	settings=$((settings + 1))
	grep -qF "\`$name\`" "$CONFIGURE" || finding "$file:$line: $name is not in $CONFIGURE"
done < <(perl -0ne 'while (/DefineCustom\w+Variable\(\s*"(probectl\.\w+)"/g) {
	print "$ARGV:", 1 + (substr($_, 0, $-[0]) =~ tr/\n//), ":$1\n" }' src/core/guc.c 2>/dev/null)
while IFS=: read -r line name; do
	grep -qs "\"$name\"" src/*/*.c || finding "$CONFIGURE:$line: no setting $name"
done < <(grep -noE '^\| `probectl\.[a-z_]+`' "$CONFIGURE" | sed -E 's/^([0-9]+):\| `(.*)`/\1:\2/')

# Settings of the processes.
mapfile -t sources < <(c_files collectors -- '*.c')
known=$([ ${#sources[@]} -eq 0 ] || keys "${sources[@]}" | awk -F'\t' '$1 != "lib"')
while IFS=$'\t' read -r process key at default; do
	[ -n "$process" ] || continue
	settings=$((settings + 1))
	row=$(section "$process" | grep -F "| \`$key\` |" || true)
	if [ -z "$row" ]; then
		finding "$at: $key of probectl-$process is not in its section of $CONFIGURE"
	elif [ "$default" != "?" ] && ! grep -qF "| \`$key\` | $default |" <<<"$row"; then
		finding "$at: $key of probectl-$process is \"$default\", $CONFIGURE says otherwise"
	fi
	sample=deploy/etc/$process.yaml
	if [ -f "$sample" ]; then
		grep -qE "^(# *)?( *)${key##*.}:" "$sample" || finding "$at: $key is not in $sample"
	else
		finding "$at: no sample file $sample"
	fi
done <<<"$known"
for process in $(cut -f1 <<<"$known" | sort -u); do
	while read -r key; do
		grep -qP "^$process\t\Q$key\E\t" <<<"$known" || finding "$CONFIGURE:0: probectl-$process has no setting $key"
	done < <(section "$process" | grep -oE '^\| `[a-z][a-z0-9_.]*`' | sed -E 's/^\| `(.*)`/\1/')
done
# Routes: the table of the API page holds what the route table holds.
mapfile -t routes < <(perl -ne "print \"\$1 \$2\\n\" while /\\('(GET|POST|PUT|PATCH|DELETE)', '(\\/v1\\/[^']*)'/g" src/api/route.sql src/*/route.sql 2>/dev/null | sort -u)
for route in "${routes[@]}"; do
	grep -qF "\`$route\`" docs/60-api.md || finding "src/api/route.sql:0: $route is not in docs/60-api.md"
done
if [ ${#routes[@]} -gt 0 ]; then
	while IFS=: read -r line route; do
		# The gateway's own, which need no database.
		[ "$route" = "GET /v1/events" ] || grep -qxF -- "$route" <<<"$(printf '%s\n' "${routes[@]}")" ||
			finding "docs/60-api.md:$line: there is no route $route"
	done < <(grep -noE '`(GET|POST|PUT|PATCH|DELETE) /v1/[^`? ]*`' docs/60-api.md | tr -d '`')
fi

# Functions that a page tells to call exist.
if ls src/*/api.sql >/dev/null 2>&1; then
	while IFS=: read -r file line name; do
		grep -qE "FUNCTION ${name//./\\.}\(" src/*/*.sql || finding "$file:$line: there is no function $name()"
	done < <(grep -noHE '\bprobectl\.[a-z_]+\(' "${pages[@]}" /dev/null | tr -d '(')
fi

# What the program itself says of its sample, where it is built. Files that the sample
# names need not exist here; only what is wrong with a line of the sample counts.
for sample in deploy/etc/*.yaml; do
	program=build/bin/probectl-$(basename "$sample" .yaml)
	[ -x "$program" ] || continue
	findings_from < <("$program" --config "$sample" --check-config 2>&1 </dev/null | grep -E "^([a-z-]+: )?$sample:[0-9]+:" || true)
done
finish "${#pages[@]} pages, $settings settings, ${#routes[@]} routes"
