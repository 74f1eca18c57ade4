// SPDX-License-Identifier: PostgreSQL
//
// Human names of metrics and attributes. What is not in the table still gets a readable
// name from its own words, so that a canary of the future is never shown as raw JSON.
import { formatBytes, formatCount, formatLatency, formatRatio, formatSeconds, significant } from './format';

interface Known {
  label: string;
  group: string;
}

const row = (group: string, label: string): Known => ({ group, label });

const METRICS: Record<string, Known> = {
  'loss.ratio': row('Loss', 'Loss'),
  'packets.sent': row('Loss', 'Packets sent'),
  'packets.received': row('Loss', 'Packets received'),
  'packets.duplicates': row('Loss', 'Duplicates'),
  'packets.reordered': row('Loss', 'Out of order'),
  'packets.overflow': row('Loss', 'No room for at the agent'),
  'rtt.min.ms': row('Round trip', 'Shortest'),
  'rtt.avg.ms': row('Round trip', 'Mean'),
  'rtt.max.ms': row('Round trip', 'Longest'),
  'rtt.stddev.ms': row('Round trip', 'Standard deviation'),
  'rtt.median.ms': row('Round trip', 'Median'),
  'connect.min.ms': row('Connect', 'Shortest'),
  'connect.avg.ms': row('Connect', 'Mean'),
  'connect.max.ms': row('Connect', 'Longest'),
  'connect.stddev.ms': row('Connect', 'Standard deviation'),
  'connect.median.ms': row('Connect', 'Median'),
  'jitter.ms': row('Round trip', 'Jitter'),
  'dns.ms': row('Name lookup', 'Duration'),
  'dns.query.ms': row('Name lookup', 'Query'),
  'dns.answers': row('Name lookup', 'Answers'),
  'icmp.mtu.bytes': row('ICMP', 'Path MTU reported'),
  'http.redirect.ms': row('HTTP', 'Redirects took'),
  'http.dns.ms': row('HTTP', 'Name lookup'),
  'http.connect.ms': row('HTTP', 'TCP connect'),
  'http.tls.ms': row('HTTP', 'TLS handshake'),
  'http.ttfb.ms': row('HTTP', 'Time to first byte'),
  'http.transfer.ms': row('HTTP', 'Transfer'),
  'http.total.ms': row('HTTP', 'Total'),
  'http.status': row('HTTP', 'Status code'),
  'http.content.bytes': row('HTTP', 'Body size'),
  'http.throughput.kbps': row('HTTP', 'Throughput'),
  'http.redirects': row('HTTP', 'Redirects followed'),
  'http.tls.cert_expiry_days': row('TLS', 'Certificate valid for'),
};

const ATTRIBUTES: Record<string, Known> = {
  'network.peer.address': row('Network', 'Peer address'),
  'network.peer.port': row('Network', 'Peer port'),
  'network.transport': row('Network', 'Transport'),
  'network.type': row('Network', 'Address family'),
  'network.protocol.name': row('Network', 'Protocol'),
  'network.protocol.version': row('Network', 'Protocol version'),
  'network.local.address': row('Network', 'Own address'),
  'server.address': row('Network', 'Server address'),
  'server.port': row('Network', 'Server port'),
  'url.full': row('HTTP', 'URL'),
  'http.request.method': row('HTTP', 'Method'),
  'http.response.status_code': row('HTTP', 'Status code'),
  'tls.protocol.version': row('TLS', 'Protocol version'),
  'tls.cipher.suite': row('TLS', 'Cipher suite'),
  'tls.cipher': row('TLS', 'Cipher suite'),
  'tls.curve': row('TLS', 'Key exchange'),
  'probectl.tls.resumed': row('TLS', 'Session resumed'),
  'probectl.tls.verification_disabled': row('TLS', 'Verification switched off'),
  'probectl.tls.server.verified': row('TLS', 'Certificate verified'),
  'probectl.tls.server.subject': row('TLS', 'Subject'),
  'probectl.tls.server.issuer': row('TLS', 'Issuer'),
  'probectl.tls.server.not_before': row('TLS', 'Valid from'),
  'probectl.tls.server.not_after': row('TLS', 'Valid until'),
  'probectl.tls.server.san': row('TLS', 'Names'),
  'probectl.tls.server.chain': row('TLS', 'Chain'),
  'probectl.tls.server.cert': row('TLS', 'Certificate'),
  'probectl.tls.verify_error': row('TLS', 'Verification'),
  'probectl.icmp.mode': row('ICMP', 'Mode'),
  'probectl.icmp.error': row('ICMP', 'ICMP error'),
  'probectl.icmp.error.from': row('ICMP', 'ICMP error came from'),
  'probectl.tcp.error': row('TCP', 'Connect error'),
  'probectl.tcp.error.from': row('TCP', 'Error came from'),
  'probectl.udp.error': row('UDP', 'Error'),
  'probectl.udp.error.from': row('UDP', 'Error came from'),
  'probectl.udp.dropped_seqs': row('UDP', 'Lost packets (sequence)'),
  'probectl.udp.drop_send_offsets_ms': row('UDP', 'Lost packets were sent at'),
  'probectl.udp.responder': row('UDP', 'Responder'),
  'probectl.timestamps': row('Network', 'Time stamps of the kernel'),
  'probectl.http.body_limit_reached': row('HTTP', 'Body cut at the limit'),
  'probectl.icmp.dropped_seqs': row('ICMP', 'Lost packets (sequence)'),
  'probectl.icmp.drop_send_offsets_ms': row('ICMP', 'Lost packets were sent at'),
  'error.type': row('Outcome', 'Kind of failure'),
};

