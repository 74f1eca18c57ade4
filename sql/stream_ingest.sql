-- SPDX-License-Identifier: PostgreSQL
--
-- From a producer's batch to rows: once, in order, bad records aside, identity from the certificate.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SELECT probectl.tenant_create('stream-a', 'Stream A') AS a \gset
SELECT probectl.tenant_create('stream-b', 'Stream B') AS b \gset
CALL regress.enrol(:'a', 'agent-1', NULL, NULL) \gset
CALL regress.enrol(:'a', 'agent-2', NULL, NULL) \gset second_
CREATE FUNCTION regress.results(n integer) RETURNS bytea[] LANGUAGE sql IMMUTABLE
  AS $$ SELECT array_agg(regress.result(1, '2100-01-15 11:00:00+00'::timestamptz + i * interval '1 s', i)) FROM generate_series(1, n) i $$;

-- A batch; again; its second half with more; a gap; all of it a last time.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 3, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 100, VARIADIC regress.results(2)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 50, VARIADIC regress.results(2)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 1, VARIADIC regress.results(4)));
SELECT count(*) FROM probectl.result WHERE tenant_id = :'a';
SELECT epoch, committed_seq FROM probectl.stream_position WHERE tenant_id = :'a' AND agent_id = :'agent';
-- A new epoch starts from its own numbers, an old one is a conflict.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(8, 1, VARIADIC regress.results(1)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(7, 102, VARIADIC regress.results(1)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 1, VARIADIC regress.results(1)));
-- Another agent of the tenant has a stream of its own, and so has a transaction that was undone.
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 1, VARIADIC regress.results(2)));
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'second_agent', :'second_serial');
SELECT * FROM probectl.ingest('network', regress.batch(1, 3, VARIADIC regress.results(2)));
-- Two batches in one transaction.
SELECT * FROM probectl.ingest('network', regress.batch(1, 5, VARIADIC regress.results(2)));
-- What an agent sends it cannot read.
SELECT count(*) FROM probectl.result WHERE agent_id = :'second_agent';
ROLLBACK;
SELECT committed_seq FROM probectl.stream_position WHERE agent_id = :'second_agent';
-- What register answers is what is committed.
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'second_agent', :'second_serial');
SELECT stream_epoch, committed_seq FROM probectl.agent_register('host', '1.0', '{}', '{}');
ROLLBACK;

-- The ledger: one row a batch, also for one that stored nothing.
SELECT epoch, first_seq, count, stored, duplicate, dead_lettered, leaf <> 0 AS has_leaf, block_first <= block_last AS has_blocks, started_min, started_max
  FROM probectl.ledger WHERE tenant_id = :'a' AND agent_id = :'agent' ORDER BY received_at;

-- Envelopes that are none.
CREATE TABLE regress.bad_batch (i serial, what text, batch bytea);
GRANT SELECT ON regress.bad_batch TO PUBLIC;
INSERT INTO regress.bad_batch (what, batch) VALUES
  ('empty', ''),
  ('no records', regress.batch(1, 1, VARIADIC '{}')),
  ('no epoch', regress.number(2, 1) || regress.bytes(3, regress.result(1))),
  ('epoch 0', regress.batch(0, 1, regress.result(1))),
  ('epoch of 64 bits', regress.batch(9223372036854775808, 1, regress.result(1))),
  ('no first number', regress.number(1, 1) || regress.bytes(3, regress.result(1))),
  ('first number 0', regress.batch(1, 0, regress.result(1))),
  ('first number at the end of 63 bits', regress.batch(1, 9223372036854775807, regress.result(1))),
  ('cut off', substring(regress.batch(1, 1, regress.result(1)) FOR 40)),
  ('record as a number', regress.number(1, 1) || regress.number(2, 1) || regress.number(3, 1)),
  ('epoch as bytes', regress.bytes(1, 'x') || regress.number(2, 1) || regress.bytes(3, regress.result(1))),
  ('a group', regress.batch(1, 1, regress.result(1)) || '\x2b2c'),
  ('field 0', regress.batch(1, 1, regress.result(1)) || '\x0001'),
  ('varint of 11 bytes', regress.number(1, 1) || '\x10ffffffffffffffffffff01'),
  ('length past the end', regress.number(1, 1) || regress.number(2, 1) || '\x1affffffff0f'),
  ('text', 'this is no batch'),
  ('too many records', regress.number(1, 1) || regress.number(2, 1) || decode(repeat('1a00', 10001), 'hex')),
  ('too large', regress.batch(1, 1, convert_to(repeat('x', 5000000), 'UTF8')));
