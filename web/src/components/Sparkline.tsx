// SPDX-License-Identifier: PostgreSQL
import { memo, useMemo } from 'react';
import type { SparkPoint } from '../api/types';
import { formatLatency } from '../lib/format';
import { sparkGeometry, sparkSummary, type SparkBox } from '../lib/spark';

const BOX: SparkBox = { width: 156, height: 28, pad: 3 };
const FAIL_HEIGHT = 9;

interface Props {
  points: SparkPoint[];
  intervalSeconds: number | null;
}

export const Sparkline = memo(function Sparkline({ points, intervalSeconds }: Props) {
  const g = useMemo(() => sparkGeometry(points, BOX, intervalSeconds && intervalSeconds * 1000), [points, intervalSeconds]);
  const base = BOX.height - 1;
  return (
    <svg className="spark" viewBox={`0 0 ${BOX.width} ${BOX.height}`} preserveAspectRatio="xMinYMid" role="img" aria-label={sparkSummary(points, formatLatency)}>
      <path className="spark-base" d={`M0 ${BOX.height - 0.5}H${BOX.width}`} />
      {g.gaps.map((gap) => (
        <path key={gap.x} className="spark-gap" d={`M${gap.x} ${BOX.height / 2}h${gap.width}`} />
      ))}
      {g.areas.map((d) => (
        <path key={d} className="spark-area" d={d} />
      ))}
      {g.lines.map((d) => (
        <path key={d} className="spark-line" d={d} />
      ))}
      {g.dots.map((p) => (
        <circle key={p.x} className="spark-dot" cx={p.x} cy={p.y} r={1.6} />
      ))}
      {g.fails.map((x) => (
        <path key={x} className="spark-fail" d={`M${x} ${base - FAIL_HEIGHT}V${base}`} />
      ))}
      {g.last && <circle className="spark-last" cx={g.last.x} cy={g.last.y} r={2.2} />}
    </svg>
  );
});
