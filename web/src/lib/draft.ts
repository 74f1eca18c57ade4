// SPDX-License-Identifier: PostgreSQL
//
// A test as it stands in the form: text, as typed. Checked here for quick words next to
// the field; the server checks again and has the last word (422 names the field).
// Parameters are rows of a table; those the form does not know are kept as they are.
import type { Agent, ParamValue, Test, TestInput } from '../api/types';
import { defaultName, NAME_MAX } from './rows';

export const TYPES = ['icmp', 'tcp', 'udp', 'http', 'dns', 'a2a'] as const;
export type TestType = (typeof TYPES)[number];

export interface ParamSpec {
  key: string;
  label: string;
  hint: string;
  kind: 'integer' | 'text' | 'choice' | 'switch';
  /** What the agent does when nothing is given. */
  fallback: string;
  min?: number;
  max?: number;
  choices?: readonly string[];
  pattern?: RegExp;
  complaint?: string;
}

export const PARAMS: Record<string, readonly ParamSpec[]> = {
  icmp: [
    { key: 'count', label: 'Packets a run', hint: '', kind: 'integer', fallback: '5', min: 1, max: 1000 },
    { key: 'payload_bytes', label: 'Payload bytes', hint: '', kind: 'integer', fallback: '56', min: 8, max: 65000 },
    { key: 'dscp', label: 'DSCP', hint: '46 is expedited forwarding', kind: 'integer', fallback: '0', min: 0, max: 63 },
  ],
  tcp: [
    { key: 'port', label: 'Port', hint: 'When the target names none', kind: 'integer', fallback: '', min: 1, max: 65535 },
    { key: 'count', label: 'Connects a run', hint: '', kind: 'integer', fallback: '3', min: 1, max: 100 },
  ],
  udp: [
    { key: 'port', label: 'Port', hint: 'When the target names none', kind: 'integer', fallback: '', min: 1, max: 65535 },
    { key: 'count', label: 'Packets a run', hint: '', kind: 'integer', fallback: '5', min: 1, max: 1000 },
    { key: 'payload_bytes', label: 'Payload bytes', hint: '', kind: 'integer', fallback: '56', min: 20, max: 65000 },
    { key: 'dscp', label: 'DSCP', hint: '46 is expedited forwarding', kind: 'integer', fallback: '0', min: 0, max: 63 },
  ],
  http: [
    { key: 'method', label: 'Method', hint: '', kind: 'choice', fallback: 'GET', choices: ['GET', 'HEAD', 'POST'] },
    {
      key: 'expect_status',
      label: 'Expected status',
      hint: '200, 2xx or 200-399; several with commas',
      kind: 'text',
      fallback: '200-399',
      pattern: /^(?:(?:^|[,\s]+)(?:[1-5]\d\d-[1-5]\d\d|[1-5]\d\d|[1-5]xx))+$/i,
      complaint: 'Write codes (200), classes (2xx) or ranges (200-399), separated by commas.',
    },
    { key: 'follow_redirects', label: 'Follow redirects', hint: '', kind: 'switch', fallback: 'true' },
  ],
  dns: [
    { key: 'type', label: 'Record type', hint: '', kind: 'choice', fallback: 'A', choices: ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'TXT', 'SOA', 'SRV', 'PTR', 'CAA'] },
    { key: 'server', label: 'Server', hint: 'host or host:port; the agent\u2019s own resolver when empty', kind: 'text', fallback: '' },
    { key: 'transport', label: 'Transport', hint: '', kind: 'choice', fallback: 'udp', choices: ['udp', 'tcp', 'dot', 'doh'] },
    { key: 'dnssec', label: 'Validate DNSSEC', hint: 'A bogus answer fails the test', kind: 'switch', fallback: 'false' },
  ],
  a2a: [
    { key: 'mode', label: 'Mode', hint: '', kind: 'choice', fallback: 'round', choices: ['round', 'continuous'] },
    { key: 'count', label: 'Packets a run', hint: '', kind: 'integer', fallback: '10', min: 1, max: 100 },
    { key: 'payload_bytes', label: 'Payload bytes', hint: '', kind: 'integer', fallback: '88', min: 44, max: 9000 },
    { key: 'dscp', label: 'DSCP', hint: '46 is expedited forwarding', kind: 'integer', fallback: '0', min: 0, max: 63 },
    { key: 'port', label: 'Port', hint: 'Of a reflector, when the target names none', kind: 'integer', fallback: '', min: 1, max: 65535 },
  ],
};

