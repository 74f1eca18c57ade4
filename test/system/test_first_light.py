# SPDX-License-Identifier: PostgreSQL
"""From a clone to live, tenant-safe results: what a person can do, and what happens when things go
wrong, as far as no other file is about it."""
import contextlib
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest

from conftest import BIN, TOP, clean_environment, free_port, stack_environment, wait_for

AGENT = str(BIN / "probectl-agent")
UP_SECONDS = 60          # from the build's end to the first results
PICKED_UP_SECONDS = 5    # a new test at the agent
SHOWN_SECONDS = 10       # its first result on the page


def tenant_of(stack, slug="default"):
    return stack.sql("SELECT tenant_id::text FROM probectl.tenant_list() WHERE slug = %s", (slug,))[0][0]


def psql(stack, statements):
    """As a person does after eval "$(probectl env)"."""
    done = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", statements], capture_output=True, text=True,
                          env={**clean_environment(), **stack.env})
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- what a person can do ----------------------------------------------------------------------


def test_first_results_within_a_minute(make_stack):
    """A fresh instance shows its first results and a sign-in link within a minute."""
    stack = make_stack()
    began = time.monotonic()
    text = stack.up().stdout
    took = time.monotonic() - began
    print("up took %.1f s" % took)
    assert took < UP_SECONDS
    assert re.search(r"^ *\d+ +first results .*\(\d+\.\d s\)$", text, re.M), text
    assert re.search(r"^ok +loopback ping +icmp +127\.0\.0\.1 +[0-9.]+ ms", text, re.M), text
    assert re.search(re.escape(stack.url) + r"/signin#pcl_\S+", text), text


def add_by_api(stack, name, target):
    stack.cli("api", "POST", "/v1/tests", json.dumps(
        {"name": name, "type": "tcp", "target": target, "interval_seconds": 60, "params": {"allow_private_targets": True}}))


def add_by_psql(stack, name, target):
    psql(stack, "BEGIN; SELECT probectl.enter_tenant('%s');"
         " INSERT INTO probectl.test (name, type, target, interval_seconds, params)"
         " VALUES ('%s', 'tcp', '%s', 60, '{\"allow_private_targets\": true}');"
         " COMMIT" % (tenant_of(stack), name, target))


@pytest.mark.parametrize("add", [add_by_api, add_by_psql])
def test_new_test_is_picked_up_and_shown(stack, add):
    """However it is added and however long its interval, the first result comes at once."""
    before = stack.metric("agent", "probectl_agent_tests")
    name = "new " + add.__name__
    add(stack, name, stack.ingest_listen)
    began = time.monotonic()
    stack.wait_for(lambda: stack.metric("agent", "probectl_agent_tests") == before + 1, PICKED_UP_SECONDS,
                   "the agent has the test")
    stack.wait_for(lambda: [r for r in stack.api("GET", "/v1/results/latest?limit=100")[1]["items"]
                            if r["test_name"] == name and r["state"] == "ok"],
                   SHOWN_SECONDS - (time.monotonic() - began), "its first result")
    test, = [t for t in stack.api("GET", "/v1/tests?limit=100")[1]["items"] if t["name"] == name]
    status, changed = stack.api("PATCH", "/v1/tests/" + test["test_id"], {"enabled": False})
    assert status == 200 and changed["enabled"] is False and changed["revision"] > test["revision"]
    stack.wait_for(lambda: stack.metric("agent", "probectl_agent_tests") == before, PICKED_UP_SECONDS,
                   "a disabled test is given up")
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204
    assert stack.api("GET", "/v1/tests/" + test["test_id"])[0] == 404


def test_event_stream_tells_of_results(stack):
    """The page needs no polling: an event comes with each new result, and names nothing."""
    request = urllib.request.Request(stack.url + "/v1/events", headers={"Authorization": "Bearer " + stack.token})
    context = ssl.create_default_context(cafile=stack.ca)
    with urllib.request.urlopen(request, timeout=20, context=context) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for line in stream:
            if line.strip() == b"event: result":
                assert stream.readline().strip() == b"data: {}"
                return
    raise AssertionError("the stream ended")


def test_raw_select_shows_one_tenant_or_nothing(stack):
    """The application's role reads the table itself: nothing, one tenant's rows, never two tenants'."""
    other = stack.cli("tenant", "create", "elsewhere", "Elsewhere").stdout.strip()
    mine = tenant_of(stack)
    with contextlib.closing(stack.connect()) as connection, connection.cursor() as cursor:
        def count(tenant):
            cursor.execute("BEGIN")
            if tenant:
                cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
            else:
                cursor.execute("SET LOCAL ROLE probectl_app")
            cursor.execute("SELECT count(*), count(DISTINCT tenant_id), current_user FROM probectl.result")
            row = cursor.fetchone()
            cursor.execute("ROLLBACK")
            return row
        assert count(None) == (0, 0, "probectl_app")
        assert count(other) == (0, 0, "probectl_app")
        rows, tenants, role = count(mine)
        assert rows > 0 and (tenants, role) == (1, "probectl_app")


