// SPDX-License-Identifier: PostgreSQL
//
// The chart as SVG: latency with the band of its extremes (or phases on top of each other),
// a strip for each ratio and one for failed runs. Geometry goes into attributes and colours
// come from CSS, so the content security policy and both themes are served by one drawing.
// The cursor is a thing apart: moving it draws nothing again but itself.
import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';
import type { Row } from '../../lib/buckets';
import { niceCeil } from '../../lib/family';
import { formatLatency, formatRatio } from '../../lib/format';
import type { Layer, Measures } from '../../lib/measures';
import { domainOf, gapsOf, nearest, shapesOf, tickLabel, timeTicks, valueTicks, xOf, yOf, type Frame, type Stretch } from '../../lib/plot';

const LEFT = 62;
const RIGHT = 10;
const TOP = 8;
const MAIN = 190;
const STRIP = 38;
const STRIP_GAP = 14;
const AXIS = 24;
const TICK_PX = 74;
/** A strip that shows less than this is read as a disaster when it is none. */
const LEAST_RATIO = 0.05;
const BAR_MIN_PX = 2;

export interface Picture extends Stretch {
  measures: Measures;
  /** Which of the lines. */
  shown: number[];
  /** Start of a run to point at. */
  mark: number | null;
}

/** Phases that some run had, with their place in a row. */
export const layersOf = ({ measures, rows }: Picture): { layer: Layer; i: number }[] => measures.layers.map((layer, i) => ({ layer, i })).filter(({ i }) => rows.some((row) => row.layers[i]));

interface Band {
  label: string;
  top: number;
  most: number;
  of: (row: Row) => { avg: number; max: number } | null;
  tone: 'loss' | 'fail';
}

interface Layout {
  frame: Frame;
  domain: [number, number];
  bands: Band[];
  height: number;
  x: (t: number) => number;
}

function highest(rows: Row[], shown: number[]): number {
  const layered = (row: Row): number => row.layers.reduce<number>((sum, v) => sum + (v ?? 0), 0);
  return rows.reduce((top, row) => Math.max(top, layered(row), ...shown.map((i) => row.lines[i]?.max ?? 0)), 0);
}

function bandsOf({ rows, measures }: Picture, from: number): Band[] {
  const told = measures.strips.map((strip, i) => ({ strip, i })).filter(({ i }) => rows.some((row) => row.strips[i]));
  const ratios = told.map(({ strip, i }) => ({
    label: strip.label,
    most: Math.min(1, niceCeil(Math.max(LEAST_RATIO, ...rows.map((row) => row.strips[i]?.max ?? 0)))),
    of: (row: Row) => row.strips[i] ?? null,
    tone: 'loss' as const,
  }));
  const failed = { label: 'Failed', most: 1, of: (row: Row) => (row.failed > 0 ? { avg: row.failed / row.runs, max: row.failed / row.runs } : null), tone: 'fail' as const };
  return [...ratios, failed].map((band, i) => ({ ...band, top: from + STRIP_GAP + i * (STRIP + STRIP_GAP) }));
}

function layoutOf(picture: Picture, width: number): Layout {
  const { rows, shown, span, step } = picture;
  const frame: Frame = { left: LEFT, right: Math.max(LEFT + 40, width - RIGHT), top: TOP, bottom: TOP + MAIN, from: span.from, to: span.to };
  const lowest = rows.reduce((low, row) => Math.min(low, ...shown.map((i) => row.lines[i]?.min ?? 0)), 0);
  const bands = bandsOf(picture, frame.bottom);
  return {
    frame,
    domain: domainOf(lowest, highest(rows, shown)),
    bands,
    height: frame.bottom + bands.length * (STRIP + STRIP_GAP) + AXIS,
    x: (t) => Math.min(frame.right, Math.max(frame.left, xOf(frame, t + step / 2))),
  };
}

const shorten = (text: string): string => text.replace(/(\.\d*?)0+ /, '$1 ').replace('. ', ' ');

