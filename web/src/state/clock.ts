// SPDX-License-Identifier: PostgreSQL
//
// One timer for all that counts up. It stops when nothing on the page shows an age, and
// when the page is hidden.
import { useSyncExternalStore } from 'react';
import { serverNow } from '../api/client';

const TICK_MS = 1000;
const listeners = new Set<() => void>();
let now = serverNow();
let timer: number | undefined;

function tick(): void {
  now = serverNow();
  listeners.forEach((listener) => listener());
}

function adjust(): void {
  const wanted = listeners.size > 0 && !document.hidden;
  if (wanted && timer === undefined) {
    tick();
    timer = window.setInterval(tick, TICK_MS);
  } else if (!wanted && timer !== undefined) {
    window.clearInterval(timer);
    timer = undefined;
  }
}

document.addEventListener('visibilitychange', adjust);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  adjust();
  return () => {
    listeners.delete(listener);
    adjust();
  };
}

/** The server's time, unix ms, once a second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}
