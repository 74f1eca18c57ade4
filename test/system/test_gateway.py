# SPDX-License-Identifier: PostgreSQL
"""The gateway as clients, hostile clients and a failing database see it.

The gateway is real and so is PostgreSQL, on a private cluster. Behind it stand small functions with
the signatures of docs/81-contracts.md section 3, because only a database side that fails, sleeps and
refuses on demand can show what the gateway makes of it. What the real extension answers is the
subject of the tests at the end, which run on the whole stack.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest
from ports import free_port

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAM = os.environ.get("PROBECTL_GATEWAY", os.path.join(TOP, "build", "bin", "probectl-gateway"))
TENANT_A = "aaaaaaaa-0000-4000-8000-000000000001"
TENANT_B = "bbbbbbbb-0000-4000-8000-000000000002"
TOKEN_A, TOKEN_A2, TOKEN_B = "pct_a", "pct_a2", "pct_b"

STAND_IN = """
CREATE SCHEMA probectl;
CREATE TABLE probectl.api_route (method text, path text, permission text, summary text, stream bool);
INSERT INTO probectl.api_route VALUES
  ('GET', '/v1/me', NULL, '', false),
  ('GET', '/v1/tests', 'test.read', '', false), ('POST', '/v1/tests', 'test.write', '', false),
  ('GET', '/v1/tests/{test_id}', 'test.read', '', false), ('PATCH', '/v1/tests/{test_id}', 'test.write', '', false),
  ('DELETE', '/v1/tests/{test_id}', 'test.write', '', false),
  ('GET', '/v1/tests/summary', 'test.read', '', false),
  ('GET', '/v1/events', 'test.read', '', true),
  ('GET', '/v1/pair/{a}/{b}', NULL, '', false),
  ('GET', '/v1/fail/{code}', NULL, '', false), ('POST', '/v1/fail/{code}', NULL, '', false),
  ('GET', '/v1/sleep/{s}', NULL, '', false), ('POST', '/v1/commit-fails', NULL, '', false),
  ('GET', '/v1/forbidden', NULL, '', false), ('GET', '/v1/large', NULL, '', false);
