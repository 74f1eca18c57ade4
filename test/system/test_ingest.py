# SPDX-License-Identifier: PostgreSQL
"""probectl-ingest as a process: who gets in, what is acknowledged and when, and what happens when
something breaks. Everything is real: certificates, database, gRPC; only the producer is the test's."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import grpc
import pytest

import ingest_parts as parts
from ingest_parts import Identity, Ingest, Producer, free_port, run, wait_until

Code = grpc.StatusCode


class World:
    """One database, two tenants, the certificates; shared by the tests of this file."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="probectl-ingest-", dir="/tmp"))
        self.database = None
        try:
            self._make()
        except BaseException:
            self.remove()
            raise

    def _make(self):
        (self.folder / "python").mkdir()
        self.messages = parts.Messages(self.folder / "python")
        self.ca = parts.Authority(self.folder, "hostile")
        self.stranger = parts.Authority(self.folder, "stranger")
        self.database = parts.Database()
        self.enrolment = parts.Enrolment(self.database, self.folder)
        self.tenant, self.other = self.enrolment.tenant("alpha"), self.enrolment.tenant("beta")
        self.server = self.ca.issue(["IP:127.0.0.1", "DNS:localhost"], usage="serverAuth")
        # The test's own authority is trusted as well: its certificates pass the handshake, and
        # have to be stopped by what comes after it.
        self.bundle = self.folder / "bundle.pem"
        self.bundle.write_text(self.enrolment.bundle + self.ca.cert.read_text())

    def remove(self):
        if self.database:
            self.database.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def ingest(self, **settings):
        return Ingest(self.folder, settings.pop("conninfo", None) or self.database.conninfo(),
                      self.server, self.bundle, **settings)

    def agent(self, tenant=None):
        return self.enrolment.agent(tenant or self.tenant)

    def producer(self, ingest, identity, **more):
        return Producer(ingest.target, self.ca.cert, identity, self.messages, **more)

    def stored(self, identity):
        """Results of an agent: all, and different ones."""
        return self.database.one("SELECT count(*), count(DISTINCT result_id) FROM probectl.result"
                                 " WHERE agent_id = %s", (identity.agent,))


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def shared(world):
    """An ingest for the tests that do not break it."""
    ingest = world.ingest().start()
    yield ingest
    code, took = ingest.stop()
    assert (code, took < 5) == (0, True), (code, took, ingest.log())


@pytest.fixture
def ingest(world):
    """Factory of processes with other settings; they are gone after the test."""
    made = []

    def make(start=True, wait=True, **settings):
        one = world.ingest(**settings)
        made.append(one)
        return one.start(wait) if start else one

    yield make
    for one in made:
        if one.process and one.process.poll() is None:
            one.kill()


@pytest.fixture
def agent(world):
    return world.agent()


class Blocked:
    """Nobody can commit results: the table of positions is locked until release."""

    def __init__(self, database):
        self.connection = parts.psycopg2.connect(database.conninfo("postgres"))
        self.cursor = self.connection.cursor()
        self.cursor.execute("LOCK TABLE probectl.stream_position IN ACCESS EXCLUSIVE MODE")
        self.database = database

    def wait(self):
        """Until a batch is past the check of its agent and waits for the lock."""
        wait_until("a batch waits", lambda: self.database.one(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'probectl_ingest' AND wait_event_type = 'Lock'")[0])

    def release(self):
        try:
            self.connection.rollback()
        except parts.psycopg2.Error:
            pass  # the server was killed meanwhile, the lock with it
        self.connection.close()


# ---- who gets in ---------------------------------------------------------------------------


def spiffe(tenant, agent, domain="probectl"):
    return f"URI:spiffe://{domain}/tenant/{tenant}/agent/{agent}"


T, A, B = (str(uuid.uuid4()) for _ in range(3))

# certificate of: the trusted authority or a stranger, names, usage -> status, counter
REFUSED = {
    "no certificate": (None, None, None, Code.UNAVAILABLE, "handshake"),
    "wrong authority": ("stranger", [spiffe(T, A)], "clientAuth", Code.UNAVAILABLE, "handshake"),
    "server-only usage": ("ca", [spiffe(T, A)], "serverAuth", Code.UNAVAILABLE, "handshake"),
    "no names": ("ca", [], "clientAuth", Code.UNAUTHENTICATED, "no_spiffe_id"),
    "a name but no URI": ("ca", ["DNS:agent"], "clientAuth", Code.UNAUTHENTICATED, "no_spiffe_id"),
    "a URI of another kind": ("ca", ["URI:https://probectl/"], "clientAuth", Code.UNAUTHENTICATED,
                              "no_spiffe_id"),
    "two SPIFFE URIs": ("ca", [spiffe(T, A), spiffe(T, B)], "clientAuth", Code.UNAUTHENTICATED,
                        "several_uris"),
    "a SPIFFE and another URI": ("ca", [spiffe(T, A), "URI:https://probectl/"], "clientAuth",
                                 Code.UNAUTHENTICATED, "several_uris"),
    "another trust domain": ("ca", [spiffe(T, A, "evil")], "clientAuth", Code.UNAUTHENTICATED,
                             "malformed_spiffe_id"),
    "capital letters": ("ca", [spiffe(T.upper(), A)], "clientAuth", Code.UNAUTHENTICATED,
                        "malformed_spiffe_id"),
    "something behind it": ("ca", [spiffe(T, A) + "/x"], "clientAuth", Code.UNAUTHENTICATED,
                            "malformed_spiffe_id"),
    "well-formed but never enrolled": ("ca", [spiffe(T, A)], "clientAuth", Code.UNAUTHENTICATED,
                                       "unknown_or_revoked"),
}


# Every method asks; of a well-formed certificate the first two ask the database as well.
ASKED = ["Attest", "Heartbeat", "Register", "StreamResults", "StreamConfig", "PullTests", "Meet", "Nothing"]


@pytest.mark.parametrize("case", REFUSED)
def test_identity_is_refused_counted_and_logged(world, ingest, case):
    authority, names, usage, code, reason = REFUSED[case]
    one = ingest()
    identity = Identity(*getattr(world, authority).issue(names, usage)) if authority else None
    with world.producer(one, identity) as producer:
        for method in ASKED[:2] if reason == "unknown_or_revoked" else ASKED:
            assert producer.status(method) == code, method
    # One handshake serves all calls, and the client does not try a failed one again at once.
    assert one.refused(reason) >= (1 if reason == "handshake" else 2)
    assert "warning refused" in one.log()
    assert one.metric("probectl_ingest_calls_total", 'method="Attest"') == (reason == "unknown_or_revoked")


def test_agent_of_another_tenant_is_unknown(world, shared, agent):
    """A certificate that names the other tenant with a known agent: both must fit."""
    identity = Identity(*world.ca.issue_agent(world.other, agent.agent))
    with world.producer(shared, identity) as producer:
        assert producer.status("Attest") == Code.UNAUTHENTICATED


def test_expired_certificate_fails_the_handshake(world, shared, agent):
    now = time.time()
    identity = Identity(*world.ca.issue_agent(agent.tenant, agent.agent, dates=(now - 7200, now - 3600)))
    with world.producer(shared, identity) as producer:
        assert producer.status("Attest") == Code.UNAVAILABLE


def test_certificate_that_expires_ends_its_open_stream(world, ingest, agent):
    """The handshake was long ago, and a producer that says nothing is not kept for it."""
    now = time.time()
    one = ingest()
    identity = Identity(*world.ca.issue_agent(agent.tenant, agent.agent, dates=(now - 60, now + 3)))
    shown = parts.run("openssl", "x509", "-in", identity.cert, "-noout", "-serial")
    serial = shown.strip().removeprefix("serial=").lower().lstrip("0")
    with world.database.session() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("INSERT INTO probectl.agent_certificate (tenant_id, serial, agent_id, public_key, not_before,"
                       " not_after) VALUES (%s, %s, %s, 'x', now() - interval '1 min', now() + interval '1 hour')",
                       (agent.tenant, serial, agent.agent))
    with world.producer(one, identity) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, world.messages.results(1)))
        stream.wait_acks(1)
        assert stream.end() == Code.UNAUTHENTICATED
        assert time.time() >= int(now) + 3, "not before its end"
    assert one.refused("certificate_expired") == 1