CREATE FUNCTION regress.refusal(what bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN (SELECT 'stored ' || stored FROM probectl.ingest('network', what));
EXCEPTION
  WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'second_agent', :'second_serial');
SELECT b.what, regress.refusal(b.batch) FROM regress.bad_batch b ORDER BY b.i;
SELECT committed_seq FROM probectl.stream_position WHERE agent_id = :'second_agent';
SAVEPOINT s;
SELECT FROM probectl.ingest('flow', regress.batch(1, 1, regress.result(1)));
ROLLBACK TO s;
SELECT stored FROM probectl.ingest(NULL, NULL);
-- Fields of the future are skipped, before and between and after.
SELECT stored FROM probectl.ingest('network', regress.number(900, 1) || regress.batch(1, 3, regress.result(1)) || regress.words(77, 'new') || '\xb5020a0b0c0d');
ROLLBACK;
-- Who is no agent stores nothing.
BEGIN;
SELECT FROM probectl.enter_tenant(:'a');
SELECT FROM probectl.ingest('network', regress.batch(1, 1, regress.result(1)));
ROLLBACK;

-- Records: the bad ones stand aside with the reason, the good ones around them are stored, the mark passes both.
CREATE TABLE regress.record (i serial, what text, record bytea);
GRANT SELECT ON regress.record TO PUBLIC;
INSERT INTO regress.record (what, record) VALUES
  ('good', regress.result(1)),
  ('empty', ''),
  ('cut off', substring(regress.result(1) FOR 30)),
  ('no type', regress.words(14, regress.test_uuid(1)::text)),
  ('type with a capital', regress.result(1, extra => regress.words(3, 'ICMP'))),
  ('type too long', regress.result(1, extra => regress.words(3, repeat('x', 33)))),
  ('type of 32', regress.result(1, extra => regress.words(3, repeat('x', 32)))),
  ('no result id', regress.words(3, 'icmp')),
  ('result id that is none', regress.result(1, extra => regress.words(14, 'x'))),
  ('result id without hyphens', regress.result(1, extra => regress.words(14, '00000000000040008000000000000001'))),
  ('test id that is none', regress.result(1, extra => regress.words(15, repeat('g', 36)))),
  ('test id empty', regress.result(1, extra => regress.words(15, ''))),
  ('not UTF-8', regress.result(1, extra => regress.bytes(4, '\xc3'))),
  ('overlong UTF-8', regress.result(1, extra => regress.bytes(9, '\xc080'))),
  ('surrogate', regress.result(1, extra => regress.bytes(9, '\xeda080'))),
  ('above U+10FFFF', regress.result(1, extra => regress.bytes(9, '\xf4908080'))),
  ('a NUL in a text', regress.result(1, extra => regress.bytes(9, '\x6100'))),
  ('astral text', regress.result(1, extra => regress.words(9, U&'\+01F600'))),
  ('target too long', regress.result(1, extra => regress.words(4, repeat('x', 1025)))),
  ('error too long', regress.result(1, extra => regress.words(9, repeat('x', 16385)))),
  ('error type with spaces', regress.result(1, extra => regress.words(16, 'no route'))),
  ('transport with a capital', regress.result(1, extra => regress.words(6, 'UDP'))),
  ('port 65536', regress.result(1, extra => regress.number(5, 65536))),
  ('port 65535', regress.result(1, extra => regress.number(5, 65535))),
  ('port as text', regress.result(1, extra => regress.words(5, '80'))),
  ('success as text', regress.result(1, extra => regress.words(8, 'yes'))),
  ('type as a number', regress.result(1, extra => regress.number(3, 1))),
  ('start before 1970', regress.result(1, extra => regress.number(10, -1))),
  ('duration negative', regress.result(1, extra => regress.number(11, -1))),
  ('metric not a number', regress.result(1, extra => regress.metric('m', 'NaN'))),
  ('metric infinite', regress.result(1, extra => regress.metric('m', '-Infinity'))),
  ('metric huge', regress.result(1, extra => regress.metric('m', 1.7e308))),
  ('metric tiny', regress.result(1, extra => regress.metric('m', 5e-324))),
  ('metric without a name', regress.result(1, extra => regress.metric('', 1))),
  ('metric with a space', regress.result(1, extra => regress.metric('a b', 1))),
  ('metric as an integer', regress.result(1, extra => regress.bytes(12, regress.words(1, 'm') || regress.number(2, 1)))),
  ('metric entry cut off', regress.result(1, extra => regress.bytes(12, '\x0a05'))),
  ('128 metrics', regress.result(1, extra => (SELECT string_agg(regress.metric('m' || i, i), '') FROM generate_series(1, 127) i))),
  ('129 metrics', regress.result(1, extra => (SELECT string_agg(regress.metric('m' || i, i), '') FROM generate_series(1, 128) i))),
  ('128 attributes', regress.result(1, extra => (SELECT string_agg(regress.attribute('a' || i, 'v'), '') FROM generate_series(1, 128) i))),
  ('129 attributes', regress.result(1, extra => (SELECT string_agg(regress.attribute('a' || i, 'v'), '') FROM generate_series(1, 129) i))),
  ('attribute not UTF-8', regress.result(1, extra => regress.bytes(13, regress.words(1, 'a') || regress.bytes(2, '\xff')))),
  ('attribute without a value', regress.result(1, extra => regress.bytes(13, regress.words(1, 'a')))),
  ('a key twice', regress.result(1, extra => regress.metric('rtt.avg.ms', 3) || regress.attribute('a', '1') || regress.attribute('a', '2'))),
  ('a newer field', regress.result(1, extra => regress.words(99, 'x') || regress.double(98, 1))),
  ('too large', regress.result(1, extra => regress.words(99, repeat('x', 70000)))),
  ('good', regress.result(1));
