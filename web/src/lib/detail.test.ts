// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import { certificateOf, isTlsAttribute } from './certificate';
import { enrolScript, isLoopback } from './enrol';
import { familyOf, niceCeil, packetsOf, rangeBar } from './family';

const NOW = Date.UTC(2026, 0, 1);

describe('certificateOf', () => {
  it('is nothing without TLS', () => expect(certificateOf({ 'url.full': 'http://a/' }, NOW)).toBeNull());

  it('reads what was seen', () => {
    const c = certificateOf(
      {
        'tls.protocol.version': '1.3',
        'probectl.tls.server.verified': 'true',
        'probectl.tls.server.not_after': '2026-02-01T00:00:00Z',
        'probectl.tls.server.not_before': '1760000000',
        'probectl.tls.server.san': 'a.example, b.example',
        'probectl.tls.resumed': 'false',
      },
      NOW,
    );
    expect(c).toMatchObject({ version: '1.3', verified: true, days: 31, expired: false, names: ['a.example', 'b.example'], resumed: false, issuer: null });
    expect(c!.notBefore!.getTime()).toBe(1760000000000);
  });

  it('counts on after the end, and is calm about nonsense', () => {
    expect(certificateOf({ 'probectl.tls.server.not_after': '2025-12-30T00:00:00Z' }, NOW)).toMatchObject({ days: 2, expired: true });
    expect(certificateOf({ 'probectl.tls.server.not_after': '2025-12-31T23:00:00Z' }, NOW)).toMatchObject({ days: 0, expired: true });
    expect(certificateOf({ 'probectl.tls.server.not_after': 'soon' }, NOW)).toMatchObject({ days: null, expired: false });
  });

  it('knows its attributes', () => {
    expect(isTlsAttribute('tls.cipher.suite')).toBe(true);
    expect(isTlsAttribute('url.full')).toBe(false);
  });
});

describe('family', () => {
  it('needs all three', () => {
    expect(familyOf({ 'rtt.min.ms': 1, 'rtt.avg.ms': 2 })).toBeNull();
    expect(familyOf({ 'connect.min.ms': 1, 'connect.avg.ms': 2, 'connect.max.ms': 3, 'jitter.ms': 0.5 })).toEqual({
      name: 'connect',
      min: 1,
      avg: 2,
      max: 3,
      stddev: null,
      jitter: 0.5,
    });
  });

  it('lays the bar out', () => {
    const bar = rangeBar({ name: 'rtt', min: 1, avg: 2, max: 4, stddev: 5, jitter: null });
    expect(bar).toEqual({ min: 20, avg: 40, max: 80, bandFrom: 20, bandTo: 80, end: 5 });
  });

  it.each([
    [0, 1],
    [0.03, 0.05],
    [1, 1],
    [1.1, 2],
    [7, 10],
    [300, 500],
  ])('niceCeil(%d) = %d', (value, nice) => expect(niceCeil(value)).toBeCloseTo(nice));

  it('tells packets, and which were lost only when the numbers agree', () => {
    expect(packetsOf({}, {})).toBeNull();
    expect(packetsOf({ 'packets.sent': 5, 'packets.received': 3 }, { 'probectl.icmp.dropped_seqs': '1,4' })!.lost).toEqual(new Set([1, 4]));
    expect(packetsOf({ 'packets.sent': 5, 'packets.received': 3 }, { 'probectl.icmp.dropped_seqs': '1' })!.lost).toBeNull();
  });
});

describe('enrolScript', () => {
  it('names server, link and token', () => {
    const script = enrolScript({ origin: 'https://cp.example:8443', hostname: 'cp.example' }, 'pjt_x');
    expect(script).toContain("echo 'pjt_x' > /etc/probectl/join-token");
    expect(script).toContain('grpc_addr: cp.example:9443');
    expect(script).toContain('server: https://cp.example:8443');
  });
  it('knows what other machines do not reach', () => {
    expect(['localhost', '127.0.0.1', '[::1]'].every(isLoopback)).toBe(true);
    expect(isLoopback('cp.example')).toBe(false);
  });
});