# Everything a person could have in a database, by identity; what PostgreSQL itself brings is left out.
OBJECTS = """
SELECT i.type || ' ' || i.identity
FROM (SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relkind <> 't'
      UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
      UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
      UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
      UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
      UNION ALL SELECT 'pg_policy'::regclass, oid FROM pg_policy
      UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
      UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
      UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
      UNION ALL SELECT 'pg_default_acl'::regclass, oid FROM pg_default_acl
      UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension) o,
     pg_identify_object(o.class, o.oid, 0) i
WHERE o.oid >= 16384
"""


def test_extension_comes_and_goes(stack):
    """In any database of a preloaded server; DROP EXTENSION leaves nothing, and the workers let go."""
    stack.sql("CREATE DATABASE regress_elsewhere TEMPLATE template0")
    try:
        before = stack.sql(OBJECTS, dbname="regress_elsewhere")
        stack.sql("CREATE EXTENSION probectl", dbname="regress_elsewhere")
        stack.wait_for(lambda: stack.sql("SELECT workers FROM probectl.ready()", dbname="regress_elsewhere")[0][0] > 0,
                       30, "its workers run")
        stack.sql("DROP EXTENSION probectl", dbname="regress_elsewhere")
        assert stack.sql(OBJECTS, dbname="regress_elsewhere") == before
        assert not stack.sql("SELECT 1 FROM pg_namespace WHERE nspname LIKE 'probectl%%'", dbname="regress_elsewhere")
        stack.wait_for(lambda: stack.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'regress_elsewhere'")
                       == [(0,)], 30, "its workers end")
    finally:
        stack.sql("DROP DATABASE IF EXISTS regress_elsewhere WITH (FORCE)")


def drop_roles(**options):
    return subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", str(TOP / "deploy/drop-roles.sql")],
                          capture_output=True, text=True, **options)


def test_drop_roles_refuses_while_a_database_needs_them(stack):
    roles = stack.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'probectl\\_%%'")
    assert roles[0][0] >= 6
    done = drop_roles(env={**clean_environment(), "PGHOST": stack.run_dir, "PGUSER": "probectl"})
    assert done.returncode != 0 and "database probectl" in done.stderr, done.stderr
    assert stack.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'probectl\\_%%'") == roles


