// SPDX-License-Identifier: PostgreSQL
//
// Ranges of time to look at, as they stand in the URL. Steps are whole minutes or hours where
// that makes some 300 of them, so that the roll-ups of the store answer.

export const RANGES = [
  { key: '1h', label: '1 h', hours: 1, step: 15 },
  { key: '6h', label: '6 h', hours: 6, step: 60 },
  { key: '24h', label: '24 h', hours: 24, step: 300 },
  { key: '7d', label: '7 d', hours: 168, step: 1800 },
  { key: '30d', label: '30 d', hours: 720, step: 7200 },
] as const;

export type Range = (typeof RANGES)[number];

export function rangeOf(key: string | null): Range {
  return RANGES.find((range) => range.key === key) ?? RANGES[0];
}

/** Steps of a test younger than the range, in seconds: of its first minutes each run is seen. */
const YOUNG_STEPS = [1, 2, 5, 15, 60, 300, 1800, 7200];
const STEPS_WANTED = 240;

/**
 * Seconds: never shorter than the time between two runs, or every other step were empty. `age` is
 * for how long the test has run.
 */
export function stepOf(range: Range, intervalSeconds: number | null, age: number): number {
  const base = YOUNG_STEPS.find((step) => step >= range.step || step * STEPS_WANTED >= age) ?? range.step;
  return Math.max(1, Math.ceil((intervalSeconds ?? 0) / base)) * base;
}

/** `search` with a parameter set, or without it. */
export function withParam(search: string, name: string, value: string | null): string {
  const params = new URLSearchParams(search);
  if (value === null) params.delete(name);
  else params.set(name, value);
  const text = params.toString();
  return text ? `?${text}` : '';
}
