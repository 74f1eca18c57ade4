-- remote: samples that come and go by remote write.
CREATE TABLE probectl.remote_intake (
  tenant_id uuid NOT NULL REFERENCES probectl.tenant ON DELETE CASCADE,
  slot smallint NOT NULL,
  requests bigint NOT NULL,
  malformed bigint NOT NULL,
  received bigint NOT NULL,
  stored bigint NOT NULL,
  too_old bigint NOT NULL,
  in_future bigint NOT NULL,
  refused_tenant bigint NOT NULL,
  bad_labels bigint NOT NULL,
  reserved_labels bigint NOT NULL,
  histograms bigint NOT NULL,
  exemplars bigint NOT NULL,
  PRIMARY KEY (tenant_id, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.remote_intake IS 'what became of what was written by remote write: received = stored + too_old + in_future + refused_tenant + bad_labels, in samples; probectl.remote_received() adds the rows up';
COMMENT ON COLUMN probectl.remote_intake.slot IS 'counts of a tenant are spread over some rows, so that writers do not wait for each other''s commit';
COMMENT ON COLUMN probectl.remote_intake.malformed IS 'requests that were refused as a whole';
COMMENT ON COLUMN probectl.remote_intake.reserved_labels IS 'labels that name an identity, left out: the tenant is that of the credential';

-- Set by an operator; nothing is sent anywhere without a row here.
CREATE TABLE probectl.remote_target (
  tenant_id uuid NOT NULL DEFAULT probectl.current_tenant() REFERENCES probectl.tenant ON DELETE CASCADE,
  target_id uuid NOT NULL DEFAULT probectl.uuid_v7(),
  name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
  secret_file text,
  user_name text,
  ca_file text,
  batch_samples integer NOT NULL DEFAULT 5000 CHECK (batch_samples BETWEEN 1 AND 50000),
  backlog interval NOT NULL DEFAULT '1 day' CHECK (backlog BETWEEN '1 second' AND '1 year'),
  enabled boolean NOT NULL DEFAULT true,
  PRIMARY KEY (tenant_id, target_id),
  UNIQUE (tenant_id, name)
);
COMMENT ON TABLE probectl.remote_target IS 'where a tenant''s samples of probes are sent to by remote write; set with probectl.remote_target_set() by an operator of the database';
COMMENT ON COLUMN probectl.remote_target.secret_file IS 'file on the server with the bearer token, or the password when there is a user_name; read for every request, never kept';
COMMENT ON COLUMN probectl.remote_target.ca_file IS 'PEM file on the server with the authorities its certificate is verified by; NULL: those of the system';
COMMENT ON COLUMN probectl.remote_target.backlog IS 'samples that could not be sent for so long are dropped and counted';

CREATE TABLE probectl.remote_queue (
  tenant_id uuid NOT NULL,
  target_id uuid NOT NULL,
  next_xid bigint NOT NULL,
  next_row bigint NOT NULL DEFAULT 0,
  sent bigint NOT NULL DEFAULT 0,
  rejected bigint NOT NULL DEFAULT 0,
  expired bigint NOT NULL DEFAULT 0,
  unregistered bigint NOT NULL DEFAULT 0,
  requests bigint NOT NULL DEFAULT 0,
  retries bigint NOT NULL DEFAULT 0,
  failures integer NOT NULL DEFAULT 0,
  retry_at timestamptz NOT NULL DEFAULT '-infinity',
  last_status integer,
  last_error text NOT NULL DEFAULT '' CHECK (length(last_error) <= 500),
  last_sent_at timestamptz,
  behind_since timestamptz,
  PRIMARY KEY (tenant_id, target_id),
  FOREIGN KEY (tenant_id, target_id) REFERENCES probectl.remote_target ON DELETE CASCADE
) WITH (fillfactor = 50);
COMMENT ON TABLE probectl.remote_queue IS 'how far each target is: its own position in the ledger, moved after the receiver acknowledged, and what became of the samples';
COMMENT ON COLUMN probectl.remote_queue.next_row IS 'results of the transaction next_xid that are sent already';
COMMENT ON COLUMN probectl.remote_queue.rejected IS 'samples dropped because the receiver answered 4xx';
COMMENT ON COLUMN probectl.remote_queue.expired IS 'samples dropped because they waited for longer than the target''s backlog';
COMMENT ON COLUMN probectl.remote_queue.unregistered IS 'samples left out because their series was refused by a limit here';
COMMENT ON COLUMN probectl.remote_queue.failures IS 'attempts that failed since the last success';
COMMENT ON COLUMN probectl.remote_queue.behind_since IS 'when the oldest unsent result was received; NULL when all is sent';

-- Which tenants the worker has to look at: no fact of theirs.
CREATE TABLE probectl_internal.remote_sender (
  sending_tenant uuid PRIMARY KEY REFERENCES probectl.tenant ON DELETE CASCADE
);
COMMENT ON TABLE probectl_internal.remote_sender IS 'tenants that have a target';
