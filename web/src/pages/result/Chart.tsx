// SPDX-License-Identifier: PostgreSQL
//
// uPlot: latency as a line with its min-max band, loss as bars behind it, failed runs as
// marks on the time axis. Made again when the theme changes, because a canvas does not
// follow CSS; data are set into the standing chart.
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { formatLatency, formatUtc, significant } from '../../lib/format';
import type { Columns } from '../../lib/history';
import { cssColor, useDark } from '../../state/theme';

const HEIGHT = 230;
const FAIL_PX = 5;

const dataOf = (c: Columns): uPlot.AlignedData => [c.t, c.loss, c.low, c.high, c.latency];

function markFailures(failed: () => boolean[], color: string): uPlot.Plugin {
  return {
    hooks: {
      draw: (u) => {
        const { ctx } = u;
        const size = FAIL_PX * devicePixelRatio;
        const y = u.bbox.top + u.bbox.height - size;
        ctx.save();
        ctx.strokeStyle = color;
        ctx.lineWidth = 1.6 * devicePixelRatio;
        ctx.beginPath();
        failed().forEach((bad, i) => {
          if (!bad) return;
          const x = u.valToPos(u.data[0][i]!, 'x', true);
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
          ctx.moveTo(x - size / 2, y - size / 2);
          ctx.lineTo(x + size / 2, y + size / 2);
          ctx.moveTo(x + size / 2, y - size / 2);
          ctx.lineTo(x - size / 2, y + size / 2);
        });
        ctx.stroke();
        ctx.restore();
      },
    },
  };
}

function optionsOf(width: number, failed: () => boolean[], range: () => [number, number]): uPlot.Options {
  const ink = cssColor('--ink-2');
  const line = cssColor('--line');
  const accent = cssColor('--accent');
  const bad = cssColor('--bad');
  const clear = (color: string, alpha: number): string => color.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
  const axis = { stroke: ink, font: '11px system-ui, sans-serif', grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  return {
    width,
    height: HEIGHT,
    padding: [10, 6, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: true, y: false } },
    legend: { show: true, live: true },
    scales: {
      x: { time: true, range: () => range() },
      ms: { range: (_, __, max) => [0, (max || 1) * 1.1] },
      loss: { range: [0, 100] },
    },
    axes: [
      { ...axis, values: [
        [86400, '{MM}-{DD}', null, null, null, null, null, null, 1],
        [3600, '{HH}:{mm}', '\n{MM}-{DD}', null, '\n{MM}-{DD}', null, null, null, 1],
        [1, '{HH}:{mm}', null, null, null, null, null, null, 1],
      ] },
      { ...axis, scale: 'ms', size: 62, values: (_, ticks) => ticks.map((v) => (v === 0 ? '0' : formatLatency(v).replace(/\.0+ /, ' '))) },
      { ...axis, scale: 'loss', side: 1, size: 46, grid: { show: false }, splits: () => [0, 50, 100], values: (_, ticks) => ticks.map((v) => `${v} %`) },
    ],
    series: [
      { label: 'Time', value: (_, v) => (v === null ? '' : formatUtc(new Date(v * 1000))) },
      {
        label: 'Loss',
        scale: 'loss',
        stroke: clear(bad, 0.55),
        fill: clear(bad, 0.18),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.bars!({ size: [1, 14], align: 0 }),
        value: (_, v) => (v === null ? '\u2014' : `${significant(v)} %`),
      },
      { label: 'Shortest', scale: 'ms', stroke: 'transparent', points: { show: false }, value: (_, v) => formatLatency(v) },
      { label: 'Longest', scale: 'ms', stroke: 'transparent', points: { show: false }, value: (_, v) => formatLatency(v) },
      { label: 'Latency', scale: 'ms', stroke: accent, width: 1.5, spanGaps: false, points: { size: 4, fill: accent }, value: (_, v) => formatLatency(v) },
    ],
    bands: [{ series: [3, 2], fill: clear(accent, 0.16) }],
    plugins: [markFailures(failed, bad)],
  };
}

export function Chart({ columns, hours, label }: { columns: Columns; hours: number; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef({ columns, hours });
  current.current = { columns, hours };
  const dark = useDark();

  useEffect(() => {
    const host = box.current!;
    // The whole range is shown, so that the time before a test existed is seen to be empty;
    // but a young test does not hide in the last pixel of a week.
    const range = (): [number, number] => {
      const t = current.current.columns.t;
      const end = t.at(-1) ?? Date.now() / 1000;
      const least = end - current.current.hours * 3600;
      const first = t[0] ?? least;
      return [Math.max(least, Math.min(first, end - 300)), end];
    };
    const made = new uPlot(optionsOf(host.clientWidth, () => current.current.columns.failed, range), dataOf(current.current.columns), host);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: host.clientWidth, height: HEIGHT }));
    observer.observe(host);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark]);

  useEffect(() => {
    plot.current?.setData(dataOf(columns));
  }, [columns, hours]);

  return <div className="chart" ref={box} role="group" aria-label={`Chart: ${label}`} />;
}
