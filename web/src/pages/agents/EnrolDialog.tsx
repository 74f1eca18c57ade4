// SPDX-License-Identifier: PostgreSQL
//
// A join token is a secret shown once: it is made when asked for, not when the dialog
// opens, and is gone when the dialog closes.
import { messageOf } from '../../api/client';
import { useCreateJoinToken } from '../../api/queries';
import { Dialog } from '../../components/Dialog';
import { Command } from '../../components/Parts';
import { Time } from '../../components/Time';
import { enrolCommand } from '../../lib/enrol';

export function EnrolDialog({ onClose }: { onClose: () => void }) {
  const create = useCreateJoinToken();
  const token = create.data;
  return (
    <Dialog title="Enrol an agent" onClose={onClose} narrow>
      <div className="dialog-body">
        {token ? (
          <>
            <p>Run this as root on the machine that shall measure. Copy the control plane&rsquo;s root certificate there first, as ca.pem.</p>
            <Command text={enrolCommand(location.origin, token.token)} label="Command that enrols an agent" />
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
