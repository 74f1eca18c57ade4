// SPDX-License-Identifier: PostgreSQL
//
// Numbers and times as people read them. Three significant digits: a latency of
// 0.0412 ms and one of 1240 ms stand in the same column and must both be readable.

export const DASH = '\u2014';

export function significant(value: number, digits = 3): string {
  if (value === 0) return '0';
  const magnitude = Math.floor(Math.log10(Number(Math.abs(value).toPrecision(digits))));
  const decimals = Math.min(6, Math.max(0, digits - 1 - magnitude));
  return value.toFixed(decimals);
}

export interface Quantity {
  value: string;
  unit: string;
}

/** Milliseconds in the unit that fits: µs below 1 ms, s from 10 s. */
export function latencyParts(ms: number | null | undefined): Quantity | null {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return null;
  const abs = Math.abs(ms);
  // Measured to the microsecond: no decimals are made up below a millisecond.
  if (abs > 0 && abs < 0.9995) return { value: trimZeros(significant(ms * 1000)), unit: '\u00b5s' };
  if (abs < 9999.5) return { value: significant(ms), unit: 'ms' };
  return { value: significant(ms / 1000), unit: 's' };
}

export function formatLatency(ms: number | null | undefined): string {
  const parts = latencyParts(ms);
  return parts ? `${parts.value} ${parts.unit}` : DASH;
}

/** A ratio 0..1 as per cent. A loss that is not zero never reads as zero. */
export function formatRatio(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return DASH;
  const percent = ratio * 100;
  if (percent === 0) return '0 %';
  if (percent < 0.01) return '< 0.01 %';
  if (percent > 99.95 && percent < 100) return '> 99.9 %';
  return `${trimZeros(percent.toFixed(percent < 1 ? 2 : 1))} %`;
}

function trimZeros(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** Seconds since, in one unit: "4 s", "3 min", "2 h", "5 d". */
export function formatAge(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

/** An interval: exact, in at most two units. */
export function formatSeconds(total: number): string {
  if (!Number.isFinite(total)) return DASH;
  if (total < 60) return `${trimZeros(total.toFixed(3))} s`;
  const parts: string[] = [];
  let rest = Math.round(total);
  for (const [size, unit] of [
    [86400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ] as const) {
    const n = Math.floor(rest / size);
    if (n > 0 && parts.length < 2) parts.push(`${n} ${unit}`);
    rest -= n * size;
  }
  return parts.join(' ');
}

const GROUPED = new Intl.NumberFormat('en', { useGrouping: true, maximumFractionDigits: 3 });

export function formatCount(value: number | null | undefined): string {
  return value === null || value === undefined ? DASH : GROUPED.format(value).replaceAll(',', '\u202f');
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let i = 0;
  while (Math.abs(value) >= 1024 && i < units.length - 1) {
    value /= 1024;
    i++;
  }
  return `${i === 0 ? formatCount(value) : significant(value)} ${units[i]}`;
}

/** A clock difference: the sign tells who is ahead. */
export function formatSkew(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return DASH;
  const size = Math.abs(ms) < 1000 ? `${Math.round(Math.abs(ms))} ms` : formatSeconds(Math.round(Math.abs(ms) / 100) / 10);
  if (Math.abs(ms) < 1) return '0 ms';
  return `${ms > 0 ? '+' : '\u2212'}${size}`;
}

const pad = (n: number): string => String(n).padStart(2, '0');

/** Local wall clock; the date only when it is not today. */
export function formatTime(at: Date, now: Date = new Date()): string {
  const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return at.toDateString() === now.toDateString() ? clock : `${formatDate(at)} ${clock}`;
}

export function formatDate(at: Date): string {
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

/** For the hover text: UTC without ambiguity. */
export function formatUtc(at: Date): string {
  return `${at.toISOString().replace('T', ' ').replace(/\.(\d{3})Z$/, '.$1')} UTC`;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${formatCount(n)} ${n === 1 ? one : many}`;
}
