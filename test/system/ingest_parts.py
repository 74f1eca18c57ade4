# SPDX-License-Identifier: PostgreSQL
"""What the tests of probectl-ingest are made of: certificates, a private server, the process, a
producer. The producer is Debian's python3-grpcio, so the wire is checked against another
implementation of gRPC than the one the agent uses."""

import contextlib
import importlib
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import grpc
import psycopg2
from ports import free_port

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD_TOP = pathlib.Path(os.environ.get("PROBECTL_BUILD_TOP", TOP))
SERVICE = "/probectl.agent.v1.AgentService/"
DEADLINE = 20.0


def wait_until(what, condition, seconds=DEADLINE):
    """Polls until condition() is true; a test never waits for time to pass."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        threading.Event().wait(0.02)


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


# ---- messages ------------------------------------------------------------------------------


def load_messages(folder):
    """Generates the Python classes into folder and imports them."""
    protos = ["agent/v1/agent", "result/v1/result", "stream/v1/batch", "test/v1/test"]
    run("protoc", f"--proto_path={TOP}/proto", f"--python_out={folder}",
        *[f"probectl/{name}.proto" for name in protos])
    # The extension's probectl.so may lie in the working folder, and any module wins over a
    # folder that is no package.
    pathlib.Path(folder, "probectl", "__init__.py").touch()
    sys.path.insert(0, str(folder))
    return [importlib.import_module("probectl." + name.replace("/", ".") + "_pb2") for name in protos]


class Messages:
    def __init__(self, folder):
        self.agent, self.result, self.stream, self.test = load_messages(folder)

    def results(self, count, first=0, **fields):
        """Marshalled results, all different."""
        now = time.time_ns()
        out = []
        for i in range(first, first + count):
            record = self.result.Result(
                canary_type="icmp", server_address=f"192.0.2.{i % 250}", success=True,
                start_time_unix_nano=now + i, duration_nano=1500000, result_id=str(uuid.uuid4()),
                **fields)
            record.metrics["rtt.avg.ms"] = 1.5
            out.append(record.SerializeToString())
        return out

    def batch(self, epoch, first_seq, records):
        return self.stream.Batch(epoch=epoch, first_seq=first_seq, records=records).SerializeToString()

    def request(self, epoch, first_seq, records, plane=""):
        return self.agent.StreamResultsRequest(
            batch=self.batch(epoch, first_seq, records), plane=plane)


# ---- certificates --------------------------------------------------------------------------


class Authority:
    """A certificate authority made by openssl."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.cert = self.folder / "ca.pem"
        self.key = self.folder / "ca.key"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, names, usage="clientAuth", dates=None):
        """A certificate with these subject alternative names: (key file, certificate file)."""
        name = uuid.uuid4().hex
        key, request, cert, extensions = (
            self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        lines = ["basicConstraints=CA:FALSE", f"extendedKeyUsage={usage}"]
        if names:
            lines.append("subjectAltName=" + ",".join(names))
        extensions.write_text("\n".join(lines) + "\n")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=test", "-keyout", key, "-out", request)
        if dates is None:
            run("openssl", "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key,
                "-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", cert)
        else:
            self._issue_between(request, cert, extensions, *dates)
        return key, cert

    def _issue_between(self, request, cert, extensions, start, end):
        """openssl x509 knows whole days only; openssl ca takes times."""
        base = self.folder / uuid.uuid4().hex
        base.mkdir()
        (base / "index").touch()
        (base / "serial").write_text("1000\n")
        settings = base / "ca.conf"
        settings.write_text(
            f"[ca]\ndefault_ca=a\n[a]\ndatabase={base}/index\nserial={base}/serial\n"
            f"new_certs_dir={base}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
        stamp = "%y%m%d%H%M%SZ"
        run("openssl", "ca", "-batch", "-notext", "-config", settings, "-cert", self.cert, "-keyfile",
            self.key, "-in", request, "-out", cert, "-extfile", extensions,
            "-startdate", time.strftime(stamp, time.gmtime(start)),
            "-enddate", time.strftime(stamp, time.gmtime(end)))

    def issue_agent(self, tenant, agent, **more):
        return self.issue([f"URI:spiffe://probectl/tenant/{tenant}/agent/{agent}"], **more)


class Identity:
    """Key and certificate of one producer."""

    def __init__(self, key, cert, tenant=None, agent=None):
        self.key, self.cert, self.tenant, self.agent = key, cert, tenant, agent


# ---- the database --------------------------------------------------------------------------


class Database:
    """A private server with the extension; dev/lib/server.sh makes it."""

    name = "regress_probectl_ingest"

    def __init__(self):
        script = (". dev/lib/server.sh; server_tree && server_start && "
                  f"server_database {self.name} >&2 && echo \"$WORK $TREE_BIN\" || {{ server_remove; exit 1; }}")
        out = run("bash", "-c", script, cwd=BUILD_TOP, stdin=subprocess.DEVNULL)
        self.work, self.bin = out.split()[-2:]
        self.data = f"{self.work}/data"

    def conninfo(self, user="probectl_ingest"):
        return f"host={self.work} dbname={self.name} user={user}"

    @contextlib.contextmanager
    def session(self, tenant=None):
        """A superuser's connection; with a tenant, in its context."""
        connection = psycopg2.connect(self.conninfo("postgres"))
        try:
            with connection, connection.cursor() as cursor:
                if tenant:
                    cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
                yield cursor
        finally:
            connection.close()

    def one(self, sql, args=(), tenant=None):
        with self.session(tenant) as cursor:
            cursor.execute(sql, args)
            return cursor.fetchone()

    def _as_owner(self, *command):
        if os.getuid() == 0:
            command = ("runuser", "-u", "postgres", "--", *command)
        return subprocess.run(command, capture_output=True, text=True, cwd=self.work,
                              stdin=subprocess.DEVNULL)

    def postmaster(self):
        return int(pathlib.Path(self.data, "postmaster.pid").read_text().split()[0])

    def kill(self):
        """As a power cut: no word to anyone."""
        os.kill(self.postmaster(), signal.SIGKILL)

    def stop(self, mode="fast"):
        self._as_owner(f"{self.bin}/pg_ctl", "-D", self.data, "-m", mode, "-w", "-s", "stop")

    def start(self):
        """After a kill the children need a moment to notice."""
        def attempt():
            done = self._as_owner(f"{self.bin}/pg_ctl", "-D", self.data, "-l", f"{self.work}/server.log",
                                  "-w", "-t", "60", "-s", "start")
            return done.returncode == 0
        wait_until("the database starts again", attempt, 60)

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.work, ignore_errors=True)


class Enrolment:
    """Tenants and agents the way an operator and a new machine make them."""

    def __init__(self, database, folder):
        self.database = database
        self.folder = pathlib.Path(folder)
        with database.session() as cursor:
            cursor.execute("SELECT probectl.ca_init()")
            cursor.execute("SELECT probectl.ca_bundle()")
            self.bundle = cursor.fetchone()[0]

    def tenant(self, slug):
        return str(self.database.one("SELECT probectl.tenant_create(%s, %s)", (slug, slug))[0])

    def agent(self, tenant):
        name = uuid.uuid4().hex
        key, request, cert = (self.folder / f"{name}.{kind}" for kind in ("key", "csr", "pem"))
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=agent", "-keyout", key, "-out", request)
        token = self.database.one("SELECT probectl.join_token_create('1 hour', NULL)", tenant=tenant)[0]
        row = self.database.one(
            "SELECT tenant_id, agent_id, certificate FROM probectl.agent_enroll(%s, %s, %s, %s)",
            (token, request.read_text(), name[:8], "test"))
        cert.write_text(row[2])
        return Identity(key, cert, str(row[0]), str(row[1]))


# ---- the process ---------------------------------------------------------------------------


class Ingest:
    """One probectl-ingest, its settings file, its log."""

    binary = BUILD_TOP / "build/bin/probectl-ingest"

    def __init__(self, folder, conninfo, server, ca, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=folder))
        self.port = settings.pop("port", None) or free_port()
        self.target = f"127.0.0.1:{self.port}"
        self.socket = self.folder / "status.sock"
        self.log_path = self.folder / "log"
        self.config = self.folder / "ingest.yaml"
        key, cert = server
        text = (f"listen: {self.target}\ndatabase: \"{conninfo}\"\nstatus_socket: {self.socket}\n"
                f"tls:\n  cert_file: {cert}\n  key_file: {key}\n  ca_file: {ca}\n")
        limits = {name: value for name, value in settings.items() if name.endswith("_bytes") or name == "streams"}
        if limits:
            text += "limits:\n" + "".join(f"  {name}: {value}\n" for name, value in limits.items())
        for block in [name for name, value in settings.items() if isinstance(value, dict)]:
            text += f"{block}:\n" + "".join(f"  {name}: {value}\n" for name, value in settings.pop(block).items())
        text += "".join(f"{name}: {value}\n" for name, value in settings.items() if name not in limits)
        self.config.write_text(text)
        self.process = None

    def command(self, *more):
        return [str(self.binary), "--config", str(self.config), *more]

    def start(self, wait=True):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            wait_until("ingest serves with its database", lambda: self.alive() and self.ready())
        return self

    def alive(self):
        assert self.process.poll() is None, f"ingest ended: {self.log()}"
        return True

    def ready(self):
        return self.metric("probectl_ingest_database_connections") > 0

    def log(self):
        return self.log_path.read_text() if self.log_path.exists() else ""

    def metrics(self):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return ""
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def metric(self, name, labels=None):
        pattern = re.escape(name) + (r"\{" + re.escape(labels) + r"\}" if labels else "") + r" (\S+)$"
        found = re.search("^" + pattern, self.metrics(), re.M)
        return float(found.group(1)) if found else 0.0

    def refused(self, reason):
        return self.metric("probectl_ingest_refused_total", f'reason="{reason}"')

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """The exit code, and how long it took."""
        if self.process is None:
            return None, 0.0
        began = time.monotonic()
        self.process.terminate()
        try:
            return self.process.wait(15), time.monotonic() - began
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("ingest does not stop: " + self.log())


