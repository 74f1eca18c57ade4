// SPDX-License-Identifier: PostgreSQL
//
// Runs over time: a chart for the eye, a table for the exact values and for those who do
// not see the chart. A run of the table can be chosen; the panels below then show it.
import type { UseQueryResult } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { messageOf } from '../../api/client';
import type { History } from '../../api/queries';
import { Icon } from '../../components/Icon';
import { StateBadge } from '../../components/StateBadge';
import { Time } from '../../components/Time';
import { failureOf } from '../../lib/failures';
import { formatLatency, formatRatio, plural } from '../../lib/format';
import { columnsOf, statsOf } from '../../lib/history';
import { Chart } from './Chart';

export const RANGES = [
  { hours: 1, label: '1 h' },
  { hours: 6, label: '6 h' },
  { hours: 24, label: '24 h' },
  { hours: 168, label: '7 d' },
] as const;

const RUNS_AT_ONCE = 10;

interface Props {
  history: UseQueryResult<History>;
  hours: number;
  onHours: (hours: number) => void;
  interval: number | null;
  chosen: string | null;
  onChoose: (id: string | null) => void;
}

function RunTable({ history, chosen, onChoose }: { history: History; chosen: string | null; onChoose: (id: string | null) => void }) {
  const [shown, setShown] = useState(RUNS_AT_ONCE);
  const newestFirst = useMemo(() => [...history.results].reverse(), [history]);
  return (
    <details className="runs">
      <summary>
        <Icon name="down" />
        Runs of this range, newest first
      </summary>
      <table className="list list-dense" role="table">
        <thead role="rowgroup">
          <tr role="row">
            {['Time', 'State', 'Latency', 'Loss', 'Remark'].map((label) => (
              <th key={label} role="columnheader" scope="col">
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {newestFirst.slice(0, shown).map((run) => (
            <tr key={run.result_id} role="row" aria-current={run.result_id === chosen ? 'true' : undefined}>
              <td role="cell" data-label="Time">
                <button type="button" className="link" onClick={() => onChoose(run.result_id)}>
                  <Time at={run.started_at} />
                </button>
              </td>
              <td role="cell" data-label="State">
                <StateBadge state={run.success ? 'ok' : 'failed'} />
              </td>
              <td role="cell" data-label="Latency" className="num">
                {formatLatency(run.latency_ms)}
              </td>
              <td role="cell" data-label="Loss" className="num">
                {formatRatio(run.loss_ratio)}
              </td>
              <td role="cell" data-label="Remark" className="wrap">
                {run.success ? '' : run.error || failureOf(run.error_type).title}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {shown < newestFirst.length && (
        <button type="button" className="button more" onClick={() => setShown(shown + 5 * RUNS_AT_ONCE)}>
          Older runs ({newestFirst.length - shown} left)
        </button>
      )}
    </details>
  );
}

export function HistoryPanel({ history, hours, onHours, interval, chosen, onChoose }: Props) {
  const results = history.data?.results;
  const columns = useMemo(() => columnsOf(results ?? [], interval), [results, interval]);
  const stats = useMemo(() => statsOf(results ?? []), [results]);
  const words = `${plural(stats.runs, 'run')}, ${stats.failed} failed, median ${formatLatency(stats.p50)}, p95 ${formatLatency(stats.p95)}`;
  return (
    <section className="panel panel-chart" aria-labelledby="history">
      <div className="panel-head">
        <h2 id="history">
          History <span className="dim">{results ? words : ''}</span>
        </h2>
        <div className="segmented segmented-small" role="group" aria-label="Range">
          {RANGES.map((range) => (
            <button key={range.hours} type="button" aria-pressed={range.hours === hours} onClick={() => onHours(range.hours)}>
              {range.label}
            </button>
          ))}
        </div>
      </div>
      {history.error && !results ? (
        <p className="note note-bad" role="alert">
          {messageOf(history.error)}
        </p>
      ) : results && results.length > 0 ? (
        <>
          <Chart columns={columns} hours={hours} label={words} />
          {history.data?.truncated && (
            <p className="note">
              The range has more runs than are shown: these are the newest {results.length}, from <Time at={results[0]!.started_at} /> on.
            </p>
          )}
          <RunTable history={history.data!} chosen={chosen} onChoose={onChoose} />
        </>
      ) : (
        <p className="chart-none dim">{results ? 'No run in this range.' : 'Loading the history'}</p>
      )}
    </section>
  );
}
