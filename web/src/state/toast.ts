// SPDX-License-Identifier: PostgreSQL
//
// Short notes on what was done. They are read out (polite), and go by themselves.
import { useSyncExternalStore } from 'react';

export interface Toast {
  id: number;
  text: string;
  kind: 'done' | 'failed';
}

const SHOWN_MS = 6000;
let toasts: Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function set(next: Toast[]): void {
  toasts = next;
  listeners.forEach((listener) => listener());
}

export function dismissToast(id: number): void {
  set(toasts.filter((toast) => toast.id !== id));
}

export function toast(text: string, kind: Toast['kind'] = 'done'): void {
  const id = nextId++;
  set([...toasts.slice(-2), { id, text, kind }]);
  window.setTimeout(() => dismissToast(id), SHOWN_MS);
}

export function useToasts(): Toast[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
}
