# SPDX-License-Identifier: PostgreSQL
"""Private name servers for the tests of the dns canary: signed zones, bind9 and unbound on loopback.

A lab has a folder below /tmp, zones signed by ldns-signzone with keys made once per algorithm (a key does
not depend on the zone it is written for, so its file is written again with another owner), and servers
on free ports that it stops at the end. Nothing outside of the folder is read or written.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from conftest import BIN, free_port, wait_for

AGENT = BIN / "probectl-agent"
NEEDED = ("named", "unbound", "ldns-signzone", "ldns-keygen", "ldns-key2ds")
TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28, "DNAME": 39, "DS": 43,
         "DNSKEY": 48, "CAA": 257}
ALGORITHMS = {"RSASHA256": 8, "RSASHA512": 10, "ECDSAP256SHA256": 13, "ECDSAP384SHA384": 14, "ED25519": 15}


def missing():
    return [name for name in NEEDED if not which(name)]


def which(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def stamp(offset):
    """Seconds from now, as ldns-signzone takes a date."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + offset))


def wire_name(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def ask(port, name, qtype, cd=False, address="127.0.0.1"):
    """(rcode, AD, answers) of one question with DO over TCP: nothing is cut off or lost there."""
    query = struct.pack(">6H", 4711, 0x0110 if cd else 0x0100, 1, 0, 0, 1)
    query += wire_name(name) + struct.pack(">2H", TYPES[qtype], 1)
    query += b"\0" + struct.pack(">2H2BHH", 41, 4096, 0, 0, 0x8000, 0)
    with socket.create_connection((address, port), timeout=20) as link:
        link.sendall(struct.pack(">H", len(query)) + query)
        head = read_exactly(link, 2)
        data = read_exactly(link, struct.unpack(">H", head)[0])
    flags, _, answers = struct.unpack(">3H", data[2:8])
    return flags & 15, bool(flags & 0x20), answers


def read_exactly(link, count):
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more:
            raise ConnectionError("closed after %d of %d bytes" % (len(data), count))
        data += more
    return data


class Relay(threading.Thread):
    """Makes one server look like many: what comes to an address of 127/8 goes on to the server from the same
    address, by which bind9 chooses the view. (bind9 itself listens on addresses of interfaces only.)"""

    def __init__(self, address, port, upstream):
        super().__init__(daemon=True)
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.bind((address, port))
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.bind((address, 0))
        self.inside.connect(("127.0.0.1", upstream))
        self.inside.settimeout(5)
        self.start()

    def run(self):
        while True:
            try:
                query, peer = self.outside.recvfrom(4096)
                self.inside.send(query)
                self.outside.sendto(self.inside.recv(65535), peer)
            except socket.timeout:
                continue
            except OSError:
                return

    def close(self):
        self.outside.close()
        self.inside.close()


class Lab:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pctl-dns-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.servers = []
        self.relays = []
        self.keys = {}

    def close(self):
        for relay in self.relays:
            relay.close()
        for process in self.servers:
            process.send_signal(signal.SIGTERM)
        for process in self.servers:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words, **options):
        done = subprocess.run([which(words[0]) or words[0], *words[1:]], cwd=self.folder, capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, **options)
        assert done.returncode == 0, "%s: %s%s" % (" ".join(words), done.stdout, done.stderr)
        return done.stdout

    # ---- keys and zones ----

    def key(self, algorithm="ECDSAP256SHA256", which_one=0):
        """Base name of a key of its own for (algorithm, which_one), made at first use."""
        if (algorithm, which_one) not in self.keys:
            size = ["-b", "2048"] if algorithm.startswith("RSA") else []
            base = self.run("ldns-keygen", "-r", "/dev/urandom", "-a", algorithm, *size, "-k", "owner.").strip()
            self.keys[algorithm, which_one] = self.folder / base
        return self.keys[algorithm, which_one]

    def key_for(self, zone, algorithm="ECDSAP256SHA256", which_one=0):
        """The same key with files of its own for a zone."""
        base = self.key(algorithm, which_one)
        mine = self.folder / ("key-%s%s-%d" % (zone.replace(".", "_"), algorithm, which_one))
        text = base.with_name(base.name + ".key").read_text()
        mine.with_name(mine.name + ".key").write_text(text.replace("owner.", zone))
        shutil.copy(base.with_name(base.name + ".private"), mine.with_name(mine.name + ".private"))
        return mine

    def ds(self, zone, algorithm="ECDSAP256SHA256", which_one=0, digest="-2"):
        key = self.key_for(zone, algorithm, which_one)
        return self.run("ldns-key2ds", "-n", digest, str(key) + ".key").strip().replace("\t", " ")

    def sign(self, zone, text, *options, algorithm="ECDSAP256SHA256", which_one=0, inception=-86400 * 5,
             expiration=86400 * 20):
        """The zone signed: its text, one record a line."""
        plain = self.folder / ("plain-" + zone.replace(".", "_"))
        out = self.folder / ("signed-" + zone.replace(".", "_"))
        plain.write_text(text)
        self.run("ldns-signzone", "-o", zone, "-i", stamp(inception), "-e", stamp(expiration), "-f", str(out),
                 *options, str(plain), str(self.key_for(zone, algorithm, which_one)))
        return out.read_text()

    # ---- servers ----

    def start(self, words, ready, log):
        with open(self.folder / log, "w") as out:
            process = subprocess.Popen([which(words[0]), *words[1:]], cwd=self.folder, stdout=out,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.servers.append(process)

        def up():
            assert process.poll() is None, (self.folder / log).read_text()[-3000:]
            return ready()

        wait_for(up, 60, words[0])
        return process

    def named(self, zones, options="", views=None, extra="", name="named"):
        """bind9 as an authoritative server of {zone: text}; or of {view: (address, {zone: text})}, a
        view for each address that asks. Returns its port."""
        port = free_port()
        conf = ["options { directory \"%s\"; listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; "
                "pid-file none; session-keyfile \"%s/%s.key\"; dnssec-validation no; minimal-responses yes; "
                "check-names primary ignore; %s };" % (self.folder, port, self.folder, name, options),
                "controls { };", extra]

        def stanza(zone, text, view):
            path = self.folder / ("%s-%s-%szone" % (name, view, zone))
            path.write_text(text)
            return 'zone "%s" { type primary; file "%s"; };' % (zone, path)

        if views:
            for view, (address, content) in views.items():
                conf.append('view "%s" { match-clients { %s; };' % (view, address))
                conf += [stanza(zone, text, view) for zone, text in content.items()]
                conf.append("};")
        else:
            conf += [stanza(zone, text, "all") for zone, text in zones.items()]
        (self.folder / (name + ".conf")).write_text("\n".join(conf))
        log = name + ".log"
        self.start(["named", "-g", "-n", "1", "-c", str(self.folder / (name + ".conf"))],
                   lambda: "all zones loaded" in (self.folder / log).read_text() and
                   " running" in (self.folder / log).read_text(), log)
        text = (self.folder / log).read_text()
        assert "not loaded due to errors" not in text, [x for x in text.splitlines() if "error" in x or "fail" in x][-9:]
        return port

    def relay(self, addresses, upstream):
        """The same free port on all of these addresses leads to the server at upstream. Returns it."""
        port = free_port()
        self.relays += [Relay(address, port, upstream) for address in addresses]
        return port

    def unbound(self, upstream, anchor, extra="", name="unbound"):
        port = free_port()
        (self.folder / (name + ".conf")).write_text("""
server:
  interface: 127.0.0.1
  port: %d
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  use-syslog: no
  pidfile: ""
  chroot: ""
  username: ""
  directory: "%s"
  do-not-query-localhost: no
  do-ip6: no
  trust-anchor-file: "%s"
  trust-anchor-signaling: no
  root-key-sentinel: no
  aggressive-nsec: no
  harden-algo-downgrade: yes
  val-log-level: 2
  minimal-responses: yes
  msg-cache-size: 16m
  rrset-cache-size: 16m
  num-threads: 1
  outgoing-range: 60
  %s
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@%d
remote-control:
  control-enable: no
""" % (port, self.folder, anchor, extra, upstream))
        self.start(["unbound", "-d", "-c", str(self.folder / (name + ".conf"))],
                   lambda: "start of service" in (self.folder / (name + ".log")).read_text(), name + ".log")
        return port

    # ---- the canary ----

    def once(self, target, timeout=10000, **params):
        words = [str(AGENT), "--once", "dns", target, "--json", "--param", "timeout=%d" % timeout]
        for key, value in params.items():
            words += ["--param", "%s=%s" % (key, value)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode in (0, 1), done.stderr
        result = json.loads(done.stdout)
        result["exit"] = done.returncode
        result["dnssec"] = result["attributes"].get("probectl.dns.dnssec")
        return result

    def refused(self, target, **params):
        """What the canary says to parameters it does not take."""
        words = [str(AGENT), "--once", "dns", target]
        for key, value in params.items():
            words += ["--param", "%s=%s" % (key, value)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 2, done.stdout
        return done.stderr
