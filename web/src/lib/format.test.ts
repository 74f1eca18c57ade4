// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import {
  formatAge,
  formatBytes,
  formatLatency,
  formatRatio,
  formatSeconds,
  formatSkew,
  formatTime,
  formatUtc,
  plural,
  significant,
} from './format';

describe('latency', () => {
  it.each([
    [0.0412, '41.2 µs'],
    [0.033, '33 µs'],
    [0.007, '7 µs'],
    [0.9994, '999 µs'],
    [0.9996, '1.00 ms'],
    [0, '0 ms'],
    [1.2345, '1.23 ms'],
    [12.345, '12.3 ms'],
    [1240.6, '1241 ms'],
    [12345, '12.3 s'],
  ])('%d ms reads %s', (ms, text) => expect(formatLatency(ms)).toBe(text));

  it('has a dash for what was not measured', () => {
    expect(formatLatency(null)).toBe('—');
    expect(formatLatency(undefined)).toBe('—');
    expect(formatLatency(Number.NaN)).toBe('—');
  });
});

describe('ratio', () => {
  it.each([
    [0, '0 %'],
    [0.00001, '< 0.01 %'],
    [0.0025, '0.25 %'],
    [0.2, '20 %'],
    [0.333, '33.3 %'],
    [0.9999, '> 99.9 %'],
    [1, '100 %'],
  ])('%d reads %s', (ratio, text) => expect(formatRatio(ratio)).toBe(text));
});

describe('time', () => {
  it.each([
    [-3, '0 s'],
    [59.9, '59 s'],
    [60, '1 min'],
    [3599, '59 min'],
    [7200, '2 h'],
    [200000, '2 d'],
  ])('an age of %d s reads %s', (s, text) => expect(formatAge(s)).toBe(text));

  it.each([
    [0.5, '0.5 s'],
    [10, '10 s'],
    [90, '1 min 30 s'],
    [3600, '1 h'],
    [90061, '1 d 1 h'],
  ])('an interval of %d s reads %s', (s, text) => expect(formatSeconds(s)).toBe(text));

  it('shows the date only on another day', () => {
    const at = new Date(2026, 2, 4, 5, 6, 7);
    expect(formatTime(at, new Date(2026, 2, 4, 23))).toBe('05:06:07');
    expect(formatTime(at, new Date(2026, 2, 5))).toBe('2026-03-04 05:06:07');
  });

  it('spells UTC out', () => {
    expect(formatUtc(new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 6)))).toBe('2026-01-02 03:04:05.006 UTC');
  });

  it('signs a skew', () => {
    expect(formatSkew(12.4)).toBe('+12 ms');
    expect(formatSkew(-2500)).toBe('−2.5 s');
    expect(formatSkew(0.2)).toBe('0 ms');
    expect(formatSkew(null)).toBe('—');
  });
});

describe('sizes and counts', () => {
  it('scales bytes by 1024', () => {
    expect(formatBytes(512)).toBe('512 B');
    expect(formatBytes(1536)).toBe('1.50 KiB');
    expect(formatBytes(10 * 1024 * 1024)).toBe('10.0 MiB');
  });
  it('keeps three significant digits', () => {
    expect(significant(123456)).toBe('123456');
    expect(significant(0.00012345)).toBe('0.000123');
  });
  it('speaks singular and plural', () => {
    expect(plural(1, 'test')).toBe('1 test');
    expect(plural(1200, 'test')).toBe('1\u202f200 tests');
  });
});
