// SPDX-License-Identifier: PostgreSQL
//
// The chart's values as a table: exact, and for those who do not see the chart.
import { useState } from 'react';
import { Icon } from '../../components/Icon';
import { TableHead } from '../../components/Parts';
import { Time } from '../../components/Time';
import type { Row } from '../../lib/buckets';
import { DASH, formatLatency, formatRatio } from '../../lib/format';
import { layersOf, type Picture } from './TimeChart';

const ROWS_AT_ONCE = 12;

export function ChartTable({ picture }: { picture: Picture }) {
  const [open, setOpen] = useState(false);
  const [shown, setShown] = useState(ROWS_AT_ONCE);
  const { measures, rows } = picture;
  const lines = picture.shown.map((i) => ({ i, label: measures.lines[i]!.label }));
  const layers = layersOf(picture).map(({ layer, i }) => ({ i, label: layer.label }));
  const strips = measures.strips.map(({ label }, i) => ({ i, label })).filter(({ i }) => rows.some((row) => row.strips[i]));
  const cells = (row: Row): [string, string][] => [
    ...lines.flatMap(({ i, label }): [string, string][] => [
      [label, formatLatency(row.lines[i]?.avg)],
      ['Shortest to longest', row.lines[i] ? `${formatLatency(row.lines[i].min)} to ${formatLatency(row.lines[i].max)}` : DASH],
    ]),
    ...layers.map(({ i, label }): [string, string] => [label, formatLatency(row.layers[i])]),
    ...strips.map(({ i, label }): [string, string] => [label, formatRatio(row.strips[i]?.avg)]),
    ['Runs', String(row.runs)],
    ['Failed', String(row.failed)],
  ];
  const newestFirst = open ? [...rows].reverse() : [];
  return (
    <details className="runs" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Icon name="down" />
        The chart as a table, newest first
      </summary>
      {open && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Values of the chart">
          <table className="list list-dense plot-table" role="table">
            <TableHead labels={['From', ...(rows[0] ? cells(rows[0]).map(([label]) => label) : [])]} />
            <tbody role="rowgroup">
              {newestFirst.slice(0, shown).map((row) => (
                <tr key={row.t} role="row">
                  <td role="cell" data-label="From">
                    <Time at={row.t} />
                    {row.gap && <span className="dim"> after a gap</span>}
                  </td>
                  {cells(row).map(([label, text], i) => (
                    <td key={i} role="cell" data-label={label} className="num">
                      {text}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {open && shown < newestFirst.length && (
        <button type="button" className="button more" onClick={() => setShown(shown + 5 * ROWS_AT_ONCE)}>
          Older steps ({newestFirst.length - shown} left)
        </button>
      )}
    </details>
  );
}
