// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import type { SparkPoint } from '../api/types';
import { GAP_SLOTS, median, sparkGeometry, sparkSummary, yDomain } from './spark';

const box = { width: 150, height: 30, pad: 3 };
const run = (t: number, latency_ms: number | null, ok = true): SparkPoint => ({ t: t * 1000, latency_ms, ok });
const xs = (path: string): number[] => [...path.matchAll(/[ML]([\d.]+) /g)].map((m) => Number(m[1]));

describe('sparkGeometry', () => {
  it('draws nothing for no runs', () => {
    const g = sparkGeometry([], box, 1000);
    expect(g).toMatchObject({ lines: [], dots: [], fails: [], gaps: [], last: null, min: null, max: null });
  });

  it('draws one line when nothing is missing, inside the box, oldest left', () => {
    const points = Array.from({ length: 30 }, (_, i) => run(i, 10 + (i % 3)));
    const g = sparkGeometry(points, box, 1000);
    expect(g.lines).toHaveLength(1);
    const x = xs(g.lines[0]!);
    expect(x).toHaveLength(30);
    expect(x[0]).toBeCloseTo(3);
    expect(x[29]).toBeCloseTo(147);
    expect([...x].sort((a, b) => a - b)).toEqual(x);
    expect(g.gaps).toEqual([]);
    expect(g.last!.x).toBeCloseTo(147);
  });

  it('grows from the right while there are few runs', () => {
    const g = sparkGeometry([run(0, 1), run(1, 1)], box, 1000);
    expect(xs(g.lines[0]!)[1]).toBeCloseTo(147);
    expect(xs(g.lines[0]!)[0]).toBeGreaterThan(130);
  });

  it('breaks the line at a pause and keeps the pause visible', () => {
    const g = sparkGeometry([run(0, 5), run(1, 5), run(11, 5), run(12, 5)], box, 1000);
    expect(g.lines).toHaveLength(2);
    expect(g.gaps).toHaveLength(1);
    expect(g.gaps[0]!.x).toBeGreaterThan(xs(g.lines[0]!)[1]!);
    expect(g.gaps[0]!.x + g.gaps[0]!.width).toBeLessThan(xs(g.lines[1]!)[0]!);
  });

  it('bounds the width of a long pause', () => {
    const short = sparkGeometry([run(0, 5), run(GAP_SLOTS, 5)], box, 1000);
    const day = sparkGeometry([run(0, 5), run(86400, 5)], box, 1000);
    expect(day.gaps[0]!.width).toBeCloseTo(short.gaps[0]!.width);
  });

  it('marks failed runs and never joins across them', () => {
    const g = sparkGeometry([run(0, 5), run(1, 5), run(2, null, false), run(3, 5), run(4, 6)], box, 1000);
    expect(g.fails).toHaveLength(1);
    expect(g.lines).toHaveLength(2);
  });

  it('does not draw the latency of a failed run as a success', () => {
    const g = sparkGeometry([run(0, 5), run(1, 900, false)], box, 1000);
    expect(g.dots).toHaveLength(1);
    expect(g.last).toBeNull();
  });

  it('shows a run that stands alone as a dot', () => {
    const g = sparkGeometry([run(0, 5), run(1, null, false), run(2, 5), run(3, null, false)], box, 1000);
    expect(g.dots).toHaveLength(2);
    expect(g.lines).toEqual([]);
  });

  it('takes the median distance when the interval is not known', () => {
    const g = sparkGeometry([run(0, 5), run(1, 5), run(2, 5), run(3, 5), run(20, 5)], box, null);
    expect(g.gaps).toHaveLength(1);
  });

  it('survives equal times and equal values', () => {
    const g = sparkGeometry([run(0, 0), run(0, 0)], box, 0);
    expect(g.lines.join('')).not.toMatch(/NaN|Infinity/);
  });
});

describe('scales', () => {
  it('does not magnify noise', () => {
    const [low, high] = yDomain(10, 10.2);
    expect(high - low).toBeCloseTo(10.2 * 0.6);
    expect(low).toBeGreaterThan(0);
  });
  it('has a range for zeros', () => expect(yDomain(0, 0)).toEqual([0, 1]));
  it('uses the data when it varies', () => expect(yDomain(1, 10)).toEqual([1, 10]));
  it('median', () => {
    expect(median([])).toBeNull();
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
  });
});

describe('sparkSummary', () => {
  it('says it in words', () => {
    expect(sparkSummary([], String)).toBe('no runs yet');
    expect(sparkSummary([run(0, 1), run(1, 3), run(2, null, false)], (v) => `${v} ms`)).toBe(
      'last 3 runs: 1 failed, 1 ms to 3 ms',
    );
  });
});
