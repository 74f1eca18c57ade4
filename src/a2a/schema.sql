-- a2a: which agent answers which, where it does, and sets of agents that all test to each other.
CREATE TABLE probectl.a2a_endpoint (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  agent_id uuid NOT NULL,
  host inet,
  port integer NOT NULL DEFAULT 0 CHECK (port BETWEEN 0 AND 65535),
  observed inet,
  reported_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  lapses_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, agent_id),
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.a2a_endpoint IS 'where an agent answers STAMP packets, as it reported itself, until its report lapses';
COMMENT ON COLUMN probectl.a2a_endpoint.host IS 'the address the agent says it answers at; port 0: it answers nowhere';
COMMENT ON COLUMN probectl.a2a_endpoint.observed IS 'the address the ingest server saw it call from: another one than host behind a NAT';

-- One row for each test and agent that runs it: a session that ends begins anew in its row.
CREATE TABLE probectl.a2a_session (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  test_id uuid NOT NULL,
  initiator_id uuid NOT NULL,
  responder_id uuid NOT NULL,
  session_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  token bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) CHECK (octet_length(token) = 16),
  state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'ready')),
  changed_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, test_id, initiator_id),
  UNIQUE (tenant_id, session_id),
  FOREIGN KEY (tenant_id, test_id) REFERENCES probectl.test ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, initiator_id) REFERENCES probectl.agent ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, responder_id) REFERENCES probectl.agent ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX a2a_session_initiator ON probectl.a2a_session (tenant_id, initiator_id);
CREATE INDEX a2a_session_responder ON probectl.a2a_session (tenant_id, responder_id);
CREATE INDEX test_a2a_of_all ON probectl.test (tenant_id) WHERE type = 'a2a' AND agent_id IS NULL;
COMMENT ON TABLE probectl.a2a_session IS 'an agent (initiator) tests to another one (responder) of its tenant; state: waiting until the responder says that it answers, then ready';
COMMENT ON COLUMN probectl.a2a_session.token IS 'what a packet shows to be answered; only the two agents are told';

CREATE TABLE probectl.a2a_mesh (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  mesh_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
  interval_seconds integer NOT NULL DEFAULT 60 CHECK (interval_seconds BETWEEN 1 AND 86400),
  timeout_seconds double precision NOT NULL DEFAULT 3 CHECK (timeout_seconds BETWEEN 0.1 AND 60),
  params jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(params) = 'object'),
  enabled boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT probectl.clock_now(),
  PRIMARY KEY (tenant_id, mesh_id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE probectl.a2a_mesh IS 'a set of agents each of which tests to each other one; expands to tests whose param mesh_id names it';

CREATE TABLE probectl.a2a_mesh_member (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant(),
  mesh_id uuid NOT NULL,
  agent_id uuid NOT NULL,
  PRIMARY KEY (tenant_id, mesh_id, agent_id),
  FOREIGN KEY (tenant_id, mesh_id) REFERENCES probectl.a2a_mesh ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, agent_id) REFERENCES probectl.agent ON DELETE CASCADE
);
COMMENT ON TABLE probectl.a2a_mesh_member IS 'agents of a mesh';
