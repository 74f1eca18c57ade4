// SPDX-License-Identifier: PostgreSQL
//
// The live table. A row is drawn again only when its result or its state changed. On a
// narrow screen the same elements become cards (styles/targets.css), hence the explicit roles.
import { memo, useEffect, useRef, useState } from 'react';
import type { Test } from '../../api/types';
import { Icon } from '../../components/Icon';
import { Menu, type MenuItem } from '../../components/Menu';
import { Sparkline } from '../../components/Sparkline';
import { StateBadge } from '../../components/StateBadge';
import { Age } from '../../components/Time';
import { failureOf } from '../../lib/failures';
import { toggleSort, type Filters, type SortKey } from '../../lib/filters';
import { DASH, formatRatio, formatSeconds, latencyParts } from '../../lib/format';
import { typeName } from '../../lib/names';
import { Link } from '../../lib/router';
import type { Row } from '../../lib/rows';

const COLUMNS: { key: SortKey | null; label: string; className: string; hidden?: boolean }[] = [
  { key: 'state', label: 'State', className: 'c-state' },
  { key: 'name', label: 'Test', className: 'c-test' },
  { key: 'type', label: 'Type', className: 'c-type' },
  { key: 'agent', label: 'Agent', className: 'c-agent' },
  { key: 'latency', label: 'Latency', className: 'c-latency' },
  { key: 'loss', label: 'Loss', className: 'c-loss' },
  { key: null, label: 'Last 30 runs', className: 'c-spark' },
  { key: 'age', label: 'Age', className: 'c-age' },
  { key: null, label: 'Actions', className: 'c-menu', hidden: true },
];

const ROWS_AT_ONCE = 100;

function HeadCell({ column, filters, onFilters }: { column: (typeof COLUMNS)[number]; filters: Filters; onFilters: (f: Filters) => void }) {
  const active = column.key !== null && filters.sort === column.key;
  const sort = active ? (filters.desc ? 'descending' : 'ascending') : column.key ? 'none' : undefined;
  return (
    <th role="columnheader" scope="col" className={column.className} aria-sort={sort}>
      {column.key ? (
        <button type="button" className="sort" onClick={() => onFilters(toggleSort(filters, column.key!))}>
          {column.label}
          <Icon name={active && filters.desc ? 'down' : 'up'} className={active ? 'sort-on' : 'sort-off'} />
        </button>
      ) : (
        <span className={column.hidden ? 'sr' : undefined}>{column.label}</span>
      )}
    </th>
  );
}

function Latency({ row }: { row: Row }) {
  const parts = latencyParts(row.latencyMs);
  if (!parts) return <span className="dim">{DASH}</span>;
  return (
    <>
      {parts.value}
      <small> {parts.unit}</small>
    </>
  );
}

function Remark({ row }: { row: Row }) {
  if (row.state === 'waiting') return <span className="remark">waiting for first result, every {formatSeconds(row.intervalSeconds ?? 0)}</span>;
  if (row.state === 'failed' && row.latest) {
    return (
      <span className="remark remark-bad" title={row.latest.error ?? undefined}>
        {failureOf(row.latest.error_type).title}
      </span>
    );
  }
  return null;
}

interface RowProps {
  row: Row;
  items: ((test: Test) => MenuItem[]) | null;
}

const same = (a: RowProps, b: RowProps): boolean =>
  a.row.latest === b.row.latest && a.row.test === b.row.test && a.row.state === b.row.state && a.row.agentName === b.row.agentName && (a.items === null) === (b.items === null);

const TargetRow = memo(function TargetRow({ row, items }: RowProps) {
  const { latest, test } = row;
  return (
    <tr role="row" className={`row row-${row.state}`} data-key={row.key}>
      <td role="cell" className="c-state">
        <StateBadge state={row.state} />
      </td>
      <td role="cell" className="c-test">
        {row.agentId ? (
          <Link className="row-link" to={`/results/${row.testId}/${row.agentId}`}>
            {row.name}
          </Link>
        ) : (
          <span className="row-name">{row.name}</span>
        )}
        <span className="row-sub">
          {row.name !== row.target && <span className="mono row-target">{row.target}</span>}
          <Remark row={row} />
        </span>
      </td>
      <td role="cell" className="c-type">
        <span className="tag">{typeName(row.type)}</span>
      </td>
      <td role="cell" className="c-agent">
        {row.agentName}
      </td>
      <td role="cell" className="c-latency">
        <Latency row={row} />
      </td>
      <td role="cell" className="c-loss" data-label="Loss">
        {row.lossRatio === null ? <span className="dim">{DASH}</span> : <span className={row.lossRatio > 0 ? 'is-bad' : 'dim'}>{formatRatio(row.lossRatio)}</span>}
      </td>
      <td role="cell" className="c-spark">
        {latest ? <Sparkline points={latest.spark} intervalSeconds={row.intervalSeconds} /> : <span className="spark-none" aria-hidden="true" />}
      </td>
      <td role="cell" className="c-age">
        {row.at === null ? <span className="dim">{DASH}</span> : <Age at={row.at} />}
      </td>
      <td role="cell" className="c-menu">
        {test && items && <Menu label={`Actions for ${row.name}`} button={<Icon name="more" />} items={items(test)} />}
      </td>
    </tr>
  );
}, same);

interface Props {
  rows: Row[];
  filters: Filters;
  onFilters: (filters: Filters) => void;
  items: ((test: Test) => MenuItem[]) | null;
}

export function TargetsTable({ rows, filters, onFilters, items }: Props) {
  const [limit, setLimit] = useState(ROWS_AT_ONCE);
  const more = useRef<HTMLButtonElement>(null);
  const hidden = rows.length - limit;

  // Rows come as they are scrolled to; the button is there for those who do not scroll.
  useEffect(() => {
    if (!more.current) return;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setLimit((n) => n + ROWS_AT_ONCE);
    });
    observer.observe(more.current);
    return () => observer.disconnect();
  }, [hidden > 0, limit]);

  return (
    <>
      <table className="targets" role="table">
        <caption className="sr">Newest result of each test</caption>
        <thead role="rowgroup">
          <tr role="row">
            {COLUMNS.map((column) => (
              <HeadCell key={column.label} column={column} filters={filters} onFilters={onFilters} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.slice(0, limit).map((row) => (
            <TargetRow key={row.key} row={row} items={items} />
          ))}
        </tbody>
      </table>
      {hidden > 0 && (
        <button ref={more} type="button" className="button more" onClick={() => setLimit(limit + ROWS_AT_ONCE)}>
          Show more ({hidden} left)
        </button>
      )}
    </>
  );
}
