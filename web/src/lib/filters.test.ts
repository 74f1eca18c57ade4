// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import type { Latest, Test } from '../api/types';
import { DEFAULT_FILTERS, encodeFilters, matches, parseFilters, sortRows, toggleSort, type Filters } from './filters';
import { buildRows, displayTarget, nameOf, stateOf, summarize, type Heirs } from './rows';

const NOW = Date.UTC(2026, 0, 1, 12);
const iso = (agoSeconds: number): string => new Date(NOW - agoSeconds * 1000).toISOString();

function latest(part: Partial<Latest>): Latest {
  return {
    test_id: 't1',
    agent_id: 'a1',
    agent_name: 'edge',
    test_name: null,
    type: 'icmp',
    target: '192.0.2.1',
    port: null,
    success: true,
    state: 'ok',
    error_type: null,
    error: null,
    started_at: iso(2),
    received_at: iso(1),
    duration_ms: 5,
    latency_ms: 1,
    loss_ratio: 0,
    interval_seconds: 10,
    metrics: {},
    attributes: {},
    spark: [],
    ...part,
  };
}

function test(part: Partial<Test>): Test {
  return {
    test_id: 't1',
    name: 'core router',
    type: 'icmp',
    target: '192.0.2.1',
    interval_seconds: 10,
    timeout_seconds: 3,
    params: {},
    enabled: true,
    agent_id: null,
    created_at: iso(100),
    updated_at: iso(100),
    revision: 1,
    ...part,
  };
}

const rowsOf = (l: Latest[], t: Test[] = []) => buildRows(l, t, new Map([['a2', 'branch']]), NOW);

describe('filters in the URL', () => {
  it('leaves defaults out', () => expect(encodeFilters(DEFAULT_FILTERS)).toBe(''));

  it.each<Filters>([
    { q: 'core & edge', type: 'http', state: 'failed', sort: 'latency', desc: true },
    { q: '', type: '', state: 'stale', sort: 'state', desc: true },
    { q: 'ü', type: 'tcp', state: '', sort: 'age', desc: false },
  ])('round-trips %j', (filters) => expect(parseFilters(encodeFilters(filters))).toEqual(filters));

  it('ignores what it does not know', () => {
    expect(parseFilters('?state=burning&sort=-colour&x=1')).toEqual(DEFAULT_FILTERS);
  });

  it('turns the direction on the second click', () => {
    const once = toggleSort(DEFAULT_FILTERS, 'latency');
    expect(once).toMatchObject({ sort: 'latency', desc: false });
    expect(toggleSort(once, 'latency').desc).toBe(true);
    expect(toggleSort({ ...once, desc: true }, 'age')).toMatchObject({ sort: 'age', desc: false });
  });
});

describe('matches', () => {
  const [row] = rowsOf([latest({ error: 'connection refused', error_type: 'connect_refused' })], [test({})]);
  const with_ = (part: Partial<Filters>) => matches(row!, { ...DEFAULT_FILTERS, ...part });

  it('wants every word, in any field, in any case', () => {
    expect(with_({ q: 'CORE edge' })).toBe(true);
    expect(with_({ q: '192.0 refused' })).toBe(true);
    expect(with_({ q: 'core branch' })).toBe(false);
    expect(with_({ q: '   ' })).toBe(true);
  });
  it('filters by type and state', () => {
    expect(with_({ type: 'icmp', state: 'ok' })).toBe(true);
    expect(with_({ type: 'tcp' })).toBe(false);
    expect(with_({ state: 'failed' })).toBe(false);
  });
});

