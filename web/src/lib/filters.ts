// SPDX-License-Identifier: PostgreSQL
//
// What the targets table shows, kept in the URL: a link shows a colleague the same rows.
// Defaults are left out of the URL; what is not understood is ignored.
import type { Row, RowState } from './rows';

export const SORT_KEYS = ['state', 'name', 'type', 'agent', 'latency', 'loss', 'age'] as const;
export type SortKey = (typeof SORT_KEYS)[number];
export const STATES: readonly RowState[] = ['failed', 'stale', 'waiting', 'ok', 'paused'];

export interface Filters {
  q: string;
  type: string;
  state: RowState | '';
  sort: SortKey;
  desc: boolean;
}

export const DEFAULT_FILTERS: Filters = { q: '', type: '', state: '', sort: 'state', desc: false };

export function parseFilters(search: string): Filters {
  const params = new URLSearchParams(search);
  const state = params.get('state') ?? '';
  const order = params.get('sort') ?? '';
  const desc = order.startsWith('-');
  const sort = (desc ? order.slice(1) : order) as SortKey;
  return {
    q: params.get('q') ?? '',
    type: params.get('type') ?? '',
    state: (STATES as readonly string[]).includes(state) ? (state as RowState) : '',
    ...(SORT_KEYS.includes(sort) ? { sort, desc } : { sort: DEFAULT_FILTERS.sort, desc: DEFAULT_FILTERS.desc }),
  };
}

export function encodeFilters(filters: Filters): string {
  const params = new URLSearchParams();
  if (filters.q) params.set('q', filters.q);
  if (filters.type) params.set('type', filters.type);
  if (filters.state) params.set('state', filters.state);
  if (filters.sort !== DEFAULT_FILTERS.sort || filters.desc) params.set('sort', (filters.desc ? '-' : '') + filters.sort);
  const text = params.toString();
  return text ? `?${text}` : '';
}

/** Every word must occur somewhere: name, target, type, agent, error. */
export function matches(row: Row, filters: Filters): boolean {
  if (filters.type && row.type !== filters.type) return false;
  if (filters.state && row.state !== filters.state) return false;
  if (!filters.q.trim()) return true;
  const text = [row.name, row.target, row.type, row.agentName, row.latest?.error ?? '', row.latest?.error_type ?? '']
    .join('\n')
    .toLowerCase();
  return filters.q
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

const byText = new Intl.Collator('en', { numeric: true, sensitivity: 'base' }).compare;
type Key = (row: Row) => number | string | null;

const KEYS: Record<SortKey, Key> = {
  state: (row) => STATES.indexOf(row.state),
  name: (row) => row.name,
  type: (row) => row.type,
  agent: (row) => row.agentName,
  latency: (row) => row.latencyMs,
  loss: (row) => row.lossRatio,
  age: (row) => (row.at === null ? null : -row.at),
};

/** What has no value stands last in both directions; ties by name, then agent. */
export function sortRows(rows: Row[], sort: SortKey, desc: boolean): Row[] {
  const key = KEYS[sort];
  const sign = desc ? -1 : 1;
  return [...rows].sort((a, b) => {
    const x = key(a);
    const y = key(b);
    if (x === null || y === null) {
      if (x !== y) return x === null ? 1 : -1;
    } else {
      const order = typeof x === 'string' ? byText(x, y as string) : x - (y as number);
      if (order !== 0) return order * sign;
    }
    return byText(a.name, b.name) || byText(a.agentName, b.agentName) || (a.key < b.key ? -1 : 1);
  });
}

/** A click on a column head: the other direction, or that column ascending. */
export function toggleSort(filters: Filters, column: SortKey): Filters {
  return { ...filters, sort: column, desc: filters.sort === column ? !filters.desc : false };
}