function Axes({ layout, drawn }: { layout: Layout; drawn: boolean }) {
  const { frame, domain, bands, height } = layout;
  const foot = height - AXIS;
  return (
    <g className="plot-axes">
      {/* Nothing measured, no scale: a made-up one would be read as a measurement. */}
      {drawn &&
        valueTicks(domain, 4).map((value) => (
          <g key={value}>
            <path className="plot-grid" d={`M${frame.left} ${yOf(frame, domain, value)}H${frame.right}`} />
            <text x={frame.left - 7} y={yOf(frame, domain, value) + 4} textAnchor="end">
              {value === 0 ? '0' : shorten(formatLatency(value))}
            </text>
          </g>
        ))}
      {bands.map((band) => (
        <g key={band.label}>
          <path className="plot-base" d={`M${frame.left} ${band.top + STRIP}H${frame.right}`} />
          <text x={frame.left - 7} y={band.top + 9} textAnchor="end">
            {formatRatio(band.most)}
          </text>
          <text className="plot-name" x={frame.left - 7} y={band.top + STRIP} textAnchor="end">
            {band.label}
          </text>
        </g>
      ))}
      <path className="plot-base" d={`M${frame.left} ${frame.bottom}H${frame.right}`} />
      {timeTicks(frame.from, frame.to, Math.max(3, Math.floor((frame.right - frame.left) / TICK_PX))).map((t) => (
        <g key={t}>
          <path className="plot-grid" d={`M${xOf(frame, t)} ${frame.top}V${foot}`} />
          <text x={Math.min(xOf(frame, t), frame.right - 14)} y={foot + 16} textAnchor="middle">
            {tickLabel(t)}
          </text>
        </g>
      ))}
    </g>
  );
}

function Gaps({ picture, layout }: { picture: Picture; layout: Layout }) {
  const pattern = useId();
  const { frame, height } = layout;
  return (
    <g>
      <pattern id={pattern} width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <path className="plot-hatch" d="M0 0V6" />
      </pattern>
      {gapsOf(picture).map((gap) => {
        const from = Math.max(frame.left, xOf(frame, gap.from));
        return <rect key={gap.from} className="plot-gap" x={from} y={frame.top} width={Math.max(1, Math.min(frame.right, xOf(frame, gap.to)) - from)} height={height - AXIS - frame.top} fill={`url(#${pattern})`} />;
      })}
    </g>
  );
}

const slotOf = ({ step }: Picture, frame: Frame): number => Math.max(BAR_MIN_PX, ((frame.right - frame.left) * step) / (frame.to - frame.from) - 0.5);

function Layers({ picture, layout }: { picture: Picture; layout: Layout }) {
  const { frame, domain, x } = layout;
  const slot = slotOf(picture, frame);
  const y = (value: number): number => yOf(frame, domain, value);
  const below = (row: Row, i: number): number => row.layers.slice(0, i).reduce<number>((sum, v) => sum + (v ?? 0), 0);
  const told = (row: Row): boolean => row.layers.some((v) => v !== null);
  return (
    <g>
      {layersOf(picture).map(({ layer, i }) => {
        const shapes = shapesOf(picture.rows, (row) => (told(row) ? { avg: 0, min: below(row, i), max: below(row, i + 1) } : null), x, y);
        return (
          <g key={layer.key} className={`bar-${layer.key}`}>
            {shapes.areas.map((d) => (
              <path key={d} d={d} />
            ))}
            {shapes.dots.map((p) => (
              <rect key={p.x} x={p.x - slot / 2} y={p.high} width={slot} height={Math.max(0, p.low - p.high)} />
            ))}
          </g>
        );
      })}
    </g>
  );
}

function Lines({ picture, layout }: { picture: Picture; layout: Layout }) {
  const { frame, domain, x } = layout;
  return (
    <g>
      {picture.shown.map((line, place) => {
        const shapes = shapesOf(picture.rows, (row) => row.lines[line] ?? null, x, (value) => yOf(frame, domain, value));
        return (
          <g key={line} className={`plot-series plot-series-${place}`}>
            {shapes.areas.map((d) => (
              <path key={d} className="plot-band" d={d} />
            ))}
            {shapes.lines.map((d) => (
              <path key={d} className="plot-line" d={d} />
            ))}
            {shapes.dots.map((p) => (
              <g key={p.x}>
                <path className="plot-whisker" d={`M${p.x} ${p.high}V${p.low}`} />
                <circle className="plot-dot" cx={p.x} cy={p.y} r="2" />
              </g>
            ))}
          </g>
        );
      })}
    </g>
  );
}

