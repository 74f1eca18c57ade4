// SPDX-License-Identifier: PostgreSQL
//
// Add or edit a test. Words about a field stand at the field, whether they come from the
// check here or from the server's 422; a complaint about anything else stands above the
// buttons. A field complains when it was left or when sending was tried, not while typing.
import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { ApiError, messageOf } from '../../api/client';
import { can, useAgents, useCreateTest, useMe, useUpdateTest } from '../../api/queries';
import type { Test } from '../../api/types';
import { Dialog } from '../../components/Dialog';
import { changesOf, draftOf, EMPTY_DRAFT, inputOf, paramsOf, peersOf, PRIVATE_PARAM, problemsOf, TARGET_HINTS, TYPES, type Draft, type ParamSpec, type Problems } from '../../lib/draft';
import { typeName } from '../../lib/names';
import { nameOf } from '../../lib/rows';
import { toast } from '../../state/toast';

interface FieldProps {
  label: string;
  hint?: string | undefined;
  problem?: string | undefined;
  children: (props: { id: string; 'aria-invalid': boolean; 'aria-describedby': string | undefined }) => ReactNode;
}

function Field({ label, hint, problem, children }: FieldProps) {
  const id = useId();
  const about = problem ? `${id}-problem` : hint ? `${id}-hint` : undefined;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, 'aria-invalid': problem !== undefined, 'aria-describedby': about })}
      {problem ? (
        <p id={`${id}-problem`} className="field-error">
          {problem}
        </p>
      ) : (
        hint && (
          <p id={`${id}-hint`} className="field-hint">
            {hint}
          </p>
        )
      )}
    </div>
  );
}

interface ParamProps {
  spec: ParamSpec;
  value: string;
  problem: string | undefined;
  onChange: (value: string) => void;
  onLeave: () => void;
}

function ParamField({ spec, value, problem, onChange, onLeave }: ParamProps) {
  const hint = spec.hint || (spec.fallback && spec.kind !== 'switch' ? `${spec.fallback} when empty` : undefined);
  return (
    <Field label={spec.label} hint={spec.kind === 'choice' ? undefined : hint} problem={problem}>
      {(props) => {
        if (spec.kind === 'choice' || spec.kind === 'switch') {
          const choices = spec.kind === 'switch' ? ['true', 'false'] : spec.choices!;
          return (
            <select {...props} value={value || spec.fallback} onChange={(e) => onChange(e.target.value)}>
              {choices.map((choice) => (
                <option key={choice} value={choice}>
                  {spec.kind === 'switch' ? (choice === 'true' ? 'Yes' : 'No') : choice}
                </option>
              ))}
            </select>
          );
        }
        return (
          <input
            {...props}
            value={value}
            inputMode={spec.kind === 'integer' ? 'numeric' : 'text'}
            placeholder={spec.fallback}
            autoComplete="off"
            onChange={(e) => onChange(e.target.value)}
            onBlur={onLeave}
          />
        );
      }}
    </Field>
  );
}

function TypePicker({ type, onChange }: { type: string; onChange: (type: string) => void }) {
  // A type this page does not know can be kept, not chosen.
  const types: string[] = (TYPES as readonly string[]).includes(type) ? [...TYPES] : [type, ...TYPES];
  return (
    <fieldset className="segmented">
      <legend>Type</legend>
      {types.map((name) => (
        <label key={name}>
          <input type="radio" name="type" value={name} checked={name === type} onChange={() => onChange(name)} />
          <span>{typeName(name)}</span>
        </label>
      ))}
    </fieldset>
  );
}

interface Props {
  test: Test | null;
  onClose: () => void;
}

const FIELDS = ['name', 'type', 'target', 'interval_seconds', 'timeout_seconds', 'agent_id'];

