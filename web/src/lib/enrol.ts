// SPDX-License-Identifier: PostgreSQL
//
// What to run on the machine of a new agent. The agent's link is on the port next to the
// page's by default; who chose another edits one line.

const INGEST_PORT = 9443;

export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}

export function enrolScript(page: { origin: string; hostname: string }, token: string): string {
  return `umask 077; mkdir -p /etc/probectl /var/lib/probectl
echo '${token}' > /etc/probectl/join-token
cat > /etc/probectl/agent.yaml <<EOF
control_plane:
  grpc_addr: ${page.hostname}:${INGEST_PORT}
identity:
  dir: /var/lib/probectl/identity
enroll:
  server: ${page.origin}
  token_file: /etc/probectl/join-token
  ca_file: /etc/probectl/ca.pem
spool:
  dir: /var/lib/probectl/spool
EOF
probectl-agent --config /etc/probectl/agent.yaml`;
}
