# SPDX-License-Identifier: PostgreSQL
"""Remote write out: what agents measured arrives at Debian's Prometheus and VictoriaMetrics; a receiver that is down, says 4xx
and says 5xx loses nothing that it could have had, and every sample ends in one of the counts."""
import json
import pathlib
import urllib.parse

import pytest

from conftest import Stack, free_port
from remote_parts import Receiver
from test_remote_write import Program, get, inside, prometheus, tenant


@pytest.fixture(scope="module")
def stack(request):
    """One that tries again soon: an hour of a target that is down is a number of attempts, not a time."""
    one = Stack()
    try:
        one.up()
        one.sql("ALTER SYSTEM SET probectl.remote_interval = '100ms'")
        one.sql("ALTER SYSTEM SET probectl.remote_retry_max = '1s'")
        one.sql("SELECT pg_reload_conf()")
        yield one
        if request.session.testsfailed:
            print(one.logs())
    finally:
        one.remove()


def operate(stack, statement, args=()):
    with stack.connect() as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant(stack),))
            cursor.execute(statement, args)
            row = cursor.fetchone()
        connection.commit()
        return row[0]


def target_set(stack, name, url, **more):
    words = "".join(", %s => %%s" % key for key in more)
    return operate(stack, "SELECT probectl.remote_target_set(%s, %s" + words + ")", (name, url, *more.values()))


def target_delete(stack, name):
    assert operate(stack, "SELECT probectl.remote_target_delete(%s)", (name,))


def state(stack, name):
    return {row[0]["name"]: row[0] for row in inside(stack, "SELECT to_jsonb(t) FROM probectl.remote_targets() t")}[name]


def measured(stack):
    """{(series id, ms)} of what is stored of probes."""
    rows = inside(stack, """
        SELECT s.series_id::text, (floor(extract(epoch FROM r.at) * 1000))::bigint FROM probectl.metric_series s, probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r
         WHERE s.name ~ '^probectl_probe_'""")
    return set(rows)


def ids(stack):
    """{labels as they are sent: series id}"""
    rows = inside(stack, "SELECT s.series_id::text, s.labels || jsonb_build_object('__name__', s.name) FROM probectl.metric_series s WHERE s.name ~ '^probectl_probe_'")
    return {tuple(sorted(labels.items())): one for one, labels in rows}


def query(url, text):
    answer = get(url + "/api/v1/query?query=" + urllib.parse.quote(text))
    return json.loads(answer)["data"]["result"] if answer else []


def quiet(stack):
    """Whether the agent has no test and everything that came is worked into the store."""
    return stack.sql("""
        SELECT NOT EXISTS (SELECT FROM probectl.ledger l JOIN probectl.metric_state m USING (tenant_id) WHERE l.xid >= m.next_xid AND l.stored > 0)
           AND NOT EXISTS (SELECT FROM probectl.ledger l WHERE l.received_at > now() - interval '5 s')""")[0][0]


def caught_up(stack, name):
    """Whether the target is at the end of what the store has worked in."""
    return inside(stack, """
        SELECT t.next_xid >= m.next_xid AND t.state = 'idle' FROM probectl.remote_targets() t, probectl.metric_state m WHERE t.name = %s""", (name,))[0][0]


def compare(stack, url):
    """Every success that Prometheus or VictoriaMetrics has of the local agent is stored here under the same labels, and it has the newest ones."""
    known = ids(stack)
    here = measured(stack)
    there = query(url, "probectl_probe_success[10m]")
    assert there
    for one in there:
        series = known[tuple(sorted(one["metric"].items()))]
        assert one["metric"]["tenant_id"] == str(tenant(stack))
        assert all((series, round(float(at) * 1000)) in here for at, _ in one["values"])
    return sum(len(one["values"]) for one in there)


def test_nothing_is_sent_by_default(stack):
    assert stack.sql("SELECT count(*) FROM probectl_internal.remote_sender")[0][0] == 0
    assert inside(stack, "SELECT count(*) FROM probectl.remote_targets()")[0][0] == 0


