// SPDX-License-Identifier: PostgreSQL
//
// Geometry of a sparkline. Time runs to the right; a pause in the data stays a pause.
// A pause longer than GAP_SLOTS intervals is drawn at that width (hatched by the caller),
// because an agent that was away for a day must not squeeze the rest into two pixels.
import type { SparkPoint } from '../api/types';

/** More than this many intervals between two runs is a gap. */
export const GAP_AFTER = 2.5;
/** Axis length at least, in intervals: 30 runs side by side. */
export const SLOTS_MIN = 29;
/** Widest gap drawn, in intervals. */
export const GAP_SLOTS = 5;

export interface SparkBox {
  width: number;
  height: number;
  /** Room at each side, so that end markers are not cut. */
  pad: number;
}

export interface XY {
  x: number;
  y: number;
}

export interface SparkGeometry {
  /** One SVG path per stretch without a gap, two points at least. */
  lines: string[];
  /** The same stretches closed to the bottom edge. */
  areas: string[];
  /** Runs that stand alone between gaps. */
  dots: XY[];
  /** x of each failed run. */
  fails: number[];
  /** Stretches of time in which nothing ran. */
  gaps: { x: number; width: number }[];
  /** The newest run, when it has a latency. */
  last: XY | null;
  min: number | null;
  max: number | null;
}

export function median(values: number[]): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const mid = sorted.length >> 1;
  return sorted.length % 2 ? sorted[mid]! : (sorted[mid - 1]! + sorted[mid]!) / 2;
}

/**
 * Range of the y axis. Noise of a steady line must not fill the box: the range is
 * at least 60 % of the highest value.
 */
export function yDomain(min: number, max: number): [number, number] {
  if (max <= 0) return [0, 1];
  const least = max * 0.6;
  if (max - min >= least) return [min, max];
  const low = Math.max(0, (min + max) / 2 - least / 2);
  return [low, low + least];
}

function slotsOf(points: SparkPoint[], stepMs: number): { at: number[]; gapBefore: boolean[] } {
  const at: number[] = [];
  const gapBefore: boolean[] = [];
  points.forEach((point, i) => {
    const previous = points[i - 1];
    const slots = previous ? Math.max(0, (point.t - previous.t) / stepMs) : 0;
    gapBefore.push(slots > GAP_AFTER);
    at.push(previous ? at[i - 1]! + Math.min(slots, GAP_SLOTS) : 0);
  });
  return { at, gapBefore };
}

const n2 = (value: number): string => String(Math.round(value * 100) / 100);

export function sparkGeometry(points: SparkPoint[], box: SparkBox, intervalMs: number | null): SparkGeometry {
  const empty: SparkGeometry = { lines: [], areas: [], dots: [], fails: [], gaps: [], last: null, min: null, max: null };
  if (points.length === 0) return empty;

  const deltas = points.slice(1).map((p, i) => p.t - points[i]!.t);
  const step = Math.max(1, intervalMs ?? median(deltas) ?? 1);
  const { at, gapBefore } = slotsOf(points, step);
  const span = at[at.length - 1]! || 1;
  const inner = box.width - 2 * box.pad;
  // Few runs start from the right, as a new test's line grows.
  const scale = inner / Math.max(span, SLOTS_MIN);
  const x = (i: number): number => box.width - box.pad - (span - at[i]!) * scale;

  const values = points.filter((p) => p.latency_ms !== null).map((p) => p.latency_ms!);
  const min = values.length ? Math.min(...values) : null;
  const max = values.length ? Math.max(...values) : null;
  const [low, high] = min === null ? [0, 1] : yDomain(min, max!);
  const y = (ms: number): number => box.height - box.pad - ((ms - low) / (high - low)) * (box.height - 2 * box.pad);

  const geometry: SparkGeometry = { ...empty, lines: [], areas: [], dots: [], fails: [], gaps: [], min, max };
  let stretch: XY[] = [];
  const close = (): void => {
    if (stretch.length === 1) geometry.dots.push(stretch[0]!);
    if (stretch.length > 1) {
      const line = stretch.map((p, i) => `${i ? 'L' : 'M'}${n2(p.x)} ${n2(p.y)}`).join('');
      geometry.lines.push(line);
      geometry.areas.push(`${line}L${n2(stretch[stretch.length - 1]!.x)} ${box.height}L${n2(stretch[0]!.x)} ${box.height}Z`);
    }
    stretch = [];
  };

  points.forEach((point, i) => {
    if (gapBefore[i]) {
      close();
      const from = x(i - 1) + scale * 0.5;
      geometry.gaps.push({ x: from, width: Math.max(1, x(i) - scale * 0.5 - from) });
    }
    if (!point.ok) geometry.fails.push(x(i));
    if (point.latency_ms === null || !point.ok) close();
    else stretch.push({ x: x(i), y: y(point.latency_ms) });
  });
  geometry.last = stretch.length ? stretch[stretch.length - 1]! : null;
  close();
  return geometry;
}

/** What the line says, in words, for those who do not see it. */
export function sparkSummary(points: SparkPoint[], format: (ms: number) => string): string {
  if (points.length === 0) return 'no runs yet';
  const failed = points.filter((p) => !p.ok).length;
  const values = points.filter((p) => p.ok && p.latency_ms !== null).map((p) => p.latency_ms!);
  const range = values.length ? `, ${format(Math.min(...values))} to ${format(Math.max(...values))}` : '';
  return `last ${points.length} runs: ${failed === 0 ? 'none failed' : `${failed} failed`}${range}`;
}
