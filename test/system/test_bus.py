# SPDX-License-Identifier: PostgreSQL
"""The Kafka way: agents, ingest, a real Apache Kafka, consumers, the database, and what happens when one of
them breaks. What was acknowledged is in the database once, whatever was killed."""

import os
import signal
import subprocess
import threading
import time
import uuid

import confluent_kafka
import grpc
import pytest

import ingest_parts as parts
import test_ingest
from ingest_parts import wait_until
from kafka_lab import Kafka

Code = grpc.StatusCode
RESULTS = "probectl.network.results"
DEAD = "probectl.dead_letter"
CATCH_UP = 60.0
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def world():
    made = test_ingest.World()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def kafka(world):
    broker = Kafka(tls=world.server, users={"ingest": PASSWORD})
    try:
        yield broker.start()
    finally:
        broker.remove()


class Bus:
    """The processes of a test."""

    def __init__(self, world, kafka):
        self.world, self.kafka, self.made = world, kafka, []

    def make(self, role, start=True, **bus):
        bus = {"mode": "kafka", "brokers": self.kafka.brokers, "tls": "false", "partitions": 4, "buckets": 4,
               "session_timeout": "2s"} | bus
        one = self.world.ingest(bus=bus, role=role)
        self.made.append(one)
        return self.started(one) if start else one

    def started(self, one):
        one.start()
        wait_until("the bus is ready", lambda: one.alive() and one.metric("probectl_ingest_bus_ready") == 1, CATCH_UP)
        return one

    def serve(self, **bus):
        return self.make("serve", **bus)

    def consume(self, **bus):
        return self.make("consume", **bus)

    def close(self):
        for one in self.made:
            if one.process and one.process.poll() is None:
                one.process.send_signal(signal.SIGCONT)
                one.kill()


@pytest.fixture
def bus(world, kafka):
    made = Bus(world, kafka)
    yield made
    made.close()


@pytest.fixture
def agent(world):
    return world.agent()


class Load:
    """An agent as it is: sends, keeps what is not acknowledged, comes back."""

    def __init__(self, world, ingest, total, identity=None, batch=20):
        self.world, self.ingest, self.batch = world, ingest, batch
        self.identity = identity or world.agent()
        self.records = world.messages.results(total)
        self.acked = 0
        self.fault = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            end = time.monotonic() + 3 * CATCH_UP
            while self.acked < len(self.records):
                assert time.monotonic() < end, f"{self.acked} of {len(self.records)} acknowledged"
                self._once()
        except Exception as fault:  # looked at by the test
            self.fault = fault

    def _once(self):
        with self.world.producer(self.ingest, self.identity) as producer:
            stream = producer.stream()
            first = self.acked
            while first < len(self.records) and stream.code is None:
                if first - self.acked < 4 * self.batch:  # the window of an agent
                    stream.send(self.world.messages.request(1, first + 1, self.records[first:first + self.batch]))
                    first += self.batch
                else:
                    threading.Event().wait(0.002)
                self._read(stream)
            while self.acked < len(self.records) and stream.code is None:
                self._read(stream)
                threading.Event().wait(0.005)
            self._read(stream)
            assert stream.code in (None, Code.UNAVAILABLE, Code.CANCELLED), (stream.code, stream.text)

    def _read(self, stream):
        for ack in stream.acks[-1:]:
            self.acked = max(self.acked, ack.committed_seq)

    def reach(self, count):
        wait_until(f"{count} of {len(self.records)} acknowledged", lambda: self.fault or self.acked >= count, 3 * CATCH_UP)
        assert self.fault is None, self.fault

    def finish(self):
        self.reach(len(self.records))
        self.thread.join()

    def stored(self):
        return self.world.stored(self.identity)

    def exactly_once(self):
        wait_until(f"{len(self.records)} stored (there are {self.stored()})",
                   lambda: self.stored()[1] >= len(self.records), CATCH_UP)
        assert self.stored() == (len(self.records), len(self.records))


