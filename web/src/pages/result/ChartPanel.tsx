// SPDX-License-Identifier: PostgreSQL
//
// A test over time: the chart with its legend and what is under the cursor, the same values
// as a table, and words for when there is nothing to draw.
import { useMemo, useState, type ReactNode } from 'react';
import { messageOf, serverNow } from '../../api/client';
import { useSeries, type Asked, type SeriesData } from '../../api/series';
import { Time } from '../../components/Time';
import { rowsOf, shownLines, summaryOf, type Summary } from '../../lib/buckets';
import { formatLatency, formatSeconds, plural } from '../../lib/format';
import { measuresOf, namesOf, type Measures } from '../../lib/measures';
import { zoneOf } from '../../lib/plot';
import { RANGES, stepOf, type Range } from '../../lib/ranges';
import { staleAfterMs } from '../../lib/rows';
import { Legend, Readout, wordsOf } from './ChartReadout';
import { ChartTable } from './ChartTable';
import { TimeChart, type Picture } from './TimeChart';

/** A shorter axis than this only shows noise. */
const YOUNG_MS = 120_000;
/** The clock of an agent may be behind so far. */
const CLOCK_SLACK_MS = 120_000;

export interface Subject {
  testId: string;
  agentId: string;
  type: string;
  /** Of the newest run: what a type not known here has. */
  metrics: Record<string, number>;
  intervalSeconds: number | null;
  timeoutSeconds: number | null;
  /** Before it there was nothing to run. */
  createdAt: string | null;
  newest: string | null;
  note: string | null;
}

function pictureOf(data: SeriesData, subject: Subject, measures: Measures, range: Range, mark: number | null): Picture {
  const intervalMs = subject.intervalSeconds === null ? null : subject.intervalSeconds * 1000;
  const rows = rowsOf(data, measures, intervalMs);
  const to = data.end;
  const least = to - range.hours * 3_600_000;
  // The whole range, with what is missing in it; but a test made just now does not hide in the last pixel of a month.
  const made = subject.createdAt === null ? least : Math.min(Date.parse(subject.createdAt), rows[0]?.t ?? to, to - YOUNG_MS);
  const lateMs = staleAfterMs(subject.intervalSeconds, subject.timeoutSeconds);
  return { rows, measures, shown: shownLines(rows, measures), span: { from: Math.max(least, made), to }, step: data.step, lateMs, mark };
}

function Drawn({ picture, summary, data, note }: { picture: Picture; summary: string; data: SeriesData; note: string | null }) {
  const [at, setAt] = useState<{ t: number; byKey: boolean } | null>(null);
  const { rows } = picture;
  const under = at && rows.find((row) => row.t === at.t);
  const row = under ?? rows.at(-1)!;
  return (
    <>
      <Legend picture={picture} />
      <TimeChart picture={picture} label={`${picture.measures.title} over time: ${summary}`} at={under ? under.t : null} onAt={(t, byKey) => setAt(t === null ? null : { t, byKey })} />
      <Readout row={row} picture={picture} newest={!under} />
      <p className="sr" aria-live="polite">
        {under && at.byKey ? wordsOf(under, picture) : ''}
      </p>
      <p className="plot-foot dim">
        Steps of {formatSeconds(picture.step / 1000)}, local time ({zoneOf(data.end)}).{note && ` ${note}`}
        {data.more && ' The test has had more targets than one answer holds: not all of them are drawn.'}
      </p>
      {!data.collectorRunning && <p className="note note-warn">The collector is not running: nothing new is added to the chart.</p>}
      <ChartTable picture={picture} />
    </>
  );
}

function Empty({ range, subject, onRange }: { range: Range; subject: Subject; onRange: (range: Range) => void }) {
  const longer = RANGES[RANGES.indexOf(range) + 1];
  return (
    <div className="chart-none">
      <p>No run in the last {range.label}.</p>
      <p className="dim">
        {subject.newest ? (
          <>
            The newest is of <Time at={subject.newest} />.{' '}
          </>
        ) : (
          'The first appears here by itself. '
        )}
        See whether the test is paused and its agent online.
      </p>
      {longer && (
        <button type="button" className="button" onClick={() => onRange(longer)}>
          Show {longer.label}
        </button>
      )}
    </div>
  );
}

