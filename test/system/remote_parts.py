# SPDX-License-Identifier: PostgreSQL
"""Remote write by hand: requests written field by field, snappy blocks in both directions, and a receiver that answers what
it is told. Written from the specification of remote write 1.0, not from the code under test."""
import http.server
import socket
import struct
import threading

STALE = 0x7FF0000000000002  # the NaN that says a series ended


def varint(n):
    n &= 2**64 - 1
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def data(tag, b):
    return varint(tag << 3 | 2) + varint(len(b)) + b


def label(name, value):
    return data(1, data(1, name.encode()) + data(2, value.encode()))


def sample(ms, value):
    bits = value if isinstance(value, int) and value > 2**60 else struct.unpack("<Q", struct.pack("<d", value))[0]
    return data(2, b"\x09" + struct.pack("<Q", bits) + b"\x10" + varint(ms))


def series(labels, samples):
    return data(1, b"".join(label(k, v) for k, v in sorted(labels.items())) + b"".join(sample(*s) for s in samples))


def compress(b):
    """A snappy block of literals only."""
    out = varint(len(b))
    for at in range(0, len(b), 60):
        piece = b[at:at + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


def read_varint(b, at):
    n = shift = 0
    while True:
        n |= (b[at] & 127) << shift
        at += 1
        if b[at - 1] < 128:
            return n, at
        shift += 7


def decompress(b):
    size, at = read_varint(b, 0)
    out = bytearray()
    while at < len(b):
        tag, at = b[at], at + 1
        if tag & 3 == 0:
            n = tag >> 2
            if n >= 60:
                extra = n - 59
                n, at = int.from_bytes(b[at:at + extra], "little"), at + extra
            out += b[at:at + n + 1]
            at += n + 1
            continue
        if tag & 3 == 1:
            n, back, at = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | b[at], at + 1
        else:
            width = 2 if tag & 3 == 2 else 4
            n, back, at = (tag >> 2) + 1, int.from_bytes(b[at:at + width], "little"), at + width
        for _ in range(n):
            out.append(out[-back])
    assert len(out) == size
    return bytes(out)


def fields(b):
    at = 0
    while at < len(b):
        key, at = read_varint(b, at)
        if key & 7 == 2:
            n, at = read_varint(b, at)
            yield key >> 3, b[at:at + n]
            at += n
        elif key & 7 == 1:
            yield key >> 3, struct.unpack("<d", b[at:at + 8])[0]
            at += 8
        else:
            n, at = read_varint(b, at)
            yield key >> 3, n


def read_request(body):
    """[({label: value}, [(ms, value), ...]), ...]"""
    out = []
    for tag, message in fields(decompress(body)):
        assert tag == 1
        labels, samples = [], []
        for kind, part in fields(message):
            inner = dict(fields(part))
            if kind == 1:
                labels.append((inner[1].decode(), inner[2].decode()))
            elif kind == 2:
                samples.append((inner[2], inner[1]))
        assert labels == sorted(labels), "labels ascend"
        assert samples == sorted(samples), "samples ascend"
        out.append((dict(labels), samples))
    return out


class Receiver:
    """An HTTP receiver of remote write. `answer` is (status, headers) for what comes next; what was answered with a 2xx is
    kept, what was refused for good as well. While it is down its port refuses connections."""

    def __init__(self):
        self.answer = (204, {})
        self.kept, self.refused, self.statuses, self.headers = [], [], [], None
        self.lock = threading.Lock()
        self.server = self.holder = None
        self.port = 0
        self.up()

    def up(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    status, more = outer.answer
                    outer.headers = dict(self.headers)
                    outer.statuses.append(status)
                    for answered, place in ((2, outer.kept), (4, outer.refused)):
                        if status // 100 == answered and status != 429:
                            place.extend(read_request(body))
                text = b"" if status // 100 == 2 else b"because the test says so\nsecond line"
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        if self.holder:
            self.holder.close()
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def down(self):
        self.server.shutdown()
        self.server.server_close()
        # Bound and not listening: refused, and nobody else's server gets the port meanwhile.
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.holder.bind(("127.0.0.1", self.port))

    @property
    def url(self):
        return "http://127.0.0.1:%d/api/v1/write" % self.port

    def samples(self, what="kept"):
        """Every sample as (series, ms), as often as it came."""
        with self.lock:
            return [(tuple(sorted(labels.items())), ms) for labels, samples in getattr(self, what) for ms, _ in samples]
