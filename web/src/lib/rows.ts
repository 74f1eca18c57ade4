// SPDX-License-Identifier: PostgreSQL
//
// Rows of the targets table: the newest result of each (test, agent), joined with the
// tests as configured, so that a test without a result is seen to wait and one that is
// switched off is seen to pause.
import type { Latest, Test } from '../api/types';

export const NAME_MAX = 128;

export type RowState = 'failed' | 'stale' | 'waiting' | 'ok' | 'paused';

export interface Row {
  key: string;
  testId: string;
  agentId: string | null;
  name: string;
  type: string;
  target: string;
  agentName: string;
  state: RowState;
  latencyMs: number | null;
  lossRatio: number | null;
  /** Start of the newest run, unix ms. */
  at: number | null;
  intervalSeconds: number | null;
  latest: Latest | null;
  test: Test | null;
}

/** Runs that may be missed before a result is old; and what is assumed of a test not known. */
const STALE_INTERVALS = 3;
const INTERVAL_ASSUMED = 60;
const TIMEOUT_ASSUMED = 10;

/**
 * The server says what is stale when it is asked, by the same rule. Between two answers time
 * goes on, and without results there is no event: the page must not show a green row for ever.
 */
export function staleAfterMs(intervalSeconds: number | null, timeoutSeconds: number | null): number {
  return (STALE_INTERVALS * (intervalSeconds ?? INTERVAL_ASSUMED) + (timeoutSeconds ?? TIMEOUT_ASSUMED)) * 1000;
}

export function stateOf(latest: Latest, test: Test | null, now: number): RowState {
  if (test && !test.enabled) return 'paused';
  const limit = staleAfterMs(latest.interval_seconds ?? test?.interval_seconds ?? null, test?.timeout_seconds ?? null);
  if (now - Date.parse(latest.started_at) > limit) return 'stale';
  return latest.state;
}

/** The name a test gets when none is given. */
export function defaultName(type: string, target: string): string {
  return `${type} ${target}`.slice(0, NAME_MAX);
}

/** What is shown as the name: of a test that was given none, the target alone. */
export function nameOf(test: Pick<Test, 'name' | 'type' | 'target'>): string {
  return test.name && test.name !== defaultName(test.type, test.target) ? test.name : test.target;
}

export function displayTarget(target: string, port: number | null): string {
  if (!port || target.includes('://') || target.endsWith(`:${port}`)) return target;
  return target.includes(':') && !target.startsWith('[') ? `[${target}]:${port}` : `${target}:${port}`;
}

/**
 * Who took over the row in which a test waited: its agent, null while it waits. That row stays the
 * same one, so that an open menu and the focus do not go when the first result comes.
 */
export type Heirs = Map<string, string | null>;

function keyOf(item: Latest, heirs: Heirs): string {
  if (heirs.get(item.test_id) === null) heirs.set(item.test_id, item.agent_id);
  return heirs.get(item.test_id) === item.agent_id ? item.test_id : `${item.test_id}/${item.agent_id}`;
}

export function buildRows(latest: Latest[], tests: Test[], agentNames: Map<string, string>, now: number, heirs: Heirs = new Map()): Row[] {
  const byId = new Map(tests.map((test) => [test.test_id, test]));
  const seen = new Set<string>();
  const rows = latest.map((item): Row => {
    const test = byId.get(item.test_id) ?? null;
    seen.add(item.test_id);
    const target = test?.target ?? item.attributes['url.full'] ?? displayTarget(item.target, item.port);
    return {
      key: keyOf(item, heirs),
      testId: item.test_id,
      agentId: item.agent_id,
      name: test ? nameOf(test) : item.test_name || target,
      type: item.type,
      target,
      agentName: item.agent_name ?? agentNames.get(item.agent_id) ?? item.agent_id.slice(0, 8),
      state: stateOf(item, test, now),
      latencyMs: item.latency_ms,
      lossRatio: item.loss_ratio,
      at: Date.parse(item.started_at),
      intervalSeconds: item.interval_seconds ?? test?.interval_seconds ?? null,
      latest: item,
      test,
    };
  });
  for (const test of tests) {
    if (seen.has(test.test_id)) continue;
    heirs.set(test.test_id, null);
    rows.push({
      key: test.test_id,
      testId: test.test_id,
      agentId: null,
      name: nameOf(test),
      type: test.type,
      target: test.target,
      agentName: test.agent_id ? (agentNames.get(test.agent_id) ?? test.agent_id.slice(0, 8)) : 'every agent',
      state: test.enabled ? 'waiting' : 'paused',
      latencyMs: null,
      lossRatio: null,
      at: null,
      intervalSeconds: test.interval_seconds,
      latest: null,
      test,
    });
  }
  return rows;
}

export interface Summary {
  ok: number;
  failed: number;
  stale: number;
  waiting: number;
  paused: number;
  /** Newest result of all, unix ms. */
  newest: number | null;
}

export function summarize(rows: Row[]): Summary {
  const summary: Summary = { ok: 0, failed: 0, stale: 0, waiting: 0, paused: 0, newest: null };
  for (const row of rows) {
    summary[row.state]++;
    if (row.at !== null && (summary.newest === null || row.at > summary.newest)) summary.newest = row.at;
  }
  return summary;
}
