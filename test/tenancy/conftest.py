# SPDX-License-Identifier: PostgreSQL
"""One private server for the tests of this folder; seeded databases by name."""
import contextlib
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig      # noqa: E402
import seed     # noqa: E402


@pytest.fixture(scope="session")
def server():
    made = rig.Server()
    yield made
    crashed = made.crashed()
    made.remove()
    assert not crashed, crashed


@pytest.fixture(scope="module")
def plain(server, request):
    """A database with nothing but the extension."""
    name = "regress_probectl_" + request.module.__name__
    return server.database(name)


@pytest.fixture
def root(server, plain):
    with contextlib.closing(server.connect(plain)) as conn:
        yield conn


@pytest.fixture(scope="session")
def seeded(server):
    name = server.database("regress_probectl_seeded")
    with contextlib.closing(server.connect(name)) as conn:
        seed.made = seed.make(conn)
    return name
