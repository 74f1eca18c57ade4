// SPDX-License-Identifier: PostgreSQL
import type { RunFields } from '../../api/types';
import { Icon } from '../../components/Icon';
import { Time } from '../../components/Time';
import { certificateOf, EXPIRY_WARN_DAYS, type Certificate } from '../../lib/certificate';
import { plural } from '../../lib/format';
import { useNow } from '../../state/clock';

function Verdict({ certificate }: { certificate: Certificate }) {
  if (certificate.verificationDisabled) {
    return (
      <span className="state state-stale">
        <Icon name="stale" />
        <span>Not checked: verification is switched off in this test</span>
      </span>
    );
  }
  if (certificate.verified === null) return null;
  return (
    <span className={`state state-${certificate.verified ? 'ok' : 'failed'}`}>
      <Icon name={certificate.verified ? 'ok' : 'failed'} />
      <span>{certificate.verified ? 'Verified' : 'Not trusted'}</span>
    </span>
  );
}

function Expiry({ certificate }: { certificate: Certificate }) {
  const { notAfter, days, expired } = certificate;
  if (!notAfter || days === null) return null;
  const tone = expired ? 'is-bad' : days < EXPIRY_WARN_DAYS ? 'is-warn' : undefined;
  return (
    <>
      <Time at={notAfter.getTime()} /> <span className={tone}>({expired ? `ended ${plural(days, 'day')} ago` : `${plural(days, 'day')} left`})</span>
    </>
  );
}

export function CertificatePanel({ run }: { run: RunFields }) {
  const now = useNow();
  const certificate = certificateOf(run.attributes, now);
  if (!certificate) return null;
  const rows: [string, React.ReactNode][] = [
    ['Subject', certificate.subject],
    ['Issuer', certificate.issuer],
    ['Names', certificate.names.length ? certificate.names.join(', ') : null],
    ['Valid from', certificate.notBefore && <Time at={certificate.notBefore.getTime()} />],
    ['Valid until', certificate.notAfter && <Expiry certificate={certificate} />],
    ['Chain', certificate.chain.length ? certificate.chain.join(' \u2190 ') : null],
    ['Protocol', certificate.version && (/^\d/.test(certificate.version) ? `TLS ${certificate.version}` : certificate.version)],
    ['Cipher suite', certificate.cipher],
    ['Session resumed', certificate.resumed === null ? null : certificate.resumed ? 'yes' : 'no'],
  ];
  return (
    <section className="panel" aria-labelledby="certificate">
      <h2 id="certificate">
        TLS <Verdict certificate={certificate} />
      </h2>
      <dl className="fields">
        {rows
          .filter(([, value]) => value)
          .map(([label, value]) => (
            <div key={label}>
              <dt>{label}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
    </section>
  );
}
