# SPDX-License-Identifier: PostgreSQL
"""STAMP between processes: frames as tshark reads them, peers that are not ours, and agents in network namespaces of
their own that the control plane brings together.

    agent "left"  198.51.100.1  veth ===== veth  198.51.100.2  agent "right"

The control plane stays outside: each namespace has listeners of this test on its loopback that carry the agents'
connections to it.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import BIN, clean_environment, free_port, wait_for

AGENT = str(BIN / "probectl-agent")
NTP_1970 = 2208988800
REQUEST = struct.Struct(">IQHH28x")
REPLY = struct.Struct(">IQHHQIQHHB3x")


def once(target, *params, ok=True, program=(AGENT,)):
    words = [w for p in params for w in ("--param", p)]
    done = subprocess.run([*program, "--once", "a2a", target, "--json", *words], capture_output=True, text=True, timeout=60, env=clean_environment())
    assert done.returncode == (0 if ok else 1), done.stdout + done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def reflector(listen, *allow):
    words = [w for prefix in allow for w in ("--allow", prefix)]
    process = subprocess.Popen([AGENT, "--reflect", listen, *words], stderr=subprocess.PIPE, text=True, env=clean_environment())
    try:
        line = process.stderr.readline()
        assert "answering STAMP packets on port" in line, line
        yield int(line.split("on port ")[1].split(",")[0])
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stderr.close()


def ntp(at=None):
    at = time.time() if at is None else at
    return (int(at) + NTP_1970) << 32 | int(at % 1 * 2**32)


# ---- what others make of our packets ------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_frames_as_tshark_reads_them(tmp_path):
    """Requests and replies of a round, relayed by this test and written as a capture."""
    frames = []
    with reflector("127.0.0.1:0", "127.0.0.0/8") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far:
        near.bind(("127.0.0.1", 0))
        far.connect(("127.0.0.1", port))

        def relay():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = near.recvfrom(9000)
                    frames.append((40000, 862, data))
                    far.send(data)
                    frames.append((862, 40000, far.recv(9000)))
                    near.sendto(frames[-1][2], sender)

        threading.Thread(target=relay, daemon=True).start()
        result = once("127.0.0.1:%d" % near.getsockname()[1], "count=4", "interval_ms=1")
    assert result["metrics"]["packets.received"] == 4
    capture = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    for source, target, data in frames:
        udp = struct.pack(">HHHH", source, target, 8 + len(data), 0) + data
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
        capture += struct.pack("<IIII", int(time.time()), 0, len(ip + udp), len(ip + udp)) + ip + udp
    (tmp_path / "a2a.pcap").write_bytes(capture)
    fields = ["udp.srcport", "twamp.test.seq_number", "twamp.test.timestamp", "twamp.test.error_estimate", "twamp.test.receive_timestamp",
              "twamp.test.sender_seq_number", "twamp.test.sender_timestamp", "twamp.test.sender_error_estimate", "twamp.test.sender_ttl", "_ws.malformed"]
    done = subprocess.run(["tshark", "-r", str(tmp_path / "a2a.pcap"), "-d", "udp.port==862,twamp.test", "-T", "json", "-e", *" -e ".join(fields).split(" ")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    layers = [{k: v[0] for k, v in packet["_source"]["layers"].items()} for packet in json.loads(done.stdout)]
    assert len(layers) == 8 and not any("_ws.malformed" in frame for frame in layers), layers
    requests, replies = layers[0::2], layers[1::2]
    for number, (request, reply) in enumerate(zip(requests, replies)):
        assert request["udp.srcport"] == "40000" and reply["udp.srcport"] == "862"
        assert request["twamp.test.seq_number"] == reply["twamp.test.seq_number"] == reply["twamp.test.sender_seq_number"] == str(number)
        assert reply["twamp.test.sender_timestamp"] == request["twamp.test.timestamp"]
        assert reply["twamp.test.sender_error_estimate"] == request["twamp.test.error_estimate"]
        assert int(request["twamp.test.error_estimate"], 0) & 0xFF and int(reply["twamp.test.error_estimate"], 0) & 0xFF
        assert int(reply["twamp.test.sender_ttl"], 0) == 64  # the relay's
        # both ends share a clock, and tshark's words of one zone compare as they stand
        assert request["twamp.test.timestamp"] <= reply["twamp.test.receive_timestamp"] <= reply["twamp.test.timestamp"] or \
            request["twamp.test.timestamp"][:12] != reply["twamp.test.timestamp"][:12]


class StatelessReflector:
    """RFC 8762 section 4.3 without anything more: our sender's peer that is not ours."""

    def __init__(self, offset=0.0, lose=()):
        self.offset, self.lose, self.seen = offset, lose, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.target = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                data, sender = self.socket.recvfrom(9000)
                arrived = ntp(time.time() + self.offset)
                number, sent, estimate, _ = REQUEST.unpack(data[:44])
                self.seen.append(data)
                if number in self.lose:
                    continue
                reply = REPLY.pack(number, ntp(time.time() + self.offset), 0x0A01, 0, arrived, number, sent, estimate, 0, 255)
                self.socket.sendto(reply + bytes(len(data) - 44), sender)


