// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import type { Agent, Test } from '../api/types';
import { changesOf, draftOf, EMPTY_DRAFT, inputOf, peersOf, portOf, problemsOf, type Draft } from './draft';

const draft = (part: Partial<Draft>): Draft => ({ ...EMPTY_DRAFT, target: '192.0.2.1', ...part });
const test: Test = {
  test_id: 't',
  name: 'web',
  type: 'http',
  target: 'https://a.example/',
  interval_seconds: 10,
  timeout_seconds: 3,
  params: { method: 'GET', body: 'kept', expect_status: '200' },
  enabled: true,
  agent_id: null,
  created_at: '',
  updated_at: '',
  revision: 1,
};

describe('problemsOf', () => {
  it('accepts the usual', () => {
    expect(problemsOf(draft({}))).toEqual({});
    expect(problemsOf(draft({ type: 'tcp', target: '[2001:db8::1]:443' }))).toEqual({});
    expect(problemsOf(draft({ type: 'tcp', target: 'db', params: { port: '5432' } }))).toEqual({});
    expect(problemsOf(draft({ type: 'udp', target: 'branch:8620' }))).toEqual({});
    expect(problemsOf(draft({ type: 'http', target: 'https://a.example/x?y=1' }))).toEqual({});
    expect(problemsOf(draft({ target: '2001:db8::1' }))).toEqual({});
    for (const target of ['branch berlin', 'reflector.example:862', '01980000-0000-7000-8000-000000000001'])
      expect(problemsOf(draft({ type: 'a2a', target }))).toEqual({});
    for (const expect_status of ['200', '2xx', '200-399', '200, 3xx,404'])
      expect(problemsOf(draft({ type: 'http', target: 'http://a', params: { expect_status } }))).toEqual({});
  });

  it.each<[string, Partial<Draft>]>([
    ['target', { target: '  ' }],
    ['target', { target: 'a b' }],
    ['target', { target: 'https://a.example' }],
    ['target', { target: 'router:22' }],
    ['target', { type: 'tcp', target: 'db' }],
    ['target', { type: 'udp', target: 'branch' }],
    ['params.payload_bytes', { type: 'udp', target: 'branch:8620', params: { payload_bytes: '19' } }],
    ['target', { type: 'http', target: 'a.example' }],
    ['target', { type: 'http', target: 'http://' }],
    ['target', { type: 'a2a', target: 'https://a.example' }],
    ['params.count', { type: 'a2a', target: 'branch', params: { count: '101' } }],
    ['interval_seconds', { interval: '' }],
    ['interval_seconds', { interval: '0.5' }],
    ['interval_seconds', { interval: 'soon' }],
    ['timeout_seconds', { timeout: '61' }],
    ['timeout_seconds', { interval: '2', timeout: '3' }],
    ['name', { name: 'x'.repeat(129) }],
    ['interval_seconds', { interval: '10.5' }],
    ['params.expect_status', { type: 'http', target: 'http://a', params: { expect_status: '200,fine' } }],
    ['params.count', { params: { count: '0' } }],
    ['params.count', { params: { count: '1.5' } }],
    ['params.expect_status', { type: 'http', target: 'http://a', params: { expect_status: 'fine' } }],
  ])('%s: %j', (field, part) => expect(Object.keys(problemsOf(draft(part)))).toEqual([field]));
});

describe('peersOf', () => {
  const agent = (agent_id: string, name: string, part: Partial<Agent> = {}): Agent => ({ agent_id, name, hostname: `${name}.example`, status: 'online', ...part }) as Agent;

  it('names an agent, and by its identifier where its name is not its own', () => {
    expect(peersOf([agent('1', 'core'), agent('2', 'twin'), agent('3', 'twin'), agent('4', 'gone', { status: 'revoked' })])).toEqual([
      { value: 'core', label: 'core.example' },
      { value: '2', label: 'twin' },
      { value: '3', label: 'twin' },
    ]);
  });
  it('counts no revoked namesake', () => expect(peersOf([agent('1', 'core'), agent('2', 'core', { status: 'revoked' })])).toEqual([{ value: 'core', label: 'core.example' }]));
});

describe('inputOf', () => {
  it('leaves empty parameters and those of other types out', () => {
    const input = inputOf(draft({ params: { count: ' 7 ', dscp: '', expect_status: '200' }, name: ' core ' }));
    expect(input).toMatchObject({ name: 'core', params: { count: 7 }, agent_id: null, interval_seconds: 10 });
  });
  it('names a test after its type and target when no name is given, also after an edit', () => {
    const input = inputOf(draft({ target: ' a.example ' }));
    expect(input.name).toBe('icmp a.example');
    const made: Test = { ...test, ...input };
    expect(draftOf(made).name).toBe('');
    expect(changesOf(made, inputOf({ ...draftOf(made), target: 'b.example' }, made))).toEqual({ name: 'icmp b.example', target: 'b.example' });
  });
  it('keeps what the form does not know', () => {
    expect(inputOf(draftOf(test), test).params).toEqual({ method: 'GET', body: 'kept', expect_status: '200' });
  });
});

describe('changesOf', () => {
  it('is empty when nothing changed', () => expect(changesOf(test, inputOf(draftOf(test), test))).toEqual({}));
  it('names only what changed', () => {
    expect(changesOf(test, inputOf({ ...draftOf(test), interval: '30' }, test))).toEqual({ interval_seconds: 30 });
    const params = { ...draftOf(test).params, expect_status: '2xx' };
    expect(changesOf(test, inputOf({ ...draftOf(test), params }, test))).toEqual({
      params: { method: 'GET', body: 'kept', expect_status: '2xx' },
    });
  });
});

describe('portOf', () => {
  it.each([
    ['a:22', '22'],
    ['[::1]:22', '22'],
    ['::1', null],
    ['a', null],
  ])('%s', (target, port) => expect(portOf(target)).toBe(port));
});