/** The living agents as an agent-to-agent test names them: by name, or by identifier where two have one name. */
export function peersOf(agents: readonly Agent[]): { value: string; label: string }[] {
  const living = agents.filter((agent) => agent.status !== 'revoked');
  return living.map((agent) => {
    const alone = living.every((other) => other === agent || other.name !== agent.name);
    return { value: alone ? agent.name : agent.agent_id, label: alone ? (agent.hostname ?? '') : agent.name };
  });
}

/** Of every type; only somebody with the permission may set it, so only they are shown it. */
export const PRIVATE_PARAM: ParamSpec = {
  key: 'allow_private_targets',
  label: 'Private addresses',
  hint: 'May it reach them, loopback and metadata ones?',
  kind: 'switch',
  fallback: 'false',
};

export function paramsOf(type: string): readonly ParamSpec[] {
  return [...(PARAMS[type] ?? []), PRIVATE_PARAM];
}

export const TARGET_HINTS: Record<string, { placeholder: string; hint: string }> = {
  icmp: { placeholder: 'router.example.net or 192.0.2.1', hint: 'Host name, IPv4 or IPv6 address' },
  tcp: { placeholder: 'db.example.net:5432', hint: 'host:port; an IPv6 address in brackets' },
  udp: { placeholder: 'branch.example.net:8620', hint: 'host:port of an echo service, such as probectl-agent --echo' },
  http: { placeholder: 'https://www.example.net/health', hint: 'A whole URL' },
  dns: { placeholder: 'www.example.net', hint: 'The name to look up' },
  a2a: { placeholder: 'branch-berlin', hint: 'An agent of yours, or host:port of a STAMP reflector' },
};

export interface Draft {
  type: string;
  target: string;
  name: string;
  interval: string;
  timeout: string;
  agentId: string;
  params: Record<string, string>;
}

export type Problems = Record<string, string>;

export const EMPTY_DRAFT: Draft = { type: 'icmp', target: '', name: '', interval: '10', timeout: '3', agentId: '', params: {} };

export function draftOf(test: Test): Draft {
  return {
    type: test.type,
    target: test.target,
    // A name that nobody gave follows the target when that is edited.
    name: test.name === defaultName(test.type, test.target) ? '' : (test.name ?? ''),
    interval: String(test.interval_seconds),
    timeout: String(test.timeout_seconds),
    agentId: test.agent_id ?? '',
    params: Object.fromEntries(Object.entries(test.params).map(([key, value]) => [key, String(value)])),
  };
}

/** The port at the end of host:port or [v6]:port; null when there is none. */
export function portOf(target: string): string | null {
  const match = /^(?:\[[^\]]+\]|[^:]+):(\d+)$/.exec(target.trim());
  return match ? match[1]! : null;
}

