# SPDX-License-Identifier: PostgreSQL
"""Faults of producers and their networks: batches that come again from long ago, two ways in at once, clocks that
are hours off, a batch of ten megabytes, a million series. What was acknowledged is there once, what was
refused is counted, and nobody else notices. Kills of every process are in test_chaos and test_ingest."""

import random
import threading
import time
import uuid

import grpc
import pytest

from ingest_parts import wait_until
from test_ingest import World

HOUR = 3600 * 10 ** 9
SERIES_A_RECORD = 125


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def ways(world):
    """Two ingest processes before one database."""
    made = [world.ingest().start(), world.ingest().start()]
    yield made
    for one in made:
        assert one.stop()[0] == 0, one.log()


@pytest.fixture
def agent(world):
    return world.agent()


def integrity(world, tenant):
    """Counts of the tenant by plane; they must add up."""
    with world.database.session(tenant) as cursor:
        cursor.execute("SELECT plane, received, stored, duplicate, malformed, dead_lettered, refused, shed, capped FROM probectl.integrity()")
        names = [column.name for column in cursor.description]
        rows = {row[0]: dict(zip(names[1:], row[1:])) for row in cursor.fetchall()}
    for counts in rows.values():
        assert counts["received"] == sum(n for name, n in counts.items() if name != "received"), rows
    return rows


def test_two_ways_in_for_one_agent(world, ways, agent):
    """The same records by both at once, in batches that overlap: each is stored once, and either way says so."""
    records = world.messages.results(2000)
    before = integrity(world, world.tenant)["network"]

    def deliver(one, size):
        with world.producer(one, agent) as producer:
            stream = producer.stream()
            for first in range(0, len(records), size):
                stream.send(world.messages.request(1, first + 1, records[first:first + size]))
            done.append(stream.finish())
            marks.append(max(ack.committed_seq for ack in stream.acks))

    done, marks = [], []
    threads = [threading.Thread(target=deliver, args=pair) for pair in zip(ways, (50, 73))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [grpc.StatusCode.OK] * 2 and marks == [2000] * 2
    assert world.stored(agent) == (2000, 2000)
    after = integrity(world, world.tenant)["network"]
    assert (after["stored"] - before["stored"], after["duplicate"] - before["duplicate"]) == (2000, 2000)


def test_old_batches_come_again(world, ways, agent):
    records = world.messages.results(600)
    rng = random.Random(5)
    with world.producer(ways[0], agent) as producer:
        stream = producer.stream()
        for first in range(0, 600, 100):
            stream.send(world.messages.request(1, first + 1, records[first:first + 100]))
        assert stream.finish() == grpc.StatusCode.OK
        for _ in range(5):
            stream = producer.stream()
            for _ in range(10):
                first = rng.randrange(599)
                stream.send(world.messages.request(1, first + 1, records[first:first + rng.randrange(1, 200)]))
            assert stream.finish() == grpc.StatusCode.OK
            assert {ack.committed_seq for ack in stream.acks} == {600}
    assert world.stored(agent) == (600, 600)


def test_a_batch_of_ten_megabytes(world, ways, agent):
    """Refused without being taken in; what follows on a new stream is stored."""
    records = world.messages.results(3)
    with world.producer(ways[0], agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, [b"x" * 1000] * 10500))
        assert stream.end() == grpc.StatusCode.RESOURCE_EXHAUSTED
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, records))
        assert stream.finish() == grpc.StatusCode.OK
    assert world.stored(agent) == (3, 3)
    assert ways[0].refused("too_large_or_cut_off") >= 1


@pytest.mark.parametrize("hours", [-5, 5, 24 * 365])
def test_a_clock_that_jumps_by_hours(world, ways, agent, hours):
    """A future that is none does not hide what comes after the clock was set right, nor does the past."""
    target = "192.0.2.77"

    def result(start, latency):
        record = world.messages.result.Result(canary_type="icmp", server_address=target, success=True, start_time_unix_nano=start, duration_nano=1500000,
                                              result_id=str(uuid.uuid4()))
        record.metrics["rtt.avg.ms"] = latency
        return record.SerializeToString()

    now = time.time_ns()
    with world.producer(ways[0], agent) as producer:
        stream = producer.stream()
        stream.send(world.messages.request(1, 1, [result(now - 2 * 10 ** 9, 1.0)]))
        stream.send(world.messages.request(1, 2, [result(now + hours * HOUR, 2.0)]))
        stream.wait_acks(2)
        stream.send(world.messages.request(1, 3, [result(time.time_ns() + 10 ** 6, 3.0)]))
        assert stream.finish() == grpc.StatusCode.OK
    assert world.stored(agent)[0] == 3
    newest = lambda: world.database.one("SELECT latency_ms FROM probectl.result_latest WHERE agent_id = %s", (agent.agent,))
    wait_until("the newest is the one after the jump", lambda: newest() == (3.0,))
    ahead, = world.database.one("SELECT count(*) FROM probectl.result WHERE agent_id = %s AND started_at > received_at + interval '5 minutes'", (agent.agent,))
    clamped, = world.database.one("SELECT sum(clamped) FROM probectl.ledger WHERE agent_id = %s", (agent.agent,))
    assert (ahead, clamped) == (0, 1 if hours > 0 else 0)