# ---- the producer --------------------------------------------------------------------------


class Producer:
    """A gRPC channel with an identity, and the methods of the service on it."""

    def __init__(self, target, ca, identity, messages, options=()):
        self.messages = messages
        credentials = grpc.ssl_channel_credentials(
            root_certificates=pathlib.Path(ca).read_bytes(),
            private_key=pathlib.Path(identity.key).read_bytes() if identity else None,
            certificate_chain=pathlib.Path(identity.cert).read_bytes() if identity else None)
        self.channel = grpc.secure_channel(target, credentials, [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), *options])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def call(self, method, request, response=None, timeout=DEADLINE):
        """One message up, one down. request is a message or bytes."""
        encode = lambda m: m if isinstance(m, bytes) else m.SerializeToString()
        decode = response.FromString if response else bytes
        return self.channel.unary_unary(SERVICE + method, encode, decode)(request, timeout=timeout)

    def register(self, **fields):
        fields.setdefault("hostname", "host")
        return self.call("Register", self.messages.agent.RegisterRequest(**fields),
                         self.messages.agent.RegisterResponse)

    def heartbeat(self, **fields):
        return self.call("Heartbeat", self.messages.agent.HeartbeatRequest(**fields),
                         self.messages.agent.HeartbeatResponse)

    def pull(self, known=0, wait=0, timeout=40):
        return self.call("PullTests", self.messages.agent.PullTestsRequest(
            known_revision=known, wait_seconds=wait), self.messages.agent.PullTestsResponse, timeout)

    def meet(self, known=0, **report):
        return self.call("Meet", self.messages.agent.MeetRequest(known_revision=known, **report), self.messages.agent.MeetResponse)

    def meet_future(self, known, wait, **report):
        return self.channel.unary_unary(
            SERVICE + "Meet", lambda m: m.SerializeToString(),
            self.messages.agent.MeetResponse.FromString).future(
                self.messages.agent.MeetRequest(known_revision=known, wait_seconds=wait, **report), timeout=40)

    def pull_future(self, known, wait):
        return self.channel.unary_unary(
            SERVICE + "PullTests", lambda m: m.SerializeToString(),
            self.messages.agent.PullTestsResponse.FromString).future(
                self.messages.agent.PullTestsRequest(known_revision=known, wait_seconds=wait), timeout=40)

    def stream(self, timeout=60):
        return Stream(self, timeout)

    def status(self, method, request=b""):
        """The status code a call ends with."""
        try:
            self.call(method, request)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


class Stream:
    """StreamResults by hand: send when told to, collect acks on a thread."""

    def __init__(self, producer, timeout):
        self.outgoing = queue.SimpleQueue()
        self.acks, self.code, self.text = [], None, None
        encode = lambda m: m if isinstance(m, bytes) else m.SerializeToString()
        self.call = producer.channel.stream_stream(
            SERVICE + "StreamResults", encode,
            producer.messages.agent.StreamResultsResponse.FromString)(
                iter(self.outgoing.get, None), timeout=timeout)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            for ack in self.call:
                self.acks.append(ack)
            self.code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.text = error.details()
            self.code = error.code()

    def send(self, message):
        self.outgoing.put(message)

    def wait_acks(self, count, seconds=DEADLINE):
        wait_until(f"{count} acks (have {len(self.acks)}, {self.code} {self.text})",
                   lambda: len(self.acks) >= count or self.code, seconds)
        assert len(self.acks) >= count, (len(self.acks), self.code, self.text)
        return self.acks[count - 1]

    def finish(self):
        """No more batches: the status the server ends with."""
        self.outgoing.put(None)
        return self.end()

    def end(self, seconds=DEADLINE):
        wait_until("the stream ends", lambda: self.code is not None, seconds)
        return self.code