def test_a_stateless_reflector():
    peer = StatelessReflector()
    result = once(peer.target, "count=5", "interval_ms=1", "payload_bytes=200")
    assert result["metrics"]["packets.received"] == 5 and result["network_protocol_name"] == "stamp"
    assert result["attributes"]["probectl.a2a.reflector.mode"] == "unknown"
    assert result["attributes"]["probectl.a2a.reflector.timestamps"] == "packet"
    assert result["metrics"]["forward.loss.ratio"] == result["metrics"]["reverse.loss.ratio"] == 0
    assert [REQUEST.unpack(data[:44])[0] for data in peer.seen] == list(range(5))
    assert {len(data) for data in peer.seen} == {200}
    peer.socket.close()


def test_a_loss_without_a_direction():
    peer = StatelessReflector(lose={2})
    result = once(peer.target, "count=5", "interval_ms=1", "timeout=500")
    assert result["metrics"]["loss.ratio"] == 0.2
    assert "forward.loss.ratio" not in result["metrics"]
    peer.socket.close()


@pytest.mark.parametrize("offset", [5.0, -0.25])
def test_clocks_that_disagree(offset):
    """An offset with its uncertainty, and delays of one direction that are marked, never negative ones."""
    peer = StatelessReflector(offset)
    result = once(peer.target, "count=8", "interval_ms=1")
    metrics, attributes = result["metrics"], result["attributes"]
    assert attributes["probectl.a2a.oneway"] == "relative" and attributes["probectl.a2a.clock"] == "disagree"
    assert abs(metrics["clock.offset.ms"] - offset * 1000) <= metrics["clock.uncertainty.ms"] + 0.001
    assert metrics["forward.min.ms"] >= 0 and metrics["reverse.min.ms"] >= 0 and metrics["loss.ratio"] == 0
    assert metrics["rtt.max.ms"] < 1000
    peer.socket.close()


# ---- what others get from our reflector ---------------------------------------------------------


def ask(link, data, deadline=0.3):
    link.settimeout(deadline)
    link.send(data)
    try:
        return link.recv(9000)
    except socket.timeout:
        return None


def test_our_reflector_and_a_sender_that_is_not_ours():
    with reflector("127.0.0.1:0", "127.0.0.1/32") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", port))
        for number, size in ((0, 44), (1, 44), (2, 60), (7, 1400)):
            sent = ntp()
            data = REQUEST.pack(number, sent, 0x0A01, 0) + bytes(size - 44)
            answer = ask(link, data, 5)
            assert len(answer) == size  # no more than it got
            mine, left, estimate, ssid, arrived, theirs, echoed, echoed_estimate, _, ttl = REPLY.unpack(answer[:44])
            assert (mine, theirs, echoed, echoed_estimate, ssid) == ({7: 3}.get(number, number), number, sent, 0x0A01, 0)
            assert sent <= arrived + 2**22 and arrived <= left and estimate & 0xFF and ttl == 64  # 2^22: a millisecond, for time.time()
        # what is no request, or of nobody it knows, is not answered
        for bad in (b"", data[:43], bytes(44), answer, REQUEST.pack(1, ntp(), 0x0A00, 0)):
            assert ask(link, bad) is None
        assert ask(link, REQUEST.pack(9, ntp(), 0x0A01, 0), 5) is not None
    with reflector("127.0.0.1:0", "192.0.2.0/24") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", port))
        assert ask(link, data) is None


