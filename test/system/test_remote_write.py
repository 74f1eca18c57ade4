# SPDX-License-Identifier: PostgreSQL
"""Remote write in: what a sender is told, what is stored, whose it is; and Debian's Prometheus as the sender."""
import base64
import json
import os
import pathlib
import ssl
import struct
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from conftest import clean_environment, free_port, wait_for
from remote_parts import STALE, compress, data, series

HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}


def post(stack, body, token=None, **headers):
    """(status, message)."""
    given = {**HEADERS, "Authorization": "Bearer " + (token or stack.token), **{k.replace("_", "-"): v for k, v in headers.items()}}
    request = urllib.request.Request(stack.url + "/v1/prometheus/write", data=body, method="POST",
                                     headers={k: v for k, v in given.items() if v is not None})
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=stack.ca), timeout=30) as answer:
            assert answer.read() == b""
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"]


def tenant(stack):
    return stack.sql("SELECT tenant_id FROM probectl.tenant WHERE slug = 'default'")[0][0]


def inside(stack, statement, args=()):
    """Rows of a statement in the default tenant."""
    with stack.connect() as connection:
        connection.autocommit = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant(stack),))
            cursor.execute(statement, args)
            return cursor.fetchall()


def counts(stack):
    return inside(stack, "SELECT to_jsonb(r) FROM probectl.remote_received() r")[0][0]


def stored(stack, name):
    """[(labels without the tenant, ms, bits of the value)]"""
    rows = inside(stack, """
        SELECT s.labels - 'tenant_id', (extract(epoch FROM r.at) * 1000)::bigint, encode(float8send(r.value), 'hex'), s.labels ->> 'tenant_id'
          FROM probectl.metric_series s, probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r WHERE s.name = %s ORDER BY 1, 2""", (name,))
    assert all(row[3] == str(tenant(stack)) for row in rows), "the tenant is that of the credential"
    return [row[:3] for row in rows]


def test_what_is_good_is_stored_and_what_is_not_is_said(stack):
    now = int(time.time() * 1000)
    before = counts(stack)
    hostile = {"__name__": "rw_mixed", "job": "a", "tenant_id": "00000000-0000-0000-0000-000000000000", "agent_id": "x"}
    body = (series(hostile, [(now - 2000, 1.5), (now - 1000, STALE)])
            + series({"__name__": "rw_mixed", "job": "b"}, [(now - 3000, 2.0), (now - 90 * 86400000, 1.0), (now + 3600000, 1.0)])
            + series({"job": "no name"}, [(now, 1.0)])
            + series({"__name__": "probectl_probe_success", "job": "c"}, [(now, 1.0)])
            + data(3, b"\x08\x01"))
    status, message = post(stack, compress(body))
    assert status == 400 and message.endswith("3 of 7 samples were stored"), message
    assert message.startswith("no label __name__"), message
    # A marker that a series has ended is read as no value.
    assert stored(stack, "rw_mixed") == [({"job": "a"}, now - 2000, "3ff8000000000000"), ({"job": "a"}, now - 1000, None),
                                         ({"job": "b"}, now - 3000, "4000000000000000")]
    after = counts(stack)
    grown = {k: after[k] - before[k] for k in after if after[k] != before[k]}
    assert grown == {"requests": 1, "received": 7, "stored": 3, "too_old": 1, "in_future": 1, "bad_labels": 2, "reserved_labels": 2}
    # Again, late and out of order: nothing to complain of, of one time the last value holds.
    assert post(stack, compress(series(hostile, [(now - 1500, 4.0), (now - 2000, 2.5)]))) == (204, "")
    assert [row[1:] for row in stored(stack, "rw_mixed")][:3] == [(now - 2000, "4004000000000000"), (now - 1500, "4010000000000000"), (now - 1000, None)]


def test_doors(stack):
    body = compress(series({"__name__": "rw_doors"}, [(int(time.time() * 1000), 1.0)]))
    basic = "Basic " + base64.b64encode(b"anybody:" + stack.token.encode()).decode()
    assert post(stack, body, Authorization=basic) == (204, "")
    assert post(stack, body, Authorization="Basic " + base64.b64encode(stack.token.encode()).decode())[0] == 401
    assert post(stack, body, Authorization=None, Cookie="probectl_session=" + stack.token)[0] == 401
    assert post(stack, body, token="pct_" + "A" * 43)[0] == 401
    assert post(stack, body, X_Prometheus_Remote_Write_Version="2.0.0")[0] == 415
    assert post(stack, body, Content_Type="application/x-protobuf;proto=io.prometheus.write.v2.Request")[0] == 415
    assert post(stack, body, Content_Type="application/json")[0] == 415
    assert post(stack, body, Content_Encoding="zstd")[0] == 415
    assert post(stack, body, Content_Encoding=None)[0] == 415
    assert post(stack, b"")[0] == 400
    assert post(stack, b"\xff\xff\xff\xff\x0f") == (400, "the request is larger than 16 MiB: lower max_samples_per_send")
    assert post(stack, b"\x05\x00") == (400, "the body is not a snappy block")
    assert post(stack, compress(b"\x0a\x05ab")) == (400, "the body is not a prometheus.WriteRequest of remote write 1.0")
    assert stack.api("GET", "/v1/prometheus/write")[0] == 405
    user = inside(stack, "SELECT user_id FROM probectl.tenant_user LIMIT 1")[0][0]
    for scopes, status in ((["metrics.read"], 403), (["metrics.write"], 204)):
        with stack.connect() as connection:
            connection.autocommit = False
            with connection.cursor() as cursor:
                cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant(stack),))
                cursor.execute("SELECT probectl.api_token_create('rw', %s, '1 hour', %s)", (user, scopes))
                token = cursor.fetchone()[0]
        assert post(stack, body, token=token)[0] == status, scopes