@pytest.mark.parametrize("version, ends", [("-tls1_2", False), ("-tls1_3", True)])
def test_only_tls_1_3(shared, agent, version, ends):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", shared.target, version, "-alpn", "h2", "-cert", agent.cert,
         "-key", agent.key], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=20)
    assert ("New, TLSv1.3, Cipher is TLS_" in done.stdout) == ends, done.stdout + done.stderr


def test_plain_text_gets_nothing(shared):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=15) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        try:
            answer = client.recv(1024)
        except ConnectionResetError:
            answer = b""
    assert b"HTTP" not in answer and (answer == b"" or answer[0] == 0x15)  # a TLS alert at most


# ---- the small calls -----------------------------------------------------------------------


def test_register_tells_who_and_how_far(world, shared, agent):
    with world.producer(shared, agent) as producer:
        first = producer.register(agent_version="1", capabilities=["icmp", 'a "b" \\ c'],
                                  labels={"site": "Zürich"})
        assert (first.tenant_id, first.agent_id) == (agent.tenant, agent.agent)
        assert first.heartbeat_interval_seconds > 0
        assert abs(first.server_time_unix_nano - time.time_ns()) < 5e9
        stream = producer.stream()
        stream.send(world.messages.request(77, 1, world.messages.results(3)))
        stream.wait_acks(1)
        assert stream.finish() == Code.OK
        again = producer.register(agent_version="1")
        assert (again.stream_epoch, again.committed_seq) == (77, 3)


@pytest.mark.parametrize("method, request_bytes", [
    ("Register", b"\xff"),
    ("Register", b"\x0a\x02\xc3\x28"),             # hostname is not UTF-8
    ("Register", b"\x0a\xac\x02" + b"a" * 300),    # hostname too long
    ("Register", b"\x1a\x01a" * 65),               # too many capabilities
    ("Heartbeat", b"\x32\x03\x0a\x01\xff"),        # a reason of dropped is not UTF-8
    ("Heartbeat", b"\xff\xff"),
    ("Attest", b"\xff"),
    ("PullTests", b"\xff"),
    ("Meet", b"\xff"),
    ("Meet", b"\x1a\x41" + b"1" * 65),            # host too long
    ("Meet", b"\x20\x80\x80\x04"),               # port 65536
    ("Meet", b"\x2a\x01a" * 1025),               # too many sessions
    pytest.param("Register", b"\x0a" + b"\x80" * 70000, id="too-long"),
])
def test_bad_message_is_invalid_argument(world, shared, agent, method, request_bytes):
    before = shared.refused("bad_message")
    with world.producer(shared, agent) as producer:
        assert producer.status(method, request_bytes) == Code.INVALID_ARGUMENT
    assert shared.refused("bad_message") == before + 1


def test_attest_answers_the_identity(world, shared, agent):
    with world.producer(shared, agent) as producer:
        answer = producer.call("Attest", world.messages.agent.AttestRequest(nonce=b"n"),
                               world.messages.agent.AttestResponse)
    assert answer.ok and answer.message == f"spiffe://probectl/tenant/{agent.tenant}/agent/{agent.agent}"


