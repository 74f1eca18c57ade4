// SPDX-License-Identifier: PostgreSQL
//
// Whether what is on screen follows the network: live, reconnecting, degraded.
import { formatAge } from '../lib/format';
import { live, useLive, type LiveState } from '../state/live';
import { useNow } from '../state/clock';

const WORDS: Record<LiveState, string> = {
  connecting: 'Connecting',
  live: 'Live',
  reconnecting: 'Reconnecting',
  degraded: 'Degraded',
};

export function LiveBadge() {
  const { state } = useLive();
  return (
    <span className={`live live-${state}`} role="status" title="State of the event stream">
      <span className="live-dot" aria-hidden="true" />
      {WORDS[state]}
    </span>
  );
}

/** Below the header while updates do not come. */
export function LiveNotice() {
  const { state, since } = useLive();
  if (state !== 'degraded' || since === null) return null;
  return <Degraded since={since} />;
}

function Degraded({ since }: { since: number }) {
  useNow();
  return (
    <div className="banner" role="alert">
      <p>
        No updates for {formatAge((Date.now() - since) / 1000)}: the event stream is away. What you see may be old; the page keeps trying.
      </p>
      <button type="button" className="button button-small" onClick={live.knock}>
        Try now
      </button>
    </div>
  );
}
