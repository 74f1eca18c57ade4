# SPDX-License-Identifier: PostgreSQL
"""Twenty rounds of kill -9, anywhere, under load: nothing is lost and nothing is there twice.

Three producers of the test's own and the real agent deliver a few hundred results a second. Each
round kills one process at a moment that is chosen by progress, not by the clock, and then demands that
every producer gets further: the system has to recover without hands, twenty times. What is in the
database at the end is compared with what was made, identifier by identifier.
"""
import json
import os
import random
import signal
import time

import pytest

from producer import Api, Identity, Producer, load_messages

ROUNDS = 20
PRODUCERS = 3
RATE = 120                 # results a second and producer
AGENT_TESTS = 40           # one a second each
RECOVERY_SECONDS = 45      # a killed postmaster replays its log first
DRAIN_SECONDS = 60
VICTIMS = ("postgres", "postgres-backend", "ingest", "gateway", "agent")


def wait_for(what, probe, seconds, pause):
    """Polls probe until it is true; the deadline is the test's verdict."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, "not within %d s: %s" % (seconds, what)
        pause.wait(0.05)


def backend_of(stack):
    """A random session or worker of the cluster, not the postmaster."""
    postmaster = stack.pid("postgres")
    with open("/proc/%d/task/%d/children" % (postmaster, postmaster)) as f:
        return random.choice([int(pid) for pid in f.read().split()])


def kill_one(stack, victim):
    """kill -9; returns the name whose process has to be replaced, and the old pid."""
    if victim == "postgres-backend":
        os.kill(backend_of(stack), signal.SIGKILL)
        return None, None
    pid = stack.pid(victim)
    os.kill(pid, signal.SIGKILL)
    return victim, pid


def test_kill_everything_under_load(stack, tmp_path, record_property):
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
    random.seed(seed)
    print("CHAOS_SEED=%d" % seed)
    record_property("seed", seed)

    messages = load_messages(tmp_path)
    api = Api(stack.env)
    identities = [Identity(api, str(tmp_path / ("p%d" % i)), "producer-%d" % i) for i in range(PRODUCERS)]
    for i in range(AGENT_TESTS):
        status, body = api.call("POST", "/v1/tests", {
            "name": "chaos-%d" % i, "type": "tcp", "target": stack.env["PROBECTL_INGEST"],
            "interval_seconds": 1, "timeout_seconds": 0.5})
        assert status == 201, body

    producers = [Producer(messages, identity, stack.env["PROBECTL_INGEST"], RATE) for identity in identities]
    for producer in producers:
        producer.start()
    pause = producers[0].over
    try:
        wait_for("first results of every producer", lambda: all(p.acknowledged for p in producers), 30, pause)
        for number in range(ROUNDS):
            # Round by round each kind of victim, then at random.
            victim = VICTIMS[number] if number < len(VICTIMS) else random.choice(VICTIMS)
            moment = producers[0].acknowledged + random.randint(1, 150)
            wait_for("round %d, %s: load goes on" % (number, victim),
                     lambda: producers[0].acknowledged >= moment, RECOVERY_SECONDS, pause)
            name, old = kill_one(stack, victim)
            before = [p.acknowledged for p in producers]
            if name is not None:
                wait_for("round %d: another %s than pid %d" % (number, name, old),
                         lambda: stack.pid(name) not in (None, old), RECOVERY_SECONDS, pause)
            wait_for("round %d, %s: every producer gets further" % (number, victim),
                     lambda: all(p.acknowledged > b for p, b in zip(producers, before)) or faults(producers),
                     RECOVERY_SECONDS, pause)
            assert not faults(producers), faults(producers)
        for producer in producers:
            producer.stop_producing()
        for test in api.get("/v1/tests?limit=500")["items"]:
            if test["name"].startswith("chaos-"):
                api.call("DELETE", "/v1/tests/" + test["test_id"])
        deadline = time.monotonic() + DRAIN_SECONDS
        for producer in producers:
            assert producer.wait_delivered(deadline), (
                producer.fault, "%d of %d acknowledged" % (producer.acknowledged, len(producer.made)))
    finally:
        for producer in producers:
            producer.stop()

    lost = duplicated = total = 0
    with stack.connect() as database, database.cursor() as cursor:
        for producer in producers:
            cursor.execute("SELECT result_id::text, count(*) FROM probectl.result WHERE tenant_id = %s AND agent_id = %s"
                           " GROUP BY result_id", (producer.identity.tenant_id, producer.identity.agent_id))
            stored = dict(cursor.fetchall())
            lost += len(set(producer.made) - stored.keys())
            duplicated += sum(stored.values()) - len(stored)
            assert stored.keys() <= set(producer.made), "results that nobody made"
            total += len(producer.made)
        print("%d results of %d producers, %d reconnects: %d lost, %d duplicated" % (
            total, PRODUCERS, sum(p.reconnects for p in producers), lost, duplicated))
        assert (lost, duplicated) == (0, 0)
        assert total > ROUNDS * PRODUCERS * 10
        check_agent(stack, cursor)


def faults(producers):
    return [p.fault for p in producers if p.fault] or None


def check_agent(stack, cursor):
    """The real agent: its stream has no gap, and there are as many rows as numbers."""
    cursor.execute("SELECT tenant_id, agent_id FROM probectl.agent WHERE name = 'local'")
    tenant, agent = cursor.fetchone()

    def drained():
        return stack.metric("agent", "probectl_backlog") == 0
    import threading
    wait_for("the agent's spool is empty", drained, DRAIN_SECONDS, threading.Event())
    cursor.execute("SELECT epoch, committed_seq FROM probectl.stream_position"
                   " WHERE tenant_id = %s AND agent_id = %s AND plane = 'network'", (tenant, agent))
    epoch, committed = cursor.fetchone()
    cursor.execute("SELECT count(*), count(DISTINCT result_id) FROM probectl.result"
                   " WHERE tenant_id = %s AND agent_id = %s", (tenant, agent))
    rows, distinct = cursor.fetchone()
    cursor.execute("SELECT count(*) FROM probectl.dead_letter WHERE tenant_id = %s AND agent_id = %s", (tenant, agent))
    dead, = cursor.fetchone()
    cursor.execute("SELECT DISTINCT epoch FROM probectl.ledger WHERE tenant_id = %s AND agent_id = %s", (tenant, agent))
    assert cursor.fetchall() == [(epoch,)], "the spool was begun anew"
    assert (rows, distinct, dead) == (committed, committed, 0), "agent: rows, identifiers, dead letters of %d" % committed
