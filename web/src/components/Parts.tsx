// SPDX-License-Identifier: PostgreSQL
//
// Small presentational parts that several pages use.
import { Component, useState, type ReactNode } from 'react';
import { messageOf } from '../api/client';
import { dismissToast, useToasts } from '../state/toast';
import { Icon } from './Icon';

export function EmptyState({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="empty">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function LoadError({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  return (
    <section className="empty" role="alert">
      <h2>This could not be loaded</h2>
      <p>{messageOf(error)}</p>
      <button type="button" className="button" onClick={onRetry}>
        Try again
      </button>
    </section>
  );
}

/** Head of a table that small screens show as cards: the roles stay when it is no table any more. */
export function TableHead({ labels }: { labels: string[] }) {
  return (
    <thead role="rowgroup">
      <tr role="row">
        {labels.map((label, i) => (
          <th key={i} role="columnheader" scope="col">
            {label}
          </th>
        ))}
      </tr>
    </thead>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div className="loading" role="status">
      <span className="loading-bar" aria-hidden="true" />
      Loading {what}
    </div>
  );
}

export function Command({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      window.setTimeout(() => setCopied(false), 2000);
    } catch {
      setCopied(false);
    }
  };
  return (
    <div className={text.includes('\n') ? 'command command-long' : 'command'}>
      <pre tabIndex={0} role="region" aria-label={label}>
        <code>{text}</code>
      </pre>
      <button type="button" className="button button-small" onClick={() => void copy()}>
        <Icon name="copy" />
        <span aria-live="polite">{copied ? 'Copied' : 'Copy'}</span>
      </button>
    </div>
  );
}

export function Toasts() {
  const toasts = useToasts();
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <div key={toast.id} className={`toast toast-${toast.kind}`}>
          <Icon name={toast.kind === 'done' ? 'ok' : 'failed'} />
          <span>{toast.text}</span>
          <button type="button" className="button button-quiet button-icon" aria-label="Dismiss" onClick={() => dismissToast(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

interface BoundaryProps {
  /** A change of it, as by going to another page, tries again. */
  place: string;
  children: ReactNode;
}

/** A fault of one page leaves the others usable. */
export class Boundary extends Component<BoundaryProps, { error: unknown; place: string }> {
  override state = { error: null as unknown, place: this.props.place };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  static getDerivedStateFromProps(props: BoundaryProps, state: { place: string }) {
    return props.place === state.place ? null : { place: props.place, error: null };
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return (
      <section className="empty" role="alert">
        <h2>This page has a fault</h2>
        <p>{messageOf(this.state.error)}</p>
        <button type="button" className="button" onClick={() => location.reload()}>
          Reload
        </button>
      </section>
    );
  }
}