def test_heartbeat_with_a_foreign_agent_id_counts_for_the_certificate(world, ingest, agent):
    victim = world.agent()
    one = ingest()
    with world.producer(one, agent) as producer:
        producer.register()
        answer = producer.heartbeat(agent_id=victim.agent, spool_records=2 ** 64 - 1,
                                    dropped={"spool_full": 3}, clock_skew_nano=-5)
    assert answer.heartbeat_interval_seconds > 0
    assert one.metric("probectl_ingest_identity_mismatch_total") == 1
    assert f"warning identity {agent.agent}" in one.log()
    with world.producer(one, agent) as producer:
        producer.heartbeat(agent_id=agent.agent)
    assert one.metric("probectl_ingest_identity_mismatch_total") == 1


def test_heartbeat_says_how_the_agent_is(world, shared, agent):
    with world.producer(shared, agent) as producer:
        producer.heartbeat(config_epoch=7, spool_records=5, spool_bytes=900, oldest_unix_nano=1800000000000000000,
                           dropped={"full": 2}, clock_skew_nano=1500000, tests_problem="revision 6 is older than 7",
                           tests_refused=3, ticks_skipped=4, runs_disturbed=5)
        row = world.database.one(
            "SELECT config_epoch, spool_records, spool_bytes, extract(epoch FROM oldest_unsent_at)::bigint, dropped, clock_skew_ms,"
            " tests_problem, tests_refused, ticks_skipped, runs_disturbed FROM probectl.agent_state WHERE agent_id = %s",
            (agent.agent,), tenant=agent.tenant)
        assert tuple(row) == (7, 5, 900, 1800000000, {"full": 2}, 1.5, "revision 6 is older than 7", 3, 4, 5)
        # What is no text is no reason.
        with pytest.raises(grpc.RpcError) as refusal:
            producer.heartbeat(tests_problem="x" * 300)
        assert refusal.value.code() == Code.INVALID_ARGUMENT


def test_config_push_is_denied(world, shared, agent):
    with world.producer(shared, agent) as producer:
        with pytest.raises(grpc.RpcError) as refusal:
            producer.call("StreamConfig", b"")
    assert refusal.value.code() == Code.PERMISSION_DENIED
    assert "load their own" in refusal.value.details()


def test_unknown_method_is_unimplemented(world, shared, agent):
    with world.producer(shared, agent) as producer:
        assert producer.status("Nothing") == Code.UNIMPLEMENTED


# ---- results -------------------------------------------------------------------------------


def test_acks_come_in_order_with_running_totals(world, shared, agent):
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        for i in range(12):
            stream.send(world.messages.request(1, 1 + i * 50, world.messages.results(50)))
        stream.wait_acks(12)
        assert stream.finish() == Code.OK
    assert [ack.committed_seq for ack in stream.acks] == [50 * i for i in range(1, 13)]
    assert [ack.accepted for ack in stream.acks] == [50 * i for i in range(1, 13)]
    assert world.stored(agent) == (600, 600)


def test_repeated_records_are_trimmed(world, shared, agent):
    records = world.messages.results(30)
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, records[:20]))
        stream.send(world.messages.request(1, 11, records[10:]))
        ack = stream.wait_acks(2)
        assert stream.finish() == Code.OK
    assert (ack.committed_seq, ack.duplicate, ack.accepted) == (30, 10, 30)
    assert world.stored(agent) == (30, 30)


def test_nothing_is_acknowledged_before_the_commit(world, shared, agent):
    blocked = Blocked(world.database)
    try:
        with world.producer(shared, agent) as producer:
            stream = producer.stream()
            stream.send(world.messages.request(1, 1, world.messages.results(5)))
            wait_until("the batch waits in the database", lambda: world.database.one(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND usename = 'probectl_ingest'")[0] == 1)
            assert shared.metric("probectl_backlog") == 1
            assert stream.acks == [] and world.stored(agent) == (0, 0)
            blocked.release()
            stream.wait_acks(1)
            assert world.stored(agent) == (5, 5)
            assert stream.finish() == Code.OK
    finally:
        blocked.release()
    assert shared.metric("probectl_backlog") == 0


def test_garbage_ends_the_stream_behind_what_was_good(world, shared, agent):
    """The first batches are committed, the garbage is named, what follows is not stored."""
    messages = world.messages
    blocked = Blocked(world.database)  # so that all of them are in the server at once
    with world.producer(shared, agent) as producer:
        received = shared.metric("probectl_ingest_batches_received_total")
        stream = producer.stream()
        stream.send(messages.request(1, 1, messages.results(5)))
        stream.send(messages.request(1, 6, messages.results(5)))
        stream.send(messages.agent.StreamResultsRequest(batch=b"\xff\xff\xff"))
        stream.send(messages.request(1, 11, messages.results(5)))
        wait_until("the server has them", lambda: shared.metric(
            "probectl_ingest_batches_received_total") == received + 4)
        blocked.release()
        assert stream.end() == Code.INVALID_ARGUMENT
        assert [ack.committed_seq for ack in stream.acks] == [5, 10]
        assert world.stored(agent) == (10, 10)
        stream = producer.stream()
        stream.send(messages.request(1, 11, messages.results(5)))
        assert stream.wait_acks(1).committed_seq == 15
        stream.finish()
    assert shared.refused("bad_batch") >= 1


@pytest.mark.parametrize("message", [
    b"\x0a\x01x",                    # a result without a sequence number, as once
    b"\x22",                         # cut off
    b"\x22\x05ab",                   # shorter than it says
    b"\x20\x01",                     # batch as a number
    b"\x22\x00",                     # no batch
    b"",
    b"\x22\x01a\x2a\x03A;-",         # plane
    b"\x22\x01a\x2a\x11" + b"a" * 17,
    b"\xff" * 100,
])
def test_what_is_no_request_is_refused(world, shared, agent, message):
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        stream.send(message)
        assert stream.end() == Code.INVALID_ARGUMENT
        assert producer.status("Attest") == Code.OK


def test_unknown_plane_and_unknown_fields(world, shared, agent):
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        request = world.messages.request(1, 1, world.messages.results(1)).SerializeToString()
        stream.send(request + b"\x98\x06\x01" + b"\xa2\x06\x02ab" + b"\xa9\x06" + bytes(8))
        assert stream.wait_acks(1).committed_seq == 1
        assert stream.finish() == Code.OK


def test_oversize_message(world, ingest, agent):
    one = ingest(message_bytes=65536)
    with world.producer(one, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, [b"x" * 70000]))
        assert stream.end() == Code.RESOURCE_EXHAUSTED
        assert producer.status("Attest") == Code.OK
    assert one.refused("too_large_or_cut_off") == 1


def test_compressed_message_is_refused(world, shared, agent):
    """A small message that becomes a large one would pass the size check."""
    with world.producer(shared, agent, options=[
            ("grpc.default_compression_algorithm", grpc.Compression.Gzip.value)]) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, [b"x" * 4000]))
        assert stream.end() == Code.UNIMPLEMENTED
    assert world.stored(agent) == (0, 0)


