// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import { accountOf, barOf } from './integrity';

const row = { plane: 'network', received: 1000, stored: 990, duplicate: 6, malformed: 1, dead_lettered: 1, refused: 1, shed: 1, capped: 0 };

describe('what became of records', () => {
  it('adds up, or says that it does not', () => {
    expect(accountOf(row).balanced).toBe(true);
    expect(accountOf({ ...row, stored: 991 }).balanced).toBe(false);
    expect(accountOf(row).parts.find((p) => p.fate === 'stored')?.ratio).toBe(0.99);
  });
  it('draws a bar of the whole width in which nothing is invisible', () => {
    const bar = barOf(accountOf(row), 400);
    expect(bar.map((r) => r.fate)).toEqual(['stored', 'duplicate', 'shed', 'refused', 'dead_lettered', 'malformed']);
    expect(bar.every((r) => r.width > 2.5)).toBe(true);
    const last = bar.at(-1);
    expect((last?.x ?? 0) + (last?.width ?? 0)).toBeCloseTo(400);
  });
  it('draws nothing of nothing', () => {
    const nothing = accountOf({ plane: 'network', received: 0, stored: 0, duplicate: 0, malformed: 0, dead_lettered: 0, refused: 0, shed: 0, capped: 0 });
    expect(nothing.balanced).toBe(true);
    expect(barOf(nothing, 400)).toEqual([]);
  });
});
