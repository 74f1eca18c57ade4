// SPDX-License-Identifier: PostgreSQL
//
// A join token is a secret shown once: it is made when asked for, not when the dialog
// opens, and is gone when the dialog closes.
import { messageOf } from '../../api/client';
import { useCreateJoinToken } from '../../api/queries';
import { Dialog } from '../../components/Dialog';
import { Command } from '../../components/Parts';
import { Time } from '../../components/Time';
import { enrolScript, isLoopback } from '../../lib/enrol';

export function EnrolDialog({ onClose }: { onClose: () => void }) {
  const create = useCreateJoinToken();
  const token = create.data;
  return (
    <Dialog title="Enrol an agent" onClose={onClose}>
      <div className="dialog-body">
        {token ? (
          <>
            {isLoopback(location.hostname) && (
              <p className="note note-warn">
                You reach this page on {location.hostname}, which other machines do not. For an agent elsewhere, start with{' '}
                <code>probectl up --gateway-listen 0.0.0.0:8443 --ingest-listen 0.0.0.0:9443</code> and write the server&rsquo;s name below. One more
                agent on this machine: <code>probectl enroll --local NAME</code>.
              </p>
            )}
            <p>
              On the machine that shall measure, put the root certificate (the file <code>probectl env</code> calls PROBECTL_CA) at{' '}
              <code>/etc/probectl/ca.pem</code>, then run as root:
            </p>
            <Command text={enrolScript(location, token.token)} label="Commands that enrol an agent" />
            <p className="field-hint">
              The token works once and until <Time at={token.expires_at} />. It is not shown again. The agent appears in the list by itself.
            </p>
          </>
        ) : (
          <>
            <p>
              A new agent proves itself with a one-time join token and gets its own certificate. Whoever has the token can join this tenant until it
              is used or expires.
            </p>
            {create.error && (
              <p className="note note-bad" role="alert">
                {messageOf(create.error)}
              </p>
            )}
          </>
        )}
      </div>
      <footer className="dialog-foot">
        {token ? (
          <button type="button" className="button button-primary" onClick={onClose}>
            Done
          </button>
        ) : (
          <>
            <button type="button" className="button" onClick={onClose}>
              Cancel
            </button>
            <button type="button" className="button button-primary" disabled={create.isPending} onClick={() => create.mutate()}>
              Make a join token
            </button>
          </>
        )}
      </footer>
    </Dialog>
  );
}
