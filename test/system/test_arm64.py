# SPDX-License-Identifier: PostgreSQL
"""The agent for arm64: built here with Debian's cross compiler, run by qemu's emulation of one process."""
import http.server
import json
import os
import platform
import shutil
import subprocess
import threading

import pytest

from conftest import BIN, BUILD_TOP, clean_environment
from control import Agent, Control, Signer
from ingest_parts import Authority, Messages

PROGRAM = BUILD_TOP / "build/arm64/bin/probectl-agent"


@pytest.fixture(scope="module")
def program():
    """argv of the program, which make builds unless it is there."""
    done = subprocess.run(["make", "--no-print-directory", "agent-arm64"], cwd=BUILD_TOP, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=800, env=clean_environment())
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return [shutil.which("qemu-aarch64"), str(PROGRAM)]


@pytest.fixture
def page():
    """Port of a web server on loopback."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def static(path, machine):
    """Whether it is a program of that machine that needs no other file."""
    header = path.read_bytes()[:20]
    said = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True).stdout
    return header[:4] == b"\x7fELF" and header[18] == machine and "LOAD" in said and "INTERP" not in said


def test_it_is_a_static_program_of_that_machine(program):
    assert static(PROGRAM, 183)  # EM_AARCH64
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("probectl-agent "), done


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another machine")
def test_so_is_the_one_for_this_machine():
    assert static(BIN / "probectl-agent", 62)  # EM_X86_64


@pytest.mark.parametrize("kind, target", [("icmp", "127.0.0.1"), ("tcp", "127.0.0.1:%d"), ("http", "http://127.0.0.1:%d/")])
def test_it_measures(program, page, kind, target):
    target = target % page if "%" in target else target
    done = subprocess.run([*program, "--once", kind, target, "--json"], capture_output=True, text=True, timeout=120,
                          env={**clean_environment(), "PROBECTL_AGENT_SECCOMP": "off"})
    result = json.loads(done.stdout)
    if result["error_type"] == "local_fault" and os.geteuid() != 0:
        pytest.skip("this user may open no ICMP socket: " + result["error"])
    assert done.returncode == 0 and result["success"], done


def test_it_links_takes_signed_tests_and_delivers(program, page, tmp_path):
    authority = Authority(tmp_path, "authority")
    control = Control(Messages(tmp_path), authority)
    control.give(2, Signer(authority))
    folder = tmp_path / "agent"
    folder.mkdir()
    agent = Agent(folder, authority, control, "seccomp: off\ncanaries:\n  - {type: tcp, target: \"127.0.0.1:%d\", "
                  "interval: 1s, timeout: 1s, params: {allow_private_targets: true}}\n" % page, program)
    agent.start()
    try:
        agent.wait("the tests of the control plane run", lambda: agent.metric("probectl_agent_tests") == 3)
        agent.wait("results arrive", lambda: sum(r.success for r in control.stored) >= 2)
        assert agent.metric("probectl_agent_tests_revision") == 2
    finally:
        agent.stop()
        control.server.stop(None)
    assert agent.process.returncode == 0