CREATE TABLE probectl.credential (token text PRIMARY KEY, tenant uuid, ended bool NOT NULL DEFAULT false);
INSERT INTO probectl.credential VALUES ('pct_a', '%(a)s'), ('pct_a2', '%(a)s'), ('pct_b', '%(b)s');
CREATE TABLE probectl.made (tenant uuid, body text);
CREATE TABLE probectl.once (x int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION probectl.current_tenant() RETURNS uuid LANGUAGE sql AS
  $$ SELECT nullif(current_setting('standin.tenant', true), '')::uuid $$;
CREATE FUNCTION probectl.enter_session(t text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE v uuid; BEGIN
  IF probectl.current_tenant() IS NOT NULL THEN RAISE EXCEPTION 'the connection is still bound'; END IF;
  SELECT tenant INTO v FROM probectl.credential WHERE token = t AND NOT ended;
  IF v IS NULL THEN RAISE EXCEPTION 'not signed in' USING ERRCODE = 'PC401'; END IF;
  PERFORM set_config('standin.tenant', v::text, true), set_config('standin.token', t, true);
END $$;
CREATE FUNCTION probectl.enter_session(t text, used boolean) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM probectl.enter_session(t); END $$;
CREATE FUNCTION probectl.remote_write(request bytea, OUT status int, OUT message text) LANGUAGE sql AS $$ SELECT 204, '' $$;
CREATE FUNCTION probectl.session_end() RETURNS void LANGUAGE sql AS
  $$ UPDATE probectl.credential SET ended = true WHERE token = current_setting('standin.token') $$;
CREATE FUNCTION probectl.signin_redeem(code text, user_agent text, OUT session text, OUT expires_at timestamptz)
LANGUAGE plpgsql AS $$ BEGIN
  IF code NOT LIKE 'pcl_good%%' THEN RAISE EXCEPTION 'link not known' USING ERRCODE = 'PC401'; END IF;
  session := 'pcs_' || md5(random()::text); expires_at := now() + interval '12 hours';
  INSERT INTO probectl.credential VALUES (session, '%(a)s');
END $$;
CREATE FUNCTION probectl.agent_enroll(token text, csr text, hostname text, version text, OUT tenant_id uuid,
  OUT agent_id uuid, OUT spiffe_id text, OUT certificate text, OUT ca_bundle text, OUT serial text, OUT not_after timestamptz)
LANGUAGE plpgsql AS $$ BEGIN
  IF token <> 'pjt_good' THEN RAISE EXCEPTION 'token not known' USING ERRCODE = 'PC401'; END IF;
  tenant_id := '%(a)s'; agent_id := 'cccccccc-0000-4000-8000-000000000003';
  spiffe_id := 'spiffe://probectl/tenant/' || tenant_id || '/agent/' || agent_id;
  certificate := E'-----BEGIN CERTIFICATE-----\\n' || length(csr); ca_bundle := 'bundle of ' || hostname || version;
  serial := '1f'; not_after := '2027-01-01T00:00:00Z';
END $$;
CREATE FUNCTION probectl.api_call(text, text, jsonb, jsonb, jsonb) RETURNS TABLE (status int, body text)
LANGUAGE plpgsql AS $$
BEGIN
  IF $2 LIKE '/v1/fail/%%' THEN
    INSERT INTO probectl.made VALUES (probectl.current_tenant(), 'must be rolled back');
    RAISE EXCEPTION 'told to fail with %%', $3->>'code' USING ERRCODE = $3->>'code', DETAIL = 'field: interval_seconds';
  END IF;
  IF $2 = '/v1/sleep/{s}' THEN PERFORM pg_sleep(($3->>'s')::float); END IF;
  IF $2 = '/v1/commit-fails' THEN INSERT INTO probectl.once VALUES (1), (1); END IF;
  IF $2 = '/v1/forbidden' THEN RETURN QUERY SELECT 403, '{"error":{"code":"forbidden"}}'; RETURN; END IF;
  IF $2 = '/v1/large' THEN RETURN QUERY SELECT 200, '"' || repeat('x', 8000000) || '"'; RETURN; END IF;
  IF $1 = 'DELETE' THEN RETURN QUERY SELECT 204, NULL::text; RETURN; END IF;
  IF $1 <> 'GET' THEN INSERT INTO probectl.made VALUES (probectl.current_tenant(), $5::text); END IF;
  RETURN QUERY SELECT CASE $1 WHEN 'POST' THEN 201 ELSE 200 END, jsonb_build_object('method', $1, 'path', $2,
    'params', $3, 'query', $4, 'body', $5, 'tenant', probectl.current_tenant())::text;
END $$;
CREATE FUNCTION probectl.openapi() RETURNS text LANGUAGE sql AS $$ SELECT '{"openapi":"3.1.0"}' $$;
CREATE TABLE probectl.running (workers int);
INSERT INTO probectl.running VALUES (2);
CREATE FUNCTION probectl.ready(OUT version text, OUT workers int) LANGUAGE sql AS $$ SELECT '0.1', running.workers FROM probectl.running $$;
""" % {"a": TENANT_A, "b": TENANT_B}

_pause = threading.Event()


def wait_for(what, probe, seconds=15):
    """Polls probe until it is true; the deadline is the verdict."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, "not within %s s: %s" % (seconds, what)
        _pause.wait(0.02)


# ---- processes ------------------------------------------------------------------------


class Cluster:
    """A private PostgreSQL, run by the user postgres when the tests run as root."""

    def __init__(self, directory):
        self.dir = str(directory)
        self.data = os.path.join(self.dir, "data")
        self.bin = sorted(
            (os.path.join("/usr/lib/postgresql", v, "bin") for v in os.listdir("/usr/lib/postgresql")),
            key=lambda p: os.path.exists(os.path.join(p, "initdb")))[-1]
        self.sudo = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self.sudo:
            shutil.chown(self.dir, "postgres")
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N")
        self.process = None

    def run(self, program, *args):
        subprocess.run(self.sudo + [os.path.join(self.bin, program)] + list(args), check=True,
                       stdout=subprocess.DEVNULL, cwd=self.dir)

    def start(self):
        self.run("pg_ctl", "-D", self.data, "-w", "-l", os.path.join(self.dir, "log"), "-o",
                 "-k %s -c listen_addresses='' -c fsync=off -c max_connections=60" % self.dir, "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def kill(self):
        with open(os.path.join(self.data, "postmaster.pid")) as f:
            pid = int(f.readline())
        with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
            family = [pid] + [int(child) for child in f.read().split()]
        os.kill(pid, signal.SIGKILL)
        # The next server can start when the last of them has left the shared memory.
        wait_for("end of the server", lambda: not any(os.path.exists("/proc/%d" % p) for p in family))

    def sql(self, text, database="probectl"):
        return subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-U", "postgres", database],
                              input=text, text=True, check=True, stdout=subprocess.PIPE).stdout.strip()


class Gateway:
    def __init__(self, directory, database, name="gateway", **settings):
        self.dir, self.port, self.name = str(directory), free_port(), name
        self.cert, self.key = os.path.join(self.dir, "cert.pem"), os.path.join(self.dir, "key.pem")
        self.web = os.path.join(self.dir, "web")
        self.status = os.path.join(self.dir, name + ".sock")
        self.settings = {"listen": "127.0.0.1:%d" % self.port, "database": database, "tls.cert_file": self.cert,
                         "tls.key_file": self.key, "web_root": self.web, "status_socket": self.status}
        self.settings.update(settings)
        self.process, self.log = None, os.path.join(self.dir, name + ".log")

    def command(self, *more):
        sets = [arg for k, v in self.settings.items() for arg in ("--set", "%s=%s" % (k, v))]
        return [PROGRAM] + sets + list(more)

    def start(self, ready=True):
        self.process = subprocess.Popen(self.command(), stderr=open(self.log, "a"))
        if ready:
            wait_for("gateway ready", lambda: self.get("/readyz", quiet=True)[0] == 200)
        return self

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(15)
        return self.process.returncode

    def context(self):
        return ssl.create_default_context(cafile=self.cert)

    def connect(self):
        return http.client.HTTPSConnection("localhost", self.port, context=self.context(), timeout=60)

    def raw(self, data=b"", timeout=20):
        s = self.context().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=timeout),
                                       server_hostname="localhost")
        s.settimeout(timeout)
        if data:
            s.sendall(data)
        return s

    def call(self, method, path, body=None, token=None, cookie=None, headers=None, connection=None):
        c = connection or self.connect()
        h = dict(headers or {})
        if token:
            h["Authorization"] = "Bearer " + token
        if cookie:
            h["Cookie"] = "theme=dark; probectl_session=" + cookie
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            h.setdefault("Content-Type", "application/json")
        c.request(method, path, body=body, headers=h)
        r = c.getresponse()
        data = r.read()
        if connection is None:
            c.close()
        return r.status, r.headers, data

    def get(self, path, quiet=False, **more):
        try:
            return self.call("GET", path, **more)
        except OSError:
            if not quiet:
                raise
            return 0, {}, b""

    def origin(self):
        return "https://localhost:%d" % self.port

    def metric(self, name, labels=""):
        text = self.get("/metrics")[2].decode()
        return float(re.search(r"^%s%s (\S+)$" % (name, re.escape(labels)), text, re.M).group(1))


def error_of(data):
    return json.loads(data)["error"]


def make_files(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", os.path.join(directory, "key.pem"), "-out", os.path.join(directory, "cert.pem"),
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, stderr=subprocess.DEVNULL)
    web = os.path.join(directory, "web")
    os.makedirs(os.path.join(web, "assets"))
    files = {"index.html": "<!doctype html><title>probectl</title>", "favicon.svg": "<svg/>",
             "assets/app-Ab12Cd34.js": "console.log(1)\n" * 200, "assets/stable-component.js": "1", ".hidden": "secret"}
    for name, text in files.items():
        with open(os.path.join(web, name), "w") as f:
            f.write(text)
    subprocess.run(["gzip", "-9k", os.path.join(web, "assets/app-Ab12Cd34.js")], check=True)
    with open(os.path.join(directory, "outside.txt"), "w") as f:
        f.write("outside of the web root")
    os.symlink("../outside.txt", os.path.join(web, "link.txt"))


@pytest.fixture(scope="module")
def cluster():
    # Not below pytest's own folder: each start of pytest closes that to other users.
    directory = tempfile.mkdtemp(prefix="pctl-gwpg-", dir="/tmp")
    os.chmod(directory, 0o755)
    c = Cluster(directory)
    try:
        c.start()
        c.sql("CREATE DATABASE probectl", "postgres")
        c.sql(STAND_IN)
        yield c
    finally:
        c.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gw")
    make_files(str(directory))
    return directory


def conninfo(cluster):
    return "host=%s user=postgres dbname=probectl" % cluster.dir


@pytest.fixture(scope="module")
def gw(cluster, files):
    g = Gateway(files, conninfo(cluster), **{"limits.body_bytes": "64KiB", "limits.request": "2s"}).start()
    yield g
    assert g.stop() == 0, "SIGTERM must end it with 0"