SELECT regress.batch(1, 3, VARIADIC array_agg(r.record ORDER BY r.i)) AS records FROM regress.record r \gset
CALL regress.send(:'a', :'second_agent', :'second_serial', :'records');
SELECT r.what, coalesce(d.reason, 'stored') AS outcome, d.record_bytes = octet_length(r.record) AS size, d.record = substring(r.record FOR 4096) AS kept
  FROM regress.record r LEFT JOIN probectl.dead_letter d ON d.tenant_id = :'a' AND d.agent_id = :'second_agent' AND d.seq = r.i + 2 ORDER BY r.i;
SELECT count(*) FROM probectl.result WHERE agent_id = :'second_agent';
SELECT started_at = received_at AS stamped, count(*) FROM probectl.result WHERE agent_id = :'second_agent' GROUP BY 1 ORDER BY 1;
SELECT (metrics ->> 'm')::double precision AS m, length(metrics ->> 'm') AS digits FROM probectl.result WHERE metrics ? 'm' AND agent_id = :'second_agent' ORDER BY 1;
SELECT latency_ms, metrics -> 'rtt.avg.ms' AS last, attributes FROM probectl.result WHERE attributes ? 'a' AND latency_ms = 3 AND agent_id = :'second_agent';
-- The same batch again adds neither results nor letters.
CALL regress.send(:'a', :'second_agent', :'second_serial', :'records');
SELECT count(*) FROM probectl.dead_letter WHERE tenant_id = :'a';
-- A batch of bad ones only.
CALL regress.send(:'a', :'second_agent', :'second_serial', regress.batch(1, 1000, '', ''));
SELECT count, stored, dead_lettered, leaf, block_first, block_last, started_min FROM probectl.ledger WHERE tenant_id = :'a' AND first_seq = 1000;

-- Identity: what the body says of tenant and agent counts for nothing; attributes that name one are dropped and counted.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 2, regress.result(42, extra =>
  regress.words(1, :'b') || regress.words(2, :'second_agent') || regress.attribute('tenant_id', :'b') || regress.attribute('tenant.id', :'b') ||
  regress.attribute('probectl.tenant.id', :'b') || regress.attribute('probectl.tenant_id', :'b') || regress.attribute('agent_id', 'x') ||
  regress.attribute('agent.id', 'x') || regress.attribute('probectl.agent.name', 'x') || regress.attribute('probectl.agent_id', 'x') ||
  regress.attribute('service.instance.id', 'x') || regress.attribute('network.peer.address', '192.0.2.9') || regress.attribute('my.tenant.id', 'kept'))));
