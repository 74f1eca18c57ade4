# SPDX-License-Identifier: PostgreSQL
"""Twenty rounds of kill -9, anywhere, under load: nothing is lost and nothing is there twice.

Three producers of the test's own and the real agent deliver a few hundred results a second. Each
round kills one process at a moment that is chosen by progress, not by the clock, and then demands that
every producer gets further: the system has to recover without hands, twenty times. What is in the
database at the end is compared with what was made, identifier by identifier.
"""
import datetime
import os
import random
import signal
import socketserver
import threading
import time

from conftest import wait_for
from producer import Api, Identity, Producer, load_messages

ROUNDS = 20
PRODUCERS = 3
RATE = 120                 # results a second and producer
AGENT_TESTS = 60           # one a second each
RECOVERY_SECONDS = 45      # a killed postmaster replays its log first
DRAIN_SECONDS = 60
VICTIMS = ("postgres", "a session", "ingest", "gateway", "agent")


class Listener(socketserver.ThreadingTCPServer):
    """What the agent's tests connect to: accepts, and closes."""
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def session_of(stack):
    """A random session or worker of the cluster."""
    postmaster = stack.pid("postgres")
    with open("/proc/%d/task/%d/children" % (postmaster, postmaster)) as f:
        return random.choice([int(pid) for pid in f.read().split()])


class Kills:
    """Who was killed, and when the agent was away."""

    def __init__(self, stack):
        self.stack = stack
        self.agent_away = []      # (from, to), UTC

    def one(self, number, victim):
        """kill -9; returns when another process of that name runs."""
        before = datetime.datetime.now(datetime.timezone.utc)
        if victim == "a session":
            try:
                os.kill(session_of(self.stack), signal.SIGKILL)
            except ProcessLookupError:
                pass              # it was short-lived and has just ended by itself
            return
        old = self.stack.kill9(victim)
        self.stack.wait_replaced(victim, old, RECOVERY_SECONDS)
        if victim == "agent":
            self.agent_away.append((before, datetime.datetime.now(datetime.timezone.utc)))


def faults(producers):
    return [p.fault for p in producers if p.fault]