def records_of(kafka, topic, matches):
    """Every record of a topic whose headers match, read by another client than ours."""
    reader = confluent_kafka.Consumer({"bootstrap.servers": kafka.brokers, "group.id": uuid.uuid4().hex,
                                       "enable.auto.commit": False, "log_level": 0})
    try:
        found = []
        partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
        for partition in partitions:
            here = confluent_kafka.TopicPartition(topic, partition, 0)
            low, high = reader.get_watermark_offsets(here, timeout=10)
            reader.assign([confluent_kafka.TopicPartition(topic, partition, low)])
            position = low
            while position < high:
                message = reader.poll(10)
                assert message is not None and not message.error(), message and message.error()
                position = message.offset() + 1
                headers = {name: value for name, value in message.headers() or []}
                if matches(headers):
                    found.append((message, headers))
        return found
    finally:
        reader.close()


def of_agent(identity):
    return lambda headers: headers.get("probectl.agent") == identity.agent.encode()


def deliver(world, ingest, identity, first, count, plane="", epoch=1):
    with world.producer(ingest, identity) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(epoch, first, world.messages.results(count), plane))
        ack = stream.wait_acks(1, CATCH_UP)
        stream.finish()
        return ack


def caught_up(world, kafka, consumer=None):
    """Every record of the results is stored: what the database says and what the broker says agree."""
    reader = confluent_kafka.Consumer({"bootstrap.servers": kafka.brokers, "group.id": uuid.uuid4().hex, "log_level": 0})
    try:
        ends = {p: reader.get_watermark_offsets(confluent_kafka.TopicPartition(RESULTS, p), timeout=10)[1] for p in range(4)}
    finally:
        reader.close()

    def same():
        with world.database.session() as cursor:
            cursor.execute("SELECT partition, next_offset FROM probectl_internal.bus_offset WHERE topic = %s", (RESULTS,))
            stored = dict(cursor.fetchall())
        return all(stored.get(p, 0) >= end for p, end in ends.items())
    wait_until("the database has all of the topic", same, CATCH_UP)


# ---- the way -------------------------------------------------------------------------------


def test_acknowledged_by_the_broker_and_stored_by_the_consumer(world, kafka, bus):
    ingest = bus.serve()
    loads = [Load(world, ingest, 200) for _ in range(6)]
    for load in loads:
        load.finish()
    # Nobody consumes yet: the acknowledgement is the broker's.
    assert [load.stored() for load in loads] == [(0, 0)] * 6
    keys = set()
    for load in loads:
        seen = records_of(kafka, RESULTS, of_agent(load.identity))
        assert len({message.partition() for message, _ in seen}) == 1  # an agent stays in order
        assert {message.key().decode().split("/")[0] for message, _ in seen} == {load.identity.tenant}
        keys |= {message.key() for message, _ in seen}
        for _, headers in seen:
            assert headers["probectl.tenant"] == load.identity.tenant.encode()
            assert headers["probectl.plane"] == b"network"
    assert len(keys) > 1  # a tenant is spread
    consumer = bus.consume()
    for load in loads:
        load.exactly_once()
    caught_up(world, kafka)
    wait_until("nothing is left", lambda: consumer.metric("probectl_ingest_bus_lag") == 0)
    assert ingest.metric("probectl_ingest_bus_produced_total") >= 60
    assert consumer.stop()[0] == 0 and ingest.stop()[0] == 0


def test_the_topics_are_made(kafka, bus):
    bus.serve()
    reader = confluent_kafka.Consumer({"bootstrap.servers": kafka.brokers, "group.id": "x"})
    topics = reader.list_topics(timeout=10).topics
    reader.close()
    wanted = {RESULTS, "probectl.flow.events", "probectl.device.metrics", "probectl.ebpf.flows",
              "probectl.endpoint.results", "probectl.bgp.events", DEAD}
    assert wanted <= set(topics)
    assert {len(topics[name].partitions) for name in wanted} == {4}