SELECT tenant_id = :'a' AS tenant, agent_id = :'agent' AS agent, attributes FROM probectl.result WHERE test_id = regress.test_uuid(42);
SELECT dropped_attributes FROM probectl.ledger WHERE tenant_id = :'a' AND epoch = 9223372036854775807 AND first_seq = 2;
SELECT count(*) FROM probectl.result WHERE tenant_id = :'b';

-- Time: a clock far ahead is clamped and counted, a little ahead is believed, too old is a dead letter, none is now.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 3,
  regress.result(50, '2100-01-15 12:10:00+00'), regress.result(51, '2100-01-15 12:04:00+00'), regress.result(52, '2099-12-31 12:00:00+00'),
  regress.result(53, extra => regress.number(10, 0)), regress.result(54, extra => regress.number(10, 9223372036854775807)),
  regress.result(55, '2100-01-02 00:00:00+00'), regress.result(56, extra => regress.number(10, 1))));
SELECT test_id, started_at, started_at = received_at AS clamped FROM probectl.result
 WHERE tenant_id = :'a' AND test_id BETWEEN regress.test_uuid(50) AND regress.test_uuid(56) ORDER BY test_id;
SELECT seq, reason FROM probectl.dead_letter WHERE tenant_id = :'a' AND agent_id = :'agent' ORDER BY seq;
SELECT sum(clamped) AS clamped, sum(dead_lettered) AS dead, sum(stored) AS stored, count(*) AS ledger_rows FROM probectl.ledger
 WHERE tenant_id = :'a' AND epoch = 9223372036854775807 AND first_seq = 3;

-- Two days in one batch, interleaved: two ledger rows, the counts once.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 10,
  regress.result(60, '2100-01-14 23:59:59.999999+00', 1, regress.words(4, 'first')), regress.result(60, '2100-01-15 00:00:00+00', 2, regress.words(4, 'second')),
  regress.result(60, '2100-01-15 12:00:00+00', 3, regress.words(4, 'third')), regress.result(60, '2100-01-14 12:00:00+00', 4, regress.words(4, 'fourth')), ''));
SELECT leaf::regclass, count, stored, dead_lettered, started_min, started_max FROM probectl.ledger
 WHERE tenant_id = :'a' AND epoch = 9223372036854775807 AND first_seq = 10 ORDER BY leaf::regclass::text;
SELECT tableoid::regclass, started_at, target, latency_ms, metrics FROM probectl.result WHERE tenant_id = :'a' AND test_id = regress.test_uuid(60) ORDER BY latency_ms;

-- A test that only the agent knows: one identifier for what was tested, version 8, the same for everybody.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 15,
  regress.result(1, extra => regress.words(15, '')), regress.result(1, extra => regress.words(15, '')),
  regress.result(1, extra => regress.words(15, '') || regress.number(5, 443)), regress.result(1, extra => regress.words(15, '') || regress.words(3, 'tcp'))));
SELECT test_id, type, target, port, count(*) FROM probectl.result
 WHERE tenant_id = :'a' AND agent_id = :'agent' AND substr(test_id::text, 15, 1) = '8' GROUP BY 1, 2, 3, 4 ORDER BY 1;

-- Headline latency by type, loss, and a run that failed.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 19,
  regress.result(70, extra => regress.words(3, 'tcp') || regress.metric('connect.avg.ms', 7)),
  regress.result(71, extra => regress.words(3, 'http') || regress.metric('http.total.ms', 8.25)),
  regress.result(72, extra => regress.words(3, 'http')), regress.result(73, extra => regress.words(3, 'other')),
  regress.result(74, extra => regress.words(3, 'other') || regress.number(8, 0) || regress.words(16, 'timeout') || regress.words(9, 'no answer')),
  regress.result(75, extra => regress.metric('loss.ratio', 0.25))));
SELECT test_id, type, success, error_type, error, latency_ms, loss_ratio, duration_us FROM probectl.result
 WHERE tenant_id = :'a' AND test_id BETWEEN regress.test_uuid(70) AND regress.test_uuid(75) ORDER BY test_id;

