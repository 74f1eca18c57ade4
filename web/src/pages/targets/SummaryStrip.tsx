// SPDX-License-Identifier: PostgreSQL
//
// What an engineer wants to know before reading rows: how many are ill, is anything
// measuring, and how old is the newest thing seen.
import type { Agent } from '../../api/types';
import { Icon } from '../../components/Icon';
import { STATE_LABELS } from '../../components/StateBadge';
import { Age } from '../../components/Time';
import { DASH, formatCount } from '../../lib/format';
import type { RowState, Summary } from '../../lib/rows';

interface Props {
  summary: Summary;
  agents: Agent[] | null;
  collectorRunning: boolean | null;
  state: RowState | '';
  onState: (state: RowState | '') => void;
}

const ALWAYS: readonly RowState[] = ['ok', 'failed', 'stale'];
const WHEN_ANY: readonly RowState[] = ['waiting', 'paused'];

export function SummaryStrip({ summary, agents, collectorRunning, state, onState }: Props) {
  const states = [...ALWAYS, ...WHEN_ANY.filter((s) => summary[s] > 0 || s === state)];
  const online = agents?.filter((agent) => agent.status === 'online').length ?? 0;
  return (
    <section className="strip" aria-label="Summary">
      <div className="strip-states" role="group" aria-label="Filter by state">
        {states.map((s) => (
          <button
            key={s}
            type="button"
            className={`tile tile-${s}${summary[s] === 0 ? ' tile-zero' : ''}`}
            aria-pressed={state === s}
            onClick={() => onState(state === s ? '' : s)}
          >
            <span className="tile-label">
              <Icon name={s} />
              {STATE_LABELS[s]}
            </span>
            <span className="tile-value">{formatCount(summary[s])}</span>
          </button>
        ))}
      </div>
      <dl className="strip-facts">
        <div>
          <dt>Agents online</dt>
          <dd className={agents && (online < agents.length || online === 0) ? 'is-warn' : undefined}>
            {agents ? (
              <>
                {online}
                <small> of {agents.length}</small>
              </>
            ) : (
              DASH
            )}
          </dd>
        </div>
        <div>
          <dt>Newest result</dt>
          <dd>{summary.newest === null ? 'none' : <Age at={summary.newest} suffix=" ago" />}</dd>
        </div>
        <div>
          <dt>Collector</dt>
          <dd className={collectorRunning === false ? 'is-bad' : undefined}>
            {collectorRunning === null ? DASH : collectorRunning ? 'running' : 'not running'}
          </dd>
        </div>
      </dl>
    </section>
  );
}
