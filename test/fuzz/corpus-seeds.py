#!/usr/bin/python3
# SPDX-License-Identifier: PostgreSQL
"""Writes the seeds of the fuzz targets that have any, field by field: test/fuzz/corpus-seeds.py"""

import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).parent / "corpus"
ID = b"00112233-4455-6677-8899-aabbccddeeff"


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(tag, n):
    return varint(tag << 3) + varint(n)


def data(tag, b):
    return varint(tag << 3 | 2) + varint(len(b)) + b


def metric(name, value):
    return data(12, data(1, name) + varint(2 << 3 | 1) + struct.pack("<d", value))


def attribute(name, value):
    return data(13, data(1, name) + data(2, value))


LEAST = data(3, b"icmp") + data(14, ID)
WHOLE = (data(1, b"tenant") + data(2, b"agent") + data(3, b"http") + data(4, b"https://example.net/") + number(5, 443)
         + data(6, b"tcp") + data(7, b"http") + number(8, 1) + data(9, "gr\u00fcn".encode()) + number(10, 1700000000000000000)
         + number(11, 12345678) + metric(b"http.total.ms", 12.5) + metric(b"loss.ratio", 0.0)
         + attribute(b"network.peer.address", b"192.0.2.1") + attribute(b"probectl.tenant.id", b"x") + data(14, ID) + data(15, ID)
         + data(16, b"timeout"))

TENANT, AGENT = b"11111111-1111-4111-8111-111111111111", b"22222222-2222-4222-8222-222222222222"
PARAM = data(6, data(1, b"count") + data(2, b"3"))
TEST = data(1, ID) + data(2, b"icmp") + data(3, b"192.0.2.1") + number(4, 60000) + number(5, 1000) + PARAM + data(7, b"name")
BUNDLE = number(1, 7) + data(2, TENANT) + data(3, AGENT)


def crc32c(b):
    crc = 0xffffffff
    for byte in b:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def frame(number, payload):
    head = struct.pack("<IQq", len(payload), number, 1700000000000000000)
    return b"PCR1" + head + struct.pack("<I", crc32c(head + payload)) + payload


def block(raw, length=None):
    packed = zlib.compress(raw, 6)
    head = struct.pack("<II", len(raw) if length is None else length, len(packed))
    return b"PCZ1" + head + struct.pack("<I", crc32c(head + packed)) + packed


# STAMP: number, time, error estimate, SSID, zeros.
STAMP = struct.pack(">IQHH28x", 1, 0xeeac960080000000, 0x8587, 0xbeef)


def tlv(kind, value, length=None):
    return struct.pack(">BBH", 0x80, kind, len(value) if length is None else length) + value


def label(name, value):
    return data(1, data(1, name) + data(2, value))


def sample(ms, value):
    return data(2, b"\x09" + struct.pack("<d", value) + number(2, ms))


NAMED = label(b"__name__", b"http_requests_total") + label(b"job", b"web")