@pytest.mark.tenancy
def test_claimed_tenant_and_agent_are_overwritten(world, shared, agent):
    victim = world.agent(world.other)
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        records = world.messages.results(4, tenant_id=world.other, agent_id=victim.agent)
        stream.send(world.messages.request(1, 1, records))
        stream.wait_acks(1)
        stream.finish()
    assert world.stored(victim) == (0, 0)
    with world.database.session() as cursor:
        cursor.execute("SELECT DISTINCT tenant_id::text, agent_id::text FROM probectl.result"
                       " WHERE agent_id IN (%s, %s)", (agent.agent, victim.agent))
        assert cursor.fetchall() == [(agent.tenant, agent.agent)]


def test_older_epoch_is_refused(world, shared, agent):
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(9, 1, world.messages.results(1)))
        stream.wait_acks(1)
        stream.send(world.messages.request(8, 2, world.messages.results(1)))
        assert stream.end() == Code.FAILED_PRECONDITION
    assert world.stored(agent) == (1, 1)


def test_revoked_agent_loses_its_open_stream(world, shared):
    agent = world.agent()
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, world.messages.results(1)))
        stream.wait_acks(1)
        assert world.database.one("SELECT probectl.agent_revoke(%s)", (agent.agent,), agent.tenant)[0]
        stream.send(world.messages.request(1, 2, world.messages.results(1)))
        assert stream.end() == Code.UNAUTHENTICATED
        assert producer.status("Heartbeat") == Code.UNAUTHENTICATED
    assert world.stored(agent) == (1, 1)


@pytest.mark.tenancy
def test_suspended_tenant_is_not_permitted(world, shared):
    tenant = world.enrolment.tenant("suspended")
    agent = world.agent(tenant)
    with world.producer(shared, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, world.messages.results(1)))
        stream.wait_acks(1)
        with world.database.session() as cursor:
            cursor.execute("SET session_replication_role = replica")  # there is no call for it yet
            cursor.execute("UPDATE probectl.tenant SET status = 'suspended' WHERE tenant_id = %s", (tenant,))
        stream.send(world.messages.request(1, 2, world.messages.results(1)))
        assert stream.end() == Code.PERMISSION_DENIED


# ---- back pressure -------------------------------------------------------------------------


def test_a_stream_holds_four_batches_in_the_server(world, ingest, agent):
    one = ingest()
    blocked = Blocked(world.database)
    try:
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            for i in range(40):
                stream.send(world.messages.request(1, 1 + i * 20, world.messages.results(20)))
            wait_until("the window is full",
                       lambda: one.metric("probectl_ingest_batches_received_total") == 4)
            # Another call has gone all the way meanwhile, so reading had its chance.
            assert producer.status("Attest") == Code.OK
            assert one.metric("probectl_ingest_batches_received_total") == 4
            assert one.metric("probectl_backlog") == 4
            blocked.release()
            stream.wait_acks(40)
            assert stream.finish() == Code.OK
    finally:
        blocked.release()
    assert world.stored(agent) == (800, 800)
    assert one.metric("probectl_ingest_queued_bytes") == 0


def test_memory_bound_holds_streams_back(world, ingest):
    """8 MiB for batches of 1 MiB of 6 streams: some are not read until others are committed."""
    one = ingest(memory_bytes="8 MiB")
    agents = [world.agent() for _ in range(6)]
    producers = [world.producer(one, agent) for agent in agents]
    blocked = Blocked(world.database)
    try:
        streams = [producer.stream() for producer in producers]
        for stream in streams:
            for i in range(6):
                records = world.messages.results(250, attributes={"pad": "x" * 4000})
                stream.send(world.messages.request(1, 1 + i * 250, records))
        wait_until("streams are held back", lambda: one.metric("probectl_ingest_starved_streams") > 0, 40)
        # The bound plus what was being read when it was reached.
        assert one.metric("probectl_ingest_queued_bytes") <= 8 * 2 ** 20 + 6 * 1.2 * 2 ** 20
        blocked.release()
        for stream in streams:
            stream.wait_acks(6, 60)
            assert stream.finish() == Code.OK
    finally:
        blocked.release()
        for producer in producers:
            producer.channel.close()
    assert [world.stored(agent) for agent in agents] == [(1500, 1500)] * 6
    assert one.metric("probectl_ingest_queued_bytes") == 0
    assert one.metric("probectl_ingest_starved_streams") == 0


