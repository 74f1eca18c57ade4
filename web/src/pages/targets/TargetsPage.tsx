// SPDX-License-Identifier: PostgreSQL
//
// The page people leave open. Filters live in the URL; rows follow the event stream.
import { useEffect, useMemo, useRef } from 'react';
import type { PageProps } from '../../App';
import { can, keys, useAgents, useLatest, useTests } from '../../api/queries';
import { Icon } from '../../components/Icon';
import { Command, EmptyState, LoadError, Loading } from '../../components/Parts';
import { STATE_LABELS } from '../../components/StateBadge';
import { encodeFilters, matches, parseFilters, SORT_KEYS, sortRows, STATES, type Filters, type SortKey } from '../../lib/filters';
import { plural } from '../../lib/format';
import { typeName } from '../../lib/names';
import { Link, navigate, useSearch } from '../../lib/router';
import { buildRows, summarize, type Heirs, type Row, type RowState } from '../../lib/rows';
import { useNow } from '../../state/clock';
import { useQueryClient } from '@tanstack/react-query';
import { SummaryStrip } from './SummaryStrip';
import { TargetsTable } from './TargetsTable';
import { useTestActions } from './TestActions';

const SORT_LABELS: Record<SortKey, string> = {
  state: 'State',
  name: 'Test',
  type: 'Type',
  agent: 'Agent',
  latency: 'Latency',
  loss: 'Loss',
  age: 'Age',
};

interface ToolbarProps {
  filters: Filters;
  types: string[];
  shown: number;
  total: number;
  onFilters: (filters: Filters) => void;
  onAdd: (() => void) | null;
}

function Toolbar({ filters, types, shown, total, onFilters, onAdd }: ToolbarProps) {
  const filtered = filters.q !== '' || filters.type !== '' || filters.state !== '';
  return (
    <div className="toolbar" role="search">
      <div className="search">
        <Icon name="search" />
        <input
          type="search"
          aria-label="Filter by text"
          placeholder="Filter by name, target, agent, error"
          value={filters.q}
          onChange={(e) => onFilters({ ...filters, q: e.target.value })}
        />
      </div>
      <select aria-label="Filter by type" value={filters.type} onChange={(e) => onFilters({ ...filters, type: e.target.value })}>
        <option value="">All types</option>
        {types.map((type) => (
          <option key={type} value={type}>
            {typeName(type)}
          </option>
        ))}
      </select>
      <select className="not-narrow" aria-label="Filter by state" value={filters.state} onChange={(e) => onFilters({ ...filters, state: e.target.value as RowState | '' })}>
        <option value="">All states</option>
        {STATES.map((state) => (
          <option key={state} value={state}>
            {STATE_LABELS[state]}
          </option>
        ))}
      </select>
      <select
        className="only-narrow"
        aria-label="Sort by"
        value={filters.sort}
        onChange={(e) => onFilters({ ...filters, sort: e.target.value as SortKey, desc: false })}
      >
        {SORT_KEYS.map((key) => (
          <option key={key} value={key}>
            Sort: {SORT_LABELS[key]}
          </option>
        ))}
      </select>
      <span className="toolbar-count" aria-live="polite">
        {filtered ? `${shown} of ${total}` : plural(total, 'row')}
      </span>
      {filtered && (
        <button type="button" className="button button-quiet button-small" onClick={() => onFilters({ ...filters, q: '', type: '', state: '' })}>
          Clear
        </button>
      )}
      {onAdd && (
        <button type="button" className="button button-primary" onClick={onAdd}>
          <Icon name="plus" />
          Add test
        </button>
      )}
    </div>
  );
}

function NothingYet({ agents, onAdd }: { agents: number | null; onAdd: (() => void) | null }) {
  if (agents === 0) {
    return (
      <EmptyState title="Nothing is producing yet">
        <p>No agent is enrolled. On the machine that runs probectl, one command starts a local agent; others are enrolled on the agents page.</p>
        <Command text="probectl up" label="Command that starts probectl with a local agent" />
        <p>
          <Link className="button" to="/agents">
            Enrol an agent
          </Link>
        </p>
      </EmptyState>
    );
  }
  return (
    <EmptyState title="Nothing is producing yet">
      <p>There is no test. Add one and its first result is here within seconds.</p>
      {onAdd && (
        <p>
          <button type="button" className="button button-primary" onClick={onAdd}>
            <Icon name="plus" />
            Add a test
          </button>
        </p>
      )}
    </EmptyState>
  );
}

