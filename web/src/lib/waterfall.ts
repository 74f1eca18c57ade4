// SPDX-License-Identifier: PostgreSQL
//
// The phases of an HTTP run, laid one after the other. Phases that did not happen (no TLS,
// a failure before the first byte) have no bar; time that no phase accounts for is shown
// as such instead of being added to a neighbour.

export interface Phase {
  key: string;
  label: string;
  startMs: number;
  durationMs: number;
}

export interface Waterfall {
  phases: Phase[];
  totalMs: number;
}

const ORDER = [
  ['http.redirect.ms', 'redirect', 'Redirects before'],
  ['http.dns.ms', 'dns', 'Name lookup'],
  ['http.connect.ms', 'connect', 'TCP connect'],
  ['http.tls.ms', 'tls', 'TLS handshake'],
  ['http.ttfb.ms', 'ttfb', 'Wait for first byte'],
  ['http.transfer.ms', 'transfer', 'Transfer'],
] as const;

/** Rounding of metrics must not make a phantom phase. */
const SLACK_MS = 0.05;

const valid = (value: number | undefined): value is number => value !== undefined && Number.isFinite(value) && value >= 0;

export function waterfall(metrics: Record<string, number>, durationMs: number | null): Waterfall | null {
  const phases: Phase[] = [];
  let at = 0;
  for (const [name, key, label] of ORDER) {
    const value = metrics[name];
    if (!valid(value)) continue;
    phases.push({ key, label, startMs: at, durationMs: value });
    at += value;
  }
  if (phases.length === 0) return null;

  const total = metrics['http.total.ms'];
  const end = valid(total) ? total : (durationMs ?? at);
  const rest = end - at;
  if (rest > Math.max(SLACK_MS, end * 0.005)) {
    const transfer = !phases.some((p) => p.key === 'transfer') && phases.some((p) => p.key === 'ttfb');
    phases.push({ key: transfer ? 'transfer' : 'other', label: transfer ? 'Transfer' : 'Not accounted for', startMs: at, durationMs: rest });
  }
  return { phases, totalMs: Math.max(at, end) };
}
