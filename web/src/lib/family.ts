// SPDX-License-Identifier: PostgreSQL
//
// A family of statistics (rtt.*, connect.*) of one run, for the range bar.

export interface Family {
  name: string;
  min: number;
  avg: number;
  max: number;
  stddev: number | null;
  jitter: number | null;
}

export interface Packets {
  sent: number;
  received: number;
  /** Which were lost, when the canary tells. */
  lost: Set<number> | null;
}

const FAMILIES = ['rtt', 'connect', 'query'];

export function familyOf(metrics: Record<string, number>): Family | null {
  for (const name of FAMILIES) {
    const min = metrics[`${name}.min.ms`];
    const avg = metrics[`${name}.avg.ms`];
    const max = metrics[`${name}.max.ms`];
    if (min === undefined || avg === undefined || max === undefined) continue;
    return { name, min, avg, max, stddev: metrics[`${name}.stddev.ms`] ?? null, jitter: metrics['jitter.ms'] ?? null };
  }
  return null;
}

export function packetsOf(metrics: Record<string, number>, attributes: Record<string, string>): Packets | null {
  const sent = metrics['packets.sent'];
  if (sent === undefined || sent <= 0) return null;
  const received = metrics['packets.received'] ?? 0;
  const dropped = attributes['probectl.icmp.dropped_seqs'];
  const seqs = dropped ? dropped.split(/[^\d]+/).filter(Boolean).map(Number) : null;
  return { sent, received, lost: seqs && seqs.length === sent - received ? new Set(seqs) : null };
}

export interface RangeBar {
  /** Per cent of the width. */
  min: number;
  avg: number;
  max: number;
  bandFrom: number | null;
  bandTo: number | null;
  /** Value at the right end, ms. */
  end: number;
}

/** A round value at or above: 1, 2 or 5 times a power of ten. */
export function niceCeil(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 5, 10]) if (value <= step * power * (1 + 1e-9)) return step * power;
  return 10 * power;
}

export function rangeBar(family: Family): RangeBar {
  const end = niceCeil(family.max);
  const at = (ms: number): number => Math.min(100, Math.max(0, (ms / end) * 100));
  return {
    min: at(family.min),
    avg: at(family.avg),
    max: at(family.max),
    bandFrom: family.stddev === null ? null : at(Math.max(family.min, family.avg - family.stddev)),
    bandTo: family.stddev === null ? null : at(Math.min(family.max, family.avg + family.stddev)),
    end,
  };
}