def test_two_agents_invent_names_by_turns(world, ways):
    """Their series are worked in together, and each has as many as it may: what is not written yet counts against its own agent."""
    agents = [world.agent(world.tenant), world.agent(world.tenant)]
    limit = int(world.database.one("SHOW probectl.metric_agent_series")[0])
    rounds = 2 * limit // SERIES_A_RECORD
    settled = lambda: not world.database.one(
        "SELECT count(*) FROM probectl.ledger l, probectl.metric_state s WHERE s.tenant_id = l.tenant_id AND l.tenant_id = %s AND l.xid >= s.next_xid", (world.tenant,))[0]

    def invent(turn):
        record = world.messages.result.Result(canary_type="icmp", server_address="192.0.2.2", success=True, start_time_unix_nano=time.time_ns(), result_id=str(uuid.uuid4()))
        for n in range(SERIES_A_RECORD):
            record.metrics["turns.%d.ms" % (turn * SERIES_A_RECORD + n)] = 1.0
        return record.SerializeToString()

    wait_until("what came before is worked in", settled)
    with world.database.session() as held:
        # The derive worker locks this row first, so that all but what it has begun with waits for one pass.
        held.execute("INSERT INTO probectl.metric_state AS s (tenant_id) VALUES (%s) ON CONFLICT (tenant_id) DO UPDATE SET stored = s.stored", (world.tenant,))
        with world.producer(ways[0], agents[0]) as one, world.producer(ways[1], agents[1]) as two:
            streams = [one.stream(), two.stream()]
            for turn in range(rounds):
                for stream in streams:
                    stream.send(world.messages.request(1, turn + 1, [invent(turn)]))
                    stream.wait_acks(turn + 1)
            for stream in streams:
                assert stream.finish() == grpc.StatusCode.OK
    wait_until("every sample is worked in", settled)
    for agent in agents:
        assert world.database.one("SELECT count(*) FROM probectl.metric_series WHERE agent_id = %s", (agent.agent,))[0] == limit


def test_a_million_series(world, ways):
    """One agent invents a million names: its limit holds, each refused sample is counted, and a neighbour's series are made meanwhile."""
    bomber, neighbour = world.agent(world.tenant), world.agent(world.other)
    size, records = 200, 1000000 // SERIES_A_RECORD
    counts = lambda: world.database.one("SELECT stored, refused_agent, refused_tenant, too_old FROM probectl.metric_state WHERE tenant_id = %s", (world.tenant,)) or (0, 0, 0, 0)
    before, capped = counts(), integrity(world, world.tenant).get("metric", {}).get("capped", 0)
    with world.producer(ways[0], bomber) as producer, world.producer(ways[1], neighbour) as other:
        stream = producer.stream(timeout=300)
        for first in range(0, records, size):
            batch = []
            for i in range(first, first + size):
                record = world.messages.result.Result(canary_type="icmp", server_address="192.0.2.1", success=True, start_time_unix_nano=time.time_ns(), result_id=str(uuid.uuid4()))
                for n in range(SERIES_A_RECORD):
                    record.metrics["bomb.%d.ms" % (i * SERIES_A_RECORD + n)] = 1.0
                batch.append(record.SerializeToString())
            stream.send(world.messages.request(1, first + 1, batch))
            stream.wait_acks(first // size + 1, 120)
        assert stream.finish() == grpc.StatusCode.OK
        quiet = other.stream()
        quiet.send(world.messages.request(1, 1, world.messages.results(1)))
        assert quiet.finish() == grpc.StatusCode.OK
    # Beside each invented name a result has samples of its own (success, duration), of the same few series.
    own = lambda: sum(counts()) - sum(before)
    wait_until("every sample is worked in", lambda: own() >= 1000000 and not world.database.one(
        "SELECT count(*) FROM probectl.ledger l, probectl.metric_state s WHERE s.tenant_id = l.tenant_id AND l.tenant_id = %s AND l.xid >= s.next_xid", (world.tenant,))[0], 240)
    made, = world.database.one("SELECT count(*) FROM probectl.metric_series WHERE agent_id = %s", (bomber.agent,))
    limit = int(world.database.one("SHOW probectl.metric_agent_series")[0])
    after = counts()
    assert 0 < made <= limit
    assert after[1] + after[2] - before[1] - before[2] >= 1000000 - limit
    assert integrity(world, world.tenant)["metric"]["capped"] - capped >= 1000000 - limit
    wait_until("the neighbour's series are there", lambda: world.database.one("SELECT count(*) FROM probectl.metric_series WHERE agent_id = %s", (neighbour.agent,))[0] > 0)
