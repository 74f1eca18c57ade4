// SPDX-License-Identifier: PostgreSQL
//
// One test as one agent sees it: the newest run (or a chosen one, ?run=), its parts by
// type, and its history. A type this page does not know gets the same frame with its named
// fields.
import { useMemo, useState } from 'react';
import type { PageProps } from '../../App';
import { can, useAgents, useHistory, useLatestOne, useTests } from '../../api/queries';
import type { Latest, Result, RunFields, Test } from '../../api/types';
import { Icon } from '../../components/Icon';
import { EmptyState, LoadError, Loading } from '../../components/Parts';
import { StateBadge } from '../../components/StateBadge';
import { Age, Time } from '../../components/Time';
import { failureOf } from '../../lib/failures';
import { formatLatency, formatRatio, formatSeconds } from '../../lib/format';
import { typeName } from '../../lib/names';
import { Link, navigate, useSearch } from '../../lib/router';
import { RANGES, rangeOf, withParam } from '../../lib/ranges';
import { displayTarget, nameOf, stateOf } from '../../lib/rows';
import { waterfall } from '../../lib/waterfall';
import { useNow } from '../../state/clock';
import { useTestActions, type TestActions } from '../targets/TestActions';
import { CertificatePanel } from './CertificatePanel';
import { ChartPanel, type Subject } from './ChartPanel';
import { FamilyPanel } from './FamilyPanel';
import { FieldsPanel } from './FieldsPanel';
import { RunsList } from './RunsList';
import { WaterfallPanel } from './WaterfallPanel';

/** A parameter of the URL, so that what is seen can be passed on. */
function useParam(name: string): [string | null, (value: string | null) => void] {
  const search = useSearch();
  const set = (value: string | null): void => navigate(location.pathname + withParam(location.search, name, value), { replace: true });
  return [new URLSearchParams(search).get(name), set];
}

function Failure({ run }: { run: RunFields }) {
  if (run.success) return null;
  const failure = failureOf(run.error_type);
  return (
    <section className="failure" aria-label="Failure">
      <Icon name="failed" />
      <div>
        <h2>
          <span>{failure.title}</span>
          {run.error_type && <code>{run.error_type}</code>}
        </h2>
        {run.error && <p>{run.error}</p>}
        {failure.hint && <p className="dim">{failure.hint}</p>}
      </div>
    </section>
  );
}