def test_a_batch_that_is_none_is_refused_at_the_door(world, bus, agent):
    ingest = bus.serve()
    with world.producer(ingest, agent) as producer:
        for batch, plane in ((b"\xff\xff", ""), (world.messages.batch(0, 1, [b"x"]), ""),
                             (world.messages.batch(1, 1, [b"x"]), "nosuch")):
            stream = producer.stream()
            stream.send(world.messages.agent.StreamResultsRequest(batch=batch, plane=plane))
            assert stream.end() == Code.INVALID_ARGUMENT
            assert stream.acks == []
    assert ingest.refused("bad_batch") == 3


# ---- what breaks ---------------------------------------------------------------------------


def test_nothing_is_acknowledged_while_the_broker_is_silent(world, kafka, bus, agent):
    ingest = bus.serve()
    os.kill(kafka.process.pid, signal.SIGSTOP)
    try:
        load = Load(world, ingest, 100, agent)
        wait_until("batches wait", lambda: ingest.metric("probectl_backlog") == 4)
        assert load.acked == 0
    finally:
        os.kill(kafka.process.pid, signal.SIGCONT)
    bus.consume()
    load.finish()
    load.exactly_once()


def test_broker_killed_and_restarted(world, kafka, bus):
    ingest, consumer = bus.serve(), bus.consume()
    loads = [Load(world, ingest, 4000) for _ in range(3)]
    for target in (400, 1600):
        loads[0].reach(target)
        kafka.kill()
        kafka.start()
    for load in loads:
        load.finish()
    for load in loads:
        load.exactly_once()
    assert ingest.alive() and consumer.alive()


def test_batches_come_back_when_no_broker_answers(world, kafka, bus, agent):
    ingest = bus.serve(timeout="1s")
    kafka.kill()
    try:
        with world.producer(ingest, agent) as producer:
            stream = producer.stream()
            stream.send(world.messages.request(1, 1, world.messages.results(10)))
            assert stream.end() == Code.UNAVAILABLE and stream.acks == []
        assert ingest.metric("probectl_ingest_bus_failures_total", 'reason="timeout"') == 1
    finally:
        kafka.start()
    bus.consume()
    deliver(world, ingest, agent, 1, 10)
    wait_until("stored", lambda: world.stored(agent) == (10, 10), CATCH_UP)


def test_stopped_while_the_broker_is_away(world, kafka, bus, agent):
    ingest, consumer = bus.serve(), bus.consume()
    wait_until("it consumes", lambda: consumer.metric("probectl_ingest_bus_partitions") == 24, CATCH_UP)
    kafka.kill()
    try:
        with world.producer(ingest, agent) as producer:
            stream = producer.stream()
            stream.send(world.messages.request(1, 1, world.messages.results(10)))
            wait_until("the batch waits", lambda: ingest.metric("probectl_backlog") == 1)
            assert ingest.stop()[0] == 0 and consumer.stop()[0] == 0
            assert stream.end() == Code.UNAVAILABLE and stream.acks == []
    finally:
        kafka.start()


def test_consumer_killed(world, bus):
    ingest, consumer = bus.serve(), bus.consume()
    loads = [Load(world, ingest, 3000) for _ in range(3)]
    for target in (300, 1200, 2100):
        wait_until("it stores", lambda: loads[0].stored()[0] >= target, CATCH_UP)
        consumer.kill()
        bus.started(consumer)
    for load in loads:
        load.finish()
    for load in loads:
        load.exactly_once()