function targetProblem(draft: Draft): string | null {
  const target = draft.target.trim();
  if (!target) return 'Say what to test.';
  // An agent may be called as one likes.
  if (draft.type !== 'a2a' && /\s/.test(target)) return 'A target has no spaces.';
  if (draft.type === 'http') {
    if (!/^https?:\/\//i.test(target)) return 'Begin with http:// or https://';
    try {
      return new URL(target).hostname ? null : 'The URL names no host.';
    } catch {
      return 'This is not a URL.';
    }
  }
  if (target.includes('://')) return `A ${draft.type} test takes a host, not a URL.`;
  if (draft.type === 'icmp' && portOf(target)) return 'ICMP has no ports: give the host alone.';
  if ((draft.type === 'tcp' || draft.type === 'udp') && !portOf(target) && !draft.params['port']?.trim()) {
    return 'Add a port: host:port, or the port field below.';
  }
  return null;
}

function numberProblem(text: string, min: number, max: number, integer: boolean): string | null {
  const value = Number(text.trim());
  if (text.trim() === '' || !Number.isFinite(value)) return 'Write a number.';
  if (integer && !Number.isInteger(value)) return 'Write a whole number.';
  if (value < min || value > max) return `Between ${min} and ${max}.`;
  return null;
}

function paramProblem(spec: ParamSpec, text: string): string | null {
  if (!text.trim()) return null;
  if (spec.kind === 'integer') return numberProblem(text, spec.min ?? 0, spec.max ?? Number.MAX_SAFE_INTEGER, true);
  if (spec.pattern && !spec.pattern.test(text.trim())) return spec.complaint ?? 'Not understood.';
  return null;
}

/** Field name -> words. Names are those of the API, so that a 422 lands at the same place. */
export function problemsOf(draft: Draft): Problems {
  const problems: Problems = {};
  const note = (field: string, words: string | null): void => {
    if (words) problems[field] = words;
  };
  note('target', targetProblem(draft));
  note('interval_seconds', numberProblem(draft.interval, 1, 86400, true));
  note('timeout_seconds', numberProblem(draft.timeout, 0.1, 60, false));
  if (!problems['timeout_seconds'] && !problems['interval_seconds'] && Number(draft.timeout) > Number(draft.interval)) {
    note('timeout_seconds', 'At most the interval.');
  }
  if (draft.name.trim().length > NAME_MAX) note('name', `At most ${NAME_MAX} characters.`);
  for (const spec of paramsOf(draft.type)) note(`params.${spec.key}`, paramProblem(spec, draft.params[spec.key] ?? ''));
  return problems;
}

function paramValue(spec: ParamSpec | undefined, text: string): ParamValue {
  if (spec?.kind === 'integer') return Number(text);
  if (spec?.kind === 'switch') return text === 'true';
  return text;
}

/** What is sent. Empty parameters are left out: the agent's default applies. */
export function inputOf(draft: Draft, before?: Test): TestInput {
  const specs = paramsOf(draft.type);
  const params: Record<string, ParamValue> = {};
  for (const [key, text] of Object.entries(draft.params)) {
    const spec = specs.find((s) => s.key === key);
    // A parameter of another type is dropped with the type; an unknown one of this type stays.
    if (!spec && (before?.type !== draft.type || !before.params[key])) continue;
    if (text.trim() !== '') params[key] = spec ? paramValue(spec, text.trim()) : (before?.params[key] ?? text);
  }
  return {
    name: draft.name.trim() || defaultName(draft.type, draft.target.trim()),
    type: draft.type,
    target: draft.target.trim(),
    interval_seconds: Number(draft.interval),
    timeout_seconds: Number(draft.timeout),
    params,
    agent_id: draft.agentId || null,
  };
}

/** Only what differs goes into a PATCH: two people who edit two fields do not undo each other. */
export function changesOf(test: Test, input: TestInput): Partial<TestInput> {
  const old: TestInput = {
    name: test.name ?? '',
    type: test.type,
    target: test.target,
    interval_seconds: test.interval_seconds,
    timeout_seconds: test.timeout_seconds,
    params: test.params,
    agent_id: test.agent_id,
  };
  const same = (key: keyof TestInput): boolean => JSON.stringify(sorted(old[key])) === JSON.stringify(sorted(input[key]));
  return Object.fromEntries((Object.keys(input) as (keyof TestInput)[]).filter((key) => !same(key)).map((key) => [key, input[key]]));
}

// "5" typed and 5 sent are the same parameter.
function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  return Object.entries(value)
    .map(([key, item]) => [key, String(item)])
    .sort();
}