function fieldOf(error: unknown, draft: Draft): string | null {
  if (!(error instanceof ApiError) || !error.field) return null;
  const field = error.field.replace(/^body\./, '');
  if (FIELDS.includes(field)) return field;
  const key = field.replace(/^params[.[/]?/, '').replace(/["\]']/g, '');
  return paramsOf(draft.type).some((spec) => spec.key === key) ? `params.${key}` : null;
}

export function TestForm({ test, onClose }: Props) {
  const [draft, setDraft] = useState<Draft>(() => (test ? draftOf(test) : EMPTY_DRAFT));
  const [touched, setTouched] = useState<Record<string, boolean>>({});
  const [refused, setRefused] = useState<Problems>({});
  const [error, setError] = useState<string | null>(null);
  const form = useRef<HTMLFormElement>(null);
  const peers = useId();
  const agents = useAgents();
  const me = useMe(true);
  const create = useCreateTest();
  const update = useUpdateTest();
  const busy = create.isPending || update.isPending;

  const problems = problemsOf(draft);
  const shown = (field: string): string | undefined => refused[field] ?? (touched[field] || touched['*'] ? problems[field] : undefined);
  const leave = (field: string) => () => setTouched((t) => ({ ...t, [field]: true }));
  const change = (field: string, part: Partial<Draft>): void => {
    setDraft((d) => ({ ...d, ...part }));
    setRefused(({ [field]: _, ...rest }) => rest);
    setError(null);
  };
  const setParam = (key: string, value: string): void => change(`params.${key}`, { params: { ...draft.params, [key]: value } });

  useEffect(() => {
    form.current?.querySelector<HTMLInputElement>('input[name=target]')?.focus();
  }, []);

  const toFirstProblem = (): void => {
    requestAnimationFrame(() => form.current?.querySelector<HTMLElement>('[aria-invalid=true]')?.focus());
  };

  const submit = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setTouched({ '*': true });
    if (Object.keys(problems).length > 0) return toFirstProblem();
    const input = inputOf(draft, test ?? undefined);
    try {
      if (test) {
        const patch = changesOf(test, input);
        if (Object.keys(patch).length > 0) await update.mutateAsync({ testId: test.test_id, patch });
        toast(`Saved ${nameOf(input)}`);
      } else {
        await create.mutateAsync(input);
        toast(`Added ${nameOf(input)}`);
      }
      onClose();
    } catch (cause) {
      const field = fieldOf(cause, draft);
      if (field) {
        setRefused({ [field]: messageOf(cause) });
        toFirstProblem();
      } else setError(messageOf(cause));
    }
  };

  const hints = TARGET_HINTS[draft.type];
  const specs = paramsOf(draft.type).filter((spec) => spec !== PRIVATE_PARAM || can(me.data, 'test.allow_private'));
  return (
    <Dialog title={test ? 'Edit test' : 'Add a test'} onClose={onClose}>
      <form ref={form} onSubmit={(event) => void submit(event)} noValidate>
        <div className="dialog-body form">
          <TypePicker type={draft.type} onChange={(type) => change('type', { type })} />
          {shown('type') && <p className="field-error">{shown('type')}</p>}
          <Field label="Target" hint={hints?.hint} problem={shown('target')}>
            {(props) => (
              <input
                {...props}
                name="target"
                className="mono"
                value={draft.target}
                placeholder={hints?.placeholder}
                list={draft.type === 'a2a' ? peers : undefined}
                autoComplete="off"
                autoCapitalize="off"
                spellCheck={false}
                onChange={(e) => change('target', { target: e.target.value })}
                onBlur={draft.target ? leave('target') : undefined}
              />
            )}
          </Field>
          {draft.type === 'a2a' && (
            <datalist id={peers}>
              {peersOf(agents.data?.items ?? []).map((peer) => (
                <option key={peer.value} value={peer.value} label={peer.label} />
              ))}
            </datalist>
          )}
          <Field label="Name" hint="Optional; the target stands for it" problem={shown('name')}>
            {(props) => (
              <input {...props} name="name" value={draft.name} autoComplete="off" onChange={(e) => change('name', { name: e.target.value })} onBlur={leave('name')} />
            )}
          </Field>
          <div className="form-row">
            <Field label="Interval (seconds)" problem={shown('interval_seconds')}>
              {(props) => (
                <input {...props} name="interval" inputMode="decimal" value={draft.interval} onChange={(e) => change('interval_seconds', { interval: e.target.value })} onBlur={leave('interval_seconds')} />
              )}
            </Field>
            <Field label="Timeout (seconds)" problem={shown('timeout_seconds')}>
              {(props) => (
                <input {...props} name="timeout" inputMode="decimal" value={draft.timeout} onChange={(e) => change('timeout_seconds', { timeout: e.target.value })} onBlur={leave('timeout_seconds')} />
              )}
            </Field>
          </div>
          <Field label="Runs on" problem={shown('agent_id')}>
            {(props) => (
              <select {...props} name="agent" value={draft.agentId} onChange={(e) => change('agent_id', { agentId: e.target.value })}>
                <option value="">Every agent</option>
                {agents.data?.items.map((agent) => (
                  <option key={agent.agent_id} value={agent.agent_id}>
                    {agent.name}
                    {agent.status === 'online' ? '' : ` (${agent.status})`}
                  </option>
                ))}
              </select>
            )}
          </Field>
          {specs.length > 0 && (
            <fieldset className="form-params">
              <legend>{typeName(draft.type)} parameters</legend>
              <div className="form-row">
                {specs.map((spec) => (
                  <ParamField
                    key={`${draft.type}.${spec.key}`}
                    spec={spec}
                    value={draft.params[spec.key] ?? ''}
                    problem={shown(`params.${spec.key}`)}
                    onChange={(value) => setParam(spec.key, value)}
                    onLeave={leave(`params.${spec.key}`)}
                  />
                ))}
              </div>
            </fieldset>
          )}
          {error && (
            <p className="note note-bad" role="alert">
              {error}
            </p>
          )}
        </div>
        <footer className="dialog-foot">
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button className="button button-primary" disabled={busy}>
            {test ? 'Save' : 'Add test'}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