/**
 * When rows turn stale by the clock, the server is asked once: it knows whether the
 * collector runs. Silence causes no event, so nothing else would ask.
 */
function useAskWhenStale(rows: Row[]): void {
  const client = useQueryClient();
  const stale = rows.reduce((n, row) => n + (row.state === 'stale' && row.latest?.state !== 'stale' ? 1 : 0), 0);
  const before = useRef(0);
  useEffect(() => {
    if (stale > before.current) {
      void client.invalidateQueries({ queryKey: keys.latest, exact: true });
      void client.invalidateQueries({ queryKey: keys.agents });
    }
    before.current = stale;
  }, [client, stale]);
}

export function TargetsPage({ me }: PageProps) {
  const search = useSearch();
  const filters = useMemo(() => parseFilters(search), [search]);
  const setFilters = (next: Filters): void => navigate(`/${encodeFilters(next)}`, { replace: true });
  const now = useNow();
  const latest = useLatest();
  const tests = useTests();
  const agents = useAgents();
  const actions = useTestActions();

  const names = useMemo(() => new Map(agents.data?.items.map((a) => [a.agent_id, a.name])), [agents.data]);
  const heirs = useRef<Heirs>(new Map());
  const rows = useMemo(
    () => buildRows(latest.data?.items ?? [], tests.data?.items ?? [], names, now, heirs.current),
    [latest.data, tests.data, names, now],
  );
  const shown = useMemo(
    () => sortRows(rows.filter((row) => matches(row, filters)), filters.sort, filters.desc),
    [rows, filters],
  );
  const summary = useMemo(() => summarize(rows), [rows]);
  const types = useMemo(() => [...new Set(rows.map((row) => row.type))].sort(), [rows]);
  useAskWhenStale(rows);

  const writer = can(me, 'test.write');
  const error = latest.error ?? tests.error;
  if (error && rows.length === 0) return <LoadError error={error} onRetry={() => void Promise.all([latest.refetch(), tests.refetch()])} />;
  if (!latest.data || !tests.data) return <Loading what="the targets" />;

  const add = writer ? actions.add : null;
  const idle = summary.newest === null && summary.waiting > 0 && agents.data?.items.every((a) => a.status !== 'online');
  const truncated = latest.data.next !== null || tests.data.next !== null;
  return (
    <>
      <h1 className="sr">Targets</h1>
      <SummaryStrip
        summary={summary}
        agents={agents.data?.items ?? null}
        collectorRunning={latest.data.collector_running}
        state={filters.state}
        onState={(state) => setFilters({ ...filters, state })}
      />
      {!latest.data.collector_running && rows.length > 0 && (
        <p className="note note-warn">
          The collector is not running: no agent can deliver results. Agents keep measuring and deliver later. On the control plane&rsquo;s machine, see{' '}
          <code>probectl status</code>.
        </p>
      )}
      {idle && (
        <p className="note note-warn">
          Nothing is producing yet: no agent is online to run these tests. On the control plane&rsquo;s machine, <code>probectl status</code> tells why;{' '}
          <Link to="/agents">the agents page</Link> enrols another one.
        </p>
      )}
      {rows.length === 0 ? (
        <NothingYet agents={agents.data ? agents.data.items.length : null} onAdd={add} />
      ) : (
        <>
          <Toolbar filters={filters} types={types} shown={shown.length} total={rows.length} onFilters={setFilters} onAdd={add} />
          {truncated && <p className="note">There are more results than this page holds. Counts and rows cover the first {rows.length}.</p>}
          {shown.length === 0 ? (
            <EmptyState title="No row matches the filter">
              <p>
                <button type="button" className="button" onClick={() => setFilters({ ...filters, q: '', type: '', state: '' })}>
                  Clear the filter
                </button>
              </p>
            </EmptyState>
          ) : (
            <TargetsTable rows={shown} filters={filters} onFilters={setFilters} items={writer ? actions.items : null} />
          )}
        </>
      )}
      {actions.dialogs}
    </>
  );
}
