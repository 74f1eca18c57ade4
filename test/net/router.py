#!/usr/bin/python3
# SPDX-License-Identifier: PostgreSQL
"""A router between two network namespaces, in user space, that does to packets what it is told.

    router.py PID_A PID_B        namespaces of two processes; needs CAP_NET_ADMIN and /dev/net/tun

It makes the device tun0 in each and forwards between them as a router does: hop limit down by one,
checksum corrected, no fragmenting. What a network does badly is a rule, and a rule names the packets it is
about by their number, so that a test says what must come out to the packet:

    {"way": "out", "proto": 1, "packets": [2, 5], "do": "drop"}

way     "out" from A to B, "back" from B to A
proto   1 ICMP, 6 TCP, 17 UDP, 58 ICMPv6; packets of each way and protocol are counted from 1, without
        those of TCP connections that are older than the rules: these pass
packets a list of numbers; without it every one
do      "drop"
        "copy"                        it goes twice
        "delay", "ms": 50             it goes later, those behind it do not wait
        "after", "packet": 4          it goes right behind that one
        "icmp", "type", "code"        an ICMP error from the router instead ("mtu": for too big)
        "reset"                       TCP: a reset to both sides instead

Commands are lines of JSON on standard input, each answered by one: {"rules": [...]} forgets the counts and
what is under way, {"seen": true} says what was counted and what the packets were.
"""
import ctypes
import fcntl
import heapq
import json
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
OWN4, OWN6 = socket.inet_aton("203.0.113.1"), socket.inet_pton(socket.AF_INET6, "2001:db8:ffff::1")
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
WAYS = ("out", "back")
SEEN_MAX = 1000
LEFT_SECONDS = 20  # without a packet; shorter than any port of a closed connection is kept back


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def header4(source, destination, proto, payload, ttl=64):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, ttl, proto, 0, source, destination)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def header6(source, destination, proto, payload, ttl=64):
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), proto, ttl, source, destination) + payload


def pseudo(source, destination, proto, length):
    if len(source) == 4:
        return source + destination + struct.pack("!BBH", 0, proto, length)
    return source + destination + struct.pack("!IHBB", length, 0, 0, proto)


class Packet:
    """What a router looks at. data is forwarded as it is but for the hop limit."""

    def __init__(self, data):
        self.data = data
        self.v6 = data[0] >> 4 == 6
        if self.v6:
            self.header, self.proto = 40, data[6]
            self.source, self.destination = data[8:24], data[24:40]
            self.tos = (struct.unpack("!H", data[:2])[0] >> 4) & 0xFF
            self.df = True
            if self.proto == 44:
                self.header, self.proto = 48, data[40]
        else:
            self.header, self.proto = (data[0] & 15) * 4, data[9]
            self.source, self.destination = data[12:16], data[16:20]
            self.tos, self.df = data[1], bool(data[6] & 0x40)
        self.ttl = data[7 if self.v6 else 8]

    def flow(self):
        """The same for both directions of a TCP connection; None for what is not one."""
        ports = self.data[self.header : self.header + 4]
        if self.proto != TCP or len(ports) < 4:
            return None
        return frozenset([(self.source, ports[:2]), (self.destination, ports[2:])])

    def hop(self):
        """As it leaves the router."""
        if self.v6:
            return self.data[:7] + bytes([self.ttl - 1]) + self.data[8:]
        head = bytearray(self.data[: self.header])
        head[8] -= 1
        head[10:12] = b"\0\0"
        head[10:12] = struct.pack("!H", checksum(bytes(head)))
        return bytes(head) + self.data[self.header:]

    def wrap(self, proto, payload, source):
        make = header6 if self.v6 else header4
        return make(source, self.source, proto, payload)

    def icmp(self, kind, code, mtu=0):
        """The error to its sender, quoting as much as routers do."""
        if self.v6:
            body = struct.pack("!BBHI", kind, code, 0, mtu) + self.data[:1192]
            total = checksum(pseudo(OWN6, self.source, ICMP6, len(body)) + body)
            return self.wrap(ICMP6, body[:2] + struct.pack("!H", total) + body[4:], OWN6)
        body = struct.pack("!BBHHH", kind, code, 0, 0, mtu) + self.data[:548]
        return self.wrap(ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:], OWN4)

    def resets(self):
        """To the sender as if from the receiver, and the other way round."""
        tcp = self.data[self.header:]
        sport, dport, seq, ack = struct.unpack("!HHII", tcp[:12])
        length = len(tcp) - (tcp[12] >> 4) * 4 + (tcp[13] & 1) + (tcp[13] >> 1 & 1)

        def segment(source, destination, ports, number, acked, flags):
            body = struct.pack("!HHIIBBHHH", *ports, number & 0xFFFFFFFF, acked & 0xFFFFFFFF, 0x50, flags, 0, 0, 0)
            total = checksum(pseudo(source, destination, TCP, len(body)) + body)
            body = body[:16] + struct.pack("!H", total) + body[18:]
            return (header6 if self.v6 else header4)(source, destination, TCP, body)

        return (segment(self.destination, self.source, (dport, sport), ack, seq + length, 0x14),
                segment(self.source, self.destination, (sport, dport), seq, ack, 0x14))


