// SPDX-License-Identifier: PostgreSQL
//
// What became of every record of a plane, as parts of a whole.
import type { Integrity } from '../api/types';

export type Fate = Exclude<keyof Integrity, 'plane' | 'received'>;

/** In the order they are drawn. tone is a colour of the design system. */
export const FATES: readonly { fate: Fate; label: string; tone: 'ok' | 'idle' | 'warn' | 'bad'; hint: string }[] = [
  { fate: 'stored', label: 'Stored', tone: 'ok', hint: 'in the database, once' },
  { fate: 'duplicate', label: 'Duplicate', tone: 'idle', hint: 'came again after a link or a process was lost' },
  { fate: 'shed', label: 'Shed', tone: 'warn', hint: 'over the tenant\u2019s budget; they come again' },
  { fate: 'refused', label: 'Refused', tone: 'warn', hint: 'of batches turned away; they come again' },
  { fate: 'capped', label: 'Capped', tone: 'bad', hint: 'samples over a limit: of new series, or of age' },
  { fate: 'dead_lettered', label: 'Dead-lettered', tone: 'bad', hint: 'kept with the reason, not stored' },
  { fate: 'malformed', label: 'Malformed', tone: 'bad', hint: 'did not decode; kept with the reason' },
];

export interface Part {
  fate: Fate;
  label: string;
  tone: string;
  hint: string;
  count: number;
  /** Of all that was received, 0 to 1. */
  ratio: number;
}

export interface Account {
  plane: string;
  received: number;
  parts: Part[];
  /** Whether the parts are the whole. */
  balanced: boolean;
}

export function accountOf(row: Integrity): Account {
  const parts = FATES.map((f) => ({ ...f, count: row[f.fate], ratio: row.received > 0 ? row[f.fate] / row.received : 0 }));
  return { plane: row.plane, received: row.received, parts, balanced: parts.reduce((sum, part) => sum + part.count, 0) === row.received };
}

/** Rectangles of a bar of that width; a part that is there is never too thin to see. */
export function barOf(account: Account, width: number, least = 3): { fate: Fate; tone: string; x: number; width: number }[] {
  const shown = account.parts.filter((part) => part.count > 0);
  const wide = shown.map((part) => Math.max(part.ratio * width, least));
  const scale = width / wide.reduce((sum, w) => sum + w, 0);
  let x = 0;
  return shown.map((part, i) => {
    const rect = { fate: part.fate, tone: part.tone, x, width: (wide[i] ?? 0) * scale };
    x += rect.width;
    return rect;
  });
}
