// SPDX-License-Identifier: PostgreSQL
//
// A small network that never was, for work on the page without a control plane: agents,
// tests and runs whose numbers look like measured ones. Random, but from a seed.
import { createHash, randomUUID } from 'node:crypto';

export function random(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const uuid = (text) => createHash('sha256').update(text).digest('hex').replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-7$3-8$4-$5');
const iso = (ms, random_ = 0) => new Date(ms).toISOString().replace(/(\.\d{3})Z$/, `$1${String(Math.floor(random_ * 1000)).padStart(3, '0')}Z`);
const round = (value, digits = 3) => Number(value.toFixed(digits));

export function agents(now) {
  const row = (name, part) => ({
    agent_id: uuid(`agent ${name}`),
    name,
    hostname: `${name}.example.net`,
    version: '0.1.0',
    status: 'online',
    capabilities: ['icmp', 'tcp', 'http', 'dns'],
    labels: {},
    registered_at: iso(now - 40 * 86400e3),
    last_seen_at: iso(now - 4000),
    spool_records: 0,
    oldest_unsent_at: null,
    dropped: {},
    clock_skew_ms: 1.4,
    ...part,
  });
  return [
    row('fra1-edge', { labels: { site: 'fra1' }, clock_skew_ms: -0.6 }),
    row('ams2-edge', { labels: { site: 'ams2' }, clock_skew_ms: 3.1 }),
    row('branch-oslo', {
      labels: { site: 'oslo', link: 'lte' },
      status: 'offline',
      last_seen_at: iso(now - 11 * 60e3),
      spool_records: 1840,
      oldest_unsent_at: iso(now - 11 * 60e3),
      dropped: { spool_full: 12 },
      clock_skew_ms: 2140,
    }),
  ];
}

// name, type, target, interval, latency ms, temper
const TESTS = [
  ['fra1 core 1', 'icmp', '192.0.2.1', 10, 0.21, 'calm'],
  ['fra1 core 2', 'icmp', '192.0.2.2', 10, 0.24, 'calm'],
  ['ams2 border', 'icmp', 'border.ams2.example.net', 10, 8.4, 'calm'],
  ['Transit A next hop', 'icmp', '198.51.100.9', 5, 3.2, 'lossy'],
  ['Transit B next hop', 'icmp', '2001:db8:40::9', 5, 3.9, 'calm'],
  ['Oslo branch uplink', 'icmp', '203.0.113.77', 10, 38, 'away'],
  ['Customer DB primary', 'tcp', 'db1.example.net:5432', 10, 1.1, 'calm'],
  ['Customer DB standby', 'tcp', 'db2.example.net:5432', 10, 1.3, 'refused'],
  ['Mail submission', 'tcp', 'mail.example.net:587', 30, 4.7, 'calm'],
  ['DNS over TCP', 'tcp', '192.0.2.53:53', 10, 0.61, 'calm'],
  ['Portal', 'http', 'https://portal.example.net/health', 15, 48, 'busy'],
  ['Public API', 'http', 'https://api.example.net/v2/ping', 10, 31, 'calm'],
  ['Billing', 'http', 'https://billing.example.net/', 30, 120, 'expired'],
  ['Package mirror', 'http', 'http://mirror.example.net/debian/', 30, 17, 'calm'],
  ['icmp 198.51.100.200', 'icmp', '198.51.100.200', 30, 61, 'dead'],
  ['VPN concentrator', 'tcp', 'vpn.example.net:443', 10, 12.2, 'busy'],
];

export function tests(now) {
  return TESTS.map(([name, type, target, interval, base, temper], i) => ({
    test: {
      test_id: uuid(`test ${i}`),
      name,
      type,
      target,
      interval_seconds: interval,
      timeout_seconds: Math.min(5, interval),
      params: type === 'http' ? { method: 'GET', expect_status: '200-399' } : { count: type === 'icmp' ? 5 : 3 },
      enabled: true,
      agent_id: null,
      created_at: iso(now - (20 - i) * 86400e3),
      updated_at: iso(now - (20 - i) * 86400e3),
      revision: i + 1,
    },
    base,
    temper,
  }));
}

export function newTest(input, revision) {
  const now = iso(Date.now());
  return { test_id: randomUUID(), enabled: true, ...input, created_at: now, updated_at: now, revision };
}

const FAILURES = {
  refused: ['connect_refused', 'connect to 192.0.2.61 port 5432: connection refused'],
  dead: ['no_reply', '5 packets sent, none answered'],
  expired: ['tls_expired', 'certificate expired 3 days ago (CN=billing.example.net)'],
  lossy: ['no_reply', '5 packets sent, none answered'],
  busy: ['read_timeout', 'no response within 5 s'],
};

function latencyOf(base, temper, at, r) {
  const wave = 1 + 0.12 * Math.sin(at / 240e3) + 0.05 * Math.sin(at / 37e3);
  const noise = 1 + (r() - 0.5) * (temper === 'busy' ? 0.5 : 0.16);
  const spike = r() < (temper === 'busy' ? 0.12 : 0.02) ? 1.5 + r() * 2 : 1;
  return base * wave * noise * spike;
}

function fails(temper, at, r) {
  if (temper === 'dead' || temper === 'expired') return true;
  if (temper === 'refused') return true;
  if (temper === 'lossy') return r() < 0.1;
  if (temper === 'busy') return r() < 0.03;
  return false;
}

function packets(prefix, sent, received, latency, r) {
  const metrics = { 'packets.sent': sent, 'packets.received': received, 'loss.ratio': round((sent - received) / sent, 4) };
  if (received === 0) return metrics;
  const spread = latency * (0.05 + r() * 0.12);
  metrics[`${prefix}.min.ms`] = round(Math.max(latency * 0.6, latency - 1.4 * spread));
  metrics[`${prefix}.avg.ms`] = round(latency);
  metrics[`${prefix}.max.ms`] = round(latency + 2 * spread);
  metrics[`${prefix}.stddev.ms`] = round(spread);
  if (prefix === 'rtt') metrics['jitter.ms'] = round(spread * 0.8);
  return metrics;
}

function http(test, latency, failed, temper, now, r) {
  const tls = test.target.startsWith('https:');
  const url = new URL(test.target);
  const phase = (share) => round(latency * share * (0.85 + r() * 0.3));
  const metrics = { 'http.dns.ms': phase(0.06), 'http.connect.ms': phase(0.16) };
  if (tls) metrics['http.tls.ms'] = phase(0.32);
  if (!failed) {
    metrics['http.ttfb.ms'] = phase(0.34);
    metrics['http.transfer.ms'] = phase(0.1);
    metrics['http.status'] = 200;
    metrics['http.content.bytes'] = 18240;
    metrics['http.throughput.kbps'] = round((18240 * 8) / latency, 1);
  }
  metrics['http.total.ms'] = round(Object.entries(metrics).reduce((sum, [k, v]) => sum + (k.endsWith('.ms') ? v : 0), 0));
  const attributes = {
    'url.full': test.target,
    'http.request.method': 'GET',
    'network.peer.address': '192.0.2.80',
    'network.peer.port': tls ? '443' : '80',
    'network.protocol.version': '1.1',
    ...(failed ? {} : { 'http.response.status_code': '200' }),
  };
  if (tls) {
    metrics['http.tls.cert_expiry_days'] = temper === 'expired' ? -3 : 47;
    Object.assign(attributes, {
      'tls.protocol.version': '1.3',
      'tls.cipher.suite': 'TLS_AES_256_GCM_SHA384',
      'probectl.tls.resumed': 'false',
      'probectl.tls.server.verified': String(temper !== 'expired'),
      'probectl.tls.server.subject': `CN=${url.hostname}`,
      'probectl.tls.server.issuer': 'CN=Example Issuing CA 3,O=Example Net',
      'probectl.tls.server.not_before': iso(now - 43 * 86400e3),
      'probectl.tls.server.not_after': iso(now + (temper === 'expired' ? -3 : 47) * 86400e3),
      'probectl.tls.server.san': `${url.hostname},www.example.net`,
      'probectl.tls.server.chain': `CN=${url.hostname};CN=Example Issuing CA 3;CN=Example Root R1`,
    });
  }
  return { metrics, attributes };
}

/** One run of one test at `at`, as GET /v1/results answers it. */
export function run({ test, base, temper }, agentId, at, r) {
  const failed = fails(temper, at, r);
  const [errorType, error] = failed ? (FAILURES[temper] ?? FAILURES.dead) : [null, null];
  const latency = latencyOf(base, temper, at, r);
  let metrics = {};
  let attributes = { 'network.peer.address': '192.0.2.1' };
  let loss = null;
  if (test.type === 'http') ({ metrics, attributes } = http(test, latency, failed, temper, at, r));
  else {
    const sent = Number(test.params.count ?? 5);
    const lost = failed ? sent : temper === 'lossy' && r() < 0.25 ? 1 : 0;
    metrics = packets(test.type === 'tcp' ? 'connect' : 'rtt', sent, sent - lost, latency, r);
    loss = metrics['loss.ratio'];
    if (test.type === 'icmp') {
      attributes['probectl.icmp.mode'] = 'batch';
      if (lost > 0 && lost < sent) attributes['probectl.icmp.dropped_seqs'] = '2';
    }
  }
  const port = /:(\d+)$/.exec(test.target);
  return {
    result_id: randomUUID(),
    test_id: test.test_id,
    agent_id: agentId,
    type: test.type,
    target: test.type === 'http' ? new URL(test.target).hostname : test.target.replace(/:(\d+)$/, (m) => (test.type === 'tcp' ? '' : m)),
    port: test.type === 'tcp' && port ? Number(port[1]) : null,
    success: !failed,
    error_type: errorType,
    error,
    started_at: iso(at, r()),
    duration_ms: round(failed ? test.timeout_seconds * 1000 * r() : latency * 1.2),
    latency_ms: failed ? null : round(test.type === 'http' ? metrics['http.total.ms'] : latency),
    loss_ratio: loss,
    metrics,
    attributes,
  };
}

export { iso, uuid };