describe('sortRows', () => {
  const rows = rowsOf([
    latest({ test_id: 'x', target: 'x', latency_ms: 3 }),
    latest({ test_id: 'y', target: 'y', latency_ms: null, state: 'failed' }),
    latest({ test_id: 'z', target: 'z', latency_ms: 1 }),
  ]);
  const order = (...args: Parameters<typeof sortRows> extends [unknown, ...infer R] ? R : never) =>
    sortRows(rows, ...args).map((r) => r.target).join('');

  it('puts what was not measured last in both directions', () => {
    expect(order('latency', false)).toBe('zxy');
    expect(order('latency', true)).toBe('xzy');
  });
  it('puts trouble first by default', () => expect(order('state', false)).toBe('yxz'));
  it('sorts names as numbers where they are numbers', () => {
    const named = rowsOf([latest({ test_id: '1', target: 'sw10' }), latest({ test_id: '2', target: 'sw2' })]);
    expect(sortRows(named, 'name', false).map((r) => r.target)).toEqual(['sw2', 'sw10']);
  });
});

describe('rows', () => {
  it('waits for the first result, or pauses', () => {
    const rows = rowsOf([], [test({ agent_id: 'a2' }), test({ test_id: 't2', enabled: false })]);
    expect(rows.map((r) => r.state)).toEqual(['waiting', 'paused']);
    expect(rows.map((r) => r.agentName)).toEqual(['branch', 'every agent']);
  });

  it('does not wait for a test that has a result', () => {
    const rows = rowsOf([latest({}), latest({ agent_id: 'a2', agent_name: null })], [test({})]);
    expect(rows.map((r) => r.agentName)).toEqual(['edge', 'branch']);
    expect(rows.every((r) => r.name === 'core router')).toBe(true);
  });

  it('stays the same row when the first result comes, and the others have their own', () => {
    const heirs: Heirs = new Map();
    const keys = (l: Latest[], t: Test[]): string[] => buildRows(l, t, new Map(), NOW, heirs).map((r) => r.key);
    const [first, second] = [latest({}), latest({ agent_id: 'a2' })];
    expect(keys([], [test({})])).toEqual(['t1']);
    expect(keys([second], [test({})])).toEqual(['t1']);
    expect(keys([first, second], [test({})])).toEqual(['t1/a1', 't1']);
    expect(keys([first], [test({})])).toEqual(['t1/a1']);
    expect(keys([], [test({})])).toEqual(['t1']);
    expect(keys([first], [test({})])).toEqual(['t1']);
    expect(rowsOf([first], [test({})]).map((r) => r.key)).toEqual(['t1/a1']);
  });

  it('turns stale by itself when nothing arrives any more', () => {
    expect(stateOf(latest({ started_at: iso(33) }), test({}), NOW)).toBe('ok');
    expect(stateOf(latest({ started_at: iso(34) }), test({}), NOW)).toBe('stale');
    expect(stateOf(latest({ started_at: iso(189), interval_seconds: null }), null, NOW)).toBe('ok');
    expect(stateOf(latest({ started_at: iso(191), interval_seconds: null }), null, NOW)).toBe('stale');
    expect(stateOf(latest({ started_at: iso(9999) }), test({ enabled: false }), NOW)).toBe('paused');
  });

  it('shows the target for a name that nobody gave', () => {
    const [row] = rowsOf([], [test({ name: 'icmp 192.0.2.1' })]);
    expect(row!.name).toBe('192.0.2.1');
    expect(nameOf({ name: null, type: 'tcp', target: 'a:1' })).toBe('a:1');
    expect(nameOf({ name: 'core', type: 'tcp', target: 'a:1' })).toBe('core');
  });

  it('shows a port once', () => {
    expect(displayTarget('192.0.2.1', 443)).toBe('192.0.2.1:443');
    expect(displayTarget('2001:db8::1', 443)).toBe('[2001:db8::1]:443');
    expect(displayTarget('192.0.2.1:443', 443)).toBe('192.0.2.1:443');
    expect(displayTarget('https://a.example/', 443)).toBe('https://a.example/');
    expect(displayTarget('192.0.2.1', null)).toBe('192.0.2.1');
    expect(displayTarget('192.0.2.1', 0)).toBe('192.0.2.1');
  });

  it('counts', () => {
    const s = summarize(rowsOf([latest({}), latest({ test_id: 'b', state: 'failed', started_at: iso(1) })], [test({ test_id: 'c' })]));
    expect(s).toEqual({ ok: 1, failed: 1, stale: 0, waiting: 1, paused: 0, newest: NOW - 1000 });
  });
});