def h2_frame(kind, flags, stream, payload=b""):
    """An HTTP/2 frame (RFC 9113 section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_header(name, value):
    """Literal without indexing, new name (RFC 7541 section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


SETTINGS, OK200 = h2_frame(4, 0, 0), b"\x88"
ANSWER2 = SETTINGS + h2_frame(1, 4, 1, OK200 + h2_header(b"content-length", b"5")) + h2_frame(0, 1, 1, b"hello")

SEEDS = {
    "http2/answer": b"\x03" + ANSWER2,
    "http2/post": b"\x90" + ANSWER2,
    "http2/no-body": b"\x00" + SETTINGS + h2_frame(1, 5, 1, OK200),
    "http2/interim": b"\x07" + SETTINGS + h2_frame(1, 4, 1, h2_header(b":status", b"103")) + ANSWER2[9:],
    "http2/redirect": b"\x01" + SETTINGS + h2_frame(1, 5, 1, h2_header(b":status", b"302") + h2_header(b"location", b"/there")),
    "http2/trailers": b"\x05" + SETTINGS + h2_frame(1, 4, 1, OK200) + h2_frame(0, 0, 1, b"x") + h2_frame(1, 5, 1, h2_header(b"location", b"/")),
    "http2/cut": b"\x02" + ANSWER2[:-2],
    "http2/short": b"\x02" + SETTINGS + h2_frame(1, 4, 1, OK200 + h2_header(b"content-length", b"9")) + h2_frame(0, 1, 1, b"hello"),
    "http2/reset": b"\x04" + SETTINGS + h2_frame(3, 0, 1, struct.pack(">I", 2)),
    "http2/goaway": b"\x04" + SETTINGS + h2_frame(7, 0, 0, struct.pack(">II", 0, 1)),
    "http2/continuation": b"\x06" + SETTINGS + h2_frame(1, 1, 1, OK200) + h2_frame(9, 4, 1, h2_header(b"a", b"b")),
    "http2/http1": b"\x08HTTP/1.1 200 OK\r\n\r\n",
    "spool_pack/one": block(frame(1, b"result")),
    "spool_pack/two": block(frame(1, b"result") * 3) + block(frame(4, b"x" * 300)),
    "spool_pack/damaged-first": block(frame(1, b"result"))[:-2] + block(frame(2, b"result")),
    "spool_pack/wrong-length": block(frame(1, b"result"), 7),
    "spool_pack/length-of-a-gigabyte": block(frame(1, b"result"), 1 << 30),
    "spool_pack/nothing-inside": block(b""),
    "spool_pack/cut-off": block(frame(1, b"result" * 100))[:-20],
    "spool_pack/magic-only": b"PCZ1" * 9,
    "bundle/one": BUNDLE + data(4, TEST),
    "bundle/none": BUNDLE,
    "bundle/unknown-type": BUNDLE + data(4, TEST + data(2, b"gopher")) + data(4, TEST),
    "bundle/interval-0": BUNDLE + data(4, data(1, ID) + data(2, b"tcp") + data(3, b"192.0.2.1:22")),
    "bundle/another-agent": BUNDLE + data(3, TENANT) + data(4, TEST),
    "bundle/no-id": BUNDLE + data(4, data(2, b"icmp") + data(3, b"192.0.2.1")),
    "bundle/target-too-long": BUNDLE + data(4, TEST + data(3, b"x" * 1024)),
    "bundle/params-out-of-order": BUNDLE + data(4, TEST + data(6, data(1, b"aaa") + data(2, b"\xff")) + PARAM),
    "bundle/answer": number(1, 7) + data(3, BUNDLE) + data(20, b"s" * 64) + data(21, b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
    "a2a/bare": b"\x00" + STAMP,
    "a2a/ours": b"\x03" + STAMP + tlv(252, bytes(range(16))) + tlv(7, bytes(16)) + tlv(1, bytes(20)),
    "a2a/unknown": b"\x02" + STAMP + tlv(4, bytes(4)) + tlv(7, bytes(16)),
    "a2a/malformed": b"\x02" + STAMP + tlv(7, bytes(16), 17) + b"\x80\x01",
    "a2a/padding": b"\x00" + STAMP + bytes(37),
    "a2a/no-estimate": b"\x00" + STAMP[:12] + bytes(32),
    "remote_write/one": data(1, NAMED + sample(1700000000000, 1.5)),
    "remote_write/stale": data(1, NAMED + data(2, b"\x09\x02\x00\x00\x00\x00\x00\xf0\x7f" + number(2, 1))),
    "remote_write/many": b"".join(data(1, label(b"__name__", b"m%d" % i) + b"".join(sample(k, k) for k in range(i))) for i in range(5)) + data(3, number(1, 1)),
    "remote_write/labels-apart": data(1, NAMED + sample(1, 1) + label(b"z", b"\xc3\xa4") + data(3, b"") + data(4, b"")),
    "remote_write/identity": data(1, label(b"tenant_id", b"x") + NAMED + label(b"agent_id", b"y")),
    "remote_write/twice": data(1, NAMED + NAMED + sample(2**64 - 1, float("inf"))),
    "remote_write/probe": data(1, label(b"__name__", b"probectl_probe_success") + sample(1, 1)),
    "remote_write/cut-off": data(1, NAMED + sample(1700000000000, 1.5))[:-3],
    "remote_write/group": data(1, NAMED + b"\x13\x14"),
    "result/least": LEAST,
    "result/whole": WHOLE,
    "result/newer-fields": LEAST + number(99, 7) + data(100, b"x") + varint(101 << 3 | 5) + b"abcd",
    "result/metric-nan": LEAST + metric(b"m", float("nan")),
    "result/overlong-utf8": LEAST + data(4, b"\xc0\x80"),
    "result/negative-start": LEAST + number(10, 2**64 - 1),
    "result/many-metrics": LEAST + b"".join(metric(b"m%d" % i, i) for i in range(129)),
    "result/length-past-end": LEAST + b"\x22\x7fx",
    "batch/one": number(1, 1) + number(2, 1) + data(3, LEAST),
    "batch/three": number(1, 7) + number(2, 150) + data(3, LEAST) + data(3, b"") + data(3, WHOLE),
    "batch/records-first": data(3, LEAST) + number(2, 5) + number(1, 9) + number(77, 1),
    "batch/last-number": number(1, 2**63 - 1) + number(2, 2**63 - 10001) + data(3, b"x"),
    "batch/epoch-64-bits": number(1, 2**64 - 1) + number(2, 1) + data(3, b"x"),
    "batch/no-records": number(1, 1) + number(2, 1),
    "batch/cut-off": (number(1, 1) + number(2, 1) + data(3, LEAST))[:-3],
    "batch/group": number(1, 1) + number(2, 1) + data(3, b"x") + b"\x2b\x2c",
}
SEEDS |= {name.replace("batch/", "envelope/"): seed for name, seed in SEEDS.items() if name.startswith("batch/")}


def header(which, value):
    return bytes([which, len(value)]) + value


IDENTITY = header(0, ID) + header(1, ID) + header(2, b"1f0c") + header(3, b"network")
SEEDS |= {
    "record/whole": IDENTITY + b"x",
    "record/sealed": IDENTITY + header(4, bytes(32)),
    "record/unknown-header": header(5, b"text") + IDENTITY,
    "record/tenant-twice": IDENTITY + header(0, ID),
    "record/capital-serial": header(0, ID) + header(1, ID) + header(2, b"1F") + header(3, b"flow"),
    "record/cut-off": IDENTITY[:-3],
}



def sheet(*entries):
    """Of a byte each series repeats, and a pair of time and value or the bytes of a chunk."""
    head, chunks = b"\xb2" + struct.pack("<H", len(entries)), b""
    for series, what in entries:
        head += bytes([series]) * 16
        head += struct.pack("<qII", -2**63, len(chunks), len(what)) if isinstance(what, bytes) else struct.pack("<qd", *what)
        chunks += what if isinstance(what, bytes) else b""
    return head + chunks


CHUNK = (HERE / "chunk/two").read_bytes()
SEEDS |= {
    "sheet/one": sheet((1, (800000000000000, 1.5))),
    "sheet/many": sheet(*((i, (800000000000000 + i, i)) for i in range(59))),
    "sheet/chunks": sheet((1, CHUNK), (2, (42, -1.0)), (255, CHUNK)),
    "sheet/no-chunk": sheet((1, b"x")),
    "sheet/descending": sheet((2, (1, 1)), (1, (1, 1))),
    "sheet/twice": sheet((1, (1, 1)), (1, (1, 1))),
    "sheet/cut-off": sheet((1, (1, 1)), (2, CHUNK))[:-1],
    "sheet/more-behind": sheet((1, (1, 1))) + b"x",
    "sheet/apart": sheet((1, CHUNK))[:27] + struct.pack("<II", 1, len(CHUNK) - 1) + CHUNK,
}

for name, content in SEEDS.items():
    (HERE / name).parent.mkdir(parents=True, exist_ok=True)
    (HERE / name).write_bytes(content)
