// SPDX-License-Identifier: PostgreSQL
//
// Who measures: state, version, what waits unsent, whose clock is off, what was dropped.
import { useState } from 'react';
import type { PageProps } from '../../App';
import { can, useAgents } from '../../api/queries';
import type { Agent } from '../../api/types';
import { Icon, type IconName } from '../../components/Icon';
import { EmptyState, LoadError, Loading, TableHead } from '../../components/Parts';
import { Age } from '../../components/Time';
import { DASH, formatCount, formatSkew, plural } from '../../lib/format';
import { EnrolDialog } from './EnrolDialog';

/** Clocks farther apart make results of two agents hard to compare. */
const SKEW_WARN_MS = 1000;

const STATUS: Record<Agent['status'], { icon: IconName; label: string; tone: string }> = {
  online: { icon: 'ok', label: 'Online', tone: 'ok' },
  offline: { icon: 'offline', label: 'Offline', tone: 'failed' },
  revoked: { icon: 'failed', label: 'Revoked', tone: 'failed' },
  registered: { icon: 'waiting', label: 'Registered', tone: 'waiting' },
};

function Status({ status }: { status: Agent['status'] }) {
  const known = STATUS[status] ?? { icon: 'stale' as const, label: status, tone: 'stale' };
  return (
    <span className={`state state-${known.tone}`}>
      <Icon name={known.icon} />
      <span>{known.label}</span>
    </span>
  );
}

function Backlog({ agent }: { agent: Agent }) {
  if (agent.spool_records === null) return <span className="dim">{DASH}</span>;
  if (agent.spool_records === 0) return <span className="dim">none</span>;
  return (
    <>
      <span className="is-warn">{plural(agent.spool_records, 'result')}</span>
      {agent.oldest_unsent_at && (
        <span className="row-sub">
          oldest <Age at={agent.oldest_unsent_at} />
        </span>
      )}
    </>
  );
}

function Dropped({ dropped }: { dropped: Record<string, number> }) {
  const reasons = Object.entries(dropped).filter(([, n]) => n > 0);
  if (reasons.length === 0) return <span className="dim">none</span>;
  return (
    <>
      <span className="is-bad">{formatCount(reasons.reduce((sum, [, n]) => sum + n, 0))}</span>
      <span className="row-sub">{reasons.map(([reason, n]) => `${reason.replaceAll('_', ' ')} ${formatCount(n)}`).join(', ')}</span>
    </>
  );
}

function AgentRow({ agent }: { agent: Agent }) {
  const labels = Object.entries(agent.labels ?? {});
  const skew = agent.clock_skew_ms;
  return (
    <tr role="row">
      <td role="cell" className="c-state">
        <Status status={agent.status} />
      </td>
      <td role="cell" className="c-test">
        <span className="row-name">{agent.name}</span>
        <span className="row-sub">
          {agent.hostname && agent.hostname !== agent.name && <span className="mono">{agent.hostname}</span>}
          {labels.map(([key, value]) => (
            <span key={key} className="tag">
              {key}={value}
            </span>
          ))}
          {agent.tests_problem && <span className="is-warn">newest tests refused: {agent.tests_problem}</span>}
        </span>
      </td>
      <td role="cell" data-label="Runs">
        {(agent.capabilities ?? []).length ? agent.capabilities.join(', ') : <span className="dim">{DASH}</span>}
      </td>
      <td role="cell" data-label="Version">
        {agent.version ?? <span className="dim">{DASH}</span>}
      </td>
      <td role="cell" data-label="Last seen">
        {agent.last_seen_at ? <Age at={agent.last_seen_at} suffix=" ago" /> : <span className="dim">never</span>}
      </td>
      <td role="cell" data-label="Unsent">
        <Backlog agent={agent} />
      </td>
      <td role="cell" data-label="Dropped">
        <Dropped dropped={agent.dropped ?? {}} />
      </td>
      <td role="cell" data-label="Clock" className="nowrap">
        <span className={skew !== null && Math.abs(skew) >= SKEW_WARN_MS ? 'is-warn' : undefined}>{formatSkew(skew)}</span>
      </td>
    </tr>
  );
}

export function AgentsPage({ me }: PageProps) {
  const agents = useAgents();
  const [enrolling, setEnrolling] = useState(false);
  if (agents.error && !agents.data) return <LoadError error={agents.error} onRetry={() => void agents.refetch()} />;
  if (!agents.data) return <Loading what="the agents" />;

  const { items, next } = agents.data;
  const enrol = can(me, 'agent.write') && (
    <button type="button" className="button button-primary" onClick={() => setEnrolling(true)}>
      <Icon name="plus" />
      Enrol an agent
    </button>
  );
  return (
    <>
      <div className="page-head">
        <h1>Agents</h1>
        <span className="dim">{plural(items.length, 'agent')}</span>
        {items.length > 0 && enrol}
      </div>
      {next !== null && <p className="note">There are more agents than this page holds.</p>}
      {items.length === 0 ? (
        <EmptyState title="No agent is enrolled">
          <p>An agent measures from where it stands. Enrol one on any machine that can reach this control plane.</p>
          {enrol && <p>{enrol}</p>}
        </EmptyState>
      ) : (
        <table className="list" role="table">
          <caption className="sr">Agents of this tenant</caption>
          <TableHead labels={['Status', 'Agent', 'Runs', 'Version', 'Last seen', 'Unsent', 'Dropped', 'Clock']} />
          <tbody role="rowgroup">
            {items.map((agent) => (
              <AgentRow key={agent.agent_id} agent={agent} />
            ))}
          </tbody>
        </table>
      )}
      {enrolling && <EnrolDialog onClose={() => setEnrolling(false)} />}
    </>
  );
}
