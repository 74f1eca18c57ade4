// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import type { MetricPage, MetricPoint } from '../api/types';
import { extend, rowsOf, shownLines, summaryOf, type Known } from './buckets';
import { DURATION, measuresOf, namesOf, SUCCESS } from './measures';

const T0 = Date.UTC(2026, 0, 1);
const STEP = 60;

const point = (step: number, value: number | null, part: Partial<MetricPoint> = {}): MetricPoint => ({ t: T0 + step * STEP * 1000, value, min: value, max: value, samples: value === null ? 0 : 1, ...part });

function page(series: [string, MetricPoint[], Record<string, string>?][], part: Partial<MetricPage> = {}): MetricPage {
  return {
    items: series.map(([name, points, labels], i) => ({ series_id: String(i), name, labels: labels ?? {}, points })),
    next: null,
    start: new Date(T0).toISOString(),
    end: new Date(T0 + 3_600_000).toISOString(),
    step: STEP,
    collector_running: true,
    ...part,
  };
}

const known = (series: [string, MetricPoint[], Record<string, string>?][]): Known => extend(undefined, page(series), 0);
const icmp = measuresOf('icmp', {});
const rtt = 'probectl_probe_rtt_avg_ms';
const rows = (steps: number[], interval: number | null = 60, samples = 1) => rowsOf(known([[SUCCESS, steps.map((s) => point(s, 1, { samples }))]]), icmp, interval && interval * 1000);
const gaps = (list: { gap: boolean }[]): boolean[] => list.map((row) => row.gap);

describe('measuresOf', () => {
  it('asks for what belongs to a type, each series once, with no more names than the API takes', () => {
    expect(namesOf(icmp)).toEqual([SUCCESS, rtt, 'probectl_probe_rtt_min_ms', 'probectl_probe_rtt_max_ms', 'probectl_probe_loss_ratio']);
    for (const type of ['icmp', 'tcp', 'udp', 'http', 'dns', 'a2a']) expect(namesOf(measuresOf(type, {})).length).toBeLessThanOrEqual(16);
  });

  it('finds a line for a type not known', () => {
    expect(measuresOf('voice', { 'mos.score': 4, 'rtt.avg.ms': 1, 'loss.ratio': 0 })).toMatchObject({ lines: [{ avg: rtt }], strips: [{ name: 'probectl_probe_loss_ratio' }] });
    expect(measuresOf('page', { 'page.total.ms': 9, 'page.dom.ms': 1 }).lines[0]!.avg).toBe('probectl_probe_page_total_ms');
    expect(measuresOf('empty', {}).lines[0]!.avg).toBe(DURATION);
    expect(measuresOf('odd', { 'a_b.avg.ms': 1 }).lines[0]!.avg).toBe(DURATION);
  });
});

describe('extend', () => {
  it('puts the end of an answer to what is known, and forgets what is before the range', () => {
    const first = known([[rtt, [point(0, 1), point(1, 2), point(2, 3)]]]);
    const next = extend(first, page([[rtt, [point(2, 4), point(3, 5)]], [SUCCESS, [point(3, 1)]]], { start: new Date(T0 + 2 * STEP * 1000).toISOString() }), T0 + STEP * 1000);
    expect(next.points[rtt]!.map((p) => p.value)).toEqual([2, 4, 5]);
    expect(next.points[SUCCESS]).toHaveLength(1);
  });

  it('puts the series of two targets of a test together', () => {
    const { points } = known([
      [rtt, [point(0, 2, { samples: 3 }), point(1, null, { ended: true })], { server_address: 'old' }],
      [rtt, [point(0, 6, { min: 1, max: 9 }), point(1, 7)], { server_address: 'new' }],
      [rtt, [point(0, 1000)], { otel_name: 'rtt_avg_ms' }],
    ]);
    expect(points[rtt]).toMatchObject([
      { value: 3, min: 1, max: 9, samples: 4 },
      { value: 7, ended: false },
    ]);
  });
});

