// SPDX-License-Identifier: PostgreSQL
//
// Answers of GET /v1/metrics/query as rows in time, one a step in which there was a run.
// A test whose target was changed has several series of a name: their steps are put together.
// No row stands for a step without a run, and a row tells whether something is missing before it.
import type { MetricItem, MetricPage, MetricPoint } from '../api/types';
import { scaleOf, SUCCESS, type Measures } from './measures';
import { median } from './spark';

export interface Known {
  /** By name, in order of time; times and step in Unix milliseconds. */
  points: Record<string, MetricPoint[]>;
  step: number;
  end: number;
  /** There are more series than one answer holds. */
  more: boolean;
  collectorRunning: boolean;
}

function together(a: MetricPoint, b: MetricPoint): MetricPoint {
  if (a.value === null || b.value === null) return { ...(a.value === null ? b : a), ended: a.ended === true && b.ended === true };
  const samples = a.samples + b.samples;
  return {
    t: a.t,
    value: (a.value * a.samples + b.value * b.samples) / samples,
    min: Math.min(a.min ?? a.value, b.min ?? b.value),
    max: Math.max(a.max ?? a.value, b.max ?? b.value),
    samples,
    ended: a.ended === true && b.ended === true,
  };
}

function byName(items: MetricItem[]): Record<string, MetricPoint[]> {
  const found = new Map<string, Map<number, MetricPoint>>();
  for (const item of items) {
    // A metric with other characters is another one, cleaned to the same name.
    if (item.labels['otel_name'] !== undefined) continue;
    const points = found.get(item.name) ?? new Map<number, MetricPoint>();
    for (const point of item.points) {
      const before = points.get(point.t);
      points.set(point.t, before ? together(before, point) : point);
    }
    found.set(item.name, points);
  }
  return Object.fromEntries([...found].map(([name, points]) => [name, [...points.values()].sort((a, b) => a.t - b.t)]));
}

/** `known` with what is newer from `page`, from its start on; nothing before `floor` is kept. */
export function extend(known: Known | undefined, page: MetricPage, floor: number): Known {
  const fresh = byName(page.items);
  const start = Date.parse(page.start);
  const names = new Set([...Object.keys(known?.points ?? {}), ...Object.keys(fresh)]);
  const points: Record<string, MetricPoint[]> = {};
  const step = page.step * 1000;
  for (const name of names) points[name] = [...(known?.points[name] ?? []).filter((p) => p.t < start && p.t + step > floor), ...(fresh[name] ?? [])];
  return { points, step, end: Date.parse(page.end), more: page.next !== null, collectorRunning: page.collector_running };
}

export interface Value {
  avg: number;
  min: number;
  max: number;
}

export interface Row {
  /** Start of the step. */
  t: number;
  runs: number;
  failed: number;
  /** Nothing is drawn from the row before to this one. */
  gap: boolean;
  lines: (Value | null)[];
  layers: (number | null)[];
  strips: (Value | null)[];
}

/** A run so many intervals after the one before it is late, or one is missing. */
const LATE = 1.5;

/**
 * Whether a run is missing between two rows. Runs near the edge of a step fall to either side of it,
 * so an empty step alone is none: it is when they are too far apart, or too few for the time.
 */
function missing(before: MetricPoint, run: MetricPoint, step: number, interval: number): boolean {
  const apart = run.t - before.t;
  return apart > step && (apart - step >= LATE * interval || (apart + step) / interval - (before.samples + run.samples) >= 1);
}

type Lookup = (name: string | undefined) => Map<number, MetricPoint>;

function lookup(known: Known): Lookup {
  const none = new Map<number, MetricPoint>();
  const maps = new Map(Object.entries(known.points).map(([name, points]) => [name, new Map(points.map((p) => [p.t, p]))]));
  return (name) => (name === undefined ? none : (maps.get(name) ?? none));
}

function valueOf(at: Lookup, t: number, avg: string, low?: string, high?: string): Value | null {
  const point = at(avg).get(t);
  if (!point || point.value === null) return null;
  const scale = scaleOf(avg);
  const min = at(low).get(t)?.min ?? point.min ?? point.value;
  const max = at(high).get(t)?.max ?? point.max ?? point.value;
  return { avg: point.value * scale, min: min * scale, max: max * scale };
}

/** Most of the time between two runs, in milliseconds, when the test does not tell. */
function intervalOf(times: number[], step: number): number {
  return median(times.slice(1).map((t, i) => t - times[i]!)) ?? step;
}

export function rowsOf(known: Known, measures: Measures, intervalMs: number | null): Row[] {
  const at = lookup(known);
  const runs = (known.points[SUCCESS] ?? []).filter((p) => p.value !== null);
  const ends = (known.points[SUCCESS] ?? []).filter((p) => p.ended).map((p) => p.t);
  const interval = intervalMs ?? intervalOf(runs.map((p) => p.t), known.step);
  return runs.map((run, i): Row => {
    const before = runs[i - 1];
    const failed = Math.round(run.samples * (1 - run.value!));
    // A run that failed measured how long it took to fail: without one that succeeded there is no latency.
    const some = failed < run.samples;
    return {
      t: run.t,
      runs: run.samples,
      failed,
      gap: before !== undefined && (missing(before, run, known.step, interval) || ends.some((end) => end >= before.t && end < run.t)),
      lines: measures.lines.map((line) => (some ? valueOf(at, run.t, line.avg, line.low, line.high) : null)),
      layers: measures.layers.map((layer) => (some ? (valueOf(at, run.t, layer.name)?.avg ?? null) : null)),
      strips: measures.strips.map((strip) => valueOf(at, run.t, strip.name)),
    };
  });
}

/** Lines that are there only for want of others are taken out when there are others. */
export function shownLines(rows: Row[], measures: Measures): number[] {
  const has = (i: number): boolean => rows.some((row) => row.lines[i]);
  const all = measures.lines.map((_, i) => i).filter(has);
  const first = all.filter((i) => !measures.lines[i]!.fallback);
  return first.length > 0 ? first : all;
}

export interface Summary {
  runs: number;
  failed: number;
  /** Of the first line that is shown. */
  min: number | null;
  avg: number | null;
  max: number | null;
}

export function summaryOf(rows: Row[], line: number | undefined): Summary {
  const summary: Summary = { runs: 0, failed: 0, min: null, avg: null, max: null };
  let sum = 0;
  let weight = 0;
  for (const row of rows) {
    summary.runs += row.runs;
    summary.failed += row.failed;
    const value = line === undefined ? null : row.lines[line];
    if (!value) continue;
    sum += value.avg * row.runs;
    weight += row.runs;
    summary.min = Math.min(summary.min ?? value.min, value.min);
    summary.max = Math.max(summary.max ?? value.max, value.max);
  }
  if (weight > 0) summary.avg = sum / weight;
  return summary;
}
