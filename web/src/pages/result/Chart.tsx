// SPDX-License-Identifier: PostgreSQL
//
// uPlot: latency as a line with its min-max band, loss as bars behind it, failed runs as
// marks on the time axis. Made again when the theme changes, because a canvas does not
// follow CSS; data are set into the standing chart.
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { formatLatency, formatTime, significant } from '../../lib/format';
import type { Columns } from '../../lib/history';
import { cssColor, useDark } from '../../state/theme';

const HEIGHT = 230;
const FAIL_PX = 5;
/** A shorter axis than this only shows noise. */
const YOUNG_SECONDS = 300;

interface Shape {
  loss: boolean;
  band: boolean;
}

/** What no run tells has neither a series nor a place in the legend. */
function shapeOf(columns: Columns): Shape {
  return { loss: columns.loss.some((v) => v !== null), band: columns.low.some((v) => v !== null) };
}

function dataOf(c: Columns, shape: Shape): uPlot.AlignedData {
  return [c.t, c.latency, ...(shape.band ? [c.low, c.high] : []), ...(shape.loss ? [c.loss] : [])];
}

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

function seriesOf(shape: Shape, accent: string, bad: string): uPlot.Series[] {
  const ms = (_: uPlot, v: number | null): string => formatLatency(v);
  const edge = { scale: 'ms', stroke: 'transparent', points: { show: false }, value: ms } as const;
  const series: uPlot.Series[] = [
    { label: 'Time', value: (_, v) => (v === null ? '\u2014' : formatTime(new Date(v * 1000))) },
    { label: 'Latency', scale: 'ms', stroke: accent, width: 1.5, spanGaps: false, points: { size: 4, fill: accent }, value: ms },
  ];
  if (shape.band) series.push({ ...edge, label: 'Shortest' }, { ...edge, label: 'Longest' });
  if (shape.loss) {
    series.push({
      label: 'Loss',
      scale: 'loss',
      stroke: bad,
      fill: withAlpha(bad, 0.22),
      width: 0,
      points: { show: false },
      paths: uPlot.paths.bars!({ size: [1, 14], align: 0 }),
      value: (_, v) => (v === null ? '\u2014' : `${significant(v)} %`),
    });
  }
  return series;
}

const withAlpha = (color: string, alpha: number): string => color.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);

const two = (n: number): string => String(n).padStart(2, '0');

/** Local time on the axis: the clock, and the date where a day begins. */
function tickOf(seconds: number): string {
  const at = new Date(seconds * 1000);
  if (at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0) return `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${two(at.getHours())}:${two(at.getMinutes())}${at.getSeconds() ? `:${two(at.getSeconds())}` : ''}`;
}

// Nothing measured, no scale: a made-up one would be read as a measurement.
const msTick = (u: uPlot, value: number): string => {
  if (!u.data[1]?.some((v) => v !== null)) return '';
  return value === 0 ? '0' : formatLatency(value).replace(/(\.\d*?)0+ /, '$1 ').replace('. ', ' ');
};

function optionsOf(width: number, shape: Shape, failed: () => boolean[], range: () => [number, number]): uPlot.Options {
  const ink = cssColor('--ink-2');
  const line = cssColor('--line');
  const accent = cssColor('--accent');
  const bad = cssColor('--bad');
  const axis = { stroke: ink, font: `11px ${getComputedStyle(document.body).fontFamily}`, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
  const axes: uPlot.Axis[] = [
    { ...axis, size: 32, space: 64, values: (_, ticks) => ticks.map(tickOf) },
    { ...axis, scale: 'ms', size: 62, values: (u, ticks) => ticks.map((v) => msTick(u, v)) },
  ];
  if (shape.loss) {
    axes.push({ ...axis, scale: 'loss', side: 1, size: 54, grid: { show: false }, splits: () => [0, 50, 100], values: (_, ticks) => ticks.map((v) => `${v} %`) });
  }
  return {
    width,
    height: HEIGHT,
    padding: [10, shape.loss ? 0 : 26, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: true, y: false } },
    legend: { show: true, live: true },
    scales: {
      x: { time: true, range: () => range() },
      ms: { range: (_, __, max) => [0, (max || 1) * 1.1] },
      loss: { range: [0, 100] },
    },
    axes,
    series: seriesOf(shape, accent, bad),
    bands: shape.band ? [{ series: [3, 2], fill: withAlpha(accent, 0.16) }] : [],
    plugins: [markFailures(failed, bad)],
  };
}

export function Chart({ columns, hours, label }: { columns: Columns; hours: number; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const current = useRef({ columns, hours });
  current.current = { columns, hours };
  const dark = useDark();
  const { loss, band } = shapeOf(columns);

  useEffect(() => {
    const host = box.current!;
    // The whole range is shown, so that the time before a test existed is seen to be empty;
    // but a young test does not hide in the last pixel of a week.
    const range = (): [number, number] => {
      const t = current.current.columns.t;
      const end = t.at(-1) ?? Date.now() / 1000;
      const least = end - current.current.hours * 3600;
      return [Math.max(least, Math.min(t[0] ?? least, end - YOUNG_SECONDS)), end];
    };
    const shape = { loss, band };
    const options = optionsOf(host.clientWidth, shape, () => current.current.columns.failed, range);
    const made = new uPlot(options, dataOf(current.current.columns, shape), host);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: host.clientWidth, height: HEIGHT }));
    observer.observe(host);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, loss, band]);

  useEffect(() => {
    plot.current?.setData(dataOf(columns, { loss, band }));
  }, [columns, hours, loss, band]);

  return <div className="chart" ref={box} role="group" aria-label={`Chart: ${label}`} />;
}
