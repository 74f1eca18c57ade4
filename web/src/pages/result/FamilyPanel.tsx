// SPDX-License-Identifier: PostgreSQL
//
// Latency of the packets or connects of one run as a range, and which of them were lost.
import type { RunFields } from '../../api/types';
import { formatLatency, formatRatio, plural } from '../../lib/format';
import { familyOf, packetsOf, rangeBar, type Family, type Packets } from '../../lib/family';

const DOTS_MAX = 60;

function Range({ family }: { family: Family }) {
  const bar = rangeBar(family);
  const words = `shortest ${formatLatency(family.min)}, mean ${formatLatency(family.avg)}, longest ${formatLatency(family.max)}`;
  return (
    <>
      <svg className="range" role="img" aria-label={words} viewBox="0 0 100 10" preserveAspectRatio="none">
        <rect className="bar-track" x="0" y="0" width="100" height="10" />
        <rect className="range-span" x={bar.min} y="3.5" width={Math.max(0.4, bar.max - bar.min)} height="3" />
        {bar.bandFrom !== null && <rect className="range-band" x={bar.bandFrom} y="2" width={Math.max(0.4, bar.bandTo! - bar.bandFrom)} height="6" />}
        <rect className="range-avg" x={Math.max(0, bar.avg - 0.35)} y="0.5" width="0.7" height="9" />
      </svg>
      <p className="range-axis" aria-hidden="true">
        <span>0</span>
        <span>{formatLatency(bar.end)}</span>
      </p>
      <dl className="facts facts-small">
        {(
          [
            ['Shortest', family.min],
            ['Mean', family.avg],
            ['Longest', family.max],
            ['Std deviation', family.stddev],
            ['Jitter', family.jitter],
          ] as const
        )
          .filter(([, value]) => value !== null)
          .map(([label, value]) => (
            <div key={label}>
              <dt>{label}</dt>
              <dd>{formatLatency(value)}</dd>
            </div>
          ))}
      </dl>
    </>
  );
}

function PacketDots({ packets, noun }: { packets: Packets; noun: string }) {
  const lost = packets.sent - packets.received;
  const words = `${packets.received} of ${plural(packets.sent, noun)} answered, loss ${formatRatio(lost / packets.sent)}`;
  return (
    <div className="packets">
      <p>{words}</p>
      {packets.sent <= DOTS_MAX && (
        <svg className="dots" aria-hidden="true" viewBox={`0 0 ${packets.sent * 14} 14`} width={packets.sent * 14} height="14">
          {Array.from({ length: packets.sent }, (_, i) => {
            // Without knowing which, the lost ones stand last.
            const gone = packets.lost ? packets.lost.has(i) || (packets.lost.has(packets.sent) && i === packets.sent - 1) : i >= packets.received;
            return gone ? (
              <path key={i} className="dot-lost" d={`M${i * 14 + 3} 3l8 8m0-8l-8 8`} />
            ) : (
              <circle key={i} className="dot-ok" cx={i * 14 + 7} cy="7" r="4.5" />
            );
          })}
        </svg>
      )}
    </div>
  );
}

export function FamilyPanel({ run }: { run: RunFields }) {
  const family = familyOf(run.metrics);
  const packets = packetsOf(run.metrics, run.attributes);
  if (!family && !packets) return null;
  const connects = family?.name === 'connect' || run.type === 'tcp';
  return (
    <section className="panel" aria-labelledby="family">
      <h2 id="family">{connects ? 'Connects' : 'Round trips'}</h2>
      {packets && <PacketDots packets={packets} noun={connects ? 'attempt' : 'packet'} />}
      {family ? <Range family={family} /> : <p className="dim">Nothing answered, so there is no latency.</p>}
    </section>
  );
}