const ACRONYMS = new Set(['ok', 'dns', 'tls', 'http', 'tcp', 'udp', 'icmp', 'rtt', 'url', 'ip', 'as', 'asn', 'mtu', 'id', 'dscp', 'bgp', 'mos', 'san', 'dnssec']);
const UNITS = new Set(['ms', 'ratio', 'bytes', 'kbps', 'seconds', 's', 'days', 'pct']);

/** "voice.one_way.ms" -> "Voice one way". */
export function wordsOf(name: string): string {
  const words = name
    .replace(/^probectl\./, '')
    .split(/[._]/)
    .filter((word, i, all) => word !== '' && !(i === all.length - 1 && i > 0 && UNITS.has(word)))
    .map((word) => (ACRONYMS.has(word) ? word.toUpperCase() : word));
  const text = words.join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function groupOf(name: string): string {
  const first = wordsOf(name.replace(/^probectl\./, '').split('.')[0] ?? '');
  return first || 'Other';
}

export function formatMetric(name: string, value: number): string {
  if (name.endsWith('.ms') || name.endsWith('_ms')) return formatLatency(value);
  if (name.endsWith('.ratio')) return formatRatio(value);
  if (name.endsWith('.pct')) return `${significant(value)} %`;
  if (name.endsWith('.bytes')) return formatBytes(value);
  if (name.endsWith('.kbps')) return value >= 1000 ? `${significant(value / 1000)} Mbit/s` : `${significant(value)} kbit/s`;
  if (name.endsWith('days')) return `${significant(value)} days`;
  if (name.endsWith('.seconds')) return formatSeconds(value);
  return Number.isInteger(value) ? formatCount(value) : significant(value, 4);
}

const BOOLEAN: Record<string, string> = { true: 'yes', false: 'no' };

export function formatAttribute(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return BOOLEAN[text] ?? text;
}

export interface Field {
  name: string;
  label: string;
  value: string;
}

export interface FieldGroup {
  title: string;
  fields: Field[];
}

function grouped<T>(values: Record<string, T>, known: Record<string, Known>, format: (name: string, value: T) => string): FieldGroup[] {
  const groups = new Map<string, Field[]>();
  const order = Object.keys(known);
  const rank = (name: string): number => (name in known ? order.indexOf(name) : order.length);
  const names = Object.keys(values).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  for (const name of names) {
    const entry = known[name];
    const title = entry?.group ?? groupOf(name);
    const fields = groups.get(title) ?? [];
    fields.push({ name, label: entry?.label ?? wordsOf(name), value: format(name, values[name] as T) });
    groups.set(title, fields);
  }
  return [...groups].map(([title, fields]) => ({ title, fields }));
}

export const metricGroups = (metrics: Record<string, number>): FieldGroup[] => grouped(metrics, METRICS, formatMetric);

/** `hide` names what another panel already shows. */
export function attributeGroups(attributes: Record<string, string>, hide: (name: string) => boolean = () => false): FieldGroup[] {
  const shown = Object.fromEntries(Object.entries(attributes).filter(([name]) => !hide(name)));
  return grouped(shown, ATTRIBUTES, (_, value) => formatAttribute(value));
}

const TYPE_NAMES: Record<string, string> = { icmp: 'ICMP', tcp: 'TCP', http: 'HTTP', udp: 'UDP', dns: 'DNS', a2a: 'Agent to agent' };

export function typeName(type: string): string {
  return TYPE_NAMES[type] ?? wordsOf(type);
}