def test_streams_are_limited(world, ingest, agent):
    one = ingest(streams=2)
    with world.producer(one, agent) as producer:
        held = [producer.stream() for _ in range(2)]
        wait_until("two are open", lambda: one.metric("probectl_ingest_streams") == 2)
        assert producer.stream().end() == Code.RESOURCE_EXHAUSTED
        assert held[0].finish() == Code.OK
        wait_until("one is free", lambda: one.metric("probectl_ingest_streams") == 1)
        third = producer.stream()
        third.send(world.messages.request(1, 1, world.messages.results(1)))
        third.wait_acks(1)
    wait_until("a closed connection frees its streams", lambda: one.metric("probectl_ingest_streams") == 0)


def test_one_agent_cannot_take_all_streams(world, ingest, agent):
    """Many connections of one certificate; another agent still gets in."""
    one = ingest()
    producers = [world.producer(one, agent) for _ in range(4)]
    try:
        streams = [producer.stream() for producer in producers for _ in range(10)]
        wait_until("the rest is refused", lambda: one.refused("limit") == 8)
        assert one.metric("probectl_ingest_streams") == 32
        assert sorted(s.code.name for s in streams if s.code) == ["RESOURCE_EXHAUSTED"] * 8
        with world.producer(one, world.agent()) as other:
            assert other.status("Attest") == Code.OK
    finally:
        for producer in producers:
            producer.channel.close()
    with world.producer(one, agent) as producer:
        wait_until("they are given back", lambda: producer.status("Attest") == Code.OK)


# ---- tests for agents ----------------------------------------------------------------------


def add_test(world, tenant, name):
    with world.database.session(tenant) as cursor:
        cursor.execute("INSERT INTO probectl.test (name, type, target) VALUES (%s, 'icmp', '127.0.0.1')", (name,))


def test_pull_gives_the_tests_and_then_waits(world, ingest, agent):
    one = ingest()
    outsider = world.agent(world.other)
    with world.producer(one, agent) as producer, world.producer(one, outsider) as elsewhere:
        add_test(world, agent.tenant, "first")
        now = producer.pull(0)
        assert not now.unchanged
        bundle = world.messages.test.TestBundle.FromString(now.bundle)
        assert bundle.revision == now.revision and "first" in [test.name for test in bundle.tests]
        same = producer.pull(now.revision)
        assert same.unchanged and same.bundle == b"" and same.revision == now.revision

        theirs = elsewhere.pull(0).revision
        waiting, bystander = producer.pull_future(now.revision, 30), elsewhere.pull_future(theirs, 30)
        wait_until("both wait", lambda: one.metric("probectl_ingest_waiters") == 2)
        began = time.monotonic()
        add_test(world, agent.tenant, "second")
        answer = waiting.result()
        assert time.monotonic() - began < 5
        assert answer.revision > now.revision
        assert not bystander.done()
        bystander.cancel()
        wait_until("who gave up is forgotten", lambda: one.metric("probectl_ingest_waiters") == 0)


def signer_of(answer, folder):
    """Checks an answer as an agent does, with openssl: the signer's certificate as a file."""
    chain, root, data, signature, key = (folder / name for name in ("chain.pem", "root.pem", "data", "signature", "key.pem"))
    chain.write_text(answer.signer_pem)
    data.write_bytes(b"probectl.tests.v1\n" + answer.bundle)
    signature.write_bytes(answer.signature)
    run("openssl", "verify", "-CAfile", root, "-untrusted", chain, chain)
    key.write_text(run("openssl", "x509", "-in", chain, "-pubkey", "-noout"))
    run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", data, "-sigfile", signature)
    return chain


def test_pulled_tests_are_signed_by_a_key_that_the_root_vouches_for(world, ingest, agent, tmp_path):
    one = ingest()
    (tmp_path / "root.pem").write_text(world.database.one("SELECT probectl.ca_root()")[0])
    with world.producer(one, agent) as producer:
        add_test(world, agent.tenant, "signed")
        first = producer.pull(0)
        bundle = world.messages.test.TestBundle.FromString(first.bundle)
        assert (bundle.tenant_id, bundle.agent_id) == (agent.tenant, agent.agent)
        chain = signer_of(first, tmp_path)
        said = run("openssl", "x509", "-in", chain, "-noout", "-text")
        assert "URI:spiffe://probectl/control/tests" in said and "ED25519" in said
        assert "Code Signing" in said and "Client Authentication" not in said and "Server Authentication" not in said
        # The same key until the intermediate behind it is replaced.
        assert producer.pull(0).signer_pem == first.signer_pem
        world.database.one("SELECT probectl.ca_rotate()")
        second = producer.pull(0)
        assert second.signer_pem != first.signer_pem and second.bundle == first.bundle
        signer_of(second, tmp_path)
    # No key leaves in the clear, and each is in the provider's chain.
    assert world.database.one("SELECT bool_and(octet_length(sealed_seed) = 60) FROM probectl_internal.tests_key")[0]
    assert world.database.one("SELECT count(*) FROM probectl_internal.provider_audit_event WHERE action = 'ca.issue_tests'") == \
        world.database.one("SELECT count(*) FROM probectl_internal.tests_key")


def test_pull_ends_by_itself(world, shared, agent):
    with world.producer(shared, agent) as producer:
        known = producer.pull(0).revision
        began = time.monotonic()
        assert producer.pull(known, wait=1).unchanged
        assert 0.9 < time.monotonic() - began < 5


