// SPDX-License-Identifier: PostgreSQL
import { afterEach, describe, expect, it } from 'vitest';
import type { Row } from './buckets';
import { domainOf, gapsOf, nearest, shapesOf, tickLabel, timeTicks, valueTicks, xOf, yOf, zoneOf } from './plot';
import { rangeOf, RANGES, stepOf, withParam } from './ranges';

const ZONE = process.env['TZ'];
afterEach(() => {
  if (ZONE === undefined) delete process.env['TZ'];
  else process.env['TZ'] = ZONE;
});

const row = (t: number, avg: number | null, gap = false): Row => ({ t, runs: 1, failed: 0, gap, lines: [avg === null ? null : { avg, min: avg - 1, max: avg + 1 }], layers: [], strips: [] });
const shapes = (rows: Row[]) => shapesOf(rows, (r) => r.lines[0]!, (t) => t, (v) => v);

describe('shapesOf', () => {
  it('draws one line when nothing is missing, with the extremes around it', () => {
    expect(shapes([row(0, 5), row(1, 6), row(2, 5)])).toEqual({ lines: ['M0 5L1 6L2 5'], areas: ['M0 6L1 7L2 6L2 4L1 5L0 4Z'], dots: [] });
  });

  it('breaks at a gap and where there is no value, and shows who stands alone', () => {
    const s = shapes([row(0, 5), row(1, 6), row(8, 5, true), row(9, null), row(10, 7), row(11, 8)]);
    expect(s.lines).toEqual(['M0 5L1 6', 'M10 7L11 8']);
    expect(s.dots).toEqual([{ x: 8, y: 5, low: 4, high: 6 }]);
  });
});

describe('gapsOf', () => {
  const rows = [row(100, 1), row(110, 1), row(150, 1, true)];
  const stretch = { rows, step: 10, span: { from: 0, to: 300 }, lateMs: 50 };

  it('names what is missing before, between and after', () => {
    expect(gapsOf(stretch)).toEqual([
      { from: 0, to: 100 },
      { from: 120, to: 150 },
      { from: 160, to: 300 },
    ]);
  });

  it('waits for the next run before it calls the newest old', () => {
    expect(gapsOf({ ...stretch, span: { from: 95, to: 190 } })).toEqual([{ from: 120, to: 150 }]);
    expect(gapsOf({ ...stretch, rows: [] })).toEqual([{ from: 0, to: 300 }]);
  });
});

describe('scales', () => {
  it('begins at nothing, unless something is below', () => {
    expect(domainOf(2, 100)).toEqual([0, 106]);
    expect(domainOf(-2, 0)[0]).toBeLessThan(-2);
    expect(domainOf(0, 0)).toEqual([0, 1]);
    const frame = { left: 0, right: 100, top: 0, bottom: 50, from: 0, to: 10 };
    expect([xOf(frame, 5), yOf(frame, [0, 10], 10), yOf(frame, [0, 10], 0)]).toEqual([50, 0, 50]);
  });

  it.each([
    [[0, 106], [0, 50, 100]],
    [[0, 0.53], [0, 0.2, 0.4]],
    [[-3, 4], [-2, 0, 2, 4]],
  ] as [[number, number], number[]][])('valueTicks(%j)', (domain, ticks) => expect(valueTicks(domain, 4)).toEqual(ticks));

  it('ticks at round local times, few enough', () => {
    process.env['TZ'] = 'Asia/Kolkata';
    const from = Date.parse('2026-01-01T00:10:00+05:30');
    const ticks = timeTicks(from, from + 3_600_000, 8);
    expect(ticks.map(tickLabel)).toEqual(['00:10', '00:20', '00:30', '00:40', '00:50', '01:00', '01:10']);
    expect(timeTicks(from, from + 7 * 86_400_000, 9).map(tickLabel)).toEqual(['01-02', '01-03', '01-04', '01-05', '01-06', '01-07', '01-08']);
    expect(zoneOf(from)).toBe('UTC+05:30');
  });

  it('keeps to the clock on the days on which it changes', () => {
    process.env['TZ'] = 'Europe/Oslo';
    for (const day of ['2026-03-29', '2026-10-25']) {
      const from = Date.parse(`${day}T00:00:00`);
      const ticks = timeTicks(from, from + 86_400_000, 9);
      expect(ticks.map(tickLabel).slice(0, 4)).toEqual([day.slice(5), '03:00', '06:00', '09:00']);
      expect([...new Set(ticks)].sort((a, b) => a - b)).toEqual(ticks);
    }
  });
});

describe('nearest', () => {
  const rows = [row(0, 1), row(10, 1), row(30, 1)];
  it.each([
    [-5, 0],
    [4, 0],
    [6, 1],
    [19, 1],
    [21, 2],
    [99, 2],
  ])('of %d is %d', (t, i) => expect(nearest(rows, t)).toBe(i));
});

describe('ranges', () => {
  it('come from the URL, whatever stands there', () => {
    expect(rangeOf('24h').hours).toBe(24);
    expect(rangeOf('century')).toBe(RANGES[0]);
    expect(rangeOf(null)).toBe(RANGES[0]);
    expect(withParam('?run=a%2Fb', 'range', '7d')).toBe('?run=a%2Fb&range=7d');
    expect(withParam('?range=7d', 'range', null)).toBe('');
  });

  it('have steps that hold a run each, and few enough of them', () => {
    expect(stepOf(RANGES[0], 10, Infinity)).toBe(15);
    expect(stepOf(RANGES[0], 60, Infinity)).toBe(60);
    expect(stepOf(RANGES[0], null, Infinity)).toBe(15);
    for (const range of RANGES) expect((range.hours * 3600) / stepOf(range, 1, Infinity)).toBeLessThanOrEqual(360);
  });

  it('have shorter steps for a test that is younger, never longer ones', () => {
    expect([60, 400, 1000, 3000].map((age) => stepOf(RANGES[0], 1, age))).toEqual([1, 2, 5, 15]);
    expect(stepOf(RANGES[0], 10, 400)).toBe(10);
    expect(stepOf(RANGES[4], 10, 86_400)).toBe(1800);
    for (const range of RANGES) {
      expect(stepOf(range, 1, 1e9)).toBe(range.step);
      for (const age of [1, 900, 1e5, 1e6]) expect(Math.min(age, range.hours * 3600) / stepOf(range, 1, age)).toBeLessThanOrEqual(360);
    }
  });
});