def test_drop_roles_removes_them_after_the_last_database():
    """On a server of its own: after DROP EXTENSION the script leaves none of the roles."""
    script = """
        set -e
        . dev/lib/server.sh
        trap server_remove EXIT
        server_tree && server_start && server_database regress_only
        psql -XqAt -c 'DROP EXTENSION probectl' -c "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'probectl\\_%'"
        psql -XqAt -v ON_ERROR_STOP=1 -d postgres -f deploy/drop-roles.sql
        psql -XqAt -c "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'probectl\\_%'"
    """
    done = subprocess.run(["bash", "-c", script], cwd=TOP, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = [int(line) for line in done.stdout.split()]
    assert before >= 6 and after == 0


# ---- an agent of the test's own -------------------------------------------------------------------


class Link:
    """A way through TCP that can be cut and mended: what an agent has between itself and ingest."""

    def __init__(self, target):
        host, port = target.rsplit(":", 1)
        self.target, self.port = (host, int(port)), free_port()
        self.ends, self.lock, self.listener = set(), threading.Lock(), None
        self.mend()

    def mend(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        # shutdown wakes the thread in accept; close alone would not.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            ends, self.ends = self.ends, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(self, listener):
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            try:
                two = socket.create_connection(self.target)
            except OSError:  # nobody there just now
                one.close()
                continue
            with self.lock:
                self.ends |= {one, two}
            for source, sink in ((one, two), (two, one)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class OwnAgent:
    """probectl-agent with settings of the test, behind a Link; enrols itself with a join token."""

    def __init__(self, stack, folder, name, tests, spool=None):
        self.stack, self.folder, self.name = stack, pathlib.Path(folder), name
        self.link = Link(stack.ingest_listen)
        # A test is known by what it tests, so that each has an address of its own.
        port = free_port()
        self.targets = [socket.create_server(("127.0.0.%d" % (i + 1), port)) for i in range(tests)]
        for target in self.targets:
            threading.Thread(target=self.answer, args=(target,), daemon=True).start()
        self.spool = spool or str(self.folder / "spool")
        self.config, self.log = self.folder / "agent.yaml", self.folder / "agent.log"
        self.socket = str(self.folder / "s")
        token = stack.api("POST", "/v1/agents/join-tokens", {})[1]["token"]
        (self.folder / "token").write_text(token)
        self.settings(tests)
        self.process = None

    @staticmethod
    def answer(target):
        with contextlib.suppress(OSError):
            while True:
                target.accept()[0].close()

    def settings(self, tests, more=""):
        canaries = "".join("  - {name: t%d, type: tcp, target: '%s:%d', interval: 1s, timeout: 500ms,"
                           " params: {count: 1, allow_private_targets: true}}\n" % (i, *self.targets[i].getsockname()) for i in range(tests))
        self.config.write_text(
            "control_plane:\n  grpc_addr: 127.0.0.1:%d\nenroll:\n  server: %s\n  token_file: %s\n  ca_file: %s\n"
            "identity:\n  dir: %s\nspool:\n  dir: %s\ntests:\n  from_control: false\nagent:\n  hostname: %s\n"
            "status_socket: %s\ncanaries:%s\n%s" % (
                self.link.port, self.stack.url, self.folder / "token", self.stack.ca, self.folder / "identity",
                self.spool, self.name, self.socket, "\n" + canaries if canaries else " []", more))

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([AGENT, "--config", str(self.config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=clean_environment())

    def reload(self, tests):
        self.settings(tests)
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            finally:
                self.process.kill()
        self.link.cut()
        for target in self.targets:
            target.close()
        return self.process and self.process.returncode

    def metrics(self):
        """{'name{labels}': value}; {} while it does not answer."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            try:
                link.connect(self.socket)
                link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
            except OSError:
                return {}
        return {m[0]: float(m[1]) for m in re.findall(r"^(probectl_\S+) ([0-9.e+-]+)", text, re.M)}

    def made(self, outcomes=("success", "failure")):
        metrics = self.metrics()
        return sum(metrics.get('probectl_agent_results_total{outcome="%s"}' % o, 0) for o in outcomes)

    def backlog(self):
        return self.metrics().get("probectl_backlog", -1)

    def stored(self):
        """(rows, different identifiers) in the database."""
        return self.stack.sql("SELECT count(*), count(DISTINCT r.result_id) FROM probectl.result r"
                              " JOIN probectl.agent a USING (tenant_id, agent_id) WHERE a.hostname = %s", (self.name,))[0]

    def wait(self, condition, deadline, what):
        def holds():
            assert self.process.poll() is None, "the agent ended: %s" % self.process.returncode
            return condition()
        try:
            return wait_for(holds, deadline, what)
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, self.log.read_text()[-3000:])) from None

    def settle(self):
        """No tests any more, everything delivered; returns how many results were kept."""
        self.reload(0)
        self.wait(lambda: self.metrics().get("probectl_agent_tests") == 0, 10, "no tests any more")
        self.wait(lambda: self.backlog() == 0, 60, "everything is delivered")
        return self.made()


@pytest.fixture
def own_agent(stack, tmp_path):
    made = []

    def make(name, tests, spool=None):
        made.append(OwnAgent(stack, tmp_path, name, tests, spool))
        made[-1].start()
        return made[-1]

    yield make
    for agent in made:
        agent.stop()


def test_offline_agent_keeps_measuring_and_delivers_once(own_agent):
    """No link: it measures on. The link is back: every result arrives, once."""
    agent = own_agent("offline", 25)
    agent.wait(lambda: agent.stored()[0] >= 25, 30, "first results arrive")
    agent.link.cut()
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 0, 10, "the agent sees it")
    at_cut = agent.made()
    agent.wait(lambda: agent.backlog() >= 300, 40, "300 results wait")
    assert agent.made() >= at_cut + 300 - 50
    before = agent.stored()[0]
    agent.link.mend()
    agent.wait(lambda: agent.stored()[0] > before, 45, "the backlog begins to arrive")
    made = agent.settle()
    assert agent.stored() == (made, made)
    assert made >= at_cut + 300 - 50
    assert not any(v for k, v in agent.metrics().items() if k.startswith("probectl_agent_spool_dropped_total"))
    assert agent.stop() == 0


def test_killed_while_offline_keeps_what_it_had(own_agent):
    agent = own_agent("offline-killed", 25)
    agent.wait(lambda: agent.stored()[0] >= 25, 30, "first results arrive")
    agent.link.cut()
    agent.wait(lambda: agent.backlog() >= 100, 30, "100 results wait")
    had = agent.stored()[0] + 100
    agent.process.kill()
    agent.process.wait()
    agent.start()
    agent.wait(lambda: agent.backlog() >= 100, 30, "they are there again")
    agent.link.mend()
    agent.settle()
    rows, distinct = agent.stored()
    assert rows == distinct and rows >= had


def test_full_disk_under_the_spool(own_agent, tmp_path):
    """It lives on, counts what it cannot keep, says so, and goes on when there is space."""
    spool = tmp_path / "small"
    spool.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(spool)], capture_output=True).returncode:
        pytest.skip("may not mount here")
    try:
        agent = own_agent("full-disk", 25, str(spool))
        agent.wait(lambda: agent.stored()[0] >= 25, 30, "first results arrive")
        agent.link.cut()
        agent.wait(lambda: agent.backlog() >= 25, 30, "results wait")
        with open(spool / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        lost = 'probectl_agent_results_total{outcome="lost"}'
        agent.wait(lambda: agent.metrics().get(lost, 0) >= 10, 60, "losses are counted")
        assert agent.metrics()['probectl_agent_spool_dropped_total{reason="disk"}'] == agent.metrics()[lost]
        assert re.search(r"^\S+ error spool \S+: a result is lost: No space left on device", agent.log.read_text(), re.M)
        os.unlink(spool / "filler")
        kept = agent.made()
        agent.wait(lambda: agent.made() >= kept + 25, 30, "results are kept again")
        agent.link.mend()
        made = agent.settle()
        assert agent.stored() == (made, made)
        assert agent.stop() == 0
        # Another start, on a disk with no space at all: one line that names the folder.
        for entry in spool.iterdir():
            subprocess.run(["rm", "-rf", str(entry)], check=True)
        with open(spool / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(512))
        done = subprocess.run([AGENT, "--config", str(agent.config)], capture_output=True, text=True, timeout=20,
                              env=clean_environment())
        assert done.returncode == 1 and str(spool) in done.stderr.splitlines()[-1], done
        assert "No space left" in done.stderr
    finally:
        subprocess.run(["umount", str(spool)], check=False)


# ---- one clear line ---------------------------------------------------------------------------------


def sample(stack, process):
    return pathlib.Path(stack.home, "etc", process + ".yaml").read_text()


@pytest.mark.parametrize("process", ["ingest", "gateway", "agent"])
@pytest.mark.parametrize("line, says", [
    ("no_such_setting: 1", "no_such_setting"),
    ("log: {level: loud}", "log.level must be one of"),
    ("log: {levle: info}", "log.levle"),
])
def test_mistake_in_the_settings(stack, tmp_path, process, line, says):
    """File, line, what is wrong; exit 2; and nothing is started."""
    with_log = re.sub(r"^log:\n( .*\n)*", "", sample(stack, process), flags=re.M)
    path = tmp_path / (process + ".yaml")
    path.write_text(with_log + line + "\n")
    number = len(path.read_text().splitlines())
    for more in ([], ["--check-config"]):
        done = subprocess.run([str(BIN / ("probectl-" + process)), "--config", str(path), *more], capture_output=True,
                              text=True, timeout=20, env=clean_environment())
        assert done.returncode == 2, done
        assert re.fullmatch(r"(probectl-\w+: )?%s:%d: [^\n]*%s[^\n]*\n" % (re.escape(str(path)), number, re.escape(says)),
                            done.stderr), done.stderr


@pytest.mark.parametrize("process", ["ingest", "gateway", "agent"])
def test_mistake_in_the_environment(stack, process):
    path = os.path.join(stack.home, "etc", process + ".yaml")
    env = {**clean_environment(), "PROBECTL_%s_NO_SUCH_SETTING" % process.upper(): "1"}
    done = subprocess.run([str(BIN / ("probectl-" + process)), "--config", path, "--check-config"], capture_output=True,
                          text=True, timeout=20, env=env)
    assert done.returncode == 2 and "PROBECTL_%s_NO_SUCH_SETTING" % process.upper() in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_agent_without_identity_or_token(stack, tmp_path):
    """Never enrolled, and nothing to enrol with: says what to set."""
    path = tmp_path / "agent.yaml"
    path.write_text("control_plane: {grpc_addr: '%s'}\nidentity: {dir: %s}\nspool: {dir: %s}\n" % (
        stack.ingest_listen, tmp_path / "identity", tmp_path / "spool"))
    done = subprocess.run([AGENT, "--config", str(path)], capture_output=True, text=True, timeout=20,
                          env=clean_environment())
    assert done.returncode == 1 and "enroll.server" in done.stderr, done
