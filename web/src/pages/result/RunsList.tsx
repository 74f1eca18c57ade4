// SPDX-License-Identifier: PostgreSQL
//
// The runs of the range one by one. They are asked for when somebody opens the list; a run of
// it can be chosen, and the panels below then show that one.
import type { UseQueryResult } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { messageOf } from '../../api/client';
import type { History } from '../../api/queries';
import { Icon } from '../../components/Icon';
import { TableHead } from '../../components/Parts';
import { StateBadge } from '../../components/StateBadge';
import { Time } from '../../components/Time';
import { failureOf } from '../../lib/failures';
import { formatLatency, formatRatio } from '../../lib/format';

const RUNS_AT_ONCE = 10;

interface TableProps {
  history: History;
  chosen: string | null;
  onChoose: (id: string | null) => void;
}

function RunTable({ history, chosen, onChoose }: TableProps) {
  const [shown, setShown] = useState(RUNS_AT_ONCE);
  const newestFirst = useMemo(() => [...history.results].reverse(), [history]);
  if (newestFirst.length === 0) return <p className="dim">No run in this range.</p>;
  return (
    <>
      {history.truncated && (
        <p className="note">
          The range has more runs than are shown: these are the newest {history.results.length}, from <Time at={history.results[0]!.started_at} /> on.
        </p>
      )}
      <table className="list list-dense" role="table">
        <TableHead labels={['Time', 'State', 'Latency', 'Loss', 'Remark']} />
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
    </>
  );
}

interface Props {
  /** Asked for once the list is open. */
  history: UseQueryResult<History>;
  open: boolean;
  onOpen: (open: boolean) => void;
  chosen: string | null;
  onChoose: (id: string | null) => void;
}

export function RunsList({ history, open, onOpen, chosen, onChoose }: Props) {
  return (
    <details className="runs" onToggle={(event) => onOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="down" />
        Runs of this range, newest first
      </summary>
      {!open ? null : history.data ? (
        <RunTable history={history.data} chosen={chosen} onChoose={onChoose} />
      ) : history.error ? (
        <p className="note note-bad" role="alert">
          {messageOf(history.error)}{' '}
          <button type="button" className="link" onClick={() => void history.refetch()}>
            Try again
          </button>
        </p>
      ) : (
        <p className="dim" role="status">
          Loading the runs
        </p>
      )}
    </details>
  );
}
