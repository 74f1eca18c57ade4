// SPDX-License-Identifier: PostgreSQL
//
// /signin#<code>: the code stands in the fragment, so that no server log has it. It is
// posted once and taken out of the history at once. Without a code: how to get one.
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState, type FormEvent } from 'react';
import { messageOf } from '../../api/client';
import { keys, signIn } from '../../api/queries';
import { Command } from '../../components/Parts';
import { navigate, usePath } from '../../lib/router';

/** Takes a whole link as well, as people paste what they have. */
export function codeOf(text: string): string {
  const trimmed = text.trim();
  const hash = trimmed.indexOf('#');
  return hash >= 0 ? trimmed.slice(hash + 1) : trimmed;
}

/** The code of the address, once: a one-time code must not be posted twice. */
function takeFragment(): string {
  if (location.pathname !== '/signin' || location.hash.length < 2) return '';
  const code = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, '', '/signin');
  return code;
}

let fragment = takeFragment();

export function SignInPage({ ended }: { ended: boolean }) {
  const client = useQueryClient();
  const path = usePath();
  const [code, setCode] = useState('');
  const [busy, setBusy] = useState(fragment !== '');
  const [error, setError] = useState<string | null>(null);

  const redeem = async (text: string): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      await signIn(text);
      await client.resetQueries({ queryKey: keys.me });
      if (location.pathname === '/signin') navigate('/', { replace: true });
    } catch (cause) {
      setError(messageOf(cause));
      setBusy(false);
    }
  };

  useEffect(() => {
    document.title = 'Sign in \u00b7 probectl';
    const first = fragment;
    fragment = '';
    if (first) void redeem(first);
    // A link pasted into the address bar of this very page only changes the fragment.
    const changed = (): void => {
      const next = takeFragment();
      if (next) void redeem(next);
    };
    window.addEventListener('hashchange', changed);
    return () => window.removeEventListener('hashchange', changed);
    // Only once: `redeem` uses nothing that changes.
    // eslint-disable-next-line
  }, []);

  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const clean = codeOf(code);
    if (clean) void redeem(clean);
    else setError('Paste the link or its code first.');
  };

  return (
    <main className="signin">
      <div className="signin-box">
        <svg className="signin-mark" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M5 17h5l3-8 5 15 3.5-10 1.8 3H27" />
        </svg>
        <h1>Sign in to probectl</h1>
        {busy ? (
          <p role="status">Signing in</p>
        ) : (
          <>
            {ended && !error && <p className="note">Your session has ended. Nothing is lost: sign in again and you are back at {path}.</p>}
            <p>There are no passwords. Make a one-time link on the machine that runs probectl, and open it:</p>
            <Command text="probectl signin" label="Command that makes a sign-in link" />
            <form onSubmit={submit} noValidate>
              <label htmlFor="code">Or paste the link, or its code, here</label>
              <div className="signin-row">
                <input
                  id="code"
                  value={code}
                  onChange={(event) => setCode(event.target.value)}
                  autoComplete="one-time-code"
                  spellCheck={false}
                  placeholder="pcl_&#8230;"
                  aria-invalid={error !== null}
                  aria-describedby={error ? 'code-error' : undefined}
                />
                <button className="button button-primary">Sign in</button>
              </div>
              {error && (
                <p id="code-error" className="field-error" role="alert">
                  {error}
                </p>
              )}
            </form>
          </>
        )}
      </div>
    </main>
  );
}
