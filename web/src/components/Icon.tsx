// SPDX-License-Identifier: PostgreSQL
//
// Line icons on a 16 px grid, drawn here. States differ in shape, not only in colour.
const PATHS = {
  ok: 'M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5ZM5.2 8.2l2 2 3.7-4.2',
  failed: 'M5.3 1.75h5.4l3.55 3.55v5.4l-3.55 3.55H5.3L1.75 10.7V5.3ZM5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4',
  stale: 'M8 1.9 14.4 13.4H1.6ZM8 6.3v3.2M8 11.4v.1',
  waiting: 'M4 1.75h8M4 14.25h8M4.75 1.75c0 4 6.5 4.5 6.5 8.5v4M11.25 1.75c0 4-6.5 4.5-6.5 8.5v4',
  paused: 'M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5ZM6.4 5.75v4.5M9.6 5.75v4.5',
  offline: 'M8 1.75a6.25 6.25 0 1 0 0 12.5 6.25 6.25 0 0 0 0-12.5ZM5 8h6',
  plus: 'M8 3v10M3 8h10',
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9ZM10.4 10.4 14 14',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  more: 'M3.25 8h.01M8 8h.01M12.75 8h.01',
  up: 'M4 9.75 8 5.75l4 4',
  down: 'M4 6.25l4 4 4-4',
  back: 'M9.75 3.5 5.25 8l4.5 4.5',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1.2v1.3M8 13.5v1.3M1.2 8h1.3M13.5 8h1.3M3.2 3.2l.9.9M11.9 11.9l.9.9M3.2 12.8l.9-.9M11.9 4.1l.9-.9',
  moon: 'M13.4 9.6A5.75 5.75 0 0 1 6.4 2.6a5.75 5.75 0 1 0 7 7Z',
  system: 'M2 3h12v8H2ZM5.5 13.75h5M8 11v2.75',
  user: 'M8 2.25a2.75 2.75 0 1 0 0 5.5 2.75 2.75 0 0 0 0-5.5ZM2.75 14c.4-2.8 2.4-4.25 5.25-4.25S12.85 11.2 13.25 14',
  copy: 'M5.5 5.5h8v8h-8ZM10.5 5.5v-3h-8v8h3',
  edit: 'M10.6 2.9l2.5 2.5L5.6 12.9l-3.1.6.6-3.1Z',
  trash: 'M2.75 4.25h10.5M6 4.25v-2h4v2M4.25 4.25l.6 9.5h6.3l.6-9.5M6.75 7v4M9.25 7v4',
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6L12.5 8Z',
  chart: 'M2 13.5h12M2.5 10.5l3.5-4 3 2.5 4.5-6',
} as const;

export type IconName = keyof typeof PATHS;

interface Props {
  name: IconName;
  /** Only when the icon stands without words. */
  label?: string;
  className?: string;
}

export function Icon({ name, label, className }: Props) {
  const named = label ? ({ role: 'img', 'aria-label': label } as const) : ({ 'aria-hidden': true } as const);
  return (
    <svg className={`icon icon-${name} ${className ?? ''}`} viewBox="0 0 16 16" {...named}>
      <path d={PATHS[name]} />
    </svg>
  );
}
