# SPDX-License-Identifier: PostgreSQL
"""A control plane of the test's own: the gRPC server that an agent meets, the key that signs its tests, and an agent
whose identity an authority of the test made. What the server hands out is what the test tells it to.
"""
import concurrent.futures
import os
import pathlib
import socket
import subprocess
import time

import grpc

from ingest_parts import SERVICE, TOP, free_port, run, wait_until

AGENT = pathlib.Path(os.environ.get("PROBECTL_BUILD_TOP", TOP)) / "build/bin/probectl-agent"
TENANT = "11111111-1111-4111-8111-111111111111"
SELF = "22222222-2222-4222-8222-222222222222"
NAME = "URI:spiffe://probectl/control/tests"


class Signer:
    """A key for tests, with a certificate of the authority."""

    def __init__(self, authority, names=(NAME,), usage="codeSigning"):
        folder = authority.folder
        self.folder, stem = folder, "signer%d" % time.monotonic_ns()
        self.key, request, self.cert, extensions = (folder / f"{stem}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        extensions.write_text(f"basicConstraints=CA:FALSE\nextendedKeyUsage={usage}\nsubjectAltName={','.join(names)}\n")
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key)
        run("openssl", "req", "-new", "-key", self.key, "-subj", "/CN=tests", "-out", request)
        run("openssl", "x509", "-req", "-in", request, "-CA", authority.cert, "-CAkey", authority.key,
            "-CAcreateserial", "-days", "1", "-extfile", extensions, "-out", self.cert)

    def sign(self, data):
        text, signature = self.folder / "text", self.folder / "signature"
        text.write_bytes(b"probectl.tests.v1\n" + data)
        run("openssl", "pkeyutl", "-sign", "-inkey", self.key, "-rawin", "-in", text, "-out", signature)
        return signature.read_bytes()


class Control(grpc.GenericRpcHandler):
    """What an agent talks to. answer is the PullTestsResponse it gets; heartbeats are kept."""

    def __init__(self, messages, authority):
        self.messages = messages
        self.answer = None
        self.pulls, self.beats, self.stored = [], [], []
        key, cert = authority.issue(["DNS:localhost", "IP:127.0.0.1"], usage="serverAuth")
        self.port = free_port()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[self])
        self.server.add_secure_port("127.0.0.1:%d" % self.port, grpc.ssl_server_credentials(
            [(key.read_bytes(), cert.read_bytes())], authority.cert.read_bytes(), True))
        self.server.start()

    def service(self, details):
        handlers = {"Register": self.register, "Heartbeat": self.heartbeat, "PullTests": self.pull}
        name = details.method.removeprefix(SERVICE)
        if name == "StreamResults":
            return grpc.stream_stream_rpc_method_handler(self.results, bytes, lambda m: m.SerializeToString())
        if name not in handlers:
            return None
        return grpc.unary_unary_rpc_method_handler(handlers[name], bytes, lambda m: m.SerializeToString())

    def register(self, request, context):
        return self.messages.agent.RegisterResponse(agent_id=SELF, tenant_id=TENANT, heartbeat_interval_seconds=1,
                                                    control_version="test", server_time_unix_nano=time.time_ns())

    def heartbeat(self, request, context):
        self.beats.append(self.messages.agent.HeartbeatRequest.FromString(request))
        return self.messages.agent.HeartbeatResponse(heartbeat_interval_seconds=1, server_time_unix_nano=time.time_ns())

    def pull(self, request, context):
        self.pulls.append(self.messages.agent.PullTestsRequest.FromString(request).known_revision)
        answer = self.answer
        if answer is None or answer.revision == self.pulls[-1]:
            return self.messages.agent.PullTestsResponse(unchanged=True, revision=self.pulls[-1])
        return answer

    def results(self, requests, context):
        for request in requests:
            batch = self.messages.stream.Batch.FromString(
                self.messages.agent.StreamResultsRequest.FromString(request).batch)
            self.stored += [self.messages.result.Result.FromString(record) for record in batch.records]
            yield self.messages.agent.StreamResultsResponse(
                epoch=batch.epoch, committed_seq=batch.first_seq + len(batch.records) - 1)

    def give(self, revision, signer, tenant=TENANT, agent=SELF, spoil=False):
        bundle = self.messages.test.TestBundle(revision=revision, tenant_id=tenant, agent_id=agent)
        for i in range(revision):
            bundle.tests.add(test_id="00000000-0000-4000-8000-%012d" % i, type="tcp", target="127.0.0.1:9",
                             interval_ms=60000, timeout_ms=1000)
        data = bundle.SerializeToString()
        signature = signer.sign(data) if signer else b""
        self.answer = self.messages.agent.PullTestsResponse(
            revision=revision, bundle=data.replace(b"127.0.0.1:9", b"127.0.0.1:7") if spoil else data,
            signature=signature, signer_pem=signer.cert.read_text() if signer else "")


class Agent:
    """A probectl-agent whose identity the authority made."""

    def __init__(self, folder, authority, control, settings="", command=(AGENT,)):
        self.folder, self.command = folder, command
        identity = folder / "identity" / "v1"
        identity.mkdir(parents=True)
        key, cert = authority.issue_agent(TENANT, SELF)
        (identity / "key.pem").write_bytes(key.read_bytes())
        (identity / "cert.pem").write_bytes(cert.read_bytes())
        (identity / "ca.pem").write_bytes(authority.cert.read_bytes())
        (folder / "identity" / "current").symlink_to("v1")
        self.socket = folder / "agent.sock"
        self.config = folder / "agent.yaml"
        self.config.write_text(
            f"control_plane:\n  grpc_addr: 127.0.0.1:{control.port}\nidentity:\n  dir: {folder}/identity\n"
            f"spool:\n  dir: {folder}/spool\nstatus_socket: {self.socket}\n{settings}")
        self.log = folder / "log"
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.command, "--config", self.config], stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def metric(self, name):
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.socket))
                link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
            except OSError:
                return None
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " ")), None)

    def wait(self, what, condition):
        def holds():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return condition()
        return wait_until(what, holds, 30)

    def refused(self, reason):
        return self.metric('probectl_agent_tests_refused_total{reason="%s"}' % reason) or 0

    def runs(self, revision):
        """A bundle here has as many tests as its revision says."""
        return self.metric("probectl_agent_tests_revision") == revision and self.metric("probectl_agent_tests") == revision