def test_rebalance_in_the_middle_of_a_batch(world, kafka, bus):
    """A second consumer comes while the first is in a transaction; then the first is stopped as a machine that
    hangs, loses its partitions, and wakes up with records it may not store."""
    ingest, first = bus.serve(), bus.consume()
    loads = [Load(world, ingest, 2000) for _ in range(4)]
    wait_until("the first stores", lambda: loads[0].stored()[0] > 0, CATCH_UP)
    blocked = test_ingest.Blocked(world.database)
    try:
        wait_until("it is in the middle", lambda: world.database.one(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'probectl_ingest'")[0] > 0)
        second = bus.consume()
        wait_until("the group is split", lambda: first.metric("probectl_ingest_bus_rebalances_total") >= 2, CATCH_UP)
    finally:
        blocked.release()
    wait_until("both have partitions", lambda: all(
        one.metric("probectl_ingest_bus_partitions") == 12 for one in (first, second)), CATCH_UP)
    os.kill(first.process.pid, signal.SIGSTOP)
    wait_until("the second has all", lambda: second.metric("probectl_ingest_bus_partitions") == 24, CATCH_UP)
    loads += [Load(world, ingest, 500) for _ in range(4)]
    for load in loads:
        load.finish()
        load.exactly_once()
    os.kill(first.process.pid, signal.SIGCONT)
    wait_until("the first is back", lambda: first.metric("probectl_ingest_bus_partitions") == 12, CATCH_UP)
    loads += [Load(world, ingest, 500) for _ in range(4)]
    for load in loads:
        load.finish()
        load.exactly_once()
    assert first.alive() and second.alive()


def test_a_consumer_that_was_passed_over_stores_nothing(world, kafka, bus, agent):
    """Somebody else claims every partition: the next transaction of this consumer fails as a whole."""
    ingest, consumer = bus.serve(), bus.consume()
    deliver(world, ingest, agent, 1, 10)
    wait_until("stored", lambda: world.stored(agent) == (10, 10), CATCH_UP)
    world.database.one("SELECT count(*) FROM probectl_internal.bus_offset o,"
                       " LATERAL probectl.bus_claim(o.cluster, o.topic, o.partition)")
    deliver(world, ingest, agent, 11, 10)
    wait_until("it is told", lambda: consumer.metric("probectl_ingest_bus_fenced_total") >= 1, CATCH_UP)
    # The group still gives the partition to it, so it claims again, and goes on where the database is.
    wait_until("stored", lambda: world.stored(agent)[0] >= 20, CATCH_UP)
    assert world.stored(agent) == (20, 20)


def test_database_restarted(world, bus):
    ingest, consumer = bus.serve(), bus.consume()
    load = Load(world, ingest, 6000)
    load.reach(500)
    world.database.kill()
    try:
        before = load.acked
        load.reach(min(before + 1000, 6000))  # the bus takes what the database cannot
    finally:
        world.database.start()
    load.finish()
    load.exactly_once()
    assert ingest.alive() and consumer.alive()


def test_ingest_killed(world, bus):
    ingest = bus.serve()
    bus.consume()
    loads = [Load(world, ingest, 3000) for _ in range(2)]
    for target in (300, 1200):
        loads[0].reach(target)
        ingest.kill()
        bus.started(ingest)
    for load in loads:
        load.finish()
    for load in loads:
        load.exactly_once()


def test_two_ingests_for_one_agent(world, bus, agent):
    """The same numbers through two processes, as after a network that came back: stored once."""
    one, two = bus.serve(), bus.serve()
    bus.consume()
    records = world.messages.results(100)
    with world.producer(one, agent) as a, world.producer(two, agent) as b:
        streams = a.stream(), b.stream()
        for first in range(0, 100, 10):
            for stream in streams:
                stream.send(world.messages.request(1, first + 1, records[first:first + 10]))
        for stream in streams:
            assert stream.wait_acks(10, CATCH_UP).committed_seq == 100
    wait_until("stored", lambda: world.stored(agent)[0] >= 100, CATCH_UP)
    assert world.stored(agent) == (100, 100)


# ---- who may --------------------------------------------------------------------------------


def dead_letters(world, identity):
    with world.database.session(identity.tenant) as cursor:
        cursor.execute("SELECT reason, count(*), min(seq), max(seq) FROM probectl.dead_letter"
                       " WHERE agent_id = %s GROUP BY reason", (identity.agent,))
        return cursor.fetchall()


def test_an_agent_revoked_meanwhile_stores_nothing(world, kafka, bus):
    ingest, agent, other = bus.serve(), world.agent(), world.agent()
    deliver(world, ingest, agent, 1, 10)
    deliver(world, ingest, agent, 1, 10)  # again: counted once
    deliver(world, ingest, other, 1, 10)
    with world.database.session(agent.tenant) as cursor:
        cursor.execute("SELECT probectl.agent_revoke(%s)", (agent.agent,))
    consumer = bus.consume()
    wait_until("dead letters", lambda: dead_letters(world, agent), CATCH_UP)
    caught_up(world, kafka)
    assert dead_letters(world, agent) == [("identity_refused", 10, 1, 10)]
    assert world.stored(agent) == (0, 0)
    assert world.stored(other) == (10, 10)
    assert consumer.metric("probectl_ingest_dead_letters_total", 'reason="identity_refused"') == 2
    letters = records_of(kafka, DEAD, of_agent(agent))
    assert {headers["probectl.reason"] for _, headers in letters} == {b"identity_refused"}
    assert all(headers["probectl.topic"] == RESULTS.encode() for _, headers in letters)


def test_a_suspended_tenant_stores_nothing(world, kafka, bus):
    tenant = world.enrolment.tenant("suspended-" + uuid.uuid4().hex[:8])
    ingest, agent = bus.serve(), world.agent(tenant)
    deliver(world, ingest, agent, 1, 5)
    with world.database.session() as cursor:
        cursor.execute("SELECT probectl.tenant_set_status(%s, 'suspended')", (tenant,))
    bus.consume()
    wait_until("dead letters", lambda: dead_letters(world, agent), CATCH_UP)
    assert dead_letters(world, agent) == [("tenant_not_active", 5, 1, 5)]
    assert world.stored(agent) == (0, 0)


def test_a_plane_the_database_does_not_know(world, bus, agent):
    ingest = bus.serve()
    deliver(world, ingest, agent, 1, 3, plane="flow")
    bus.consume()
    wait_until("dead letters", lambda: dead_letters(world, agent), CATCH_UP)
    assert dead_letters(world, agent) == [("bad_batch", 3, 1, 3)]


def put(kafka, topic, value, headers, partition=0):
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.brokers})
    producer.produce(topic, value, partition=partition, headers=headers)
    assert producer.flush(20) == 0