@pytest.fixture
def another(cluster, files):
    """Further gateways with settings of their own."""
    made = []

    def make(name, ready=True, **settings):
        g = Gateway(files, settings.pop("database", conninfo(cluster)), name,
                    **{k.replace("__", "."): v for k, v in settings.items()})
        made.append(g)
        return g.start(ready)

    yield make
    for g in made:
        g.stop()


# ---- requests -------------------------------------------------------------------------


def test_answer_of_the_database_is_passed_on(gw):
    status, headers, data = gw.get("/v1/pair/a%20b/c%2Fd?x=1&y=%22+z&empty=&flag", token=TOKEN_A)
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "no-store"
    answer = json.loads(data)
    assert answer == {"method": "GET", "path": "/v1/pair/{a}/{b}", "params": {"a": "a b", "b": "c/d"}, "body": None,
                      "query": {"x": "1", "y": '" z', "empty": "", "flag": ""}, "tenant": TENANT_A}


def test_literal_route_beats_parameter(gw):
    assert json.loads(gw.get("/v1/tests/summary", token=TOKEN_A)[2])["path"] == "/v1/tests/summary"
    assert json.loads(gw.get("/v1/tests/other", token=TOKEN_A)[2])["params"] == {"test_id": "other"}


def test_body_and_statuses_of_success(gw):
    body = {"name": "größer", "n": 1.5, "list": [1, {"a": None}]}
    status, _, data = gw.call("POST", "/v1/tests", body, token=TOKEN_B)
    assert status == 201 and json.loads(data)["body"] == body and json.loads(data)["tenant"] == TENANT_B
    status, headers, data = gw.call("DELETE", "/v1/tests/1", token=TOKEN_A)
    assert (status, data) == (204, b"") and "Content-Length" not in headers


def test_head_has_the_length_but_no_body(gw):
    status, headers, data = gw.call("HEAD", "/v1/me", token=TOKEN_A)
    assert status == 200 and data == b"" and int(headers["Content-Length"]) > 10


def test_security_headers_are_on_every_answer(gw):
    for path in ("/", "/v1/me", "/nothing.txt", "/healthz", "/metrics"):
        h = gw.get(path)[1]
        assert h["Content-Security-Policy"].startswith("default-src 'self';"), path
        assert h["X-Content-Type-Options"] == "nosniff" and h["X-Frame-Options"] == "DENY"
        assert h["Referrer-Policy"] == "no-referrer" and "camera=()" in h["Permissions-Policy"]
        assert h["Strict-Transport-Security"].startswith("max-age=") and h["X-Request-Id"]


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 429])
def test_sqlstate_becomes_status(gw, status):
    got, headers, data = gw.get("/v1/fail/PC%d" % status, token=TOKEN_A)
    e = error_of(data)
    assert got == status
    assert e["message"] == "told to fail with PC%d" % status and e["field"] == "interval_seconds"
    assert e["request_id"] == headers["X-Request-Id"] and e["code"]
    if status == 401:
        assert headers["WWW-Authenticate"] == "Bearer"
    if status == 429:
        assert int(headers["Retry-After"]) >= 1


def test_fault_is_500_without_its_text_and_logged(gw):
    status, headers, data = gw.get("/v1/fail/22012", token=TOKEN_A)
    assert status == 500 and b"told to fail" not in data and "field" not in error_of(data)
    with open(gw.log) as f:
        line = [x for x in f if headers["X-Request-Id"] in x and "told to fail" in x]
    assert len(line) == 1 and "22012" in line[0]


def test_error_at_commit_is_not_a_success(gw, cluster):
    status, _, data = gw.call("POST", "/v1/commit-fails", token=TOKEN_A)
    assert status == 500, data
    assert cluster.sql("SELECT count(*) FROM probectl.once") == "0"


def test_forbidden_row_is_passed_on(gw):
    status, _, data = gw.get("/v1/forbidden", token=TOKEN_A)
    assert status == 403 and error_of(data)["code"] == "forbidden"


def test_refused_change_leaves_nothing(gw, cluster):
    gw.call("POST", "/v1/fail/PC409", {}, token=TOKEN_A)
    assert cluster.sql("SELECT count(*) FROM probectl.made WHERE body LIKE 'must%'") == "0"


@pytest.mark.parametrize("token", [None, "pct_unknown", "with space", "x" * 600])
def test_without_a_good_credential_401(gw, token):
    status, headers, data = gw.get("/v1/me", token=token)
    assert status == 401 and error_of(data)["code"] == "unauthenticated" and headers["WWW-Authenticate"] == "Bearer"


def test_unknown_route_and_method(gw):
    assert gw.get("/v1/none", token=TOKEN_A)[0] == 404
    assert gw.get("/v1/tests/1/2", token=TOKEN_A)[0] == 404
    status, headers, _ = gw.call("PUT", "/v1/tests/1", token=TOKEN_A)
    assert status == 405 and set(headers["Allow"].split(", ")) == {"GET", "PATCH", "DELETE"}
    status, headers, _ = gw.call("GET", "/auth/signin")
    assert status == 405 and headers["Allow"] == "POST"
    status, headers, _ = gw.call("POST", "/", body="x")
    assert status == 405 and "GET" in headers["Allow"]


@pytest.mark.parametrize("query,status", [
    ("a=1&a=2", 422), ("%61=1&a=2", 422), ("a=%zz", 400), ("a=%4", 400), ("a=%00", 400), ("a=%ff", 400), ("=1", 400),
    ("&".join("k%d=1" % i for i in range(70)), 400)])
def test_query_string_is_strict(gw, query, status):
    got, _, data = gw.get("/v1/me?" + query, token=TOKEN_A)
    assert got == status
    if status == 422:
        assert error_of(data)["field"] == "a"


@pytest.mark.parametrize("body,word", [
    ('{"a":1', "line 1, column"), ('{"a":1}\n x', "line 2"), ('{"a":1,"a":2}', "duplicate"), ('{"a":"\\u0000"}', "0000"),
    ("[" * 40 + "]" * 40, "deeper"), ("1", "column"), ("\xff", "column"), ('{"a":1e999}', "column")])
def test_bad_json_is_400_with_position(gw, body, word):
    status, _, data = gw.call("POST", "/v1/tests", body.encode("latin-1"), token=TOKEN_A,
                              headers={"Content-Type": "application/json"})
    assert status == 400 and word in error_of(data)["message"], data


def test_brackets_in_strings_are_no_depth(gw):
    body = {"a": "[" * 100 + '"\\' + "{" * 100}
    status, _, data = gw.call("POST", "/v1/tests", body, token=TOKEN_A)
    assert status == 201 and json.loads(data)["body"] == body