def test_meet_brings_two_agents_of_a_tenant_together(world, ingest, agent):
    """Who asks is told its own sessions, woken when they change; only the responder's word makes one ready."""
    one, messages = ingest(), world.messages.agent
    responder, outsider = world.agent(), world.agent(world.other)

    def tasks(answer):
        return [] if answer.unchanged else list(messages.MeetTasks.FromString(answer.tasks).tasks)

    with world.producer(one, agent) as left, world.producer(one, responder) as right, world.producer(one, outsider) as elsewhere:
        nothing = left.meet()
        assert tasks(nothing) == [] and left.meet(nothing.revision).unchanged
        waiting, bystander = left.meet_future(nothing.revision, 30), elsewhere.meet_future(elsewhere.meet().revision, 30)
        wait_until("both wait", lambda: one.metric("probectl_ingest_waiters") == 2)
        with world.database.session(agent.tenant) as cursor:
            cursor.execute("INSERT INTO probectl.test (name, type, target, agent_id) VALUES ('meet', 'a2a', %s, %s)", (responder.agent, agent.agent))
        answer = waiting.result()
        task, = tasks(answer)
        assert (task.role, task.peer_agent_id, len(task.token), task.port, list(task.hosts)) == (messages.MeetTask.ROLE_INITIATOR, responder.agent, 16, 0, [])
        # it reports for itself, and for the responder it cannot
        assert tasks(left.meet(host="192.0.2.66", port=6666, session_ids=[task.session_id])) == [task]
        mine, = tasks(right.meet())
        assert (mine.role, mine.peer_agent_id, mine.session_id, mine.token) == (messages.MeetTask.ROLE_RESPONDER, agent.agent, task.session_id, task.token)
        waiting = left.meet_future(answer.revision, 30)
        wait_until("it waits again", lambda: one.metric("probectl_ingest_waiters") == 2)
        right.meet(host="192.0.2.7", port=5000, session_ids=[mine.session_id])
        ready, = tasks(waiting.result())
        assert (list(ready.hosts), ready.port, ready.token) == (["192.0.2.7"], 5000, task.token)
        # the address it calls from was seen here, not said there
        assert world.database.one("SELECT host(observed) FROM probectl.a2a_endpoint WHERE agent_id = %s", (responder.agent,))[0] == "127.0.0.1"
        # another port is news to who waits; the call that is woken does not say again what it said
        waiting = left.meet_future(left.meet().revision, 30)
        right.meet(host="192.0.2.7", port=5001, session_ids=[mine.session_id])
        assert tasks(waiting.result())[0].port == 5001
        assert left.status("Meet", messages.MeetRequest(host="example.net", port=1).SerializeToString()) == Code.INVALID_ARGUMENT
        assert not bystander.done() and tasks(elsewhere.meet()) == []
        bystander.cancel()


# ---- when things break ---------------------------------------------------------------------


def deliver(world, ingest, agent, first, count, seconds=60):
    """As an agent does: until it is acknowledged, however often that takes."""
    records = world.messages.results(count)

    def attempt():
        with world.producer(ingest, agent) as producer:
            stream = producer.stream(timeout=10)
            stream.send(world.messages.request(1, first, records))
            wait_until("an ack or the end", lambda: stream.acks or stream.code, 15)
            return bool(stream.acks)

    wait_until("delivered", attempt, seconds)


def test_database_killed_between_batch_and_commit(world, ingest, agent):
    one = ingest()
    blocked = Blocked(world.database)
    try:
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            records = world.messages.results(40)
            stream.send(world.messages.request(1, 1, records))
            wait_until("the batch waits in the database", lambda: world.database.one(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND usename = 'probectl_ingest'")[0] == 1)
            world.database.kill()
            assert stream.end() == Code.UNAVAILABLE
            assert stream.acks == []
            assert producer.status("Attest") == Code.UNAVAILABLE  # away, and it says so
    finally:
        blocked.release()
        world.database.start()
    with world.producer(one, agent) as producer:
        wait_until("ingest found the database again", one.ready)
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, records))
        assert stream.wait_acks(1).committed_seq == 40
        stream.finish()
    assert world.stored(agent) == (40, 40)
    assert one.process.poll() is None
    assert one.log().count("trying again") == 1, one.log()  # one line per outage


def test_database_restarted_in_order(world, ingest, agent):
    one = ingest()
    world.database.stop()
    wait_until("the loss is noticed", lambda: not one.ready())
    world.database.start()
    deliver(world, one, agent, 1, 10)
    assert world.stored(agent) == (10, 10)


def test_one_lost_connection_is_replaced(world, ingest, agent):
    one = ingest()
    with world.database.session() as cursor:
        cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                       " WHERE usename = 'probectl_ingest'")
    deliver(world, one, agent, 1, 10)
    wait_until("all are back", lambda: one.metric("probectl_ingest_database_connections") == 4)


def test_database_missing_at_start(world, ingest, agent):
    world.database.stop()
    try:
        one = ingest(wait=False)
        wait_until("it says so", lambda: one.alive() and "trying again" in one.log())
        with world.producer(one, agent) as producer:
            assert producer.status("Attest") == Code.UNAVAILABLE
    finally:
        world.database.start()
    deliver(world, one, agent, 1, 5)
    assert world.stored(agent) == (5, 5)


def test_ingest_killed_under_load(world, ingest, agent):
    """Resending after a kill -9: all there, once."""
    one = ingest()
    records = world.messages.results(2000)
    committed, round_ = 0, 0
    while committed < len(records):
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            for first in range(committed, len(records), 50):
                stream.send(world.messages.request(1, first + 1, records[first:first + 50]))
            target = min(committed + 400, len(records)) if round_ < 4 else len(records)
            wait_until("progress", lambda: stream.code or (
                stream.acks and stream.acks[-1].committed_seq >= target), 40)
            if round_ < 4:
                one.kill()
                stream.end()
                one.start()
            committed = max([committed] + [ack.committed_seq for ack in stream.acks])
            round_ += 1
    assert world.stored(agent) == (2000, 2000)


