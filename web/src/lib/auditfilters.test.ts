// SPDX-License-Identifier: PostgreSQL
import { describe, expect, it } from 'vitest';
import { encodeAuditFilters, givenAuditFilters, NO_AUDIT_FILTERS, parseAuditFilters } from './auditfilters';

describe('filters of the audit trail', () => {
  it('survive the URL', () => {
    const filters = { action: 'test.', actor: 'user:a&b=c d', target: '1/2?#', outcome: 'denied' as const };
    expect(parseAuditFilters(encodeAuditFilters(filters))).toEqual(filters);
  });
  it('leave out what is not given', () => {
    expect(encodeAuditFilters(NO_AUDIT_FILTERS)).toBe('');
    expect(givenAuditFilters({ ...NO_AUDIT_FILTERS, action: 'test.' })).toEqual({ action: 'test.' });
  });
  it('ignore what is no outcome, and blanks around a text', () => {
    expect(parseAuditFilters('?outcome=good&action=%20test.create%20&other=1')).toEqual({ ...NO_AUDIT_FILTERS, action: 'test.create' });
  });
});