def test_prometheus_receives(stack, tmp_path):
    program, url = prometheus(tmp_path, "global: {scrape_interval: 1h}\n", "--web.enable-remote-write-receiver")
    try:
        target_set(stack, "prometheus", url + "/api/v1/write")
        stack.wait_for(lambda: len(query(url, "probectl_probe_success")) > 1, 60, "series in Prometheus")
        stack.wait_for(lambda: state(stack, "prometheus")["sent"] > 50, 60, "samples sent")
        assert compare(stack, url) > 0
        row = state(stack, "prometheus")
        assert row["rejected"] == row["expired"] == row["unregistered"] == 0 and row["last_error"] == "", row
    finally:
        program.end()
        target_delete(stack, "prometheus")


def test_victoria_metrics_receives(stack, tmp_path):
    port = free_port()
    url = "http://127.0.0.1:%d" % port
    program = Program("victoria-metrics", "-storageDataPath=%s" % tmp_path, "-httpListenAddr=127.0.0.1:%d" % port, "-search.latencyOffset=0s")
    try:
        stack.wait_for(lambda: get(url + "/health"), 60, "victoria-metrics ready")
        target_set(stack, "victoria", url + "/api/v1/write")
        stack.wait_for(lambda: len(query(url, "probectl_probe_success")) > 1, 90, "series in VictoriaMetrics")
        assert compare(stack, url) > 0
        row = state(stack, "victoria")
        assert row["sent"] > 0 and row["rejected"] == 0 and row["last_error"] == "", row
    finally:
        program.end()
        target_delete(stack, "victoria")


def test_down_then_4xx_then_5xx_then_well(stack):
    """The fault of the list. A second target that is well throughout sees everything once: a queue a target."""
    broken, well = Receiver(), Receiver()
    log = pathlib.Path(stack.home, "log", "postgres.log")
    try:
        broken.down()
        target_set(stack, "broken", broken.url)
        target_set(stack, "well", well.url)
        start = state(stack, "broken")
        # Down: attempts are counted, nothing is dropped, the position stays.
        stack.wait_for(lambda: state(stack, "broken")["retries"] >= 6 and state(stack, "well")["sent"] > 20, 90, "attempts while it is down")
        row = state(stack, "broken")
        assert row["state"] == "retrying" and row["sent"] == row["rejected"] == row["expired"] == 0, row
        assert row["next_xid"] <= state(stack, "well")["next_xid"] and row["last_status"] is None and row["last_error"] != "", row
        assert row["backlog_age"] is not None
        # The worker and its server go down too: the state of the queue does not.
        old = stack.kill9("postgres")
        stack.wait_replaced("postgres", old)
        stack.wait_healthy()
        assert state(stack, "broken")["retries"] >= row["retries"]
        # 4xx: dropped, counted, said in one line.
        broken.answer = (400, {})
        broken.up()
        stack.wait_for(lambda: state(stack, "broken")["rejected"] > 0, 60, "a refusal")
        row = state(stack, "broken")
        assert row["last_status"] == 400 and row["last_error"] == "400 because the test says so", row
        # 5xx, and 429 with a wish: kept.
        broken.answer = (503, {})
        stack.wait_for(lambda: 503 in broken.statuses[-2:], 60, "a 503")
        stack.wait_for(lambda: state(stack, "broken")["last_status"] == 503, 60, "the 503 is noted")
        rejected, sent = state(stack, "broken")["rejected"], state(stack, "broken")["sent"]
        stack.wait_for(lambda: state(stack, "broken")["failures"] >= 3, 60, "more attempts")
        assert (state(stack, "broken")["rejected"], state(stack, "broken")["sent"]) == (rejected, sent)
        broken.answer = (429, {"Retry-After": "2"})
        stack.wait_for(lambda: state(stack, "broken")["last_status"] == 429, 60, "a 429")
        assert state(stack, "broken")["rejected"] == rejected
        # Well again.
        broken.answer = (204, {})
        stack.wait_for(lambda: state(stack, "broken")["sent"] > 20 and caught_up(stack, "broken"), 90, "caught up")
        stack.wait_for(lambda: caught_up(stack, "well"), 90, "the other caught up")
        # Both queues end at the same place of the ledger: no more results, and both drained.
        tests = stack.api("GET", "/v1/tests")[1]["items"]
        for test in tests:
            assert stack.api("PATCH", "/v1/tests/" + test["test_id"], {"enabled": False})[0] == 200
        stack.wait_for(lambda: quiet(stack) and caught_up(stack, "well") and caught_up(stack, "broken"), 90, "drained")
        ends = state(stack, "broken"), state(stack, "well")
        for test in tests:
            assert stack.api("PATCH", "/v1/tests/" + test["test_id"], {"enabled": True})[0] == 200
    finally:
        target_delete(stack, "broken")
        target_delete(stack, "well")
    kept, refused, everything = broken.samples(), broken.samples("refused"), well.samples()
    known, here = ids(stack), measured(stack)
    # Nothing that was not refused for good is missing, and nothing is of anybody else.
    missing = set(everything) - set(kept) - set(refused)
    assert not missing, (sorted(ms for _, ms in missing), min(ms for _, ms in kept + refused), start, ends)
    assert all(dict(labels)["tenant_id"] == str(tenant(stack)) and (known[labels], ms) in here for labels, ms in everything + kept + refused)
    assert not set(kept) & set(refused)
    # Each ended in one count. What the other target got across the kill may have come twice, never less.
    assert (ends[0]["sent"], ends[0]["rejected"], ends[0]["expired"], ends[0]["unregistered"]) == (len(kept), len(refused), 0, 0), ends
    assert len(everything) >= ends[1]["sent"] >= len(set(everything)) and ends[1]["rejected"] == 0, ends
    assert start["sent"] == start["rejected"] == 0
    lines = [line for line in log.read_text(errors="replace").splitlines() if 'target "broken"' in line and "are dropped" in line]
    assert lines and all("400 because the test says so" in line and "second line" not in line for line in lines), lines


