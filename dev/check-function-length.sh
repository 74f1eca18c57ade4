#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
#
# A function over 120 lines fails, over 80 is listed; a file over 1,500 lines
# fails, over 1,200 is listed. The layout makes functions easy to find: "{" and
# "}" alone at the start of a line. There is no list of exemptions.

. "$(dirname "$0")/lib/check.sh"

mapfile -t files < <(c_files src collectors)
count=0
if [ ${#files[@]} -gt 0 ]; then
	report=$(awk '
		FNR == 1 { open = 0; name = "" }
		FNR == 1 && prev != "" && size > 1200 { big(prev, size) }
		{ prev = FILENAME; size = FNR }
		!open && /^[A-Za-z_][A-Za-z_0-9]*\(/ { name = $0; sub(/\(.*/, "", name); at = FNR }
		/^\{$/ { open = FNR; next }
		open && /^\}/ {
			if ($0 ~ /^\}[[:space:]]*(\/\*.*)?$/ && name != "") {
				count++
				len = FNR - open + 1
				if (len > 120) printf "F %s:%d: %s has %d lines, 120 is the limit\n", FILENAME, at, name, len
				else if (len > 80) printf "W %s:%d: %s has %d lines\n", FILENAME, at, name, len
			}
			open = 0; name = ""
		}
		function big(file, n) {
			printf "%s %s:%d: the file has %d lines, %s\n", (n > 1500 ? "F" : "W"), file, n, n, \
				(n > 1500 ? "1500 is the limit" : "split it before 1500")
		}
		END { if (size > 1200) big(prev, size); print "N " count + 0 }' "${files[@]}")
	count=$(sed -n 's/^N //p' <<<"$report")
	sed -n 's/^W \(.*\)/note: \1/p' <<<"$report"
	findings_from < <(sed -n 's/^F //p' <<<"$report")
fi
finish "$count functions in ${#files[@]} files"