def test_stop_with_open_calls(world, ingest, agent):
    one = ingest()
    with world.producer(one, agent) as producer:
        idle, busy = producer.stream(), producer.stream()
        known = producer.pull(0).revision
        waiting = producer.pull_future(known, 30)
        wait_until("all are open", lambda: one.metric("probectl_ingest_waiters") == 1
                   and one.metric("probectl_ingest_streams") == 2)
        busy.send(world.messages.request(1, 1, world.messages.results(5)))
        busy.wait_acks(1)
        code, took = one.stop()
        assert (code, took < 5) == (0, True), one.log()
        assert idle.end() == Code.UNAVAILABLE and busy.end() == Code.UNAVAILABLE
        assert waiting.result().unchanged
    assert not one.socket.exists()


def test_stop_while_the_database_hangs(world, ingest, agent):
    one = ingest()
    blocked = Blocked(world.database)
    try:
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            stream.send(world.messages.request(1, 1, world.messages.results(5)))
            wait_until("the batch is on its way", lambda: one.metric("probectl_backlog") == 1)
            code, took = one.stop()
            assert (code, took < 5) == (0, True), one.log()
            assert stream.end() != Code.OK and stream.acks == []
    finally:
        blocked.release()


def test_stop_lets_the_database_finish(world, ingest, agent):
    one = ingest()
    blocked = Blocked(world.database)
    try:
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            stream.send(world.messages.request(1, 1, world.messages.results(5)))
            wait_until("the batch is on its way", lambda: one.metric("probectl_backlog") == 1)
            one.process.terminate()
            wait_until("it is stopping", lambda: "stopping" in one.log())
            blocked.release()
            assert stream.end() == Code.UNAVAILABLE
            assert len(stream.acks) == 1
            assert one.process.wait(5) == 0
    finally:
        blocked.release()
    assert world.stored(agent) == (5, 5)


def test_renewed_server_certificate_is_taken_on_hangup(world, ingest, agent):
    one = ingest(start=False)
    folder = world.folder / uuid.uuid4().hex
    folder.mkdir()
    for source, name in zip(world.server, ("key", "cert")):
        shutil.copy(source, folder / name)
    one.config.write_text(one.config.read_text().replace(str(world.server[0]), str(folder / "key"))
                          .replace(str(world.server[1]), str(folder / "cert")))
    one.start()

    def serial():
        shown = subprocess.run(["openssl", "s_client", "-connect", one.target, "-alpn", "h2"],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               errors="replace", timeout=20)
        return parts.run("openssl", "x509", "-noout", "-serial", input=shown.stdout)

    before = serial()
    (folder / "cert").write_text("nonsense")
    one.process.send_signal(signal.SIGHUP)
    wait_until("nonsense is reported", lambda: "not reloaded" in one.log())
    assert serial() == before
    for source, name in zip(world.ca.issue(["IP:127.0.0.1"], usage="serverAuth"), ("key", "cert")):
        shutil.copy(source, folder / name)
    one.process.send_signal(signal.SIGHUP)
    wait_until("the renewal is reported", lambda: "certificates reloaded" in one.log())
    assert serial() != before
    with world.producer(one, agent) as producer:
        assert producer.status("Attest") == Code.OK


# ---- start ---------------------------------------------------------------------------------


