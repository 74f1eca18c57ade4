// SPDX-License-Identifier: PostgreSQL
//
// The one path by which the page talks to the gateway. Every failure becomes an
// ApiError with words a person can act on, whatever layer it came from: network,
// proxy, or the API's own error body. The session is a cookie the page never sees.
import type { ErrorBody, Page } from './types';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
    readonly requestId?: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export type Query = Record<string, string | number | null | undefined>;

interface Options {
  query?: Query;
  body?: unknown;
  signal?: AbortSignal | undefined;
}

const STATUS_WORDS: Record<number, string> = {
  401: 'You are not signed in, or the session has ended.',
  403: 'Your role does not permit this.',
  404: 'There is no such object, or it was deleted.',
  409: 'It was changed by someone else in the meantime. Reload and try again.',
  429: 'A quota is used up.',
  502: 'The gateway does not reach the database.',
  503: 'The control plane is not ready.',
};

/** Server clock minus ours, from the Date header: ages must not lie on a laptop with a wrong clock. */
let clockOffsetMs = 0;

export function serverNow(): number {
  return Date.now() + clockOffsetMs;
}

// The header has whole seconds, so that small offsets cannot be told from rounding.
function noteServerClock(response: Response): void {
  const date = Date.parse(response.headers.get('date') ?? '');
  if (Number.isNaN(date)) return;
  const offset = date + 500 - Date.now();
  clockOffsetMs = Math.abs(offset) > 2500 ? offset : 0;
}

export function withQuery(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') params.set(key, String(value));
  }
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

async function toError(response: Response): Promise<ApiError> {
  const fallback = STATUS_WORDS[response.status] ?? `The control plane answered ${response.status}.`;
  try {
    const { error } = (await response.json()) as ErrorBody;
    return new ApiError(
      response.status,
      error.code ?? 'error',
      error.message || fallback,
      error.field || undefined,
      error.request_id || undefined,
    );
  } catch {
    return new ApiError(response.status, 'error', fallback);
  }
}

export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  const init: RequestInit = { method, headers, credentials: 'same-origin', cache: 'no-store' };
  if (options.signal) init.signal = options.signal;
  if (method !== 'GET') {
    headers['Content-Type'] = 'application/json';
    if (options.body !== undefined) init.body = JSON.stringify(options.body);
  }

  let response: Response;
  try {
    response = await fetch(withQuery(path, options.query), init);
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(0, 'network', 'The control plane does not answer. Check that it runs: probectl status');
  }
  noteServerClock(response);
  if (!response.ok) throw await toError(response);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  if (!text) return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(response.status, 'format', 'The answer is not JSON. Is something between you and the gateway?');
  }
}

/**
 * Follows the cursor of a list to its end, or to `max` items. What was left out is
 * told by `next` of the answer, so that the page can say so.
 */
export async function collect<T, P extends Page<T>>(
  path: string,
  query: Query,
  max: number,
  signal?: AbortSignal,
): Promise<P> {
  const first = await request<P>('GET', path, { query, signal });
  const items = [...first.items];
  let next = first.next;
  while (next && items.length < max) {
    const page: P = await request<P>('GET', path, { query: { ...query, after: next }, signal });
    items.push(...page.items);
    next = page.next;
  }
  return { ...first, items, next };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