@pytest.mark.parametrize("words, complaint", [
    (["--reflect", "127.0.0.1:0"], "--allow"), (["--reflect", "localhost:862", "--allow", "127.0.0.1"], "not ADDRESS:PORT"),
    (["--reflect", "127.0.0.1:0", "--allow", "everybody"], "no address"), (["--reflect", "127.0.0.1:0", "--verbose"], "unexpected"),
    (["--reflect", "192.0.2.1:0", "--allow", "192.0.2.0/24"], "cannot have its address")])
def test_reflect_refuses_bad_input(words, complaint):
    done = subprocess.run([AGENT, *words], capture_output=True, text=True, timeout=10, env=clean_environment())
    assert done.returncode == 2 and complaint in done.stderr, done.stderr


@pytest.mark.parametrize("key, value, complaint", [
    ("listen", "localhost:862", "a2a.listen: \"localhost:862\" is not ADDRESS:PORT"), ("allow", "192.0.2.0/33", "a2a.allow: \"33\" is no length of a prefix"),
    ("advertise", "an-agent", "a2a.advertise must be an address"), ("rate", "0", "a2a.rate")])
def test_settings_that_cannot_be(tmp_path, key, value, complaint):
    config = tmp_path / "agent.yaml"
    config.write_text("control_plane: {grpc_addr: \"127.0.0.1:9443\"}\na2a: {%s: \"%s\"}\n" % (key, value))
    done = subprocess.run([AGENT, "--config", str(config), "--check-config"], capture_output=True, text=True, timeout=10, env=clean_environment())
    assert done.returncode != 0 and complaint in done.stderr, done.stderr


# ---- agents that the control plane brings together ----------------------------------------------


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Namespace:
    def __init__(self, name):
        self.name, self.path = name, "/run/netns/" + name
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")

    def listen(self, address):
        """A socket that listens in the namespace: a socket is of that of the thread that makes it."""
        made = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(self.path, "rb") as own:
                assert libc.setns(own.fileno(), 0x40000000) == 0, os.strerror(ctypes.get_errno())
            made.append(socket.create_server(address))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def remove(self):
        ip("netns", "del", self.name)


class Carrier:
    """Takes connections in a namespace to the same address outside of it."""

    def __init__(self, namespace, address):
        host, _, port = address.rpartition(":")
        self.address = (host, int(port))
        self.server = namespace.listen(self.address)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                inside = self.server.accept()[0]
                outside = socket.create_connection(self.address)
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.server.close()


class PlacedAgent:
    """probectl-agent in a namespace; enrols itself."""

    def __init__(self, stack, folder, namespace, name, token, address):
        self.folder, self.name = pathlib.Path(folder), name
        self.folder.mkdir()
        (self.folder / "token").write_text(token)
        self.carriers = [Carrier(namespace, a) for a in (stack.ingest_listen, stack.gateway_listen)] if address else []
        self.log, self.socket = self.folder / "agent.log", str(self.folder / "s")
        (self.folder / "agent.yaml").write_text(
            "control_plane:\n  grpc_addr: %s\nenroll:\n  server: %s\n  token_file: %s\n  ca_file: %s\nidentity:\n  dir: %s\nspool:\n  dir: %s\n"
            "agent:\n  hostname: %s\nstatus_socket: %s\na2a:\n  listen: 0.0.0.0:0\n%s" % (
                stack.ingest_listen, stack.url, self.folder / "token", stack.ca, self.folder / "identity", self.folder / "spool", name, self.socket,
                "  advertise: %s\n" % address if address else ""))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", namespace.name, AGENT, "--config", str(self.folder / "agent.yaml")],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment())

    def metric(self, name):
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(self.socket)
            link.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        finally:
            self.process.kill()
        for carrier in self.carriers:
            carrier.close()