def test_media_type_and_size(gw):
    assert gw.call("POST", "/v1/tests", "a=1", token=TOKEN_A,
                   headers={"Content-Type": "application/x-www-form-urlencoded"})[0] == 415
    assert gw.call("POST", "/v1/tests", "{}", token=TOKEN_A,
                   headers={"Content-Type": "application/json; charset=utf-8"})[0] == 201
    status, _, data = gw.call("POST", "/v1/tests", b'{"a":"' + b"x" * 70000 + b'"}', token=TOKEN_A,
                              headers={"Content-Type": "application/json"})
    assert status == 413 and error_of(data)["code"] == "too_large"


def test_chunked_body(gw):
    c = gw.connect()
    c.request("POST", "/v1/tests", body=iter([b'{"a"', b":", b"[1,2]}"]), encode_chunked=True,
              headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json",
                       "Authorization": "Bearer " + TOKEN_A})
    r = c.getresponse()
    assert r.status == 201 and json.loads(r.read())["body"] == {"a": [1, 2]}
    c.request("POST", "/v1/tests", body=iter([b"x" * 8192] * 20), encode_chunked=True,
              headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json",
                       "Authorization": "Bearer " + TOKEN_A})
    assert c.getresponse().status == 413


def test_large_answer_arrives_whole(gw):
    status, headers, data = gw.get("/v1/large", token=TOKEN_A)
    assert status == 200 and len(data) == 8000002 == int(headers["Content-Length"])
    assert data == b'"' + b"x" * 8000000 + b'"'


def test_deadline_of_a_request(gw):
    began = time.monotonic()
    status, _, data = gw.get("/v1/sleep/30", token=TOKEN_A)
    assert status == 504 and error_of(data)["code"] == "timeout"
    assert 1.5 < time.monotonic() - began < 5
    assert gw.get("/v1/me", token=TOKEN_A)[0] == 200


# ---- answers never cross --------------------------------------------------------------


def test_errors_do_not_leak_into_other_answers(gw):
    """Good and failing requests of two tenants at once, on few database connections."""
    wrong = []

    def client(number):
        c = gw.connect()
        token, tenant = (TOKEN_A, TENANT_A) if number % 2 else (TOKEN_B, TENANT_B)
        for i in range(150):
            kind = (number + i) % 4
            if kind == 0:
                s, _, d = gw.get("/v1/fail/PC409", token=token, connection=c)
                good = s == 409
            elif kind == 1:
                s, _, d = gw.get("/v1/me", token="pct_nobody", connection=c)
                good = s == 401
            else:
                mark = "%d-%d" % (number, i)
                s, _, d = gw.get("/v1/pair/%s/x" % mark, token=token, connection=c)
                good = s == 200 and json.loads(d)["params"]["a"] == mark and json.loads(d)["tenant"] == tenant
            if not good:
                wrong.append((number, i, kind, s, d))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[:3]


