// SPDX-License-Identifier: PostgreSQL
//
// Runs as columns for the chart. A gap in the data is a null in the columns, a failed run
// has no latency and a mark of its own.
import type { Result } from '../api/types';
import { familyOf } from './family';
import { GAP_AFTER, median } from './spark';

export interface Columns {
  /** Unix seconds. */
  t: number[];
  latency: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  /** Per cent; null where no run tells of loss. */
  loss: (number | null)[];
  failed: boolean[];
}

export function columnsOf(results: Result[], intervalSeconds: number | null): Columns {
  const columns: Columns = { t: [], latency: [], low: [], high: [], loss: [], failed: [] };
  const times = results.map((r) => Date.parse(r.started_at) / 1000);
  const step = intervalSeconds ?? median(times.slice(1).map((t, i) => t - times[i]!)) ?? 0;
  results.forEach((result, i) => {
    const t = times[i]!;
    const before = times[i - 1];
    if (before !== undefined && step > 0 && t - before > step * GAP_AFTER) push(columns, before + step, null);
    push(columns, t, result);
  });
  return columns;
}

function push(columns: Columns, t: number, result: Result | null): void {
  const family = result?.success ? familyOf(result.metrics) : null;
  columns.t.push(t);
  columns.latency.push(result?.success ? result.latency_ms : null);
  columns.low.push(family?.min ?? null);
  columns.high.push(family?.max ?? null);
  columns.loss.push(result && result.loss_ratio !== null ? result.loss_ratio * 100 : null);
  columns.failed.push(result !== null && !result.success);
}

export interface HistoryStats {
  runs: number;
  failed: number;
  p50: number | null;
  p95: number | null;
}

function quantile(sorted: number[], q: number): number | null {
  if (sorted.length === 0) return null;
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? null;
}

export function statsOf(results: Result[]): HistoryStats {
  const values = results.filter((r) => r.success && r.latency_ms !== null).map((r) => r.latency_ms!);
  values.sort((a, b) => a - b);
  return {
    runs: results.length,
    failed: results.filter((r) => !r.success).length,
    p50: quantile(values, 0.5),
    p95: quantile(values, 0.95),
  };
}
