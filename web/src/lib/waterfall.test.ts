// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import { failureOf } from './failures';
import { attributeGroups, formatMetric, metricGroups, typeName, wordsOf } from './names';
import { waterfall } from './waterfall';

describe('waterfall', () => {
  it('lays the phases end to end', () => {
    const w = waterfall({ 'http.dns.ms': 1, 'http.connect.ms': 2, 'http.tls.ms': 3, 'http.ttfb.ms': 4, 'http.transfer.ms': 5, 'http.total.ms': 15 }, 15);
    expect(w!.phases.map((p) => [p.key, p.startMs, p.durationMs])).toEqual([
      ['dns', 0, 1],
      ['connect', 1, 2],
      ['tls', 3, 3],
      ['ttfb', 6, 4],
      ['transfer', 10, 5],
    ]);
    expect(w!.totalMs).toBe(15);
  });

  it('takes the rest after the first byte as transfer', () => {
    const w = waterfall({ 'http.connect.ms': 2, 'http.ttfb.ms': 3, 'http.total.ms': 10 }, null);
    expect(w!.phases.at(-1)).toMatchObject({ key: 'transfer', startMs: 5, durationMs: 5 });
  });

  it('does not hide time before a failure', () => {
    const w = waterfall({ 'http.dns.ms': 2 }, 3000);
    expect(w!.phases.at(-1)).toMatchObject({ key: 'other', startMs: 2, durationMs: 2998 });
  });

  it('adds nothing for rounding', () => {
    expect(waterfall({ 'http.dns.ms': 1, 'http.ttfb.ms': 1, 'http.total.ms': 2.01 }, null)!.phases).toHaveLength(2);
  });

  it('is nothing without phases', () => {
    expect(waterfall({ 'loss.ratio': 1 }, 10)).toBeNull();
    expect(waterfall({ 'http.dns.ms': Number.NaN }, 10)).toBeNull();
  });
});

describe('names', () => {
  it('knows the usual ones, in a fixed order', () => {
    const groups = metricGroups({ 'rtt.max.ms': 3, 'loss.ratio': 0.2, 'rtt.min.ms': 1 });
    expect(groups).toEqual([
      { title: 'Loss', fields: [{ name: 'loss.ratio', label: 'Loss', value: '20 %' }] },
      {
        title: 'Round trip',
        fields: [
          { name: 'rtt.min.ms', label: 'Shortest', value: '1.00 ms' },
          { name: 'rtt.max.ms', label: 'Longest', value: '3.00 ms' },
        ],
      },
    ]);
  });

  it('makes words of what it does not know', () => {
    expect(wordsOf('voice.one_way.ms')).toBe('Voice one way');
    expect(wordsOf('probectl.dns.qtype')).toBe('DNS qtype');
    expect(wordsOf('ms')).toBe('Ms');
    expect(metricGroups({ 'voice.mos': 4.1 })).toEqual([
      { title: 'Voice', fields: [{ name: 'voice.mos', label: 'Voice MOS', value: '4.100' }] },
    ]);
    expect(typeName('endpoint.wifi')).toBe('Endpoint wifi');
  });

  it('formats by unit suffix', () => {
    expect(formatMetric('x.bytes', 2048)).toBe('2.00 KiB');
    expect(formatMetric('x.kbps', 5400)).toBe('5.40 Mbit/s');
    expect(formatMetric('http.tls.cert_expiry_days', 60)).toBe('60.0 days');
    expect(formatMetric('http.status', 200)).toBe('200');
  });

  it('says yes and no, and hides what is told', () => {
    const groups = attributeGroups({ 'probectl.tls.resumed': 'false', 'url.full': 'https://a/' }, (n) => n === 'url.full');
    expect(groups).toEqual([{ title: 'TLS', fields: [{ name: 'probectl.tls.resumed', label: 'Session resumed', value: 'no' }] }]);
  });
});

describe('failures', () => {
  it('has words for each, and for what is new', () => {
    expect(failureOf('connect_refused').title).toBe('Connection refused');
    expect(failureOf('quantum_decay')).toEqual({ title: 'Quantum decay', hint: '' });
    expect(failureOf(null).title).toBe('The run failed');
    expect(failureOf('').title).toBe('The run failed');
  });
});