def test_full_queue_is_503(another):
    g = another("queue", connections=1, limits__queue=2)
    results = []

    def client():
        results.append(g.get("/v1/sleep/0.5", token=TOKEN_A)[:2])

    threads = [threading.Thread(target=client) for _ in range(24)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    statuses = [s for s, _ in results]
    assert statuses.count(503) >= 10 and statuses.count(200) >= 8 and set(statuses) == {200, 503}
    assert all(h["Retry-After"] for s, h in results if s == 503)
    assert g.metric("probectl_gateway_refused_total", '{reason="queue"}') == statuses.count(503)


# ---- HTTP framing ---------------------------------------------------------------------


def status_of(sock):
    data = b""
    while b"\r\n" not in data:
        chunk = sock.recv(65536)
        if not chunk:
            break
        data += chunk
    return int(data.split(b" ")[1]) if data else 0


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize("data,status", [
    (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505), (b"GET /\r\n" + HOST + b"\r\n", 400),
    (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400), (b"GET / HTTP/1.1\r\n" + HOST + b" folded: 1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nEvil: 1\r\n\r\n", 400),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\n", 400),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\n\r\n", 417),
    (b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n", 400), (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
    (b"\x16\x03\x01garbage", 400), (b"G" * 9000, 414)])
def test_bad_framing_is_refused_and_ends_the_connection(gw, data, status):
    with gw.raw(data) as s:
        assert status_of(s) == status
        wait_for("end of the connection", lambda: s.recv(65536) == b"")
    assert gw.get("/healthz")[0] == 200


def test_pipelined_requests_are_answered_in_order(gw):
    auth = b"Authorization: Bearer pct_a\r\n"
    with gw.raw(b"".join(b"GET /v1/pair/p%d/x HTTP/1.1\r\n" % i + HOST + auth + b"\r\n" for i in range(50)) +
                b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") as s:
        data = b""
        while True:
            chunk = s.recv(65536)
            if not chunk:
                break
            data += chunk
    assert re.findall(rb'"a": "p(\d+)"', data) == [b"%d" % i for i in range(50)]
    assert data.endswith(b'{"status":"ok"}')


def test_garbage_behind_a_request_hurts_only_its_sender(gw):
    with gw.raw(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n" + b"\0\1\2 garbage \r\n\r\n" * 2000) as s:
        data = b""
        try:
            while True:
                chunk = s.recv(65536)
                if not chunk:
                    break
                data += chunk
        except ConnectionResetError:
            pass
    assert data.startswith(b"HTTP/1.1 200") and data.count(b"HTTP/1.1 400") == 1


def test_keep_alive_http10_and_close(gw):
    c = gw.connect()
    for _ in range(3):
        assert gw.get("/healthz", connection=c)[0] == 200
    with gw.raw(b"GET /healthz HTTP/1.0\r\n\r\n") as s:
        assert status_of(s) == 200
        wait_for("end after HTTP/1.0", lambda: s.recv(65536) == b"")


def test_http10_keep_alive_when_asked(gw):
    with gw.raw() as s:
        for _ in range(2):
            s.sendall(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            data = b""
            while not data.endswith(b"}"):
                data += s.recv(65536)
            assert b"\r\nConnection: keep-alive\r\n" in data


def test_client_that_ends_its_side_gets_its_answers(gw):
    """Two requests, the second still with the database, and the end of the client's side behind them."""
    with gw.raw(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /v1/sleep/0.3 HTTP/1.1\r\n" + HOST +
                b"Authorization: Bearer pct_a\r\n\r\n") as s:
        s.shutdown(socket.SHUT_WR)  # without a close notification, as a dying client does
        plain = socket.socket(fileno=os.dup(s.fileno()))
        plain.settimeout(10)
        received = 0
        while True:
            chunk = plain.recv(65536)
            if not chunk:
                break
            received += len(chunk)
        plain.close()
    assert received > 1500, "both answers, still encrypted"
    assert gw.get("/healthz")[0] == 200


def test_client_that_leaves_costs_nothing(gw):
    before = gw.metric("probectl_gateway_clients")
    for _ in range(20):
        gw.raw(b"GET /v1/sleep/0.5 HTTP/1.1\r\n" + HOST + b"Authorization: Bearer pct_a\r\n\r\n").close()
        gw.raw(b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{").close()
        gw.raw(b"GET /v1/ev").close()
    socket.create_connection(("127.0.0.1", gw.port)).close()
    wait_for("all of them gone", lambda: gw.metric("probectl_gateway_clients") <= before)
    wait_for("their requests done", lambda: gw.metric("probectl_backlog") == 0)
    assert gw.get("/v1/me", token=TOKEN_A)[0] == 200


def test_expect_continue(gw):
    with gw.raw(b"POST /v1/tests HTTP/1.1\r\n" + HOST + b"Authorization: Bearer pct_a\r\nContent-Length: 2\r\n"
                b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n") as s:
        assert s.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        s.sendall(b"{}")
        assert status_of(s) == 201


def test_slow_head_is_ended(gw):
    """Sends a byte now and then: the whole head has one deadline, not each byte."""
    with gw.raw() as s:
        began = time.monotonic()
        ended = None
        s.settimeout(0.5)
        for byte in b"GET / HTTP/1.1\r\nX: " + b"y" * 100:
            try:
                s.sendall(bytes([byte]))
                data = s.recv(1000)
                ended = data
                break
            except socket.timeout:
                continue
            except OSError:
                ended = b""
                break
    assert ended is not None and (ended == b"" or b" 408 " in ended)
    assert 8 < time.monotonic() - began < 15


def test_plain_http_and_old_tls_are_refused(gw):
    with socket.create_connection(("127.0.0.1", gw.port), timeout=10) as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        data = s.recv(1000)
        assert not data.startswith(b"HTTP")
    for version in ("-tls1", "-tls1_1"):
        r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % gw.port, version, "-cipher", "ALL:@SECLEVEL=0"],
                           input=b"", capture_output=True)
        assert r.returncode != 0 and b"Cipher is (NONE)" in r.stdout
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ctx = gw.context()
        ctx.minimum_version = ctx.maximum_version = version
        with ctx.wrap_socket(socket.create_connection(("127.0.0.1", gw.port)), server_hostname="localhost") as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert status_of(s) == 200


# ---- web files ------------------------------------------------------------------------


def test_web_files(gw):
    status, h, data = gw.get("/")
    assert status == 200 and h["Content-Type"].startswith("text/html") and h["Cache-Control"] == "no-cache"
    assert gw.get("/tests/123")[2] == data, "a path without an extension is the page's"
    assert gw.get("/signin")[2] == data
    assert gw.get("/", headers={"If-None-Match": h["ETag"]})[0] == 304
    assert gw.get("/", headers={"If-None-Match": '"other", ' + h["ETag"]})[0] == 304
    assert gw.get("/", headers={"If-None-Match": '"other"'})[0] == 200
    status, h, plain = gw.get("/assets/app-Ab12Cd34.js")
    assert h["Cache-Control"] == "public, max-age=31536000, immutable" and "Content-Encoding" not in h
    assert h["Content-Type"].startswith("text/javascript") and h["Vary"] == "Accept-Encoding"
    _, z, packed = gw.get("/assets/app-Ab12Cd34.js", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert z["Content-Encoding"] == "gzip" and len(packed) < len(plain) and z["ETag"] != h["ETag"]
    assert "Content-Encoding" not in gw.get("/assets/app-Ab12Cd34.js", headers={"Accept-Encoding": "gzip;q=0"})[1]
    assert gw.get("/assets/stable-component.js")[1]["Cache-Control"] == "no-cache"
    assert gw.get("/favicon.svg")[1]["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize("path", [
    "/../outside.txt", "/%2e%2e/outside.txt", "/assets/../../outside.txt", "/..%2foutside.txt", "/%2e%2e%2foutside.txt",
    "//outside.txt", "/assets/..\\..\\outside.txt", "/link.txt", "/.hidden", "/assets/app-Ab12Cd34.js/../../../outside.txt",
    "/%c0%ae%c0%ae/outside.txt", "/%00/outside.txt", "/assets/%2e%2e/%2e%2e/outside.txt", "/missing.js"])
def test_no_path_leaves_the_web_root(gw, path):
    with gw.raw(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n") as s:
        data = b""
        while True:
            chunk = s.recv(65536)
            if not chunk:
                break
            data += chunk
    assert data.split(b" ")[1] in (b"400", b"404") and b"outside of the web root" not in data and b"secret" not in data


def test_api_paths_never_serve_the_page(gw):
    for path in ("/v1", "/v1/", "/auth/other", "/enroll/x", "/v1/unknown/path"):
        status, h, data = gw.get(path)
        assert status == 404 and error_of(data)["code"] == "not_found", path


def test_own_endpoints(gw):
    assert json.loads(gw.get("/healthz")[2]) == {"status": "ok"}
    assert json.loads(gw.get("/readyz")[2]) == {"ready": True, "version": "0.1", "workers": 2}
    status, h, data = gw.get("/openapi.json")
    assert json.loads(data)["openapi"] == "3.1.0"
    assert gw.get("/openapi.json", headers={"If-None-Match": h["ETag"]})[0] == 304
    status, h, data = gw.get("/metrics")
    assert h["Content-Type"].startswith("application/openmetrics-text") and data.endswith(b"# EOF\n")
    assert b'process="gateway"' in data and b"tenant" not in data.replace(b"tenant is", b"")


def test_status_socket(gw):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(gw.status)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while b"# EOF" not in data:
            chunk = s.recv(65536)
            assert chunk
            data += chunk
    assert b"probectl_process_start_time_seconds" in data and b"probectl_backlog" in data


# ---- sessions -------------------------------------------------------------------------


def sign_in(gw, code="pcl_good"):
    status, headers, data = gw.call("POST", "/auth/signin", {"code": code})
    assert status == 200, data
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", json.loads(data)["expires_at"])
    return headers["Set-Cookie"]


def test_sign_in_cookie_and_sign_out(gw):
    cookie = sign_in(gw)
    flags = [p.strip() for p in cookie.split(";")]
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= set(flags)
    assert 43000 < int(dict(f.split("=") for f in flags if "=" in f)["Max-Age"]) <= 43200
    session = flags[0].split("=", 1)[1]
    assert json.loads(gw.get("/v1/me", cookie=session)[2])["tenant"] == TENANT_A
    h = {"Origin": gw.origin(), "Content-Type": "application/json"}
    status, headers, _ = gw.call("POST", "/auth/signout", cookie=session, headers=h)
    assert status == 204 and "Max-Age=0" in headers["Set-Cookie"] and "HttpOnly" in headers["Set-Cookie"]
    assert gw.get("/v1/me", cookie=session)[0] == 401
    assert gw.call("POST", "/auth/signout", cookie=session, headers=h)[0] == 204, "signing out twice is fine"
    assert gw.call("POST", "/auth/signout", headers=h)[0] == 401


def test_change_by_cookie_needs_own_origin_and_json(gw):
    session = sign_in(gw).split(";")[0].split("=", 1)[1]
    js = {"Content-Type": "application/json"}

    def post(headers, method="POST", path="/v1/tests", body="{}"):
        return gw.call(method, path, body, cookie=session, headers=headers)[0]

    assert post({**js, "Origin": gw.origin()}) == 201
    assert post(js) == 403
    assert post({**js, "Origin": "https://evil.example"}) == 403
    assert post({**js, "Origin": "null"}) == 403
    assert post({**js, "Origin": gw.origin().replace("https", "http")}) == 403
    assert post({**js, "Origin": gw.origin() + ".evil.example"}) == 403
    assert post({"Content-Type": "text/plain", "Origin": gw.origin()}) == 415
    assert post({"Origin": gw.origin()}, "DELETE", "/v1/tests/1", None) == 415
    assert post({**js, "Origin": gw.origin()}, "DELETE", "/v1/tests/1", None) == 204
    assert gw.call("POST", "/v1/tests", "{}", token=TOKEN_A, headers=js)[0] == 201, "a bearer token needs no Origin"
    status, _, data = gw.call("POST", "/auth/signin", {"code": "pcl_good"}, headers={"Origin": "https://evil.example"})
    assert status == 403 and error_of(data)["code"] == "csrf"


def test_public_url_is_an_origin_too(another):
    g = another("public", public_url="https://probe.example")
    h = {"Content-Type": "application/json", "Origin": "https://probe.example"}
    session = sign_in(g).split(";")[0].split("=", 1)[1]
    assert g.call("POST", "/v1/tests", "{}", cookie=session, headers=h)[0] == 201
    h["Origin"] = "https://probe.example.evil"
    assert g.call("POST", "/v1/tests", "{}", cookie=session, headers=h)[0] == 403


def test_enrolment(gw):
    body = {"token": "pjt_good", "csr_pem": "CSR\n" * 3, "hostname": "h1", "version": "0.1"}
    status, _, data = gw.call("POST", "/enroll/agent", body)
    assert status == 200
    answer = json.loads(data)
    assert set(answer) == {"tenant_id", "agent_id", "spiffe_id", "cert_pem", "ca_bundle", "serial", "not_after"}
    assert answer["cert_pem"].endswith("\n12") and answer["not_after"] == "2027-01-01T00:00:00Z"
    for broken, field in (({"hostname": ""}, "hostname"), ({"token": 5}, "token"), ({"extra": "x"}, "extra")):
        status, _, data = gw.call("POST", "/enroll/agent", {**body, **broken})
        assert status == 422 and error_of(data)["field"] == field


def test_guessing_is_throttled_and_never_logged(another):
    g = another("throttle", log__access="all")
    for _ in range(12):
        sign_in(g)
    for i in range(5):
        assert g.call("POST", "/auth/signin", {"code": "pcl_wrong_secret"})[0] == 401
    status, headers, _ = g.call("POST", "/auth/signin", {"code": "pcl_good"})
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 61
    assert g.call("POST", "/enroll/agent", {"token": "pjt_good", "csr_pem": "x", "hostname": "h", "version": "1"})[0] == 429
    assert g.get("/v1/me?secret_query=1", token=TOKEN_A)[0] == 200, "only the two doors are shut"
    with open(g.log) as f:
        log = f.read()
    assert "POST /auth/signin 401" in log and "GET /v1/me 200" in log
    for secret in ("pcl_", "pjt_", "pct_", "pcs_", "secret_query"):
        assert secret not in log


# ---- event streams --------------------------------------------------------------------


class Stream:
    """Reads an event stream on a thread; what came stands in lines."""

    def __init__(self, gw, token):
        self.sock = gw.raw(b"GET /v1/events HTTP/1.1\r\n" + HOST + b"Authorization: Bearer " + token.encode() + b"\r\n\r\n",
                           timeout=60)
        self.text, self.ended = "", False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        wait_for("stream open", lambda: ": open" in self.text or self.ended)

    def read(self):
        try:
            while True:
                data = self.sock.recv(65536)
                if not data:
                    break
                self.text += data.decode()
        except OSError:
            pass
        self.ended = True

    def events(self):
        return re.findall(r"^event: (\S+)\ndata: {}\n\n", self.text, re.M)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join()
        self.sock.close()


def notify(cluster, *payloads):
    cluster.sql("".join("NOTIFY probectl_event, '%s';" % p for p in payloads))


def test_events_reach_their_tenant_only(gw, cluster):
    a, a2, b = Stream(gw, TOKEN_A), Stream(gw, TOKEN_A2), Stream(gw, TOKEN_B)
    assert "Content-Type: text/event-stream" in a.text and "retry: " in a.text
    notify(cluster, TENANT_A + " result", TENANT_B + " test", TENANT_A + " agent", "no tenant at all", TENANT_A,
           TENANT_A + " Bad-Kind", "dddddddd-0000-4000-8000-000000000004 result")
    wait_for("events", lambda: len(a.events()) >= 2 and len(a2.events()) >= 2 and len(b.events()) >= 1)
    notify(cluster, TENANT_B + " last")
    wait_for("last event", lambda: "last" in b.events())
    assert sorted(a.events()) == sorted(a2.events()) == ["agent", "result"]
    assert b.events() == ["test", "last"]
    for s in (a, a2, b):
        s.close()


def test_events_are_merged_and_the_last_one_arrives(gw, cluster):
    a = Stream(gw, TOKEN_A)
    began = time.monotonic()
    for _ in range(40):
        notify(cluster, *[TENANT_A + " result"] * 25)
    notify(cluster, TENANT_A + " result", TENANT_A + " end")
    wait_for("end", lambda: "end" in a.events())
    wait_for("the merged last one", lambda: "result" in a.events()[-2:])
    took = time.monotonic() - began
    assert 1 <= a.events().count("result") <= 5 * took + 2
    a.close()


def test_stream_needs_a_credential(gw):
    assert gw.get("/v1/events")[0] == 401
    assert gw.get("/v1/events", token="pct_nobody")[0] == 401
    status, headers, _ = gw.call("POST", "/v1/events", "{}", token=TOKEN_A)
    assert status == 405


def test_stream_ends_with_its_credential(gw, cluster):
    cluster.sql("INSERT INTO probectl.credential VALUES ('pct_short', '%s')" % TENANT_A)
    short, other = Stream(gw, "pct_short"), Stream(gw, TOKEN_A)
    cluster.sql("UPDATE probectl.credential SET ended = true WHERE token = 'pct_short'")
    wait_for("end of the stream", lambda: short.ended, 16)
    assert not other.ended
    wait_for("comment", lambda: ": still here" in other.text, 16)
    other.close()


def test_streams_are_limited(another):
    g = another("streams", limits__streams=2)
    one, two = Stream(g, TOKEN_A), Stream(g, TOKEN_A)
    status, headers, data = g.get("/v1/events", token=TOKEN_A)
    assert status == 503 and error_of(data)["code"] == "too_many_streams" and headers["Retry-After"]
    one.close()
    wait_for("a free place", lambda: g.metric("probectl_gateway_streams") == 1)
    three = Stream(g, TOKEN_A)
    assert not three.ended
    for s in (two, three):
        s.close()


# ---- when the database goes -------------------------------------------------------------


def test_kill_of_postgresql_and_recovery(another, cluster):
    g = another("kill", limits__request="5s")
    stream = Stream(g, TOKEN_A)
    slow = {}
    t = threading.Thread(target=lambda: slow.update(get=g.get("/v1/sleep/4", token=TOKEN_A)))
    t.start()
    wait_for("request under way", lambda: cluster.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1")
    cluster.kill()
    try:
        wait_for("degraded", lambda: "degraded" in stream.events())
        t.join()
        assert slow["get"][0] == 503 and slow["get"][1]["Retry-After"]
        status, headers, data = g.get("/v1/me", token=TOKEN_A)
        assert status == 503 and headers["Retry-After"] and error_of(data)["code"] == "unavailable"
        status, _, data = g.get("/readyz")
        assert status == 503 and json.loads(data)["reason"]
        assert g.get("/healthz")[0] == 200 and g.get("/")[0] == 200
        assert g.process.poll() is None
    finally:
        cluster.start()
    wait_for("recovery", lambda: g.get("/readyz")[0] == 200)
    assert g.get("/v1/me", token=TOKEN_A)[0] == 200
    wait_for("streams are told", lambda: {"restored", "result", "test", "agent"} <= set(stream.events()))
    notify(cluster, TENANT_A + " after")
    wait_for("event after recovery", lambda: "after" in stream.events())
    stream.close()


def test_lost_backend_is_replaced_and_a_change_is_not_called_done(another, cluster):
    g = another("backend", connections=1, limits__request="20s")
    answer = {}
    t = threading.Thread(target=lambda: answer.update(r=g.call("GET", "/v1/sleep/15", token=TOKEN_A)))
    t.start()
    find = ("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = 'probectl-gateway requests'")
    pid = wait_for("request under way", lambda: cluster.sql(find))
    cluster.sql("SELECT pg_terminate_backend(%s)" % pid)
    t.join()
    assert answer["r"][0] == 503
    wait_for("ready again", lambda: g.get("/readyz")[0] == 200)
    assert g.get("/v1/me", token=TOKEN_A)[0] == 200


def test_database_without_workers_is_not_ready_but_serves(another, cluster):
    cluster.sql("UPDATE probectl.running SET workers = 0")
    try:
        g = another("workers", ready=False, limits__startup="1s")
        wait_for("first answer", lambda: g.get("/v1/me", quiet=True, token=TOKEN_A)[0] == 200)
        status, _, data = g.get("/readyz")
        assert status == 503 and "workers" in json.loads(data)["reason"]
    finally:
        cluster.sql("UPDATE probectl.running SET workers = 2")
    wait_for("ready", lambda: g.get("/readyz")[0] == 200)


def test_routes_are_read_again(another, cluster):
    g = another("routes")
    assert g.get("/v1/fresh", token=TOKEN_A)[0] == 404
    cluster.sql("INSERT INTO probectl.api_route VALUES ('GET', '/v1/fresh', NULL, '', false)")
    try:
        g.process.send_signal(signal.SIGHUP)
        wait_for("new route", lambda: g.get("/v1/fresh", token=TOKEN_A)[0] == 200)
    finally:
        cluster.sql("DELETE FROM probectl.api_route WHERE path = '/v1/fresh'")


# ---- start, reload, end -----------------------------------------------------------------


def ends(gateway, code, *words, arguments=()):
    r = subprocess.run(gateway.command(*arguments), capture_output=True, text=True, timeout=30)
    assert r.returncode == code, r.stderr
    line = r.stderr.strip().splitlines()[-1]
    for word in words:
        assert word in line, r.stderr
    return r


def test_bad_start_is_one_clear_line(cluster, files, gw, tmp_path):
    def make(**settings):
        return Gateway(files, settings.pop("database", conninfo(cluster)), "bad",
                       **{k.replace("__", "."): v for k, v in settings.items()})

    ends(make(listen="127.0.0.1:%d" % gw.port), 1, "cannot listen on", "change `listen`")
    ends(make(listen="nonsense"), 2, "listen", "nonsense")
    ends(make(tls__cert_file=str(tmp_path / "none.pem")), 2, "tls.cert_file", "none.pem")
    ends(make(tls__key_file=gw.cert), 2, "tls.key_file")
    ends(make(no_such_setting="1"), 2, "no_such_setting")
    ends(make(connections="0"), 2, "connections")
    ends(make(public_url="http://x"), 2, "public_url")
    ends(make(database="host=/nowhere dbname=x nonsense=1"), 2, "database")
    ends(make(web_root=str(tmp_path / "none")), 1, "web_root")
    bad = make()
    bad.settings["database"] = "host=/nowhere-at-all dbname=x"
    bad.settings["limits.startup"] = "1s"
    ends(bad, 1, "no database", "nowhere-at-all")
    bad.settings["database"] = "host=%s user=postgres dbname=postgres" % cluster.dir
    ends(bad, 1, "CREATE EXTENSION probectl")
    config = tmp_path / "gateway.yaml"
    config.write_text("listen: 127.0.0.1:1\nunknown_key: 1\n")
    r = subprocess.run([PROGRAM, "--config", str(config)], capture_output=True, text=True)
    assert r.returncode == 2 and ":2:" in r.stderr and "unknown_key" in r.stderr


def test_check_config_help_version(gw):
    assert ends_ok(gw.command("--check-config")) is not None
    assert "tls.cert_file" in ends_ok([PROGRAM, "--help"])
    assert re.search(r"\d+\.\d+", ends_ok([PROGRAM, "--version"]))


def ends_ok(command):
    r = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_reload_of_certificate_and_files(another, files, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    make_files(str(other))
    for name in ("cert.pem", "key.pem"):
        shutil.copy(os.path.join(str(files), name), str(tmp_path / name))
    g = another("reload", tls__cert_file=str(tmp_path / "cert.pem"), tls__key_file=str(tmp_path / "key.pem"),
                web_root=str(other / "web"))

    def served():
        return ssl.get_server_certificate(("127.0.0.1", g.port))

    before = served()
    (tmp_path / "key.pem").write_text("broken")
    (other / "web" / "new.txt").write_text("fresh")
    g.process.send_signal(signal.SIGHUP)
    wait_for("new file", lambda: b"fresh" in ssl_get(g, "/new.txt"))
    assert served() == before, "a broken certificate must not be taken over"
    for name in ("cert.pem", "key.pem"):
        shutil.copy(str(other / name), str(tmp_path / name))
    g.process.send_signal(signal.SIGHUP)
    wait_for("new certificate", lambda: served() != before)


def ssl_get(gw, path):
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    c = http.client.HTTPSConnection("127.0.0.1", gw.port, context=ctx, timeout=10)
    c.request("GET", path)
    data = c.getresponse().read()
    c.close()
    return data


def test_sigterm_lets_requests_finish(another, cluster):
    g = another("drain")
    stream = Stream(g, TOKEN_A)
    idle = g.connect()
    assert g.get("/healthz", connection=idle)[0] == 200
    answer = {}
    t = threading.Thread(target=lambda: answer.update(r=g.get("/v1/sleep/1", token=TOKEN_A)))
    t.start()
    wait_for("request under way", lambda: cluster.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1")
    assert g.stop() == 0
    t.join()
    assert answer["r"][0] == 200 and answer["r"][1]["Connection"] == "close"
    wait_for("stream ended", lambda: stream.ended)


# ---- on the real extension ----------------------------------------------------------------


@pytest.fixture(scope="module")
def real(stack):
    g = Gateway.__new__(Gateway)
    g.port, g.cert, g.stack = int(stack.gateway_listen.split(":")[1]), stack.ca, stack
    return g


@pytest.fixture(scope="module")
def other_token(real):
    real.stack.cli("tenant", "create", "gateway-other", "Other")
    return real.stack.cli("token", "create", "gateway", "--tenant", "gateway-other").stdout.strip()


def a_test(name):
    return {"name": name, "type": "tcp", "target": "127.0.0.1:1", "interval_seconds": 3600}


def test_real_events_stay_in_their_tenant(real, other_token):
    ours, theirs = Stream(real, real.stack.token), Stream(real, other_token)
    assert real.call("POST", "/v1/tests", a_test("ours"), token=real.stack.token)[0] == 201
    wait_for("our event", lambda: "test" in ours.events())
    assert theirs.events() == []
    assert real.call("POST", "/v1/tests", a_test("theirs"), token=other_token)[0] == 201
    wait_for("their event", lambda: theirs.events() == ["test"])
    names = [t["name"] for t in json.loads(real.get("/v1/tests", token=other_token)[2])["items"]]
    assert names == ["theirs"]
    ours.close()
    theirs.close()


@pytest.mark.parametrize("body", [b'{"name": "a\\u0000b", "type": "icmp", "target": "127.0.0.1"}',
                                  b'{"type": "icmp", "target": "127.0.0.1", "interval_seconds": 1e999999}'])
def test_real_value_no_database_keeps(real, body):
    status, _, answer = real.call("POST", "/v1/tests", body, token=real.stack.token,
                                  headers={"Content-Type": "application/json"})[:3]
    assert status in (400, 422), answer


def test_real_session_from_link_to_sign_out(real):
    code = real.stack.cli("signin").stdout.strip().split("#")[1]
    cookie = sign_in(real, code)
    assert {"HttpOnly", "Secure", "SameSite=Lax", "Path=/"} <= {p.strip() for p in cookie.split(";")}
    session = cookie.split(";")[0].split("=", 1)[1]
    assert json.loads(real.get("/v1/me", cookie=session)[2])["tenant"]["slug"] == "default"
    js = {"Content-Type": "application/json"}
    body = json.dumps(a_test("by cookie"))
    assert real.call("POST", "/v1/tests", body, cookie=session, headers=js)[0] == 403
    js["Origin"] = real.origin()
    assert real.call("POST", "/v1/tests", body, cookie=session, headers=js)[0] == 201
    status, _, data = real.call("POST", "/v1/tests", body, cookie=session, headers=js)
    assert status == 409, data
    status, _, data = real.call("POST", "/v1/tests", '{"name":"x","type":"tcp"}', cookie=session, headers=js)
    assert status == 422 and error_of(data)["field"] == "target"
    stream = Stream(real, session)
    assert real.call("POST", "/auth/signout", cookie=session, headers=js)[0] == 204
    assert real.get("/v1/me", cookie=session)[0] == 401
    wait_for("end of the stream", lambda: stream.ended, 16)


def test_real_denial_and_foreign_object(real, other_token):
    made = json.loads(real.call("POST", "/v1/tests", a_test("mine alone"), token=real.stack.token)[2])
    for method, body in (("GET", None), ("PATCH", {"enabled": False}), ("DELETE", None)):
        assert real.call(method, "/v1/tests/" + made["test_id"], body, token=other_token)[0] == 404
    assert real.get("/v1/tests/" + made["test_id"], token=real.stack.token)[0] == 200
    assert real.get("/v1/tests/not-a-uuid", token=real.stack.token)[0] in (404, 422)


# ---- throughput -------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_throughput(another, record_property, capsys):
    """Far below what a free machine does: the test finds a collapse, the benchmark measures."""
    g = another("speed")
    r = subprocess.run(["wrk", "-t1", "-c16", "-d3s", "--latency", "-H", "Authorization: Bearer " + TOKEN_A,
                        "https://localhost:%d/v1/me" % g.port], capture_output=True, text=True, timeout=60)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", r.stdout).group(1))
    p99 = re.search(r"99%\s+(\S+)", r.stdout).group(1)
    record_property("requests_per_s", rate)
    with capsys.disabled():
        print("\ngateway: %.0f requests/s, p99 %s" % (rate, p99))
    assert "Non-2xx" not in r.stdout and "Socket errors" not in r.stdout, r.stdout
    assert rate > 1000
