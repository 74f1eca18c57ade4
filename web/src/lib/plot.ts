// SPDX-License-Identifier: PostgreSQL
//
// Geometry of the chart over time: scales, ticks in local time, paths. A stretch of rows
// without a gap is one path; a row that stands alone is a dot; nothing is drawn over a gap.
import type { Row } from './buckets';
import { niceCeil } from './family';

export interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
  /** Unix milliseconds at left and right. */
  from: number;
  to: number;
}

export const xOf = (frame: Frame, t: number): number => frame.left + ((t - frame.from) / (frame.to - frame.from)) * (frame.right - frame.left);

/** From nothing to the highest value: a flat line at 200 ms is flat, and above zero. */
export function domainOf(low: number, high: number): [number, number] {
  const top = high > 0 ? high * 1.06 : 1;
  return [low < 0 ? low * 1.06 : 0, top];
}

export const yOf = (frame: Frame, domain: [number, number], value: number): number =>
  frame.bottom - ((value - domain[0]) / (domain[1] - domain[0])) * (frame.bottom - frame.top);

/** Round values within the domain, at most `most` of them. */
export function valueTicks([low, high]: [number, number], most: number): number[] {
  const step = niceCeil((high - low) / most);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIME_STEPS = [10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY];

/** Round times of the local clock, also on the day on which it changes. */
export function timeTicks(from: number, to: number, most: number): number[] {
  const step = TIME_STEPS.find((s) => (to - from) / s <= most) ?? TIME_STEPS.at(-1)!;
  const start = new Date(from);
  const ticks: number[] = [];
  if (step >= DAY) {
    for (let day = 0; ; day += step / DAY) {
      const t = new Date(start.getFullYear(), start.getMonth(), start.getDate() + day).getTime();
      if (t > to) return ticks;
      if (t >= from) ticks.push(t);
    }
  }
  // A change of the clock may give a time twice, or none: only what goes on is a tick.
  const perDay = DAY / step;
  for (let i = 0; ; i++) {
    const t = new Date(start.getFullYear(), start.getMonth(), start.getDate() + Math.floor(i / perDay), 0, 0, ((i % perDay) * step) / SECOND).getTime();
    if (t > to) return ticks;
    if (t >= from && t > (ticks.at(-1) ?? -Infinity)) ticks.push(t);
  }
}

const two = (n: number): string => String(n).padStart(2, '0');

/** The clock, and the date where a day begins. */
export function tickLabel(t: number): string {
  const at = new Date(t);
  if (at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0) return `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${two(at.getHours())}:${two(at.getMinutes())}${at.getSeconds() ? `:${two(at.getSeconds())}` : ''}`;
}

/** "UTC+05:30": what local time is at `t`. */
export function zoneOf(t: number): string {
  const minutes = -new Date(t).getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const size = Math.abs(minutes);
  return `UTC${minutes < 0 ? '\u2212' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

export interface Span {
  from: number;
  to: number;
}

export interface Stretch {
  rows: Row[];
  span: Span;
  /** Milliseconds. */
  step: number;
  /** After so long without a run the newest is old. */
  lateMs: number;
}

/** Stretches of the range in which nothing ran, before the first run and after the newest as well. */
export function gapsOf({ rows, span, step, lateMs }: Stretch): Span[] {
  const gaps: Span[] = [];
  let seen = span.from;
  for (const [i, row] of rows.entries()) {
    if (i === 0 ? row.t - seen > step : row.gap) gaps.push({ from: seen, to: row.t });
    seen = row.t + step;
  }
  if (span.to - seen > lateMs) gaps.push({ from: seen, to: span.to });
  return gaps.filter((gap) => gap.to > gap.from);
}

export interface Shapes {
  lines: string[];
  areas: string[];
  dots: { x: number; y: number; low: number; high: number }[];
}

interface Edge {
  x: number;
  y: number;
  low: number;
  high: number;
}

const n1 = (value: number): string => String(Math.round(value * 10) / 10);
const trace = (edges: Edge[], y: (e: Edge) => number, first: 'M' | 'L'): string => edges.map((e, i) => `${i ? 'L' : first}${n1(e.x)} ${n1(y(e))}`).join('');

/** A line through the averages, and the area between the extremes. */
export function shapesOf(rows: Row[], pick: (row: Row) => { avg: number; min: number; max: number } | null, x: (t: number) => number, y: (value: number) => number): Shapes {
  const shapes: Shapes = { lines: [], areas: [], dots: [] };
  let stretch: Edge[] = [];
  const close = (): void => {
    if (stretch.length === 1) shapes.dots.push(stretch[0]!);
    if (stretch.length > 1) {
      shapes.lines.push(trace(stretch, (e) => e.y, 'M'));
      shapes.areas.push(`${trace(stretch, (e) => e.high, 'M')}${trace([...stretch].reverse(), (e) => e.low, 'L')}Z`);
    }
    stretch = [];
  };
  for (const row of rows) {
    const value = pick(row);
    if (row.gap || !value) close();
    if (value) stretch.push({ x: x(row.t), y: y(value.avg), low: y(value.min), high: y(value.max) });
  }
  close();
  return shapes;
}

/** Row nearest to `t`; rows are in order of time. */
export function nearest(rows: Row[], t: number): number {
  let low = 0;
  let high = rows.length - 1;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (rows[mid]!.t < t) low = mid + 1;
    else high = mid;
  }
  return low > 0 && t - rows[low - 1]!.t < rows[low]!.t - t ? low - 1 : low;
}
