// SPDX-License-Identifier: PostgreSQL
//
// The event stream. It says only that something of a kind changed; what changed is asked
// by the queries that show it. EventSource reconnects by itself after a broken connection,
// but gives up when it is refused; then we knock again, 1 s doubling to 30 s with jitter.
// After every connection, the first as well, all kinds are told: what happened before it
// stood was not heard.
import { useSyncExternalStore } from 'react';

export type EventKind = 'result' | 'test' | 'agent';
export type LiveState = 'connecting' | 'live' | 'reconnecting' | 'degraded';

const KINDS: readonly EventKind[] = ['result', 'test', 'agent'];
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
/** Without a connection for so long, the page says that what it shows is old. */
const DEGRADED_AFTER_MS = 10_000;
/**
 * A page that nobody sees gives its connection back: over HTTP/1.1 a browser has six for
 * all tabs of a host, and forgotten tabs would starve the one that is looked at.
 */
const HIDDEN_PAUSE_MS = 30_000;

export interface LiveSnapshot {
  state: LiveState;
  /** When the connection was lost, unix ms of this machine; null while it stands. */
  since: number | null;
}

export class LiveStream {
  private source: EventSource | null = null;
  private snapshot: LiveSnapshot = { state: 'connecting', since: null };
  private readonly listeners = new Set<() => void>();
  private readonly handlers = new Map<EventKind, Set<() => void>>();
  private retryTimer: number | undefined;
  private degradedTimer: number | undefined;
  private hiddenTimer: number | undefined;
  private paused = false;
  private attempts = 0;
  /** Asked when the stream is refused: has the session ended? */
  onRefused: (() => void) | null = null;

  start(): void {
    if (this.source || this.retryTimer !== undefined) return;
    window.addEventListener('online', this.knock);
    document.addEventListener('visibilitychange', this.seen);
    this.open();
  }

  stop(): void {
    window.removeEventListener('online', this.knock);
    document.removeEventListener('visibilitychange', this.seen);
    window.clearTimeout(this.hiddenTimer);
    this.hiddenTimer = undefined;
    this.paused = false;
    this.drop();
    this.set({ state: 'connecting', since: null });
  }

  /** Tries at once instead of waiting for the backoff. */
  readonly knock = (): void => {
    if (this.snapshot.state === 'live' || this.paused) return;
    window.clearTimeout(this.retryTimer);
    this.retryTimer = undefined;
    this.source?.close();
    this.open();
  };

  on(kind: EventKind, handler: () => void): () => void {
    const set = this.handlers.get(kind) ?? new Set();
    this.handlers.set(kind, set.add(handler));
    return () => set.delete(handler);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly get = (): LiveSnapshot => this.snapshot;

  private readonly seen = (): void => {
    window.clearTimeout(this.hiddenTimer);
    if (document.hidden) {
      this.hiddenTimer = window.setTimeout(() => {
        this.paused = true;
        this.drop();
        this.set({ state: 'reconnecting', since: null });
      }, HIDDEN_PAUSE_MS);
    } else if (this.paused) {
      this.paused = false;
      this.open();
    }
  };

  private drop(): void {
    window.clearTimeout(this.retryTimer);
    window.clearTimeout(this.degradedTimer);
    this.retryTimer = this.degradedTimer = undefined;
    this.source?.close();
    this.source = null;
    this.attempts = 0;
  }

  private open(): void {
    const source = new EventSource('/v1/events');
    this.source = source;
    source.onopen = () => this.opened();
    source.onerror = () => this.failed(source);
    for (const kind of KINDS) source.addEventListener(kind, () => this.emit(kind));
  }

  private opened(): void {
    this.attempts = 0;
    window.clearTimeout(this.degradedTimer);
    this.degradedTimer = undefined;
    this.set({ state: 'live', since: null });
    KINDS.forEach((kind) => this.emit(kind));
  }

  private failed(source: EventSource): void {
    if (source !== this.source) return;
    if (this.snapshot.state !== 'degraded') {
      this.set({ state: 'reconnecting', since: this.snapshot.since ?? Date.now() });
      this.degradedTimer ??= window.setTimeout(() => this.set({ state: 'degraded', since: this.snapshot.since }), DEGRADED_AFTER_MS);
    }
    if (source.readyState !== EventSource.CLOSED) return;
    this.onRefused?.();
    const backoff = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.attempts++);
    this.retryTimer = window.setTimeout(
      () => {
        this.retryTimer = undefined;
        this.open();
      },
      backoff * (0.5 + Math.random() / 2),
    );
  }

  private emit(kind: EventKind): void {
    this.handlers.get(kind)?.forEach((handler) => handler());
  }

  private set(snapshot: LiveSnapshot): void {
    this.snapshot = snapshot;
    this.listeners.forEach((listener) => listener());
  }
}

export const live = new LiveStream();

export function useLive(): LiveSnapshot {
  return useSyncExternalStore(live.subscribe, live.get);
}