class Program:
    """A program of Debian's, in a folder of its own."""

    def __init__(self, *argv):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=clean_environment())

    def text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return None


def test_more_series_than_are_remembered(stack):
    """Four senders of the same series, three times as many as are remembered: none is made twice, none gets another's sample."""
    many, rounds, senders, now = 3000, 3, 4, int(time.time() * 1000) - 60000
    stack.sql("ALTER SYSTEM SET probectl.remote_series_cache = 1024")
    stack.wait_replaced("postgres", stack.kill9("postgres"))
    stack.wait_for(lambda: stack.api("GET", "/v1/me")[0] == 200, 30, "the gateway is connected again")
    assert stack.sql("SHOW probectl.remote_series_cache") == [("1024",)]
    before = counts(stack)["stored"]

    def send(sender):
        for round in range(rounds):
            for first in range(0, many, 500):
                body = b"".join(series({"__name__": "crowd", "n": str(n)}, [(now + round * senders + sender, float(n))]) for n in range(first, first + 500))
                assert post(stack, compress(body)) == (204, "")
    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, range(senders)))
    assert counts(stack)["stored"] - before == many * rounds * senders
    assert inside(stack, """
        SELECT count(DISTINCT s.series_id), count(*), bool_and(r.value = (s.labels ->> 'n')::float8)
          FROM probectl.metric_series s, probectl.metric_read(s.series_id, '2000-01-01', '2200-01-01') r WHERE s.name = 'crowd'""") == [
              (many, many * rounds * senders, True)]
    stack.sql("ALTER SYSTEM RESET probectl.remote_series_cache")


def prometheus(folder, config="", *options):
    """(program, its URL): Debian's Prometheus on a free port, ready."""
    port = free_port()
    path = pathlib.Path(folder, "prometheus.yml")
    path.write_text(config.replace("PORT", str(port)))
    program = Program("prometheus", "--config.file=%s" % path, "--storage.tsdb.path=%s" % os.path.join(folder, "data"),
                      "--web.listen-address=127.0.0.1:%d" % port, "--log.level=info", *options)
    url = "http://127.0.0.1:%d" % port
    try:
        wait_for(lambda: get(url + "/-/ready"), 60, "prometheus ready")
    except AssertionError:
        said = program.text()
        program.end()
        raise AssertionError(said) from None
    return program, url


def test_prometheus_sends(stack, tmp_path):
    """What Prometheus scraped is here, value by value, and it counts nothing as failed."""
    config = """
global: {scrape_interval: 1s}
scrape_configs: [{job_name: itself, static_configs: [{targets: ["127.0.0.1:PORT"]}]}]
remote_write:
  - url: %s/v1/prometheus/write
    basic_auth: {username: prometheus, password: %s}
    tls_config: {ca_file: %s}
    metadata_config: {send: true, send_interval: 1s}
    queue_config: {batch_send_deadline: 200ms}
""" % (stack.url, stack.token, stack.ca)
    program, url = prometheus(tmp_path, config)
    try:
        stack.wait_for(lambda: len(stored(stack, "prometheus_tsdb_head_series")) >= 5, 60, "samples of Prometheus")
        theirs = json.loads(get(url + "/api/v1/query?query=prometheus_tsdb_head_series%5B5m%5D"))["data"]["result"][0]
        ours = {ms: value for labels, ms, value in stored(stack, "prometheus_tsdb_head_series")}
        same = [ms for ms, value in ((round(at * 1000), struct.pack(">d", float(text)).hex()) for at, text in theirs["values"]) if ours.get(ms) == value]
        assert len(same) >= 5 and set(ours) >= set(same)
        labels = stored(stack, "prometheus_tsdb_head_series")[0][0]
        assert labels == {k: v for k, v in theirs["metric"].items() if k != "__name__"}
        said = get(url + "/metrics")
        for family in ("prometheus_remote_storage_samples_failed_total", "prometheus_remote_storage_samples_dropped_total"):
            assert [float(line.split()[-1]) for line in said.splitlines() if line.startswith(family + "{")] in ([0.0], []), family
        assert 'msg="non-recoverable error"' not in program.text()
    finally:
        program.end()
    sums = counts(stack)
    assert sums["received"] == sum(sums[k] for k in ("stored", "too_old", "in_future", "refused_tenant", "bad_labels"))
