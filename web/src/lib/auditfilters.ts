// SPDX-License-Identifier: PostgreSQL
//
// Which events of the audit trail are shown, kept in the URL like those of the targets table.
export const OUTCOMES = ['ok', 'denied', 'failed'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** As the API takes them; an empty one is not asked for. */
export interface AuditFilters {
  action: string;
  actor: string;
  target: string;
  outcome: Outcome | '';
}

export const NO_AUDIT_FILTERS: AuditFilters = { action: '', actor: '', target: '', outcome: '' };

export function parseAuditFilters(search: string): AuditFilters {
  const params = new URLSearchParams(search);
  const text = (key: string): string => (params.get(key) ?? '').trim();
  const outcome = text('outcome') as Outcome;
  return { action: text('action'), actor: text('actor'), target: text('target'), outcome: OUTCOMES.includes(outcome) ? outcome : '' };
}

/** Those that are given, for a URL or a request. */
export function givenAuditFilters(filters: AuditFilters): Record<string, string> {
  return Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== ''));
}

export function encodeAuditFilters(filters: AuditFilters): string {
  const text = new URLSearchParams(givenAuditFilters(filters)).toString();
  return text ? `?${text}` : '';
}
