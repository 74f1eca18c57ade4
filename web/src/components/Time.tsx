// SPDX-License-Identifier: PostgreSQL
//
// Times: local on screen, UTC on hover, both in the machine-readable attribute.
import { formatAge, formatTime, formatUtc } from '../lib/format';
import { useNow } from '../state/clock';

type Instant = string | number;

export function Time({ at }: { at: Instant }) {
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={formatUtc(date)}>
      {formatTime(date)}
    </time>
  );
}

/** Counts up by itself. */
export function Age({ at, suffix }: { at: Instant; suffix?: string }) {
  const now = useNow();
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={`${formatTime(date)} \u00b7 ${formatUtc(date)}`}>
      {formatAge((now - date.getTime()) / 1000)}
      {suffix}
    </time>
  );
}
