// SPDX-License-Identifier: PostgreSQL
//
// The failure taxonomy (error.type) in words: what happened, and where to look next.

export interface Failure {
  title: string;
  hint: string;
}

const FAILURES: Record<string, Failure> = {
  dns_nxdomain: { title: 'The name does not exist', hint: 'Check the spelling of the target and the search domain of the agent\u2019s host.' },
  dns_servfail: { title: 'The resolver could not answer', hint: 'The agent\u2019s resolver answered SERVFAIL: a broken delegation, failed DNSSEC validation, or an upstream that is away.' },
  dns_timeout: { title: 'The resolver did not answer', hint: 'Look at the path from the agent to its resolver, port 53.' },
  dns_bogus: { title: 'The answer fails DNSSEC validation', hint: 'A signature is missing, expired or wrong, or the chain from the root is broken. The message says where.' },
  dns_answer: { title: 'Not the expected answer', hint: 'The server answered, but not with what the test expects.' },
  dns_malformed: { title: 'The answer cannot be read', hint: 'The server or something on the path sent a broken DNS message.' },
  dns_lame: { title: 'No server answers for the zone', hint: 'The servers the parent names do not serve it.' },
  peer_unavailable: { title: 'The other agent does not answer tests', hint: 'It is offline, its reflector cannot have its port, or a2a.enabled is off there.' },
  connect_refused: { title: 'Connection refused', hint: 'The host is reachable, but nothing listens on this port, or a firewall rejects it.' },
  connect_timeout: { title: 'No answer to the connection attempt', hint: 'Packets are dropped on the way or on the way back: a silent firewall, a dead host, or a routing hole.' },
  net_unreachable: { title: 'No route to the network', hint: 'The agent or a router on the path has no route. Check its routing table and address family.' },
  host_unreachable: { title: 'The host cannot be reached', hint: 'The last router could not deliver: the host is down or does not answer ARP or neighbour discovery.' },
  admin_prohibited: { title: 'Forbidden by a filter on the path', hint: 'A router answered \u201cadministratively prohibited\u201d. Its address may be among the attributes.' },
  ttl_exceeded: { title: 'The packet ran out of hops', hint: 'Often a routing loop. Trace the path.' },
  tls_expired: { title: 'The certificate has expired', hint: 'Renew it on the server, and check the clock of the agent.' },
  tls_not_yet_valid: { title: 'The certificate is not valid yet', hint: 'Check the clocks of server and agent.' },
  tls_unknown_ca: { title: 'The certificate\u2019s issuer is not trusted', hint: 'The server does not send its intermediate certificate, or the agent does not know the root.' },
  tls_name_mismatch: { title: 'The certificate is for another name', hint: 'Compare the target with the names in the certificate below.' },
  tls_handshake: { title: 'The TLS handshake failed', hint: 'No common version or cipher, or the server closed the connection.' },
  tls_revoked: { title: 'The certificate is revoked', hint: 'Its issuer says so in the OCSP staple. Get a new one.' },
  tls_staple: { title: 'The OCSP staple is missing or not good', hint: 'The certificate demands one: the server has to fetch and send it.' },
  http_header: { title: 'A header is not as expected', hint: 'The test\u2019s expect_header says what must be there.' },
  http_status: { title: 'Unexpected status code', hint: 'The server answered, but not with what the test expects.' },
  http_body: { title: 'The answer was cut or malformed', hint: 'The server or a proxy broke the response off.' },
  read_timeout: { title: 'The answer did not come in time', hint: 'The connection stands, but the server is slow or packets are lost after the handshake.' },
  reset: { title: 'The connection was reset', hint: 'The server or a middlebox on the path closed it with RST.' },
  no_reply: { title: 'All packets were lost', hint: 'The target is down, does not answer echo requests, or a filter drops them.' },
  guard_denied: { title: 'The target is not allowed', hint: 'The agent\u2019s target guard forbids this address.' },
  local_fault: { title: 'The agent itself could not measure', hint: 'This says nothing about the target. Look at the agent: socket permission, interface, memory.' },
  config_error: { title: 'The test cannot be run as configured', hint: 'Edit the test: the message names the parameter.' },
};

export function failureOf(errorType: string | null | undefined): Failure {
  const known = errorType ? FAILURES[errorType] : undefined;
  if (known) return known;
  if (!errorType) return { title: 'The run failed', hint: 'No kind of failure was given.' };
  const words = errorType.replaceAll('_', ' ');
  return { title: words.charAt(0).toUpperCase() + words.slice(1), hint: '' };
}
