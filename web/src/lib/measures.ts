// SPDX-License-Identifier: PostgreSQL
//
// What is drawn over time for which type of test, as a table: lines with the extremes of
// their step, phases on top of each other, and ratios in strips below. A type this page does
// not know gets the first family or duration that its newest run has.

export interface Line {
  label: string;
  avg: string;
  /** Series that hold the extremes of each run; where there are none, those of `avg` are taken. */
  low?: string;
  high?: string;
  /** Drawn only where no other line has a value. */
  fallback?: true;
}

export interface Layer {
  key: string;
  label: string;
  name: string;
}

export interface Strip {
  label: string;
  name: string;
}

export interface Measures {
  title: string;
  lines: Line[];
  layers: Layer[];
  strips: Strip[];
}

export const SUCCESS = 'probectl_probe_success';
export const DURATION = 'probectl_probe_duration_seconds';

/** Series of a metric of a run (docs/52-otel-mapping.md). */
export const seriesOf = (metric: string): string => `probectl_probe_${metric.replaceAll('.', '_')}`;

const family = (label: string, name: string): Line => ({ label, avg: seriesOf(`${name}.avg.ms`), low: seriesOf(`${name}.min.ms`), high: seriesOf(`${name}.max.ms`) });
const single = (label: string, metric: string): Line => ({ label, avg: seriesOf(metric) });
const layer = (key: string, label: string): Layer => ({ key, label, name: seriesOf(`http.${key}.ms`) });
const loss = (label: string, metric: string): Strip => ({ label, name: seriesOf(metric) });

const ROUND_TRIP: Measures = { title: 'Round trip', lines: [family('Round trip', 'rtt')], layers: [], strips: [loss('Loss', 'loss.ratio')] };

const TYPES: Record<string, Measures> = {
  icmp: ROUND_TRIP,
  udp: ROUND_TRIP,
  tcp: { title: 'Connect', lines: [family('Connect', 'connect')], layers: [], strips: [loss('Loss', 'loss.ratio')] },
  dns: { title: 'Query', lines: [single('Query', 'dns.query.ms')], layers: [], strips: [] },
  http: {
    title: 'Response',
    lines: [single('Total', 'http.total.ms')],
    layers: [layer('redirect', 'Redirects'), layer('dns', 'Name lookup'), layer('connect', 'TCP connect'), layer('tls', 'TLS handshake'), layer('ttfb', 'First byte'), layer('transfer', 'Transfer')],
    strips: [],
  },
  a2a: {
    title: 'Delay by direction',
    lines: [family('Forward', 'forward'), family('Reverse', 'reverse'), { ...family('Round trip', 'rtt'), fallback: true }],
    layers: [],
    strips: [loss('Loss there', 'forward.loss.ratio'), loss('Loss back', 'reverse.loss.ratio')],
  },
};

const PLAIN = /^[A-Za-z0-9.]+$/;

function guess(metrics: Record<string, number>): Measures {
  const names = Object.keys(metrics).filter((name) => PLAIN.test(name)).sort();
  const average = names.find((name) => name.endsWith('.avg.ms'));
  const duration = names.find((name) => name.endsWith('.total.ms')) ?? names.find((name) => name.endsWith('.ms'));
  const line = average ? family('Latency', average.slice(0, -'.avg.ms'.length)) : duration ? single('Latency', duration) : { label: 'Duration of the run', avg: DURATION };
  return { title: line.label, lines: [line], layers: [], strips: names.includes('loss.ratio') ? [loss('Loss', 'loss.ratio')] : [] };
}

export function measuresOf(type: string, metrics: Record<string, number>): Measures {
  return TYPES[type] ?? guess(metrics);
}

/** All series of the chart, for one question. */
export function namesOf(measures: Measures): string[] {
  const lines = measures.lines.flatMap((line) => [line.avg, line.low, line.high]);
  const names = [SUCCESS, ...lines, ...measures.layers.map((l) => l.name), ...measures.strips.map((s) => s.name)];
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** To milliseconds or a ratio, which is what is drawn. */
export const scaleOf = (name: string): number => (name === DURATION ? 1000 : 1);
