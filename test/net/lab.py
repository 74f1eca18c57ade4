# SPDX-License-Identifier: PostgreSQL
"""Two network namespaces with router.py between them: an agent in one, its peers in the other.

    agent  198.51.100.1   tun0 ===== router.py ===== tun0  192.0.2.1   peers
           2001:db8:a::1                                   2001:db8:b::1

missing() says why there can be none here; the tests are skipped then, which the suite reports.
"""
import json
import os
import pathlib
import select
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD_TOP = pathlib.Path(os.environ.get("PROBECTL_BUILD_TOP", TOP))
AGENT = str(BUILD_TOP / "build" / "bin" / "probectl-agent")
PEER4, PEER6 = "192.0.2.1", "2001:db8:b::1"
ROUTER4, ROUTER6 = "203.0.113.1", "2001:db8:ffff::1"
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
OUT, BACK = "out", "back"


def missing():
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    probe = "import router,os; os.close(router.device(os.getpid()))"
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", probe], cwd=pathlib.Path(__file__).parent,
                          capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else "no TUN device in a network namespace: " + done.stderr.strip().split("\n")[-1]


class Namespace:
    """Lives as long as the process that it belongs to, which ends with its standard input."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "up\n"

    def inside(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "--", *words]

    def run(self, *words, **more):
        return subprocess.run(self.inside(*words), capture_output=True, text=True, check=False, timeout=120, **more)

    def must(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)

    def start(self, *words, **more):
        return subprocess.Popen(self.inside(*words), **more)

    def close(self):
        self.holder.communicate("")


class Lab:
    def __init__(self):
        self.agent, self.peers = Namespace(), Namespace()
        self.router = subprocess.Popen(
            [sys.executable, "-P", str(pathlib.Path(__file__).with_name("router.py")), str(self.agent.holder.pid), str(self.peers.holder.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert json.loads(self.router.stdout.readline()) == {"ready": True}
        self.children = []
        for space, v4, v6 in ((self.agent, "198.51.100.1", "2001:db8:a::1"), (self.peers, PEER4, PEER6)):
            space.must("ip", "link", "set", "tun0", "up", "txqueuelen", "5000")  # the router may have to wait for a processor
            space.must("ip", "addr", "add", v4 + "/24", "dev", "tun0")
            space.must("ip", "addr", "add", v6 + "/64", "dev", "tun0", "nodad")
            space.must("ip", "route", "add", "default", "dev", "tun0")
            space.must("ip", "-6", "route", "add", "default", "dev", "tun0")
        # Many refusals in a short time are what the tests are about.
        self.peers.must("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit")

    def command(self, order):
        self.router.stdin.write(json.dumps(order) + "\n")
        self.router.stdin.flush()
        return json.loads(self.router.stdout.readline())

    def rules(self, *rules):
        self.command({"rules": rules})

    def seen(self, way, proto):
        """What packets the router was given since the rules, in their order."""
        return [p for p in self.command({"seen": True})["packets"] if (p["way"], p["proto"]) == (way, proto)]

    def once(self, kind, target, *rules, prefix=(), **params):
        """One run of a canary under rules; its result, metrics and attributes under their names as well."""
        self.rules(*rules)
        return once(self.agent, kind, target, prefix, **params)

    def peer(self, *words, ready=None, **more):
        """A process beside the peers. Its ready line, of standard error, is waited for."""
        child = self.peers.start(*words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
        self.children.append(child)
        read_until(child, ready)
        return child

    def close(self):
        for child in self.children:
            child.terminate()
            child.communicate()
        self.router.communicate("")
        self.agent.close()
        self.peers.close()


def read_until(child, words, seconds=30):
    end = time.monotonic() + seconds
    text = ""
    while words and words not in text:
        ready = select.select([child.stderr], [], [], max(0, end - time.monotonic()))[0]
        more = os.read(child.stderr.fileno(), 4096).decode() if ready else ""
        assert more, "not within %d s: %s; there was: %s" % (seconds, words, text)
        text += more


def once(space, kind, target, prefix=(), **params):
    words = [*prefix, AGENT, "--once", kind, target, "--json"]
    for key, value in params.items():
        words += ["--param", "%s=%s" % (key, value)]
    done = space.run(*words)
    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout)
    assert (done.returncode == 0) == result["success"] == (result["error_type"] == "")
    return {**result, **result["metrics"], **result["attributes"]}