-- More than one round of slots; more than a producer may send; the most that is taken.
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 100, VARIADIC regress.results(129)));
CALL regress.send(:'a', :'agent', :'serial', regress.batch(9223372036854775807, 1000, VARIADIC regress.results(1500)));
CALL regress.send(:'a', :'agent', :'serial', regress.number(1, 9223372036854775807) || regress.number(2, 10000) || decode(repeat('1a00', 10000), 'hex'));
SELECT count(*), count(DISTINCT started_at), sum(latency_ms) FROM probectl.result
 WHERE tenant_id = :'a' AND agent_id = :'agent' AND test_id = regress.test_uuid(1) AND received_at = (SELECT received_at FROM probectl.ledger WHERE first_seq = 1000 AND stored = 1500);
-- Blocks of the ledger are where the rows are.
SELECT l.first_seq, l.stored = (SELECT count(*) FROM probectl.result r WHERE r.tableoid = l.leaf AND r.received_at = l.received_at
         AND (r.ctid::text::point)[0] BETWEEN l.block_first AND l.block_last) AS covered
  FROM probectl.ledger l WHERE l.tenant_id = :'a' AND l.agent_id = :'agent' AND l.stored > 100 ORDER BY 1;
-- A day without a partition is the server's error, and nothing of the batch is kept.
BEGIN;
DROP TABLE probectl.result_21000114;
SELECT FROM probectl.enter_agent(:'a', :'agent', :'serial');
SAVEPOINT s;
SELECT FROM probectl.ingest('network', regress.batch(9223372036854775807, 30000, regress.result(1), regress.result(1, '2100-01-14 12:00:00+00')));
ROLLBACK TO s;
SELECT committed_seq FROM probectl.stream_position WHERE agent_id = :'agent';
ROLLBACK;

-- Several agents' batches in one transaction: each as its own, again, refused as one.
CALL regress.enrol(:'b', 'agent-b', NULL, NULL) \gset b_
CREATE TEMP TABLE before AS SELECT count(*) AS n FROM probectl.result WHERE tenant_id = :'a';
BEGIN;
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'agent', :'second_agent', :'agent']::uuid[], ARRAY[:'serial', :'second_serial', :'serial'], '{network,network,network}',
  ARRAY[regress.batch(9223372036854775807, 40000, VARIADIC regress.results(3)), regress.batch(1, 2000, regress.result(1), '\xff'::bytea), regress.batch(9223372036854775807, 40002, VARIADIC regress.results(3))]);
SELECT probectl.current_tenant() = :'a' AS bound, current_user = session_user AS same_role;
COMMIT;
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'serial'], '{network,network}',
  ARRAY[regress.batch(1, 2000, regress.result(1), '\xff'::bytea), regress.batch(9223372036854775807, 40002, VARIADIC regress.results(3))]);
SELECT agent_id = :'agent' AS first, committed_seq FROM probectl.stream_position WHERE tenant_id = :'a' AND agent_id IN (:'agent', :'second_agent') ORDER BY 1;
SELECT * FROM probectl.ingest_agents(:'a', '{}', '{}', '{}', '{}');
\set one 'ARRAY[regress.batch(1, 3000, regress.result(1)), regress.batch(9223372036854775807, 50000, regress.result(1))]'
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'second_serial'], '{network,network}', :one);
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'b_agent']::uuid[], ARRAY[:'second_serial', :'b_serial'], '{network,network}', :one);
SELECT * FROM probectl.ingest_agents(:'b', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'serial'], '{network,network}', :one);
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'serial'], '{network,flow}', :one);
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'serial'], '{network,network}', ARRAY[regress.batch(1, 3000, regress.result(1)), '\xff'::bytea]);
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', :'agent']::uuid[], ARRAY[:'second_serial', :'serial'], '{network}', :one);
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent', NULL]::uuid[], ARRAY[:'second_serial', :'serial'], '{network,network}', :one);
BEGIN;
SELECT FROM probectl.enter_agent(:'a', :'second_agent', :'second_serial');
SELECT * FROM probectl.ingest_agents(:'a', ARRAY[:'second_agent']::uuid[], ARRAY[:'second_serial'], '{network}', ARRAY[regress.batch(1, 3000, regress.result(1))]);
ROLLBACK;
SELECT (SELECT count(*) FROM probectl.result WHERE tenant_id = :'a') - n AS stored FROM before;
SELECT count(*) FROM probectl.result WHERE tenant_id = :'b' AND agent_id = :'agent';
DROP TABLE before;
DROP FUNCTION regress.results(integer), regress.refusal(bytea);
DROP TABLE regress.bad_batch, regress.record;
