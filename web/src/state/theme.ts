// SPDX-License-Identifier: PostgreSQL
//
// Light, dark, or what the system prefers. The choice is an attribute of <html>; every
// colour follows from color-scheme (styles/tokens.css). public/theme.js sets it early.
import { useSyncExternalStore } from 'react';

export type Theme = 'system' | 'light' | 'dark';
const KEY = 'probectl.theme';
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();
const tell = (): void => listeners.forEach((listener) => listener());
dark.addEventListener('change', tell);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const read = (): Theme => (document.documentElement.dataset['theme'] as Theme | undefined) ?? 'system';

export function setTheme(theme: Theme): void {
  const root = document.documentElement;
  if (theme === 'system') delete root.dataset['theme'];
  else root.dataset['theme'] = theme;
  try {
    if (theme === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  tell();
}

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, read);
}