def inside(stack, tenant, statement, args=()):
    with contextlib.closing(stack.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
        cursor.execute(statement, args)
        rows = cursor.fetchall()
        cursor.execute("COMMIT")
        return rows


def agents(stack, token=None):
    return {a["hostname"]: a["agent_id"] for a in stack.api("GET", "/v1/agents", token=token)[1]["items"] if a["hostname"]}


class Place:
    """Two namespaces with a wire, two agents of the default tenant, one of another tenant."""

    def __init__(self, stack, folder):
        self.stack, self.made = stack, []
        other = stack.cli("tenant", "create", "other", "Other").stdout.strip()
        (user,), = inside(stack, other, "SELECT probectl.user_create('admin@other.example', 'Admin', 'admin')")
        (self.other_token,), = inside(stack, other, "SELECT probectl.api_token_create('test', %s, '1 hour')", (user,))
        spaces = [Namespace("pctl-a2a-%d-%s" % (os.getpid(), side)) for side in "lr"]
        self.spaces = spaces
        ip("-n", spaces[0].name, "link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", spaces[1].name)
        for space, link, address in zip(spaces, ("va", "vb"), ("198.51.100.1", "198.51.100.2")):
            ip("-n", space.name, "addr", "add", address + "/24", "dev", link)
            ip("-n", space.name, "link", "set", link, "up")
        for space, name, address, token in ((spaces[0], "left", "198.51.100.1", None), (spaces[1], "right", "198.51.100.2", None),
                                            (spaces[1], "stranger", None, self.other_token)):
            join = stack.api("POST", "/v1/agents/join-tokens", {}, token=token)[1]["token"]
            self.made.append(PlacedAgent(stack, folder / name, space, name, join, address))
        self.left, self.right, self.stranger = self.made
        stack.wait_for(lambda: {"left", "right"} <= set(agents(stack)) and "stranger" in agents(stack, self.other_token), 60, "three agents")
        self.ids = {**agents(stack), **agents(stack, self.other_token)}

    def latest(self, test_id, state="ok"):
        def row():
            items = self.stack.api("GET", "/v1/results/latest?limit=500&test_id=" + test_id)[1]["items"]
            return [i for i in items if i["state"] == state]
        try:
            return self.stack.wait_for(row, 30, "a result that is " + state)[0]
        except AssertionError as error:
            raise AssertionError("%s\n%s" % (error, "\n".join(a.log.read_text()[-1500:] for a in self.made))) from None

    def remove(self):
        for one in self.made:
            one.stop()
        for space in self.spaces:
            space.remove()


@pytest.fixture(scope="module")
def place(stack, tmp_path_factory):
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not permitted")
    one = Place(stack, tmp_path_factory.mktemp("a2a"))
    try:
        yield one
    finally:
        one.remove()


def body(place, **more):
    return {"type": "a2a", "agent_id": place.ids["left"], "interval_seconds": 2, "timeout_seconds": 2,
            "params": {"count": 5, "interval_ms": 10}, **more}


def test_both_directions_between_two_agents(place):
    stack = place.stack
    status, test = stack.api("POST", "/v1/tests", body(place, name="left to right", target="right"))
    assert status == 201, test
    result = place.latest(test["test_id"])
    metrics, attributes = result["metrics"], result["attributes"]
    assert result["type"] == "a2a" and result["agent_id"] == place.ids["left"] and result["target"] == "right"
    for name in ("rtt.avg.ms", "forward.avg.ms", "reverse.avg.ms", "forward.loss.ratio", "reverse.loss.ratio", "clock.offset.ms", "clock.uncertainty.ms"):
        assert name in metrics, (name, metrics)
    assert metrics["loss.ratio"] == 0 and result["latency_ms"] == metrics["rtt.avg.ms"]
    assert attributes["network.peer.address"] == "198.51.100.2"
    assert attributes["probectl.a2a.peer_agent_id"] == place.ids["right"]
    assert attributes["probectl.a2a.timestamps"] == attributes["probectl.a2a.reflector.timestamps"] == "kernel"
    assert attributes["probectl.a2a.oneway"] == "absolute"
    session, = stack.api("GET", "/v1/a2a/sessions")[1]["items"]
    assert session["session_id"] == attributes["probectl.a2a.session_id"] and session["state"] == "ready"
    assert (session["initiator_id"], session["responder_id"]) == (place.ids["left"], place.ids["right"])
    assert session["host"] == "198.51.100.2" and session["observed"] == "127.0.0.1" and "token" not in session
    # the responder answers while there is somebody to answer, and has its port closed again after
    assert place.right.metric("probectl_agent_a2a_sessions") == 1 and place.left.metric("probectl_agent_a2a_sessions") == 0
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204
    wait_for(lambda: place.right.metric("probectl_agent_a2a_sessions") == 0, 30, "the session has ended")
    assert stack.api("GET", "/v1/a2a/sessions")[1]["items"] == []


def test_another_tenant_gets_nothing(place):
    stack = place.stack
    status, test = stack.api("POST", "/v1/tests", body(place, name="to be seen by one tenant", target=place.ids["right"]))
    assert status == 201
    place.latest(test["test_id"])
    assert stack.api("GET", "/v1/a2a/sessions", token=place.other_token)[1]["items"] == []
    assert place.stranger.metric("probectl_agent_a2a_sessions") == 0 and place.stranger.metric("probectl_agent_tests") == 0
    # nor can it ask for a session with an agent that is not its own, by identifier or by name
    for target in (place.ids["right"], "right"):
        status, answer = stack.api("POST", "/v1/tests", {"type": "a2a", "target": target, "agent_id": place.ids["stranger"], "name": target}, token=place.other_token)
        assert status == 422 and answer["error"]["field"] == "target", answer
    for members in ([place.ids["stranger"], place.ids["right"]], [place.ids["left"], place.ids["right"]]):
        status, answer = stack.api("POST", "/v1/a2a/meshes", {"name": "theirs", "agent_ids": members}, token=place.other_token)
        assert status == 422 and answer["error"]["field"] == "agent_ids", answer
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204


def test_agent_that_does_not_answer(place):
    """The local agent of the stack is enrolled, but answers on its own loopback only: not there for the left one."""
    stack = place.stack
    local = [a for a in stack.api("GET", "/v1/agents")[1]["items"] if a["agent_id"] not in place.ids.values() or a["hostname"] not in ("left", "right")][0]
    status, test = stack.api("POST", "/v1/tests", body(place, name="to nowhere", target=local["agent_id"], params={"count": 2, "interval_ms": 1, "allow_private_targets": True}))
    assert status == 201, test
    assert place.latest(test["test_id"], "failed")["error_type"] in ("connect_refused", "no_reply", "peer_unavailable", "net_unreachable")
    # without the permission's parameter its address is not even dialled
    assert stack.api("PATCH", "/v1/tests/" + test["test_id"], {"params": {"count": 2, "interval_ms": 1}})[0] == 200
    stack.wait_for(lambda: place.latest(test["test_id"], "failed")["error_type"] == "guard_denied", 30, "the guard's word")
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204


def test_mesh(place):
    stack = place.stack
    members = [place.ids["left"], place.ids["right"]]
    status, mesh = stack.api("POST", "/v1/a2a/meshes", {"name": "all", "agent_ids": members, "interval_seconds": 2, "timeout_seconds": 2,
                                                        "params": {"count": 3, "interval_ms": 5}})
    assert status == 201 and mesh["tests"] == 2 and mesh["agent_ids"] == sorted(members), mesh
    tests = [t for t in stack.api("GET", "/v1/tests?limit=100")[1]["items"] if t["params"].get("mesh_id") == mesh["mesh_id"]]
    assert {(t["agent_id"], t["target"]) for t in tests} == {tuple(members), tuple(reversed(members))}
    for test in tests:
        result = place.latest(test["test_id"])
        assert result["attributes"]["probectl.a2a.mesh_id"] == mesh["mesh_id"]
    assert stack.api("GET", "/v1/a2a/meshes")[1]["items"] == [mesh]
    status, changed = stack.api("PATCH", "/v1/a2a/meshes/" + mesh["mesh_id"], {"enabled": False})
    assert status == 200 and changed["enabled"] is False
    assert not any(t["enabled"] for t in stack.api("GET", "/v1/tests?limit=100")[1]["items"] if t["type"] == "a2a")
    assert stack.api("DELETE", "/v1/a2a/meshes/" + mesh["mesh_id"])[0] == 204
    assert not [t for t in stack.api("GET", "/v1/tests?limit=100")[1]["items"] if t["type"] == "a2a"]
    assert stack.api("PATCH", "/v1/a2a/meshes/" + mesh["mesh_id"], {})[0] == 404