function Failed({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <div className="chart-none" role="alert">
      <p>The chart could not be loaded.</p>
      <p className="dim">{messageOf(error)}</p>
      <button type="button" className="button" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}

/** What to ask: nothing from before the test was made, as far as clocks agree, and steps to match. */
function askedOf(subject: Subject, measures: Measures, range: Range): Asked {
  const made = subject.createdAt === null ? -Infinity : Date.parse(subject.createdAt) - CLOCK_SLACK_MS;
  const step = stepOf(range, subject.intervalSeconds, (serverNow() - made) / 1000);
  return { testId: subject.testId, agentId: subject.agentId, names: namesOf(measures), range, step, since: made };
}

const summaryWords = (s: Summary): string =>
  `${plural(s.runs, 'run')}, ${s.failed} failed${s.avg === null ? '' : `, average ${formatLatency(s.avg)}, ${formatLatency(s.min)} to ${formatLatency(s.max)}`}`;

interface Props {
  subject: Subject;
  range: Range;
  onRange: (range: Range) => void;
  permitted: boolean;
  /** Start of the chosen run. */
  mark: string | null;
  /** Below the chart, whatever became of it. */
  children: ReactNode;
}

export function ChartPanel({ subject, range, onRange, permitted, mark, children }: Props) {
  const metricNames = Object.keys(subject.metrics).sort().join();
  // A known type does not depend on the run; of another only the names matter.
  const measures = useMemo(() => measuresOf(subject.type, Object.fromEntries(metricNames.split(',').map((name) => [name, 0]))), [subject.type, metricNames]);
  const series = useSeries(askedOf(subject, measures, range), subject.newest, permitted);
  const { data } = series;
  const { intervalSeconds, timeoutSeconds, createdAt } = subject;
  const picture = useMemo(
    () => data && pictureOf(data, subject, measures, range, mark === null ? null : Date.parse(mark)),
    // The subject is made anew with every run; what of it is drawn is not.
    [data, measures, range, mark, intervalSeconds, timeoutSeconds, createdAt],
  );
  const summary = picture && picture.rows.length > 0 ? summaryWords(summaryOf(picture.rows, picture.shown[0])) : '';
  return (
    <section className="panel panel-chart" aria-labelledby="over-time" aria-busy={series.isFetching && !data}>
      <div className="panel-head">
        <h2 id="over-time">
          Over time <span className="dim">{summary}</span>
        </h2>
        <div className="segmented segmented-small" role="group" aria-label="Range">
          {RANGES.map((r) => (
            <button key={r.key} type="button" aria-pressed={r === range} onClick={() => onRange(r)}>
              {r.label}
            </button>
          ))}
        </div>
      </div>
      {!permitted ? (
        <p className="chart-none dim">Your role does not permit reading metrics (metrics.read). An administrator of the tenant can grant it.</p>
      ) : series.error && !data ? (
        <Failed error={series.error} onRetry={() => void series.refetch()} />
      ) : !picture || !data ? (
        <p className="chart-none dim" role="status">
          Loading the chart
        </p>
      ) : (
        <>
          {series.error && (
            <p className="note note-bad" role="alert">
              The newest values could not be loaded: {messageOf(series.error)}{' '}
              <button type="button" className="link" onClick={() => void series.refetch()}>
                Try again
              </button>
            </p>
          )}
          {picture.rows.length > 0 ? (
            <Drawn key={range.key} picture={picture} summary={summary} data={data} note={subject.note} />
          ) : (
            <Empty range={range} subject={subject} onRange={onRange} />
          )}
        </>
      )}
      {children}
    </section>
  );
}
