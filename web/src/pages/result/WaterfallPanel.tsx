// SPDX-License-Identifier: PostgreSQL
//
// Phases of an HTTP run as bars on one time axis. SVG takes its geometry from attributes,
// which the content security policy leaves alone.
import { formatLatency } from '../../lib/format';
import type { Waterfall } from '../../lib/waterfall';

export function WaterfallPanel({ fall }: { fall: Waterfall }) {
  const percent = (ms: number): number => (fall.totalMs > 0 ? (ms / fall.totalMs) * 100 : 0);
  return (
    <section className="panel panel-wide" aria-labelledby="waterfall">
      <h2 id="waterfall">
        Phases <span className="dim">{formatLatency(fall.totalMs)} in all</span>
      </h2>
      <table className="waterfall">
        <caption className="sr">Phases of the request in order, with start and duration</caption>
        <thead className="sr">
          <tr>
            <th scope="col">Phase</th>
            <th scope="col">On the time axis</th>
            <th scope="col">Duration</th>
          </tr>
        </thead>
        <tbody>
          {fall.phases.map((phase) => (
            <tr key={phase.key}>
              <th scope="row">{phase.label}</th>
              <td>
                <svg className="bar" role="img" aria-label={`starts at ${formatLatency(phase.startMs)}`} preserveAspectRatio="none" viewBox="0 0 100 10">
                  <rect className="bar-track" x="0" y="0" width="100" height="10" />
                  <rect className={`bar-${phase.key}`} x={percent(phase.startMs)} y="1.5" width={Math.max(0.35, percent(phase.durationMs))} height="7" />
                </svg>
              </td>
              <td className="num">{formatLatency(phase.durationMs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
