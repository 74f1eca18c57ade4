// SPDX-License-Identifier: PostgreSQL
//
// Many events, few requests. The first event runs at once, later ones wait until
// `gapMs` have passed since the last start and until the last run has ended; however many
// came meanwhile, they are served by one run. No event is lost: one that arrives during
// a run causes one more, because the running request may have read before it.

export interface Clock {
  now(): number;
  set(fn: () => void, ms: number): unknown;
  clear(handle: unknown): void;
}

const realClock: Clock = {
  now: () => performance.now(),
  set: (fn, ms) => setTimeout(fn, ms),
  clear: (handle) => clearTimeout(handle as ReturnType<typeof setTimeout>),
};

export interface Coalescer {
  poke(): void;
  stop(): void;
}

export function createCoalescer(run: () => Promise<unknown>, gapMs: number, clock: Clock = realClock): Coalescer {
  let lastStart = -Infinity;
  let running = false;
  let wanted = false;
  let stopped = false;
  let timer: unknown = null;

  const start = (): void => {
    timer = null;
    wanted = false;
    running = true;
    lastStart = clock.now();
    const end = (): void => {
      running = false;
      if (wanted) plan();
    };
    run().then(end, end);
  };

  const plan = (): void => {
    if (stopped || timer !== null) return;
    const wait = lastStart + gapMs - clock.now();
    if (wait <= 0) start();
    else timer = clock.set(start, wait);
  };

  return {
    poke() {
      wanted = true;
      if (!running) plan();
    },
    stop() {
      stopped = true;
      if (timer !== null) clock.clear(timer);
      timer = null;
    },
  };
}
