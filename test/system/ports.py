# SPDX-License-Identifier: PostgreSQL
"""Ports for servers that are started later.

Not from the range that the kernel takes for connections that go out: one of those would have the port
before the server does.
"""
import contextlib
import random
import socket

FIRST, LAST = 15000, 32000  # Linux lends 32768 and above
TRIES = 1000
RANDOM = random.SystemRandom()


def free_port():
    """A port of loopback on which nobody listens, for TCP and UDP."""
    for _ in range(TRIES):
        port = RANDOM.randrange(FIRST, LAST)
        with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, \
                contextlib.suppress(OSError):
            stream.bind(("127.0.0.1", port))
            datagram.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port of %d to %d is free" % (FIRST, LAST))