def test_backlog_is_bounded(stack):
    """What waited for longer than the backlog is dropped and counted, also while the target is down."""
    receiver = Receiver()
    receiver.down()
    try:
        target_set(stack, "late", receiver.url, backlog="1 second")
        stack.wait_for(lambda: state(stack, "late")["expired"] > 10, 60, "expired samples")
        assert state(stack, "late")["sent"] == 0
        receiver.up()
        stack.wait_for(lambda: state(stack, "late")["sent"] > 0, 60, "newer ones")
    finally:
        target_delete(stack, "late")
        receiver.down()


def test_credentials_and_certificates(stack):
    """Secrets come from files, certificates are verified; our own gateway is the receiver over TLS."""
    secret = pathlib.Path(stack.folder, "secret")  # the server is another user
    secret.write_text(stack.token + "\n")
    secret.chmod(0o644)
    url = stack.url + "/v1/prometheus/write"
    try:
        target_set(stack, "self", url, secret_file=str(secret))
        stack.wait_for(lambda: "certificate" in state(stack, "self")["last_error"], 60, "the authority is not known")
        # With it, and the token: probes of agents are not taken from anybody else, which is a 400 of ours.
        target_set(stack, "self", url, secret_file=str(secret), ca_file=stack.ca)
        stack.wait_for(lambda: state(stack, "self")["last_status"] == 400, 60, "let in")
        assert "kept for agents" in state(stack, "self")["last_error"]
        target_set(stack, "self", url, secret_file=str(secret), user_name="anybody", ca_file=stack.ca)
        before = state(stack, "self")["rejected"]
        stack.wait_for(lambda: state(stack, "self")["rejected"] > before and state(stack, "self")["last_status"] == 400, 60, "let in with a password")
        target_set(stack, "self", url, secret_file=str(secret) + ".none", ca_file=stack.ca)
        stack.wait_for(lambda: "secret_file" in state(stack, "self")["last_error"], 60, "no secret, no request")
        secret.write_text("wrong")
        target_set(stack, "self", url, secret_file=str(secret), ca_file=stack.ca)
        stack.wait_for(lambda: state(stack, "self")["last_status"] == 401, 60, "refused")
    finally:
        target_delete(stack, "self")