function Bands({ picture, layout }: { picture: Picture; layout: Layout }) {
  const { frame, bands, x } = layout;
  const wide = slotOf(picture, frame);
  const bar = (band: Band, t: number, ratio: number): string => {
    const tall = Math.max(BAR_MIN_PX, (Math.min(ratio, band.most) / band.most) * STRIP);
    return `M${x(t) - wide / 2} ${band.top + STRIP}v${-tall}h${wide}v${tall}Z`;
  };
  return (
    <g>
      {bands.map((band) => {
        const bars = picture.rows.map((row) => ({ t: row.t, value: band.of(row) })).filter(({ value }) => value && value.max > 0);
        return (
          <g key={band.label} className={`plot-${band.tone}`}>
            <path className="plot-most" d={bars.map(({ t, value }) => bar(band, t, value!.max)).join('')} />
            <path d={bars.filter(({ value }) => value!.avg > 0).map(({ t, value }) => bar(band, t, value!.avg)).join('')} />
          </g>
        );
      })}
    </g>
  );
}

function Cursor({ picture, layout, row }: { picture: Picture; layout: Layout; row: Row }) {
  const { frame, domain, height, x } = layout;
  return (
    <g className="plot-cursor" aria-hidden="true">
      <path d={`M${x(row.t)} ${frame.top}V${height - AXIS}`} />
      {picture.shown.map((line, place) => {
        const value = row.lines[line];
        return value && <circle key={line} className={`plot-series-${place}`} cx={x(row.t)} cy={yOf(frame, domain, value.avg)} r="3.6" />;
      })}
    </g>
  );
}

function useWidth(): [React.RefObject<HTMLDivElement | null>, number] {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const host = box.current!;
    const observer = new ResizeObserver(() => setWidth(host.clientWidth));
    observer.observe(host);
    return () => observer.disconnect();
  }, []);
  return [box, width];
}

const PAGE_ROWS = 10;
const MOVES: Record<string, (at: number, last: number) => number> = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  PageUp: (at) => at - PAGE_ROWS,
  PageDown: (at) => at + PAGE_ROWS,
  Home: () => 0,
  End: (_, last) => last,
};

interface Props {
  picture: Picture;
  label: string;
  /** Row under the cursor, by its time. */
  at: number | null;
  /** By keyboard what it is on is read out as well. */
  onAt: (t: number | null, byKey: boolean) => void;
}

export function TimeChart({ picture, label, at, onAt }: Props) {
  const [box, width] = useWidth();
  const hint = useId();
  const { rows } = picture;
  const layout = useMemo(() => layoutOf(picture, width), [picture, width]);
  const still = useMemo(
    () => (
      <>
        <Axes layout={layout} drawn={picture.shown.length > 0} />
        <Gaps picture={picture} layout={layout} />
        <Layers picture={picture} layout={layout} />
        <Lines picture={picture} layout={layout} />
        <Bands picture={picture} layout={layout} />
        {picture.mark !== null && picture.mark >= picture.span.from && <path className="plot-mark" d={`M${xOf(layout.frame, picture.mark)} ${layout.frame.top}V${layout.height - AXIS}`} />}
      </>
    ),
    [picture, layout],
  );

  const point = (event: PointerEvent<HTMLDivElement>): void => {
    const { frame } = layout;
    const px = event.clientX - event.currentTarget.getBoundingClientRect().left;
    const t = frame.from + ((px - frame.left) / (frame.right - frame.left)) * (frame.to - frame.from) - picture.step / 2;
    onAt(rows[nearest(rows, t)]?.t ?? null, false);
  };
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') return onAt(null, true);
    const move = MOVES[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const last = rows.length - 1;
    // Without a cursor the newest is where it begins.
    const to = at === null && event.key.startsWith('Arrow') ? last : move(at === null ? last : nearest(rows, at), last);
    onAt(rows[Math.min(last, Math.max(0, to))]?.t ?? null, true);
  };
  const row = at === null ? undefined : rows[nearest(rows, at)];
  return (
    <div
      ref={box}
      className="plot"
      role="application"
      aria-roledescription="chart"
      aria-label={label}
      aria-describedby={hint}
      tabIndex={0}
      onPointerDown={point}
      onPointerMove={point}
      onPointerLeave={(event) => event.pointerType === 'mouse' && onAt(null, false)}
      onKeyDown={key}
    >
      <span id={hint} className="sr">
        Left and right arrow move through time, Home and End to its ends, Escape leaves it.
      </span>
      {width > 0 && (
        <svg width={width} height={layout.height} viewBox={`0 0 ${width} ${layout.height}`} aria-hidden="true">
          {still}
          {row && <Cursor picture={picture} layout={layout} row={row} />}
        </svg>
      )}
    </div>
  );
}