def identity_headers(agent, serial, plane="network"):
    return {"probectl.tenant": agent.tenant, "probectl.agent": agent.agent, "probectl.serial": serial,
            "probectl.plane": plane}


def serial_of(agent):
    text = parts.run("openssl", "x509", "-noout", "-serial", "-in", agent.cert)
    return text.split("=")[1].strip().lower().lstrip("0")


def test_records_that_others_put_there(world, kafka, bus, agent):
    """Whoever can write to the topic still needs an identity that the database knows."""
    consumer = bus.consume()
    batch = world.messages.batch(1, 1, world.messages.results(3))
    good = identity_headers(agent, serial_of(agent))
    stranger = world.agent(world.other)
    cases = {
        "no_identity": [{}, good | {"probectl.tenant": "x"}, list(good.items()) + [("probectl.agent", stranger.agent)]],
        "wrong_topic": [good | {"probectl.plane": "flow"}],
        "identity_refused": [good | {"probectl.serial": "abc"}, good | {"probectl.tenant": stranger.tenant}],
        "bad_batch": [good],
    }
    before = {reason: consumer.metric("probectl_ingest_dead_letters_total", f'reason="{reason}"') for reason in cases}
    for reason, headers in cases.items():
        for each in headers:
            put(kafka, RESULTS, b"\xff" if reason == "bad_batch" else batch, each)
    put(kafka, RESULTS, batch, good)  # as ingest would write it
    wait_until("the good one is stored", lambda: world.stored(agent)[0] >= 3, CATCH_UP)
    assert world.stored(agent) == (3, 3) and dead_letters(world, agent) == []
    for reason, headers in cases.items():
        count = consumer.metric("probectl_ingest_dead_letters_total", f'reason="{reason}"') - before[reason]
        assert count == len(headers), reason