def outcome(one, *more):
    done = subprocess.run(one.command(*more), capture_output=True, text=True, timeout=20,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def test_port_taken(world, ingest):
    one = ingest()
    code, _, text = outcome(ingest(start=False, port=one.port))
    assert code == 1
    assert len(text.splitlines()) == 1 and f"cannot listen on 127.0.0.1:{one.port} (Address already in use)" in text
    assert one.alive()


def test_second_process_on_the_status_socket(world, ingest):
    one, two = ingest(), ingest(start=False)
    two.config.write_text(two.config.read_text().replace(str(two.socket), str(one.socket)))
    code, _, text = outcome(two)
    assert code == 1 and "status socket" in text and len(text.splitlines()) == 1
    assert one.ready()


@pytest.mark.parametrize("old, new, code, words", [
    ("cert_file: ", "cert_file: /nonexistent", 1, "tls.cert_file: cannot read"),
    ("listen: ", "listen: 256.0.0.1:1 #", 1, "cannot listen on 256.0.0.1:1"),
    ("database: ", "database: host #", 2, "missing"),
    ("listen: ", "lisen: 1 #", 2, "lisen"),
    ("database: ", "connections: 0\ndatabase: ", 2, "connections"),
])
def test_settings_that_cannot_work(world, ingest, old, new, code, words):
    one = ingest(start=False)
    one.config.write_text(one.config.read_text().replace(old, new))
    got, _, text = outcome(one)
    assert (got, words in text, len(text.splitlines())) == (code, True, 1), text


def test_check_config(world, ingest):
    one = ingest(start=False)
    code, _, text = outcome(one, "--check-config")
    assert (code, text) == (0, "")
    away = ingest(start=False, conninfo=f"host={world.folder} dbname=x")
    code, _, text = outcome(away, "--check-config")
    assert code == 0 and "the database does not answer" in text
    other_key, _ = world.ca.issue(["IP:127.0.0.1"], usage="serverAuth")
    one.config.write_text(one.config.read_text().replace(str(world.server[0]), str(other_key)))
    code, _, text = outcome(one, "--check-config")
    assert code == 2 and "is not the private key of" in text
    code, _, text = outcome(one)
    assert code == 1 and "is not the private key of" in text


# ---- several agents in one transaction -------------------------------------------------------------


def small_batches(world, one, agents, bad=None, epoch=1):
    """Each agent sends three small batches while nobody can commit; the streams, once the database has let go."""
    blocked = Blocked(world.database)
    producers = [world.producer(one, agent) for agent in agents]
    try:
        streams = [producer.stream() for producer in producers]
        for i, stream in enumerate(streams):
            for first in (1, 3, 5):
                records = world.messages.results(2)
                # Not a batch at all: the whole message is refused by the database, not by what stands before it.
                stream.send(world.messages.agent.StreamResultsRequest(batch=b"\x0a\xff") if i == bad and first == 3
                            else world.messages.request(epoch, first, records))
        wait_until("all of it is there", lambda: one.metric("probectl_ingest_batches_received_total") >= 3 * len(agents))
    finally:
        blocked.release()
    for stream in streams:
        stream.finish()
    for producer in producers:
        producer.__exit__()
    return streams


def samples_of(world, tenant):
    """Samples that results of a tenant became, once all of them did."""
    def worked_in():
        row = world.database.one("SELECT stored + refused_agent + refused_tenant + too_old, next_xid > (SELECT max(xid) FROM probectl.ledger WHERE tenant_id = %s)"
                                 " FROM probectl.metric_state WHERE tenant_id = %s", (tenant, tenant))
        return row[0] if row and row[1] else 0

    wait_until("the samples are worked in", worked_in)
    return worked_in()


def test_small_batches_of_a_tenant_share_transactions(world, ingest):
    one = ingest(connections=1)
    agents = [world.agent(world.tenant) for _ in range(20)] + [world.agent(world.other) for _ in range(5)]
    for agent in (agents[0], agents[-1]):
        deliver(world, one, agent, 1, 1)
    before = [samples_of(world, tenant) for tenant in (world.tenant, world.other)]
    streams = small_batches(world, one, agents, epoch=2)
    assert [stream.code for stream in streams] == [Code.OK] * 25
    assert {stream.acks[-1].committed_seq for stream in streams} == {6}
    assert [world.stored(agent) for agent in agents] == [(7, 7)] + [(6, 6)] * 23 + [(7, 7)]
    assert one.metric("probectl_ingest_shared_transactions_total") >= 1
    # What readers of the ledger make of them: success, duration and round trip of each, once.
    assert [samples_of(world, tenant) - n for tenant, n in zip((world.tenant, world.other), before)] == [20 * 6 * 3, 5 * 6 * 3]
    with world.database.session() as cursor:
        cursor.execute("SELECT agent_id::text, tenant_id::text FROM probectl.result WHERE agent_id = ANY (%s::uuid[]) GROUP BY 1, 2", ([a.agent for a in agents],))
        assert sorted(cursor.fetchall()) == sorted((agent.agent, agent.tenant) for agent in agents)


def test_a_bad_batch_among_good_ones_costs_its_sender_only(world, ingest):
    one = ingest(connections=1)
    agents = [world.agent() for _ in range(12)]
    streams = small_batches(world, one, agents, bad=4)
    assert one.metric("probectl_ingest_shared_transactions_total") >= 1
    for i, stream in enumerate(streams):
        assert stream.code == (Code.INVALID_ARGUMENT if i == 4 else Code.OK), (i, stream.code, stream.text)
        assert world.stored(agents[i]) == ((2, 2) if i == 4 else (6, 6))
    assert one.refused("bad_batch") == 1


def test_a_revoked_agent_among_others_is_cut_alone(world, ingest):
    one = ingest(connections=1)
    agents = [world.agent() for _ in range(8)]
    blocked = Blocked(world.database)
    producers = [world.producer(one, agent) for agent in agents]
    try:
        streams = [producer.stream() for producer in producers]
        for stream in streams:
            stream.send(world.messages.request(1, 1, world.messages.results(2)))
            blocked.wait()  # the first is let in before the revocation: not the one that is revoked
        wait_until("all of it is there", lambda: one.metric("probectl_ingest_batches_received_total") >= 8)
        with world.database.session(world.tenant) as cursor:
            cursor.execute("SELECT probectl.agent_revoke(%s)", (agents[3].agent,))
    finally:
        blocked.release()
    for stream in streams:
        stream.finish()
    for producer in producers:
        producer.__exit__()
    assert [stream.code for i, stream in enumerate(streams) if i != 3] == [Code.OK] * 7
    assert streams[3].code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED)
    assert [world.stored(agent) for agent in agents] == [(0, 0) if i == 3 else (2, 2) for i in range(8)]


def test_a_small_batch_does_not_wait_for_a_flood_of_large_ones(world, ingest):
    one = ingest(connections=1)
    agents = [world.agent() for _ in range(6)]
    quiet = world.agent(world.other)
    producers = [world.producer(one, agent) for agent in [*agents, quiet]]
    blocked = Blocked(world.database)
    try:
        streams = [producer.stream() for producer in producers]
        for stream in streams[:-1]:
            for i in range(40):
                stream.send(world.messages.request(1, 1 + i * 250, world.messages.results(250)))
        wait_until("the flood is there", lambda: one.metric("probectl_ingest_batches_received_total") >= 24)
        streams[-1].send(world.messages.request(1, 1, world.messages.results(1)))
        wait_until("the small one is there", lambda: one.metric("probectl_ingest_batches_received_total") >= 25)
    finally:
        blocked.release()
    streams[-1].wait_acks(1)
    flooded = sum(len(stream.acks) for stream in streams[:-1])
    assert [stream.finish() for stream in streams] == [Code.OK] * 7
    for producer in producers:
        producer.__exit__()
    assert flooded < 6 * 40
    assert [world.stored(agent) for agent in [*agents, quiet]] == [(10000, 10000)] * 6 + [(1, 1)]
