// SPDX-License-Identifier: PostgreSQL
//
// Series of one test on one agent over a range: one question for all names of the chart, kept
// while it is shown, given up when another range is chosen. A newer run is the cue to ask for
// the end of it only; the whole is asked again now and then, because an agent that was away
// delivers late what it measured meanwhile.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';
import { extend, type Known } from '../lib/buckets';
import { createCoalescer, type Coalescer } from '../lib/coalesce';
import { SUCCESS } from '../lib/measures';
import type { Range } from '../lib/ranges';
import { request, serverNow } from './client';
import type { MetricPage } from './types';

/** Series of an answer: names times the targets that the test had. */
const SERIES_MAX = 200;
const TAIL_MS = 300_000;
const WHOLE_AGAIN_MS = 300_000;
/** Requests are at least so far apart, and further where a step is longer. */
const GAP_MIN_MS = 1000;
const GAP_MAX_MS = 30_000;

export interface SeriesData extends Known {
  wholeAt: number;
}

export interface Asked {
  testId: string;
  agentId: string;
  names: string[];
  range: Range;
  /** Seconds. */
  step: number;
  /** There is nothing before it; Unix milliseconds. */
  since: number;
}

/** The quote is what ends a value; an identifier has none, and the API refuses what does not parse. */
const matchOf = (asked: Asked): string => `{test_id="${asked.testId}",agent_id="${asked.agentId}"}`;

async function fetchSeries(asked: Asked, known: SeriesData | undefined, signal: AbortSignal): Promise<SeriesData> {
  const now = serverNow();
  const floor = Math.max(now - asked.range.hours * 3_600_000, asked.since);
  const base = known && now - known.wholeAt < WHOLE_AGAIN_MS ? known : undefined;
  const newest = base?.points[SUCCESS]?.at(-1)?.t ?? floor;
  const start = base ? Math.max(floor, Math.min(newest, base.end - Math.max(TAIL_MS, 2 * base.step))) : floor;
  const query = { name: asked.names.join(','), match: matchOf(asked), start: new Date(start).toISOString(), step: asked.step, limit: SERIES_MAX };
  const page = await request<MetricPage>('GET', '/v1/metrics/query', { query, signal });
  return { ...extend(base, page, floor), wholeAt: base?.wholeAt ?? now };
}

const runsOf = (data: SeriesData | undefined): string => {
  const last = data?.points[SUCCESS]?.at(-1);
  return `${last?.t} ${last?.samples}`;
};

type Key = readonly (string | number)[];

/** But for the step. */
const same = (a: Key, b: Key): boolean => a.slice(0, -1).join() === b.slice(0, -1).join();

/** `newest`, the start of the newest run, is the cue. */
export function useSeries(asked: Asked, newest: string | null, enabled: boolean) {
  const client = useQueryClient();
  const key = ['series', asked.testId, asked.agentId, asked.range.key, asked.names.join(), asked.step];
  const id = JSON.stringify(key);
  const gap = Math.min(GAP_MAX_MS, Math.max(GAP_MIN_MS, asked.step * 100));
  const coalescer = useRef<Coalescer | null>(null);
  const seen = useRef(newest);
  useEffect(() => {
    const queryKey = JSON.parse(id) as typeof key;
    let again = false;
    const run = async (): Promise<void> => {
      const before = runsOf(client.getQueryData<SeriesData>(queryKey));
      await client.refetchQueries({ queryKey, exact: true, type: 'active' });
      // Newest results are told before series are written: what was not there yet is asked for once more.
      const stale = before === runsOf(client.getQueryData<SeriesData>(queryKey));
      if (stale && !again) coalescer.current?.poke();
      again = stale && !again;
    };
    const made = createCoalescer(run, gap);
    coalescer.current = made;
    return () => made.stop();
  }, [client, id, gap]);
  useEffect(() => {
    if (enabled && newest !== seen.current) coalescer.current?.poke();
    seen.current = newest;
  }, [enabled, newest]);
  return useQuery({
    queryKey: key,
    enabled,
    queryFn: ({ signal }) => fetchSeries(asked, client.getQueryData<SeriesData>(key), signal),
    // A test that grows older gets longer steps: what is drawn stays until they are there.
    placeholderData: (before: SeriesData | undefined, query) => (query && same(query.queryKey, key) ? before : undefined),
  });
}
