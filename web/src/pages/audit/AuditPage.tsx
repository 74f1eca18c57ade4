// SPDX-License-Identifier: PostgreSQL
//
// What was changed or refused, by whom. Newest first, keyset paging: a page never shifts
// while older ones are read.
import type { InfiniteData } from '@tanstack/react-query';
import { useQueryClient } from '@tanstack/react-query';
import { useMemo, useState, type FormEvent } from 'react';
import { auditKey, useAudit } from '../../api/queries';
import type { AuditEvent, Page } from '../../api/types';
import { Icon } from '../../components/Icon';
import { EmptyState, LoadError, Loading, TableHead } from '../../components/Parts';
import { Time } from '../../components/Time';
import { encodeAuditFilters, NO_AUDIT_FILTERS, OUTCOMES, parseAuditFilters, type AuditFilters, type Outcome as OutcomeName } from '../../lib/auditfilters';
import { DASH, formatCount } from '../../lib/format';
import { wordsOf } from '../../lib/names';
import { navigate, useSearch } from '../../lib/router';

const REFUSED = new Set(['denied', 'refused', 'failed', 'error']);

function Outcome({ outcome }: { outcome: string }) {
  const bad = REFUSED.has(outcome);
  return (
    <span className={`state state-${bad ? 'failed' : 'ok'}`}>
      <Icon name={bad ? 'failed' : 'ok'} />
      <span>{wordsOf(outcome)}</span>
    </span>
  );
}

function valueText(value: unknown): string {
  if (value === null || value === undefined) return DASH;
  if (typeof value !== 'object') return String(value);
  return Object.entries(value)
    .map(([key, item]) => `${key} ${valueText(item)}`)
    .join(', ');
}

function Data({ data }: { data: Record<string, unknown> | null }) {
  const entries = Object.entries(data ?? {});
  if (entries.length === 0) return <span className="dim">{DASH}</span>;
  return (
    <dl className="inline-fields">
      {entries.map(([key, value]) => (
        <div key={key}>
          <dt>{key.replaceAll('_', ' ')}</dt>
          <dd>{valueText(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function EventRow({ event }: { event: AuditEvent }) {
  return (
    <tr role="row">
      <td role="cell" data-label="No." className="num dim">
        {formatCount(event.seq)}
      </td>
      <td role="cell" data-label="Time" className="nowrap">
        <Time at={event.at} />
      </td>
      <td role="cell" data-label="Outcome">
        <Outcome outcome={event.outcome} />
      </td>
      <td role="cell" data-label="Action">
        <span className="row-name">{event.action}</span>
      </td>
      <td role="cell" data-label="By">
        {event.actor}
      </td>
      <td role="cell" data-label="Target" className="mono wrap">
        {event.target ?? DASH}
      </td>
      <td role="cell" data-label="Data">
        <Data data={event.data} />
      </td>
      <td role="cell" data-label="Hash" className="mono dim" title={event.hash}>
        {event.hash.slice(0, 10)}
      </td>
    </tr>
  );
}

const TEXTS = [
  { field: 'action', label: 'Action', hint: 'test.create, or test. for all' },
  { field: 'actor', label: 'By', hint: 'user:…' },
  { field: 'target', label: 'Target', hint: 'identifier' },
] as const;

/** Texts are asked for when they are whole: with Enter, or by the button. */
function FilterBar({ filters, onFilters }: { filters: AuditFilters; onFilters: (filters: AuditFilters) => void }) {
  const [draft, setDraft] = useState(filters);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const trimmed = { ...draft, action: draft.action.trim(), actor: draft.actor.trim(), target: draft.target.trim() };
    setDraft(trimmed);
    onFilters(trimmed);
  };
  const clear = (): void => {
    setDraft(NO_AUDIT_FILTERS);
    onFilters(NO_AUDIT_FILTERS);
  };
  const filtered = encodeAuditFilters(filters) !== '';
  return (
    <form className="toolbar" role="search" aria-label="Filter events" onSubmit={submit}>
      {TEXTS.map(({ field, label, hint }) => (
        <input key={field} type="search" aria-label={label} placeholder={`${label}: ${hint}`} value={draft[field]} onChange={(e) => setDraft({ ...draft, [field]: e.target.value })} />
      ))}
      <select
        aria-label="Outcome"
        value={draft.outcome}
        onChange={(e) => {
          const outcome = e.target.value as OutcomeName | '';
          setDraft({ ...draft, outcome });
          onFilters({ ...filters, outcome });
        }}
      >
        <option value="">Every outcome</option>
        {OUTCOMES.map((outcome) => (
          <option key={outcome} value={outcome}>
            {wordsOf(outcome)}
          </option>
        ))}
      </select>
      <button type="submit" className="button button-small">
        Filter
      </button>
      {filtered && (
        <button type="button" className="button button-quiet button-small" onClick={clear}>
          Clear
        </button>
      )}
    </form>
  );
}

function EventTable({ events }: { events: AuditEvent[] }) {
  return (
    <table className="list list-dense" role="table">
      <caption className="sr">Audit events, newest first</caption>
      <TableHead labels={['No.', 'Time', 'Outcome', 'Action', 'By', 'Target', 'Data', 'Hash']} />
      <tbody role="rowgroup">
        {events.map((event) => (
          <EventRow key={event.seq} event={event} />
        ))}
      </tbody>
    </table>
  );
}

function Events({ filters }: { filters: AuditFilters }) {
  const audit = useAudit(filters);
  if (audit.error && !audit.data) return <LoadError error={audit.error} onRetry={() => void audit.refetch()} />;
  if (!audit.data) return <Loading what="the audit trail" />;
  const events = audit.data.pages.flatMap((page) => page.items);
  return (
    <>
      {events.length > 0 ? (
        <EventTable events={events} />
      ) : encodeAuditFilters(filters) === '' ? (
        <EmptyState title="No event yet">
          <p>Each change in this tenant is recorded here, and each one that was refused.</p>
        </EmptyState>
      ) : (
        <EmptyState title="No event like that">
          <p>Filters are compared whole; an action that ends with a dot takes all below it.</p>
        </EmptyState>
      )}
      {audit.hasNextPage && (
        <button type="button" className="button more" disabled={audit.isFetchingNextPage} onClick={() => void audit.fetchNextPage()}>
          Older events
        </button>
      )}
    </>
  );
}

export function AuditPage() {
  const search = useSearch();
  const filters = useMemo(() => parseAuditFilters(search), [search]);
  const setFilters = (next: AuditFilters): void => navigate(`/audit${encodeAuditFilters(next)}`, { replace: true });
  const client = useQueryClient();
  const fromTheTop = (): void => {
    const key = auditKey(filters);
    client.setQueryData<InfiniteData<Page<AuditEvent>>>(key, (data) => data && { pages: data.pages.slice(0, 1), pageParams: data.pageParams.slice(0, 1) });
    void client.refetchQueries({ queryKey: key, exact: true });
  };
  return (
    <>
      <div className="page-head">
        <h1>Audit</h1>
        <span className="dim">Each event carries the hash of the one before it</span>
        <button type="button" className="button" onClick={fromTheTop}>
          Newest events
        </button>
      </div>
      <FilterBar filters={filters} onFilters={setFilters} />
      <Events filters={filters} />
    </>
  );
}
