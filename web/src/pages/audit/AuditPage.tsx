// SPDX-License-Identifier: PostgreSQL
//
// What was changed or refused, by whom. Newest first, keyset paging: a page never shifts
// while older ones are read.
import type { InfiniteData } from '@tanstack/react-query';
import { useQueryClient } from '@tanstack/react-query';
import { keys, useAudit } from '../../api/queries';
import type { AuditEvent, Page } from '../../api/types';
import { Icon } from '../../components/Icon';
import { EmptyState, LoadError, Loading } from '../../components/Parts';
import { Time } from '../../components/Time';
import { DASH, formatCount } from '../../lib/format';
import { wordsOf } from '../../lib/names';

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

export function AuditPage() {
  const audit = useAudit();
  const client = useQueryClient();
  if (audit.error && !audit.data) return <LoadError error={audit.error} onRetry={() => void audit.refetch()} />;
  if (!audit.data) return <Loading what="the audit trail" />;

  const events = audit.data.pages.flatMap((page) => page.items);
  const fromTheTop = (): void => {
    client.setQueryData<InfiniteData<Page<AuditEvent>>>(keys.audit, (data) => data && { pages: data.pages.slice(0, 1), pageParams: data.pageParams.slice(0, 1) });
    void audit.refetch();
  };
  return (
    <>
      <div className="page-head">
        <h1>Audit</h1>
        <span className="dim">Each event carries the hash of the one before it</span>
        <button type="button" className="button" onClick={fromTheTop} disabled={audit.isFetching}>
          Newest events
        </button>
      </div>
      {events.length === 0 ? (
        <EmptyState title="No event yet">
          <p>Each change in this tenant is recorded here, and each one that was refused.</p>
        </EmptyState>
      ) : (
        <table className="list list-dense" role="table">
          <caption className="sr">Audit events, newest first</caption>
          <thead role="rowgroup">
            <tr role="row">
              {['No.', 'Time', 'Outcome', 'Action', 'By', 'Target', 'Data', 'Hash'].map((label) => (
                <th key={label} role="columnheader" scope="col">
                  {label}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {events.map((event) => (
              <EventRow key={event.seq} event={event} />
            ))}
          </tbody>
        </table>
      )}
      {audit.hasNextPage && (
        <button type="button" className="button more" disabled={audit.isFetchingNextPage} onClick={() => void audit.fetchNextPage()}>
          Older events
        </button>
      )}
    </>
  );
}
