// SPDX-License-Identifier: PostgreSQL
//
// What is drawn, and what is under the cursor: as a line below the chart and, for those who do not
// see it, in words.
import type { Row, Value } from '../../lib/buckets';
import { formatLatency, formatRatio, formatTime, plural } from '../../lib/format';
import { gapsOf } from '../../lib/plot';
import { layersOf, type Picture } from './TimeChart';

const spread = (value: Value): string => (value.min === value.max ? '' : ` (${formatLatency(value.min)} to ${formatLatency(value.max)})`);

/** A row in words: what the pointer is on, and what is read out. */
export function wordsOf(row: Row, { measures, shown, step }: Picture): string {
  const lines = shown.map((i) => {
    const value = row.lines[i];
    return `${measures.lines[i]!.label} ${value ? formatLatency(value.avg) + spread(value) : 'none'}`;
  });
  const layers = measures.layers.flatMap((layer, i) => (row.layers[i] ? [`${layer.label} ${formatLatency(row.layers[i])}`] : []));
  const strips = measures.strips.flatMap((strip, i) => (row.strips[i] ? [`${strip.label} ${formatRatio(row.strips[i]!.avg)}`] : []));
  const runs = `${plural(row.runs, 'run')}, ${row.failed} failed`;
  const since = row.gap ? ['after a gap'] : [];
  return [`${formatTime(new Date(row.t))} to ${formatTime(new Date(row.t + step))}`, ...lines, ...layers, ...strips, runs, ...since].join(', ');
}

export function Readout({ row, picture, newest }: { row: Row; picture: Picture; newest: boolean }) {
  const { measures, shown, step } = picture;
  return (
    <p className="plot-readout">
      <span className="dim">
        {newest && 'Newest: '}
        {formatTime(new Date(row.t))} {'\u2013'} {formatTime(new Date(row.t + step))}
      </span>
      {shown.map((i) => (
        <span key={i}>
          {measures.lines[i]!.label} <strong>{formatLatency(row.lines[i]?.avg)}</strong>
          {row.lines[i] && spread(row.lines[i])}
        </span>
      ))}
      {measures.strips.map((strip, i) => (row.strips[i] ? <span key={strip.name}>{`${strip.label} ${formatRatio(row.strips[i]!.avg)}`}</span> : null))}
      <span className={row.failed > 0 ? 'is-bad' : undefined}>
        {plural(row.runs, 'run')}, {row.failed} failed
      </span>
      {measures.layers.map((layer, i) => (row.layers[i] ? <span key={layer.key} className="dim">{`${layer.label} ${formatLatency(row.layers[i])}`}</span> : null))}
    </p>
  );
}

function Swatch({ className, children }: { className: string; children: string }) {
  return (
    <li>
      <svg className="swatch" viewBox="0 0 14 10" aria-hidden="true">
        <rect className={className} y="1" width="14" height="8" rx="2" />
      </svg>
      {children}
    </li>
  );
}

export function Legend({ picture }: { picture: Picture }) {
  const { measures, shown, rows } = picture;
  return (
    <ul className="plot-legend" aria-label="What is drawn">
      {shown.map((line, place) => (
        <Swatch key={line} className={`plot-key plot-series-${place}`}>
          {`${measures.lines[line]!.label}: average, with the shortest and longest of each step`}
        </Swatch>
      ))}
      {layersOf(picture).map(({ layer }) => (
        <Swatch key={layer.key} className={`bar-${layer.key}`}>
          {layer.label}
        </Swatch>
      ))}
      {measures.strips.some((_, i) => rows.some((row) => row.strips[i])) && <Swatch className="plot-key-loss">Loss: average, and lighter the worst run</Swatch>}
      {rows.some((row) => row.failed > 0) && <Swatch className="plot-key-fail">Failed runs</Swatch>}
      {gapsOf(picture).length > 0 && <Swatch className="plot-key-gap">Nothing ran</Swatch>}
    </ul>
  );
}
