# SPDX-License-Identifier: PostgreSQL
"""A producer in Python, to judge the control plane by: it enrols itself, numbers its records,
keeps them until they are acknowledged, and remembers every result identifier it made.

It is written from the contract (docs/81-contracts.md, section 5), not from the agent's code, so that
the two can disagree.
"""
import importlib
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import grpc

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVICE = "/probectl.agent.v1.AgentService/"
BATCH_RECORDS = 100
UNACKNOWLEDGED_BATCHES = 4


def load_messages(folder):
    """Compiles proto/ into folder and returns the modules (agent, result, stream)."""
    names = ["probectl/%s/v1/%s" % pair for pair in
             (("agent", "agent"), ("result", "result"), ("stream", "batch"))]
    subprocess.run(["protoc", "--proto_path=" + os.path.join(TOP, "proto"), "--python_out=" + str(folder)]
                   + [name + ".proto" for name in names], check=True)
    # Regular packages: otherwise probectl.so, wherever it is on the path, would go first.
    for sub in ("", "agent", "agent/v1", "result", "result/v1", "stream", "stream/v1"):
        open(os.path.join(str(folder), "probectl", sub, "__init__.py"), "w").close()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return [importlib.import_module(name.replace("/", ".") + "_pb2") for name in names]


class Api:
    """The HTTP side, with the environment that `probectl env` prints."""

    def __init__(self, env):
        self.url = env["PROBECTL_URL"].rstrip("/")
        self.token = env["PROBECTL_TOKEN"]
        self.context = ssl.create_default_context(cafile=env["PROBECTL_CA"])

    def call(self, method, path, body=None, auth=True, token=None, timeout=10):
        """(status, decoded body); only transport faults are exceptions."""
        request = urllib.request.Request(self.url + path, method=method)
        if auth:
            request.add_header("Authorization", "Bearer " + (token or self.token))
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, data, timeout=timeout, context=self.context) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, text.decode("utf-8", "replace")

    def get(self, path):
        status, body = self.call("GET", path)
        assert status == 200, (path, status, body)
        return body


class Identity:
    """Key and certificate of one agent, in a folder."""

    def __init__(self, api, folder, hostname):
        os.makedirs(folder, mode=0o700)
        key, csr = os.path.join(folder, "key.pem"), os.path.join(folder, "csr.pem")
        subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=" + hostname, "-keyout", key, "-out", csr],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        status, body = api.call("POST", "/v1/agents/join-tokens", {})
        assert status == 201, body
        with open(csr) as f:
            request = {"token": body["token"], "csr_pem": f.read(), "hostname": hostname, "version": "test"}
        status, body = api.call("POST", "/enroll/agent", request, auth=False)
        assert status in (200, 201), body
        self.tenant_id, self.agent_id, self.hostname = body["tenant_id"], body["agent_id"], hostname
        with open(key, "rb") as f:
            self.key = f.read()
        self.certificate = body["cert_pem"].encode()
        self.roots = body["ca_bundle"].encode()

    def channel(self, address):
        credentials = grpc.ssl_channel_credentials(self.roots, self.key, self.certificate)
        return grpc.secure_channel(address, credentials, options=[
            ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)])


