# SPDX-License-Identifier: PostgreSQL
"""A private, complete probectl for the tests: every process, on free ports, in a short path below /tmp.

`stack` is one for a test file: started by `probectl up` as an operator would, stopped and removed at
the end. `make_stack` makes further ones. Nothing here waits for time to pass: wait_for polls published
state and fails at its deadline.
"""
import atexit
import contextlib
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import psycopg2
import pytest
from ports import free_port

TOP = pathlib.Path(__file__).resolve().parents[2]
# Another finished build than this checkout's.
BUILD_TOP = pathlib.Path(os.environ.get("PROBECTL_BUILD_TOP", TOP))
BIN = BUILD_TOP / "build" / "bin"
PROBECTL = BIN / "probectl"
UP_SECONDS = 120


def wait_for(condition, deadline=30.0, what=None):
    """Polls until condition() is true and returns its value; AssertionError after deadline seconds."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (deadline, what or getattr(condition, "__name__", condition)))
        pause.wait(0.05)


@functools.lru_cache(maxsize=None)
def pg_config():
    """pg_config of a private copy of the server's programs with this build's extension in it, so that
    what is installed in the system does not matter; removed at the end. Needs a finished build."""
    script = ". dev/lib/server.sh; server_tree && echo $WORK $TREE_BIN"
    done = subprocess.run(["bash", "-c", script], cwd=BUILD_TOP, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    folder, programs = done.stdout.split()[-2:]
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return programs + "/pg_config"


def clean_environment():
    """The environment without what another probectl or PostgreSQL put there."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PROBECTL_", "PG"))}


def stack_environment():
    return {**clean_environment(), "PG_CONFIG": pg_config()}