describe('rowsOf', () => {
  it('leaves a gap where runs are missing, and none where all are there', () => {
    expect(gaps(rows([0, 1, 2, 3]))).toEqual([false, false, false, false]);
    expect(gaps(rows([0, 1, 5, 6]))).toEqual([false, false, true, false]);
  });

  it('sees a single run that is missing, but no gap where a run fell over the edge of its step', () => {
    expect(gaps(rows([0, 1, 3]))).toEqual([false, false, true]);
    const fell = rowsOf(known([[SUCCESS, [point(0, 1, { samples: 2 }), point(2, 1)]]]), icmp, 60_000);
    expect(gaps(fell)).toEqual([false, false]);
  });

  it('takes one empty step for a gap where steps are long', () => {
    expect(gaps(rows([0, 1, 3], 10, 6))).toEqual([false, false, true]);
    expect(gaps(rows([0, 5, 10, 15, 30], null))).toEqual([false, false, false, false, true]);
  });

  it('draws no line over the end of a series', () => {
    const ended = rowsOf(known([[SUCCESS, [point(0, 1), point(1, 1, { ended: true }), point(2, 1)]]]), icmp, 60_000);
    expect(gaps(ended)).toEqual([false, false, true]);
    expect(gaps(rowsOf(known([[SUCCESS, [point(0, 1), point(1, null, { ended: true })]]]), icmp, 60_000))).toEqual([false]);
  });

  it('counts failed runs and gives a step in which all failed no latency', () => {
    const list = rowsOf(
      known([
        [SUCCESS, [point(0, 0.75, { samples: 4 }), point(1, 0, { samples: 2 })]],
        [rtt, [point(0, 5), point(1, 4000)]],
        ['probectl_probe_loss_ratio', [point(0, 0.25, { min: 0, max: 1 }), point(1, 1)]],
      ]),
      icmp,
      60_000,
    );
    expect(list.map((r) => [r.runs, r.failed, r.lines[0]?.avg ?? null, r.strips[0]?.max])).toEqual([
      [4, 1, 5, 1],
      [2, 2, null, 1],
    ]);
  });

  it('takes the extremes of the runs, and those of the averages where there are none', () => {
    const series: [string, MetricPoint[]][] = [
      [SUCCESS, [point(0, 1)]],
      [rtt, [point(0, 5, { min: 4, max: 6 })]],
    ];
    expect(rowsOf(known(series), icmp, null)[0]!.lines[0]).toEqual({ avg: 5, min: 4, max: 6 });
    series.push(['probectl_probe_rtt_min_ms', [point(0, 3, { min: 2 })]], ['probectl_probe_rtt_max_ms', [point(0, 8, { max: 9 })]]);
    expect(rowsOf(known(series), icmp, null)[0]!.lines[0]).toEqual({ avg: 5, min: 2, max: 9 });
  });

  it('draws a duration, which is in seconds, in milliseconds', () => {
    const list = rowsOf(known([[SUCCESS, [point(0, 1)]], [DURATION, [point(0, 1.5)]]]), measuresOf('empty', {}), null);
    expect(list[0]!.lines[0]!.avg).toBe(1500);
  });

  it('shows a round trip only when no direction is known', () => {
    const a2a = measuresOf('a2a', {});
    const trip: [string, MetricPoint[]][] = [[SUCCESS, [point(0, 1)]], [rtt, [point(0, 5)]]];
    expect(shownLines(rowsOf(known(trip), a2a, null), a2a)).toEqual([2]);
    trip.push(['probectl_probe_forward_avg_ms', [point(0, 2)]], ['probectl_probe_reverse_avg_ms', [point(0, 3)]]);
    expect(shownLines(rowsOf(known(trip), a2a, null), a2a)).toEqual([0, 1]);
  });
});

describe('summaryOf', () => {
  it('weighs steps by their runs', () => {
    const list = rowsOf(known([[SUCCESS, [point(0, 1, { samples: 3 }), point(1, 0), point(2, 1)]], [rtt, [point(0, 1), point(2, 5, { max: 9 })]]]), icmp, null);
    expect(summaryOf(list, 0)).toEqual({ runs: 5, failed: 1, min: 1, avg: 2, max: 9 });
    expect(summaryOf([], undefined)).toEqual({ runs: 0, failed: 0, min: null, avg: null, max: null });
  });
});