def chaos(stack, producers, kills):
    stack.wait_for(lambda: all(p.acknowledged for p in producers), 30, "first results of every producer")
    # Each as often as the others, in random order: the supervisor waits longer each time.
    deck = list(VICTIMS) * (ROUNDS // len(VICTIMS))
    random.shuffle(deck)
    for number, victim in enumerate(deck, 1):
        what = "round %d, %s killed" % (number, victim)
        moment = producers[0].acknowledged + random.randint(1, 150)
        stack.wait_for(lambda: producers[0].acknowledged >= moment or faults(producers), RECOVERY_SECONDS,
                       "before " + what + ": results go on")
        began = time.monotonic()
        kills.one(number, victim)
        before = [p.acknowledged for p in producers]
        stack.wait_for(lambda: all(p.acknowledged > b for p, b in zip(producers, before)) or faults(producers),
                       RECOVERY_SECONDS, what + ": every producer gets further")
        print("%s: %.1f s" % (what, time.monotonic() - began))
        assert not faults(producers), (what, faults(producers))


def test_kill_everything_under_load(stack, tmp_path):
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
    random.seed(seed)
    print("CHAOS_SEED=%d repeats the choice of victims and moments" % seed)

    messages = load_messages(tmp_path)
    env = stack.env
    api = Api(env)
    listener = Listener()
    for i in range(AGENT_TESTS):
        status, body = api.call("POST", "/v1/tests", {
            "name": "chaos %d" % i, "type": "tcp", "target": "127.0.0.1:%d" % listener.server_address[1],
            "interval_seconds": 1, "timeout_seconds": 0.5, "params": {"count": "1", "allow_private_targets": True}})
        assert status == 201, body
    producers = [Producer(messages, Identity(api, str(tmp_path / ("producer%d" % i)), "producer-%d" % i),
                          env["PROBECTL_INGEST"], RATE) for i in range(PRODUCERS)]
    kills = Kills(stack)
    for producer in producers:
        producer.start()
    try:
        chaos(stack, producers, kills)
        for producer in producers:
            producer.stop_producing()
        stack.wait_healthy()
        pause_agent(stack)
        deadline = time.monotonic() + DRAIN_SECONDS
        for producer in producers:
            assert producer.wait_delivered(deadline), (
                producer.fault, "%d of %d acknowledged" % (producer.acknowledged, len(producer.made)))
    finally:
        for producer in producers:
            producer.stop()
        listener.shutdown()

    check_producers(stack, producers)
    check_agent(stack, kills)


def check_producers(stack, producers):
    """Identifier by identifier: every result that was made is there, once."""
    lost = duplicated = total = 0
    for producer in producers:
        stored = dict(stack.sql("SELECT result_id::text, count(*) FROM probectl.result"
                                " WHERE tenant_id = %s AND agent_id = %s GROUP BY result_id",
                                (producer.identity.tenant_id, producer.identity.agent_id)))
        made = set(producer.made)
        assert stored.keys() <= made, "results that nobody made"
        lost += len(made - stored.keys())
        duplicated += sum(stored.values()) - len(stored)
        total += len(made)
    print("%d results of %d producers, %d reconnects: %d lost, %d duplicated" % (
        total, len(producers), sum(p.reconnects for p in producers), lost, duplicated))
    assert (lost, duplicated) == (0, 0)
    assert total > ROUNDS * 50 and sum(p.reconnects for p in producers) > 0


# ---- the real agent --------------------------------------------------------------------------


def pause_agent(stack):
    """No tests any more, and nothing left in the spool."""
    (tenant,), = stack.sql("SELECT tenant_id::text FROM probectl.tenant_list() WHERE slug = 'default'")
    stack.sql("BEGIN; SELECT probectl.enter_tenant(%s); UPDATE probectl.test SET enabled = false; COMMIT", (tenant,))
    wait_for(lambda: stack.metric("agent", "probectl_agent_tests") == 0 and
             stack.metric("agent", "probectl_backlog") == 0, DRAIN_SECONDS, "the agent's spool is empty")


def check_agent(stack, kills):
    """Every row once; and while the agent lived, no test has a hole in its runs. Holes of a single run
    are the scheduler's right on a busy machine; a lost batch makes a longer one, in all tests."""
    (tenant, agent), = stack.sql("SELECT tenant_id, agent_id FROM probectl.agent WHERE name = 'local'")
    (rows, distinct), = stack.sql("SELECT count(*), count(DISTINCT result_id) FROM probectl.result"
                                  " WHERE tenant_id = %s AND agent_id = %s", (tenant, agent))
    (stored, dead), = stack.sql("SELECT sum(stored), sum(dead_lettered) FROM probectl.ledger"
                                " WHERE tenant_id = %s AND agent_id = %s", (tenant, agent))
    assert rows == distinct == stored and dead == 0, (rows, distinct, stored, dead)
    print("agent: %d results" % rows)
    holes = stack.sql(
        "SELECT name, started_at - gap, started_at FROM ("
        " SELECT t.name, r.started_at, r.started_at - lag(r.started_at) OVER (PARTITION BY r.test_id ORDER BY r.started_at) AS gap"
        " FROM probectl.result r JOIN probectl.test t USING (tenant_id, test_id)"
        " WHERE r.tenant_id = %s AND r.agent_id = %s AND t.interval_seconds = 1) s"
        " WHERE gap > interval '3.5 seconds'", (tenant, agent))
    # A restarted agent runs its tests within 3 s; what it measured last may not have been on disk yet.
    margin = datetime.timedelta(seconds=6)
    unexplained = [(name, begin, end) for name, begin, end in holes
                   if not any(begin <= back + margin and end >= away - margin for away, back in kills.agent_away)]
    assert not unexplained, unexplained[:5]
    assert rows > AGENT_TESTS * 10