class Router:
    def __init__(self, devices):
        self.devices = devices
        self.later = []
        self.order = 0
        self.flows, self.left = {}, {}
        self.set([])

    def set(self, rules):
        self.left, self.flows = {**self.left, **self.flows}, {}
        self.rules, self.counts, self.seen = rules, {}, []
        self.later, self.waiting = [], {}

    def send(self, device, data):
        try:
            os.write(self.devices[device], data)
        except OSError:
            pass  # the other side is down: lost

    def forward(self, way, data, ms=0):
        """ms later, to the side that the way leads to."""
        if ms == 0:
            self.send(1 - WAYS.index(way), data)
            return
        self.order += 1
        heapq.heappush(self.later, (time.monotonic() + ms / 1000, self.order, way, data))

    def rule(self, way, packet, number):
        for rule in self.rules:
            if rule["way"] == way and rule.get("proto") in (None, packet.proto) and number in rule.get("packets", [number]):
                return rule
        return {"do": "pass"}

    def is_left_over(self, packet):
        """Of a connection that was there before the rules, which its ends are still closing."""
        flow, now = packet.flow(), time.monotonic()
        if flow is None:
            return False
        if now - self.left.get(flow, -LEFT_SECONDS) < LEFT_SECONDS:
            self.left[flow] = now
            return True
        self.flows[flow] = now
        return False

    def take(self, side):
        """One packet that came from a side."""
        way, packet = WAYS[side], Packet(os.read(self.devices[side], 70000))
        # What a host says on its own when its interface comes up is not part of any test.
        if packet.v6 and packet.proto == ICMP6 and packet.data[packet.header] in (130, 131, 132, 133, 134, 135, 136, 143):
            return
        if packet.v6 and packet.proto == 0 or packet.ttl <= 1:
            return
        if self.is_left_over(packet):
            self.forward(way, packet.hop())
            return
        number = self.counts[way, packet.proto] = self.counts.get((way, packet.proto), 0) + 1
        if len(self.seen) < SEEN_MAX:
            self.seen.append({"way": way, "proto": packet.proto, "number": number, "tos": packet.tos, "df": packet.df,
                              "bytes": len(packet.data), "at": time.monotonic()})
        self.treat(way, packet, self.rule(way, packet, number))
        for kept in self.waiting.pop((way, packet.proto, number), []):
            self.forward(way, kept)

    def treat(self, way, packet, rule):
        do, side = rule["do"], WAYS.index(way)
        if do == "pass":
            self.forward(way, packet.hop())
        elif do == "copy":
            self.forward(way, packet.hop())
            self.forward(way, packet.hop())
        elif do == "delay":
            self.forward(way, packet.hop(), rule["ms"])
        elif do == "after":
            self.waiting.setdefault((way, packet.proto, rule["packet"]), []).append(packet.hop())
        elif do == "icmp":
            self.send(side, packet.icmp(rule["type"], rule["code"], rule.get("mtu", 0)))
        elif do == "reset":
            to_sender, to_receiver = packet.resets()
            self.send(side, to_sender)
            self.send(1 - side, to_receiver)
        elif do != "drop":
            raise ValueError("unknown: " + do)

    def command(self, line):
        order = json.loads(line)
        if "rules" in order:
            self.set(order["rules"])
            return {}
        return {"packets": self.seen, "counts": [[way, proto, n] for (way, proto), n in self.counts.items()]}

    def run(self):
        commands = b""
        while True:
            wait = max(0.0, self.later[0][0] - time.monotonic()) if self.later else None
            ready = select.select([0, *self.devices], [], [], wait)[0]
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, way, data = heapq.heappop(self.later)
                self.forward(way, data)
            for side in (0, 1):
                if self.devices[side] in ready:
                    self.take(side)
            if 0 in ready:
                more = os.read(0, 65536)
                if not more:
                    return
                commands += more
                while b"\n" in commands:
                    line, commands = commands.split(b"\n", 1)
                    print(json.dumps(self.command(line)), flush=True)


def device(pid):
    """tun0 in the namespace of a process. A device belongs to the namespace it was opened in."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/%s/ns/net" % pid) as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
    return fd


if __name__ == "__main__":
    router = Router([device(pid) for pid in sys.argv[1:3]])
    print(json.dumps({"ready": True}), flush=True)
    router.run()
