// SPDX-License-Identifier: PostgreSQL
//
// Is anything missing? What became of every record that came, by plane, and whether what is
// shown elsewhere is being kept up to date.
import { useIntegrity } from '../../api/queries';
import { Icon } from '../../components/Icon';
import { EmptyState, LoadError, Loading } from '../../components/Parts';
import { formatCount, formatRatio } from '../../lib/format';
import { accountOf, barOf, type Account } from '../../lib/integrity';
import { wordsOf } from '../../lib/names';

const BAR = 600;
const UNITS: Record<string, string> = { metric: 'samples', remote: 'samples' };

function Bar({ account }: { account: Account }) {
  const said = account.parts
    .filter((part) => part.count > 0)
    .map((part) => `${part.label} ${formatRatio(part.ratio)}`)
    .join(', ');
  return (
    <svg className="fates" viewBox={`0 0 ${BAR} 14`} preserveAspectRatio="none" role="img" aria-label={said}>
      {barOf(account, BAR).map((rect) => (
        <rect key={rect.fate} className={`fate-${rect.tone}`} x={rect.x} y="0" width={Math.max(rect.width - 1, 1)} height="14" />
      ))}
    </svg>
  );
}

function Plane({ account }: { account: Account }) {
  const unit = UNITS[account.plane] ?? 'records';
  return (
    <section className="panel plane" aria-labelledby={`plane-${account.plane}`}>
      <div className="page-head">
        <h2 id={`plane-${account.plane}`}>{wordsOf(account.plane)}</h2>
        <span className="dim">
          {formatCount(account.received)} {unit} received
        </span>
        <span className={`state state-${account.balanced ? 'ok' : 'failed'}`}>
          <Icon name={account.balanced ? 'ok' : 'failed'} />
          <span>{account.balanced ? 'All accounted for' : 'The counts do not add up'}</span>
        </span>
      </div>
      {account.received > 0 && <Bar account={account} />}
      <dl className="fate-list">
        {account.parts.map((part) => (
          <div key={part.fate} className={part.count === 0 ? 'is-none' : undefined}>
            <dt>
              <span className={`swatch fate-${part.tone}`} aria-hidden="true" />
              {part.label}
              <span className="row-sub">{part.hint}</span>
            </dt>
            <dd>
              {formatCount(part.count)}
              <span className="row-sub">{formatRatio(part.ratio)}</span>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

export function StatusPage() {
  const integrity = useIntegrity();
  if (integrity.error && !integrity.data) return <LoadError error={integrity.error} onRetry={() => void integrity.refetch()} />;
  if (!integrity.data) return <Loading what="the status" />;
  const accounts = integrity.data.items.map(accountOf);
  return (
    <>
      <div className="page-head">
        <h1>Status</h1>
        <span className="dim">Where every record ended that your agents sent</span>
      </div>
      {!integrity.data.collector_running && (
        <p className="note" role="status">
          Newest results and series are not being kept up to date. Everything that came is stored and will be worked in.
        </p>
      )}
      {accounts.every((account) => account.received === 0) ? (
        <EmptyState title="Nothing has come yet">
          <p>As soon as an agent sends a result, it is counted here.</p>
        </EmptyState>
      ) : (
        accounts.map((account) => <Plane key={account.plane} account={account} />)
      )}
    </>
  );
}