function Facts({ run, latest, test }: { run: RunFields; latest: Latest; test: Test | null }) {
  const interval = latest.interval_seconds ?? test?.interval_seconds ?? null;
  const facts: [string, React.ReactNode][] = [
    ['Latency', <span className={run.success ? undefined : 'dim'}>{formatLatency(run.latency_ms)}</span>],
    ...(run.loss_ratio === null ? [] : ([['Loss', <span className={run.loss_ratio > 0 ? 'is-bad' : undefined}>{formatRatio(run.loss_ratio)}</span>]] as [string, React.ReactNode][])),
    ['Duration of the run', formatLatency(run.duration_ms)],
    ['Started', <Time at={run.started_at} />],
    ['Age', <Age at={run.started_at} />],
    ...(interval === null ? [] : ([['Every', formatSeconds(interval)]] as [string, React.ReactNode][])),
  ];
  return (
    <dl className="facts">
      {facts.map(([label, value]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

interface HeadProps {
  latest: Latest;
  test: Test | null;
  actions: TestActions | null;
}

function Head({ latest, test, actions }: HeadProps) {
  const now = useNow();
  const target = test?.target ?? latest.attributes['url.full'] ?? displayTarget(latest.target, latest.port);
  const name = test ? nameOf(test) : latest.test_name || target;
  return (
    <div className="page-head detail-head">
      <div className="detail-title">
        <StateBadge state={stateOf(latest, test, now)} />
        <h1>{name}</h1>
      </div>
      <p className="detail-sub">
        <span className="tag">{typeName(latest.type)}</span>
        {name !== target && <span className="mono wrap">{target}</span>}
        <span>
          from <strong>{latest.agent_name ?? latest.agent_id.slice(0, 8)}</strong>
        </span>
      </p>
      {actions && test && (
        <div className="detail-actions">
          {actions.items(test).map((item) => (
            <button key={item.label} type="button" className={item.danger ? 'button button-danger-quiet' : 'button'} onClick={item.onSelect}>
              <Icon name={item.icon} />
              {item.label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

/** Panels by what the run carries, so that they serve types yet to come. */
function RunPanels({ run }: { run: RunFields }) {
  const fall = useMemo(() => waterfall(run.metrics, run.duration_ms), [run]);
  return (
    <div className="panels">
      {fall && <WaterfallPanel fall={fall} />}
      <FamilyPanel run={run} />
      <CertificatePanel run={run} />
      <FieldsPanel run={run} />
    </div>
  );
}

function NoResult({ test, agentId, collectorRunning }: { test: Test | null; agentId: string; collectorRunning: boolean }) {
  return (
    <EmptyState title={test ? 'No result yet' : 'There is no such result'}>
      <p>
        {test
          ? `${nameOf(test)} has no result of agent ${agentId.slice(0, 8)} yet. This page shows it as soon as it arrives.`
          : 'The test was deleted, or it never ran on this agent.'}
        {!collectorRunning && ' The collector is not running.'}
      </p>
      <p>
        <Link className="button" to="/">
          All targets
        </Link>
      </p>
    </EmptyState>
  );
}

/** Clocks that agree on the time of neither agent still tell how a delay changes. */
function noteOf(latest: Latest): string | null {
  if (latest.attributes['probectl.a2a.oneway'] !== 'relative') return null;
  return 'The clocks of the two agents are not in step: delays of one direction tell how they change, not how long they are.';
}

function subjectOf(latest: Latest, test: Test | null): Subject {
  return {
    testId: latest.test_id,
    agentId: latest.agent_id,
    type: latest.type,
    metrics: latest.metrics,
    intervalSeconds: latest.interval_seconds ?? test?.interval_seconds ?? null,
    timeoutSeconds: test?.timeout_seconds ?? null,
    createdAt: test?.created_at ?? null,
    newest: latest.started_at,
    note: noteOf(latest),
  };
}

export default function ResultPage({ me, params }: PageProps) {
  const testId = params['test']!;
  const agentId = params['agent']!;
  const [rangeKey, setRange] = useParam('range');
  const range = rangeOf(rangeKey);
  const [chosen, choose] = useParam('run');
  const [listing, setListing] = useState(false);
  const one = useLatestOne(testId, agentId);
  const tests = useTests();
  const agents = useAgents();
  const history = useHistory(testId, agentId, range.hours, one.data?.latest?.started_at ?? null, listing || chosen !== null);
  const actions = useTestActions(() => navigate('/'));

  if (one.error && !one.data) return <LoadError error={one.error} onRetry={() => void one.refetch()} />;
  if (!one.data || tests.isPending) return <Loading what="the result" />;
  const test = tests.data?.items.find((t) => t.test_id === testId) ?? null;
  const { latest, collectorRunning } = one.data;
  if (!latest) return <NoResult test={test} agentId={agentId} collectorRunning={collectorRunning} />;

  const past: Result | undefined = chosen ? history.data?.results.find((r) => r.result_id === chosen) : undefined;
  const run: RunFields = past ?? latest;
  const agentName = latest.agent_name ?? agents.data?.items.find((a) => a.agent_id === agentId)?.name ?? null;
  return (
    <>
      <nav aria-label="Breadcrumb">
        <Link className="back" to="/">
          <Icon name="back" />
          Targets
        </Link>
      </nav>
      <Head latest={{ ...latest, agent_name: agentName }} test={test} actions={can(me, 'test.write') ? actions : null} />
      {past && (
        <p className="note note-accent">
          You see the run of <Time at={past.started_at} />.{' '}
          <button type="button" className="link" onClick={() => choose(null)}>
            Back to the newest
          </button>
        </p>
      )}
      {chosen && !past && !history.isPending && (
        <p className="note">
          That run is not in the range below; the newest is shown.{' '}
          <button type="button" className="link" onClick={() => choose(null)}>
            Dismiss
          </button>
        </p>
      )}
      <Failure run={run} />
      <Facts run={run} latest={latest} test={test} />
      <ChartPanel
        subject={subjectOf(latest, test)}
        range={range}
        onRange={(r) => setRange(r === RANGES[0] ? null : r.key)}
        permitted={can(me, 'metrics.read')}
        mark={past?.started_at ?? null}
      >
        <RunsList history={history} open={listing} onOpen={setListing} chosen={past?.result_id ?? null} onChoose={choose} />
      </ChartPanel>
      <RunPanels run={run} />
      {actions.dialogs}
    </>
  );
}
