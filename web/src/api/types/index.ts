// SPDX-License-Identifier: PostgreSQL
//
// The answers of the gateway, as docs/81-contracts.md section 4 states them.
// Times are RFC 3339 text, durations and latencies milliseconds.

export type ResultState = 'ok' | 'failed' | 'stale';

export interface SparkPoint {
  t: number;
  latency_ms: number | null;
  ok: boolean;
}

export type Metrics = Record<string, number>;
export type Attributes = Record<string, string>;

/** What a single run and the newest run of a test have in common. */
export interface RunFields {
  test_id: string;
  agent_id: string;
  type: string;
  target: string;
  port: number | null;
  success: boolean;
  error_type: string | null;
  error: string | null;
  started_at: string;
  duration_ms: number | null;
  latency_ms: number | null;
  loss_ratio: number | null;
  metrics: Metrics;
  attributes: Attributes;
}

export interface Latest extends RunFields {
  agent_name: string | null;
  test_name: string | null;
  state: ResultState;
  received_at: string;
  interval_seconds: number | null;
  spark: SparkPoint[];
}

export interface Result extends RunFields {
  result_id: string;
}

export type ParamValue = string | number | boolean;

export interface Test {
  test_id: string;
  name: string | null;
  type: string;
  target: string;
  interval_seconds: number;
  timeout_seconds: number;
  params: Record<string, ParamValue>;
  enabled: boolean;
  agent_id: string | null;
  created_at: string;
  updated_at: string;
  revision: number;
}

/** Body of POST /v1/tests; PATCH takes any part of it. */
export interface TestInput {
  name: string;
  type: string;
  target: string;
  interval_seconds: number;
  timeout_seconds: number;
  params: Record<string, ParamValue>;
  agent_id: string | null;
}

export type TestPatch = Partial<TestInput> & { enabled?: boolean };

export interface Agent {
  agent_id: string;
  name: string;
  hostname: string | null;
  version: string | null;
  status: 'registered' | 'online' | 'offline' | 'revoked';
  capabilities: string[];
  labels: Record<string, string>;
  registered_at: string | null;
  last_seen_at: string | null;
  spool_records: number | null;
  oldest_unsent_at: string | null;
  dropped: Record<string, number>;
  clock_skew_ms: number | null;
  spool_bytes?: number;
  tests_revision?: number;
  /** Why it does not take the newest tests; empty when it does. */
  tests_problem?: string;
  tests_refused?: number;
  ticks_skipped?: number;
  runs_disturbed?: number;
}

export interface AuditEvent {
  seq: number;
  at: string;
  actor: string;
  action: string;
  target: string | null;
  outcome: string;
  data: Record<string, unknown> | null;
  hash: string;
}

/** received is the sum of all that follow. */
export interface Integrity {
  plane: string;
  received: number;
  stored: number;
  duplicate: number;
  malformed: number;
  dead_lettered: number;
  refused: number;
  shed: number;
  capped: number;
}

export interface IntegrityPage extends Page<Integrity> {
  collector_running: boolean;
}

export interface JoinToken {
  token: string;
  expires_at: string;
}

export interface Me {
  tenant: { tenant_id: string; slug: string; name: string };
  principal: { kind: string; id: string; name: string | null; email: string | null };
  /** How the page looks to the people of the tenant; set by the operator of the platform. */
  branding: { product_name: string; accent: string | null; logo_svg: string | null; support_url: string | null };
  permissions: string[];
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

/** One step of a series; value is null where the series ended without a sample. */
export interface MetricPoint {
  t: number;
  value: number | null;
  min: number | null;
  max: number | null;
  samples: number;
  ended?: boolean;
}

export interface MetricItem {
  series_id: string;
  name: string;
  labels: Record<string, string>;
  points: MetricPoint[];
}

export interface MetricPage extends Page<MetricItem> {
  start: string;
  end: string;
  /** Seconds. */
  step: number;
  collector_running: boolean;
}

export interface LatestPage extends Page<Latest> {
  collector_running: boolean;
}

export interface ErrorBody {
  error: { code: string; message: string; field?: string; request_id?: string };
}
