# SPDX-License-Identifier: PostgreSQL
"""docs/52-otel-mapping.md is what is emitted: each canary runs and may say nothing that the page does not know, and the page
knows nothing that no canary says. A new metric or attribute needs its row, a new canary a run here."""
import http.server
import json
import re
import socket
import subprocess
import threading

import pytest

from conftest import BIN, TOP

PAGE = (TOP / "docs" / "52-otel-mapping.md").read_text(encoding="utf-8")
AGENT = TOP / "collectors" / "agent"
# Made in stats.c for every canary that sends packets or connects again and again.
SHARED = (AGENT / "stats.c").read_text(encoding="utf-8")
# Added to a run of any type by who schedules it.
ADDED = set(re.findall(r'result_note\(&\w+, "([^"]+)"', (AGENT / "sched.c").read_text(encoding="utf-8")))
FIELDS = {"canary_type", "server_address", "server_port", "network_transport", "network_protocol_name", "error_type"}


def rows(heading):
    """First and second cells of a table of the page."""
    section = PAGE.split("## " + heading + "\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", section, re.M)


def page(heading):
    """type -> names."""
    known = {}
    for name, types in rows(heading):
        for kind in types.split(", "):
            known.setdefault(kind, set()).add(name)
    return known


METRICS, ATTRIBUTES = page("Metrics of a run"), page("Attributes of a run")
ANY = METRICS.pop("any", set()) | ATTRIBUTES.pop("any", set())


def dotted(text):
    """Names that stand in a source, numbered ones as one."""
    names = re.findall(r'"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)"', text)
    return {re.sub(r"\.[0-9]+$", ".<n>", name) for name in names}


def sources():
    """type -> names in the sources that make its results."""
    made = {}
    for path in sorted(AGENT.glob("*/*.c")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"\bresult_(metric|attribute)\(", text):
            made.setdefault(path.parent.name, set()).update(dotted(text))
    return made


def test_page_and_sources_name_the_same():
    made = sources()
    assert ADDED and ANY == ADDED
    assert {"dns", "http", "icmp", "tcp"} <= set(made)
    for kind in sorted(set(made) | set(METRICS) | set(ATTRIBUTES)):
        known = METRICS.get(kind, set()) | ATTRIBUTES.get(kind, set())
        assert made.get(kind, set()) - known == set(), "emitted by %s, not on the page" % kind
        assert known - made.get(kind, set()) - dotted(SHARED) == set(), "on the page, not emitted by %s" % kind


class Web(http.server.BaseHTTPRequestHandler):
    """Redirects once, then answers."""

    def do_GET(self):
        body = b"" if self.path == "/" else b"x" * 2000
        self.send_response(302 if self.path == "/" else 200)
        self.send_header("Location", "/there")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "127.0.0.1:%d" % server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def resolver():
    """Says 192.0.2.1 to every question for an address, through an alias."""
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("127.0.0.1", 0))

    def serve():
        while True:
            question, peer = link.recvfrom(1500)
            if not question:
                return
            end = question.index(b"\0", 12) + 5
            answer = (question[:2] + b"\x81\x80\0\1\0\2\0\0\0\0" + question[12:end]
                      + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1a\xc0\x0c" + b"\1a\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1")
            link.sendto(answer, peer)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield "127.0.0.1:%d" % link.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
        stop.sendto(b"", link.getsockname())
    thread.join(10)
    link.close()


@pytest.fixture(scope="module")
def echo():
    """Gives datagrams back."""
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("127.0.0.1", 0))

    def serve():
        while True:
            data, peer = link.recvfrom(65535)
            if not data:
                return
            link.sendto(data, peer)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield "127.0.0.1:%d" % link.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
        stop.sendto(b"", link.getsockname())
    thread.join(10)
    link.close()


def once(kind, target, **params):
    words = [str(BIN / "probectl-agent"), "--once", kind, target, "--json", "--param", "timeout=10000"]
    for key, value in params.items():
        words += ["--param", "%s=%s" % (key, value)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def to_reflector():
    """A run of a2a to an agent that does nothing else than reflect."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        at = "127.0.0.1:%d" % probe.getsockname()[1]
    reflector = subprocess.Popen([str(BIN / "probectl-agent"), "--reflect", at, "--allow", "127.0.0.0/8"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert at.split(":")[1] in reflector.stderr.readline()
        return once("a2a", at)
    finally:
        reflector.terminate()
        reflector.wait(10)
        reflector.stderr.close()


# A run of each canary that succeeds, what it must say at least, and runs that fail, where one can be had on this machine alone.
RUNS = {
    "a2a": (lambda web, dns, echo: to_reflector(), {"rtt.avg.ms", "forward.loss.ratio", "probectl.a2a.role"}, [("127.0.0.1:1", {"timeout": 500})]),
    "icmp": (lambda web, dns, echo: once("icmp", "127.0.0.1", count=2), {"rtt.avg.ms", "loss.ratio", "network.peer.address"}, []),
    "udp": (lambda web, dns, echo: once("udp", echo), {"rtt.avg.ms", "probectl.udp.responder"}, [("127.0.0.1:1", {})]),
    "tcp": (lambda web, dns, echo: once("tcp", web), {"connect.avg.ms", "network.peer.port"}, [("127.0.0.1:1", {})]),
    "http": (lambda web, dns, echo: once("http", "http://%s/" % web), {"http.total.ms", "http.redirects", "http.response.status_code", "url.full"}, [("https://127.0.0.1:1/", {})]),
    "dns": (lambda web, dns, echo: once("dns", "www.example", server=dns), {"dns.query.ms", "probectl.dns.rcode", "probectl.dns.server"}, [("www.example", {"server": "127.0.0.1:1", "timeout": 500})]),
}


def known(kind, result):
    """What was said, all of it on the page."""
    metrics, attributes = set(result["metrics"]), {re.sub(r"\.[0-9]+$", ".<n>", name) for name in result["attributes"]}
    assert result["canary_type"] == kind
    assert metrics <= METRICS[kind], metrics - METRICS[kind]
    assert attributes <= ATTRIBUTES[kind], attributes - ATTRIBUTES[kind]
    assert FIELDS <= set(result)
    return metrics | attributes


@pytest.mark.parametrize("kind", sorted(METRICS))
def test_a_run_says_what_the_page_knows(kind, web, resolver, echo):
    assert kind in RUNS, "a canary without a run here"
    good, least, failing = RUNS[kind]
    result = good(web, resolver, echo)
    assert result["success"], result
    assert least <= known(kind, result)
    for target, params in failing:
        result = once(kind, target, **params)
        assert not result["success"] and result["error_type"], result
        known(kind, result)


def test_fields_and_reserved_names_are_those_of_the_database():
    assert {name for name, _ in rows("Fields")} == FIELDS
    text = (TOP / "src" / "result" / "decode.c").read_text(encoding="utf-8")
    keys = set(re.findall(r'"([^"]+)"', text.split("identity_keys[] = {")[1].split("};")[0]))
    section = PAGE.split("## Reserved attributes\n")[1].split("\n## ")[0]
    told = {name[:-1] if name.endswith("*") else name for name in re.findall(r"`([^`]+)`", section)}
    assert told == keys
