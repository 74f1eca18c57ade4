// SPDX-License-Identifier: PostgreSQL
//
// What the attributes of a run say about the server's certificate.

const PREFIX = 'probectl.tls.server.';
export const EXPIRY_WARN_DAYS = 21;

export interface Certificate {
  subject: string | null;
  issuer: string | null;
  notBefore: Date | null;
  notAfter: Date | null;
  /** Whole days until it ends, or since it did. */
  days: number | null;
  expired: boolean;
  names: string[];
  chain: string[];
  /** null: not told. */
  verified: boolean | null;
  verificationDisabled: boolean;
  version: string | null;
  cipher: string | null;
  resumed: boolean | null;
}

function dateOf(text: string | undefined): Date | null {
  if (!text) return null;
  // Unix seconds, or any form Date reads.
  const date = /^\d{9,11}$/.test(text) ? new Date(Number(text) * 1000) : new Date(text);
  return Number.isNaN(date.getTime()) ? null : date;
}

const flag = (text: string | undefined): boolean | null => (text === undefined ? null : text === 'true' || text === '1');
const list = (text: string | undefined, separator: RegExp): string[] => (text ? text.split(separator).filter(Boolean) : []);

/** null when the run saw no TLS. */
export function certificateOf(attributes: Record<string, string>, now: number): Certificate | null {
  const has = Object.keys(attributes).some((name) => name.startsWith('tls.') || name.startsWith('probectl.tls.'));
  if (!has) return null;
  const notAfter = dateOf(attributes[`${PREFIX}not_after`]);
  return {
    subject: attributes[`${PREFIX}subject`] ?? null,
    issuer: attributes[`${PREFIX}issuer`] ?? null,
    notBefore: dateOf(attributes[`${PREFIX}not_before`]),
    notAfter,
    days: notAfter && Math.floor(Math.abs(notAfter.getTime() - now) / 86_400_000),
    expired: notAfter !== null && notAfter.getTime() < now,
    names: list(attributes[`${PREFIX}san`], /[,;\s]+/),
    chain: list(attributes[`${PREFIX}chain`], /\s*[;\n|]\s*/),
    verified: flag(attributes[`${PREFIX}verified`]),
    verificationDisabled: flag(attributes['probectl.tls.verification_disabled']) === true,
    version: attributes['tls.protocol.version'] ?? null,
    cipher: attributes['tls.cipher.suite'] ?? attributes['tls.cipher'] ?? null,
    resumed: flag(attributes['probectl.tls.resumed']),
  };
}

/** Attributes the certificate panel shows. */
export function isTlsAttribute(name: string): boolean {
  return name.startsWith('tls.') || name.startsWith('probectl.tls.');
}