def test_seal(world, kafka, bus, agent):
    """With a key of its own, ingest alone can write what consumers take."""
    key = world.folder / "seal.key"
    key.write_bytes(os.urandom(32))
    ingest = bus.serve(seal_key_file=key)
    consumer = bus.consume(seal_key_file=key)
    forged = world.agent()
    put(kafka, RESULTS, world.messages.batch(1, 1, world.messages.results(3)),
        identity_headers(forged, serial_of(forged)))
    deliver(world, ingest, agent, 1, 10)
    wait_until("stored", lambda: world.stored(agent) == (10, 10), CATCH_UP)
    sealed, headers = records_of(kafka, RESULTS, of_agent(agent))[0]
    other = dict(headers) | {"probectl.agent": forged.agent.encode(), "probectl.serial": serial_of(forged).encode()}
    put(kafka, RESULTS, sealed.value(), other, sealed.partition())
    wait_until("both are dead letters", lambda: consumer.metric(
        "probectl_ingest_dead_letters_total", 'reason="bad_seal"') == 2, CATCH_UP)
    assert world.stored(forged) == (0, 0)


# ---- settings -------------------------------------------------------------------------------


def test_signed_in_over_tls(world, kafka, bus, agent):
    secret = world.folder / "password"
    secret.write_text(PASSWORD + "\n")
    secure = {"brokers": kafka.secure, "tls": "true", "ca_file": world.ca.cert, "sasl": "scram-sha-256",
              "username": "ingest", "password_file": secret}
    # The broker tells clients of each listener about that listener.
    ingest, consumer = bus.serve(**secure), bus.consume(**secure)
    deliver(world, ingest, agent, 1, 10)
    wait_until("stored", lambda: world.stored(agent) == (10, 10), CATCH_UP)
    for one in (ingest, consumer):
        assert PASSWORD not in one.log() and "in clear" not in one.log()


@pytest.mark.parametrize("case", ["password", "authority"])
def test_wrong_credentials(world, kafka, bus, agent, case):
    secret = world.folder / f"password-{case}"
    secret.write_text("wrong" if case == "password" else PASSWORD)
    ingest = bus.make("serve", start=False, brokers=kafka.secure, tls="true", sasl="scram-sha-256", username="ingest",
                      ca_file=world.stranger.cert if case == "authority" else world.ca.cert, password_file=secret)
    ingest.start()
    said = "uthentication failed" if case == "password" else "certificate verify failed"
    wait_until("it says so", lambda: ingest.alive() and said in ingest.log(), CATCH_UP)
    with world.producer(ingest, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, world.messages.results(1)))
        assert stream.end() == Code.UNAVAILABLE and stream.acks == []
    assert secret.read_text() not in ingest.log().replace("wrong version", "")


def test_a_process_that_spreads_otherwise_takes_nothing(world, bus, agent):
    bus.serve()
    other = bus.make("serve", start=False, partitions=3)
    other.start()
    wait_until("it says so", lambda: other.alive() and "4 partitions and 4 buckets, not in 3" in other.log())
    with world.producer(other, agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, world.messages.results(1)))
        assert stream.end() == Code.UNAVAILABLE and stream.acks == []


@pytest.mark.parametrize("setting, line", [
    ("role=consume", "nothing to consume when bus.mode is memory"),
    ("bus.mode=rabbit", "bus.mode"),
    ("bus.mode=kafka", "bus.brokers is needed"),
    ("bus.mode=kafka bus.brokers=localhost:1 bus.sasl=plain bus.tls=no bus.username=u bus.password_file=/x", "in clear"),
    ("bus.mode=kafka bus.brokers=localhost:1 bus.sasl=plain", "bus.sasl needs"),
    ("bus.mode=kafka bus.brokers=localhost:1 bus.cert_file=/x", "go together"),
])
def test_settings_that_do_not_fit(world, setting, line):
    one = world.ingest()
    done = subprocess.run(one.command(*(arg for pair in setting.split() for arg in ("--set", pair))),
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
