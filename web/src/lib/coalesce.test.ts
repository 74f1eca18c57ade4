// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import { createCoalescer, type Clock } from './coalesce';

/** A clock that moves only when told. */
function fakeClock() {
  let time = 0;
  let timers: { at: number; fn: () => void }[] = [];
  const clock: Clock = {
    now: () => time,
    set: (fn, ms) => {
      const timer = { at: time + ms, fn };
      timers.push(timer);
      return timer;
    },
    clear: (handle) => {
      timers = timers.filter((t) => t !== handle);
    },
  };
  const settle = async () => {
    for (let i = 0; i < 5; i++) await Promise.resolve();
  };
  return {
    clock,
    settle,
    async advance(ms: number) {
      const end = time + ms;
      for (;;) {
        const next = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        time = next.at;
        timers = timers.filter((t) => t !== next);
        next.fn();
        await settle();
      }
      time = end;
    },
  };
}

describe('createCoalescer', () => {
  it('runs the first event at once', () => {
    const { clock } = fakeClock();
    let runs = 0;
    createCoalescer(async () => void runs++, 500, clock).poke();
    expect(runs).toBe(1);
  });

  it('runs at most twice a second under a flood, and serves the last event', async () => {
    const t = fakeClock();
    let runs = 0;
    const c = createCoalescer(async () => void runs++, 500, t.clock);
    for (let i = 0; i < 1000; i++) {
      c.poke();
      await t.settle();
      await t.advance(10);
    }
    expect(runs).toBeGreaterThanOrEqual(20);
    expect(runs).toBeLessThanOrEqual(21);
    await t.advance(1000);
    const after = runs;
    expect(after).toBeLessThanOrEqual(21);
    await t.advance(5000);
    expect(runs).toBe(after);
  });

  it('never runs twice at a time, and runs again for what came meanwhile', async () => {
    const t = fakeClock();
    const ends: (() => void)[] = [];
    let active = 0;
    let most = 0;
    const c = createCoalescer(
      () => {
        most = Math.max(most, ++active);
        return new Promise<void>((resolve) => ends.push(() => (active--, resolve())));
      },
      500,
      t.clock,
    );
    c.poke();
    c.poke();
    await t.advance(5000);
    expect(ends).toHaveLength(1);
    ends[0]!();
    await t.settle();
    await t.advance(0);
    expect(ends).toHaveLength(2);
    expect(most).toBe(1);
  });

  it('goes on after a failed run', async () => {
    const t = fakeClock();
    let runs = 0;
    const c = createCoalescer(() => (runs++, Promise.reject(new Error('down'))), 500, t.clock);
    c.poke();
    await t.settle();
    c.poke();
    await t.advance(500);
    expect(runs).toBe(2);
  });

  it('is silent after stop', async () => {
    const t = fakeClock();
    let runs = 0;
    const c = createCoalescer(async () => void runs++, 500, t.clock);
    c.poke();
    await t.settle();
    c.poke();
    c.stop();
    await t.advance(5000);
    expect(runs).toBe(1);
  });
});
