// SPDX-License-Identifier: PostgreSQL
//
// What the pages ask, and when they ask again: on an event of the stream, after a change
// made here, and when the window is looked at again. Nothing polls.
import { QueryClient, useInfiniteQuery, useMutation, useQuery, useQueryClient, type QueryKey } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { givenAuditFilters, type AuditFilters } from '../lib/auditfilters';
import { createCoalescer } from '../lib/coalesce';
import { live, type EventKind } from '../state/live';
import { ApiError, collect, request } from './client';
import type { Agent, AuditEvent, IntegrityPage, JoinToken, Latest, LatestPage, Me, Page, Result, Test, TestInput, TestPatch } from './types';

/** At most two requests a second for each list, however many results arrive. */
const REFETCH_GAP_MS = 500;
/** Rows the table holds; more is told, not hidden. */
export const ROWS_MAX = 5000;
const PAGE_LIMIT = 1000;

export const keys = {
  me: ['me'] as const,
  latest: ['latest'] as const,
  latestOne: (testId: string, agentId: string) => ['latest', testId, agentId] as const,
  tests: ['tests'] as const,
  agents: ['agents'] as const,
  audit: ['audit'] as const,
  integrity: ['integrity'] as const,
  history: (testId: string, agentId: string, hours: number) => ['history', testId, agentId, hours] as const,
};

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 5000,
        retry: (count, error) => count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
        retryDelay: (attempt) => 500 * 2 ** attempt,
        refetchOnWindowFocus: true,
        // The browser's idea of being online is wrong on an isolated management network.
        networkMode: 'always',
      },
      mutations: { networkMode: 'always' },
    },
  });
}

/**
 * Asks `key` again, coalesced, on each event of these kinds. A request that is under way
 * when the event comes is given up for a new one: it may have read before the change.
 */
function useRefetchOn(kinds: readonly EventKind[], key: QueryKey): void {
  const client = useQueryClient();
  const id = JSON.stringify([kinds, key]);
  useEffect(() => {
    const [onKinds, queryKey] = JSON.parse(id) as [EventKind[], QueryKey];
    const coalescer = createCoalescer(() => client.refetchQueries({ queryKey, exact: true, type: 'active' }), REFETCH_GAP_MS);
    const offs = onKinds.map((kind) => live.on(kind, coalescer.poke));
    return () => {
      offs.forEach((off) => off());
      coalescer.stop();
    };
  }, [client, id]);
}

export function useMe(enabled: boolean) {
  return useQuery({
    enabled,
    queryKey: keys.me,
    queryFn: ({ signal }) => request<Me>('GET', '/v1/me', { signal }),
    staleTime: 60_000,
  });
}

export function can(me: Me | undefined, permission: string): boolean {
  if (!me) return false;
  const domain = `${permission.split('.')[0]}.*`;
  return me.permissions.some((p) => p === permission || p === '*' || p === domain);
}

export function useLatest() {
  useRefetchOn(['result', 'test'], keys.latest);
  return useQuery({
    queryKey: keys.latest,
    queryFn: ({ signal }) => collect<Latest, LatestPage>('/v1/results/latest', { limit: PAGE_LIMIT }, ROWS_MAX, signal),
  });
}

export function useLatestOne(testId: string, agentId: string) {
  const key = keys.latestOne(testId, agentId);
  useRefetchOn(['result', 'test'], key);
  return useQuery({
    queryKey: key,
    queryFn: async ({ signal }) => {
      const query = { test_id: testId, agent_id: agentId, limit: 1 };
      const page = await request<LatestPage>('GET', '/v1/results/latest', { query, signal });
      return { latest: page.items[0] ?? null, collectorRunning: page.collector_running };
    },
  });
}

export function useTests() {
  useRefetchOn(['test'], keys.tests);
  return useQuery({
    queryKey: keys.tests,
    queryFn: ({ signal }) => collect<Test, Page<Test>>('/v1/tests', { limit: PAGE_LIMIT }, ROWS_MAX, signal),
  });
}

export function useAgents() {
  const me = useMe(true);
  useRefetchOn(['agent'], keys.agents);
  return useQuery({
    queryKey: keys.agents,
    enabled: can(me.data, 'agent.read'),
    queryFn: ({ signal }) => collect<Agent, Page<Agent>>('/v1/agents', { limit: PAGE_LIMIT }, ROWS_MAX, signal),
  });
}

export const HISTORY_MAX = 5000;

export interface History {
  /** Oldest first. */
  results: Result[];
  /** Older runs of the range were left out. */
  truncated: boolean;
}