class Stack:
    """A probectl of its own. Nothing runs until up()."""

    def __init__(self, home=None, program=PROBECTL):
        self.folder = tempfile.mkdtemp(prefix="pctl-sys-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.home = home or os.path.join(self.folder, "h")
        self.program = str(program)
        self.gateway_listen = "127.0.0.1:%d" % free_port()
        self.ingest_listen = "127.0.0.1:%d" % free_port()

    # ---- the command line ----

    def command(self, *words):
        """argv of a command on this home."""
        return [self.program, words[0], "--home", self.home, *words[1:]]

    def cli(self, *words, check=True, env=None, input=None, timeout=UP_SECONDS):
        done = subprocess.run(self.command(*words), capture_output=True, text=True, input=input,
                              timeout=timeout, env={**stack_environment(), **(env or {})})
        if check:
            assert done.returncode == 0, "%s: %d: %s%s%s" % (
                words, done.returncode, done.stdout, done.stderr, self.logs())
        return done

    def up(self, *options):
        return self.cli("up", "--gateway-listen", self.gateway_listen,
                        "--ingest-listen", self.ingest_listen, *options)

    def down(self):
        return self.cli("down")

    def status(self):
        """`status --json`, with the processes by name under "by_name"."""
        done = self.cli("status", "--json", check=False)
        state = json.loads(done.stdout)
        state["by_name"] = {row["name"]: row for row in state["processes"]}
        state["exit"] = done.returncode
        return state

    def logs(self, lines=15):
        """The end of every log, for a message."""
        out = []
        for path in sorted(pathlib.Path(self.home).glob("log/*.log")):
            tail = path.read_text(errors="replace").splitlines()[-lines:]
            out.append("\n---- %s\n%s" % (path.name, "\n".join(tail)))
        return "".join(out)

    # ---- what scripts get ----

    @property
    def env(self):
        """What `probectl env` exports."""
        out = self.cli("env").stdout
        return dict(re.findall(r"^export (\w+)='(.*)'$", out, re.M))

    @property
    def url(self):
        return "https://" + self.gateway_listen

    @property
    def ca(self):
        return os.path.join(self.home, "pki", "ca.pem")

    @property
    def token(self):
        return pathlib.Path(self.home, "etc", "token").read_text().strip()

    @property
    def run_dir(self):
        return os.path.join(os.path.realpath(self.home), "run")

    def connect(self, user="probectl", dbname="probectl"):
        """A psycopg2 connection in autocommit; root may log in as probectl_gateway and _ingest too."""
        connection = psycopg2.connect(host=self.run_dir, port=5432, user=user, dbname=dbname)
        connection.autocommit = True
        return connection

    def sql(self, statement, args=(), **where):
        """Rows of one statement."""
        with contextlib.closing(self.connect(**where)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, args)
            return cursor.fetchall() if cursor.description else []

    def api(self, method, path, body=None, token=None, headers=None):
        """(HTTP status, decoded body)."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer " + (token or self.token), **(headers or {}),
                     **({"Content-Type": "application/json"} if body is not None else {})})
        context = ssl.create_default_context(cafile=self.ca)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                text, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read(), error.code
        return status, json.loads(text) if text else None

    def metric(self, process, name):
        """Value of a family (first sample) on a process's status socket; None without one."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            try:
                link.connect(os.path.join(self.run_dir, process + ".sock"))
            except OSError:
                return None
            link.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
            text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
        found = re.search(r"^%s(?:\{[^}]*\})? (\S+)" % re.escape(name), text, re.M)
        return float(found.group(1)) if found else None

    # ---- processes ----

    def supervised(self):
        """What the supervisor published: {name: row}, with itself as "supervisor"."""
        try:
            state = json.loads(pathlib.Path(self.run_dir, "supervisor.json").read_text())
        except FileNotFoundError:
            return {}
        rows = {row["name"]: row for row in state["children"]}
        rows["supervisor"] = {"name": "supervisor", "process": state["process"], "state": "running"}
        return rows

    def pid(self, name):
        """The live process of that name (supervisor, postgres, ingest, gateway, agent) or None."""
        process = self.supervised().get(name, {}).get("process", {})
        return process["pid"] if process and alive(process) else None

    @property
    def pids(self):
        return {name: self.pid(name) for name in self.supervised()}

    def kill9(self, name):
        """SIGKILL; returns the pid that was killed."""
        pid = self.pid(name)
        assert pid, "%s does not run" % name
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for(self, condition, deadline=30.0, what=None):
        try:
            return wait_for(condition, deadline, what)
        except AssertionError as error:
            raise AssertionError(str(error) + self.logs()) from None

    def wait_replaced(self, name, old, deadline=30.0):
        """Until a process of that name other than pid old runs."""
        return self.wait_for(lambda: self.pid(name) not in (None, old), deadline, "another %s" % name)

    def wait_healthy(self, deadline=60.0):
        return self.wait_for(lambda: self.status()["exit"] == 0, deadline, "every process healthy")

    def check_workers(self):
        """A worker lacks no right: it would log that, start again, and its work would never be done."""
        log = pathlib.Path(self.home, "log", "postgres.log").read_text(errors="replace")
        denied = re.findall(r".* probectl (?:keeper|derive|remote) @ ERROR: +permission denied.*", log)
        assert not denied, denied

    def remove(self):
        if os.path.exists(os.path.join(self.home, "etc", "home.json")):
            self.cli("down", check=False)
        real = os.path.realpath(self.home)
        if os.path.islink(self.home) and real.startswith("/var/lib/probectl/"):
            shutil.rmtree(real, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def alive(process):
    """Whether the process with this pid and start time still runs."""
    try:
        fields = pathlib.Path("/proc/%d/stat" % process["pid"]).read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX" and int(fields[19]) == process["start"]


@pytest.fixture
def make_stack():
    """Makes stacks that are not started; all are removed at the end."""
    made = []

    def make(**more):
        made.append(Stack(**more))
        return made[-1]

    yield make
    for each in made:
        each.remove()


@pytest.fixture(scope="module")
def stack(request):
    """A running probectl, one for the file."""
    one = Stack()
    try:
        one.up()
        yield one
        if request.session.testsfailed:
            print(one.logs())
        one.check_workers()
    finally:
        one.remove()