class Producer(threading.Thread):
    """Makes `rate` results a second until stopped, delivers all of them, whatever breaks."""

    def __init__(self, messages, identity, address, rate):
        super().__init__(daemon=True, name=identity.hostname)
        self.agent_pb, self.result_pb, self.stream_pb = messages
        self.identity, self.address, self.rate = identity, address, rate
        self.epoch = time.time_ns()
        self.made = []            # identifiers, place i is sequence number i + 1
        self.records = {}         # sequence number -> bytes, until acknowledged
        self.acknowledged = 0
        self.reconnects = 0
        self.fault = None         # what must never happen
        self.producing = threading.Event()
        self.producing.set()
        self.over = threading.Event()
        self.current = None       # the open stream

    # ---- made results -------------------------------------------------------------

    def make_due(self, started):
        if not self.producing.is_set():
            return
        due = int((time.monotonic() - started) * self.rate)
        while len(self.made) < due:
            result = self.result_pb.Result(
                result_id=str(uuid.uuid4()), canary_type="tcp", server_address="192.0.2.%d" % (len(self.made) % 8),
                server_port=443, network_transport="tcp", success=True,
                start_time_unix_nano=time.time_ns(), duration_nano=1000000)
            result.metrics["connect.avg.ms"] = 1.0
            self.made.append(result.result_id)
            self.records[len(self.made)] = result.SerializeToString()

    def forget_to(self, number):
        """Everything up to number is durable at the other side."""
        if number > len(self.made):
            self.fault = "acknowledged %d of %d records made" % (number, len(self.made))
        for gone in range(self.acknowledged + 1, min(number, len(self.made)) + 1):
            self.records.pop(gone, None)
        self.acknowledged = max(self.acknowledged, number)

    # ---- delivering ------------------------------------------------------------------

    def run(self):
        started = time.monotonic()
        while not self.over.is_set():
            try:
                with self.identity.channel(self.address) as channel:
                    self.deliver(channel, started)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
                                    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION):
                    self.fault = "refused: %s %s" % (error.code(), error.details())
                    return
                self.reconnects += 1
                self.make_due(started)
                self.over.wait(0.2)

    def register(self, channel):
        call = channel.unary_unary(SERVICE + "Register",
                                   request_serializer=self.agent_pb.RegisterRequest.SerializeToString,
                                   response_deserializer=self.agent_pb.RegisterResponse.FromString)
        answer = call(self.agent_pb.RegisterRequest(hostname=self.identity.hostname, agent_version="test"),
                      timeout=5)
        if answer.stream_epoch == self.epoch:
            if answer.committed_seq < self.acknowledged:
                self.fault = "acknowledged %d, but only %d is committed" % (self.acknowledged, answer.committed_seq)
            self.forget_to(answer.committed_seq)

    def deliver(self, channel, started):
        self.register(channel)
        wake = threading.Condition()
        state = {"sent": self.acknowledged, "batches": 0, "ended": False}

        def requests():
            while True:
                with wake:
                    while True:
                        if state["ended"]:
                            return
                        self.make_due(started)
                        if state["batches"] < UNACKNOWLEDGED_BATCHES and state["sent"] < len(self.made):
                            break
                        wake.wait(0.02)
                    first = state["sent"] + 1
                    last = min(len(self.made), first + BATCH_RECORDS - 1)
                    batch = self.stream_pb.Batch(epoch=self.epoch, first_seq=first,
                                                 records=[self.records[n] for n in range(first, last + 1)])
                    state["sent"] = last
                    state["batches"] += 1
                yield self.agent_pb.StreamResultsRequest(batch=batch.SerializeToString(), plane="network")

        stream = channel.stream_stream(SERVICE + "StreamResults",
                                       request_serializer=self.agent_pb.StreamResultsRequest.SerializeToString,
                                       response_deserializer=self.agent_pb.StreamResultsResponse.FromString)
        answers = stream(requests())
        self.current = answers
        try:
            for answer in answers:
                with wake:
                    if answer.dead_lettered:
                        self.fault = "%d good records were dead-lettered" % answer.dead_lettered
                    self.forget_to(answer.committed_seq)
                    state["batches"] -= 1
                    wake.notify()
            self.reconnects += 1
            self.over.wait(0.2)
        finally:
            with wake:
                state["ended"] = True
                wake.notify()

    # ---- for the test ----------------------------------------------------------------

    def stop_producing(self):
        self.producing.clear()

    def wait_delivered(self, deadline):
        """True when everything made is acknowledged before time.monotonic() reaches deadline."""
        while self.fault is None and self.acknowledged < len(self.made):
            if time.monotonic() > deadline:
                return False
            self.over.wait(0.05)
        return self.fault is None

    def stop(self):
        self.over.set()
        if self.current is not None:
            self.current.cancel()
        self.join(10)