async function fetchHistory(testId: string, agentId: string, hours: number, known: History | undefined, signal: AbortSignal): Promise<History> {
  const floor = Date.now() - hours * 3_600_000;
  const newest = known?.results.at(-1)?.started_at;
  const since = newest && Date.parse(newest) > floor ? newest : new Date(floor).toISOString();
  const query = { test_id: testId, agent_id: agentId, since, limit: PAGE_LIMIT };
  const page = await collect<Result, Page<Result>>('/v1/results', query, HISTORY_MAX, signal);

  const byId = new Map((known?.results ?? []).map((r) => [r.result_id, r]));
  for (const result of page.items) byId.set(result.result_id, result);
  const results = [...byId.values()]
    .filter((r) => Date.parse(r.started_at) >= floor)
    .sort((a, b) => (a.started_at < b.started_at ? -1 : a.started_at > b.started_at ? 1 : 0));
  return {
    results: results.slice(-HISTORY_MAX),
    truncated: page.next !== null || results.length > HISTORY_MAX || (known?.truncated ?? false),
  };
}

/** Runs of one test, once they are wanted; asks only for what is newer than what it has. `newest` is the cue. */
export function useHistory(testId: string, agentId: string, hours: number, newest: string | null, wanted: boolean) {
  const client = useQueryClient();
  const key = keys.history(testId, agentId, hours);
  const id = JSON.stringify(key);
  const asked = useRef<string | null>(null);
  useEffect(() => {
    // The first answer is asked for by the query itself, once the newest run is known.
    if (wanted && newest && asked.current && asked.current !== newest) void client.refetchQueries({ queryKey: JSON.parse(id) as QueryKey, exact: true });
    asked.current = newest;
  }, [client, id, newest, wanted]);
  return useQuery({
    queryKey: key,
    enabled: wanted && newest !== null,
    queryFn: ({ signal }) => fetchHistory(testId, agentId, hours, client.getQueryData<History>(key), signal),
  });
}

export function useIntegrity() {
  useRefetchOn(['result'], keys.integrity);
  return useQuery({
    queryKey: keys.integrity,
    queryFn: ({ signal }) => request<IntegrityPage>('GET', '/v1/integrity', { signal }),
  });
}

export const auditKey = (filters: AuditFilters) => [...keys.audit, filters] as const;

export function useAudit(filters: AuditFilters) {
  return useInfiniteQuery({
    queryKey: auditKey(filters),
    initialPageParam: null as string | null,
    queryFn: ({ pageParam, signal }) =>
      request<Page<AuditEvent>>('GET', '/v1/audit', { query: { ...givenAuditFilters(filters), after: pageParam, limit: 50 }, signal }),
    getNextPageParam: (page) => page.next,
    refetchOnWindowFocus: false,
  });
}

type TestList = Page<Test>;

function useListEdit() {
  const client = useQueryClient();
  return (edit: (items: Test[]) => Test[]) => {
    client.setQueryData<TestList>(keys.tests, (list) => list && { ...list, items: edit(list.items) });
    void client.invalidateQueries({ queryKey: keys.tests });
    void client.invalidateQueries({ queryKey: keys.latest });
  };
}

export function useCreateTest() {
  const edit = useListEdit();
  return useMutation({
    mutationFn: (input: TestInput) => request<Test>('POST', '/v1/tests', { body: input }),
    // The event of the stream may have brought it already.
    onSuccess: (test) => edit((items) => [...items.filter((t) => t.test_id !== test.test_id), test]),
  });
}

export function useUpdateTest() {
  const edit = useListEdit();
  return useMutation({
    mutationFn: ({ testId, patch }: { testId: string; patch: TestPatch }) =>
      request<Test>('PATCH', `/v1/tests/${encodeURIComponent(testId)}`, { body: patch }),
    onSuccess: (test) => edit((items) => items.map((t) => (t.test_id === test.test_id ? test : t))),
  });
}

export function useDeleteTest() {
  const edit = useListEdit();
  const client = useQueryClient();
  return useMutation({
    mutationFn: (testId: string) => request<void>('DELETE', `/v1/tests/${encodeURIComponent(testId)}`),
    onSuccess: (_, testId) => {
      client.setQueryData<LatestPage>(keys.latest, (page) => page && { ...page, items: page.items.filter((l) => l.test_id !== testId) });
      edit((items) => items.filter((t) => t.test_id !== testId));
    },
  });
}

export function useCreateJoinToken() {
  return useMutation({ mutationFn: () => request<JoinToken>('POST', '/v1/agents/join-tokens', { body: {} }) });
}

export const signIn = (code: string): Promise<void> => request<void>('POST', '/auth/signin', { body: { code } });
export const signOut = (): Promise<void> => request<void>('POST', '/auth/signout', { body: {} });
