// SPDX-License-Identifier: PostgreSQL
import type { RowState } from '../lib/rows';
import { Icon } from './Icon';

export const STATE_LABELS: Record<RowState, string> = {
  ok: 'OK',
  failed: 'Failed',
  stale: 'Stale',
  waiting: 'Waiting',
  paused: 'Paused',
};

export function StateBadge({ state }: { state: RowState }) {
  return (
    <span className={`state state-${state}`}>
      <Icon name={state} />
      <span>{STATE_LABELS[state]}</span>
    </span>
  );
}
