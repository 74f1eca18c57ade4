# SPDX-License-Identifier: PostgreSQL
"""A private server for the tests of the boundary, and connections to it.

The server is dev/lib/server.sh's: Debian's binaries with this build's library beside them, in a folder
under /tmp that is gone afterwards. Every database is made from a template that holds the extension
and, when seeded, three tenants (seed.py); a copy of it takes a fifth of a second.
"""
import contextlib
import os
import subprocess
import time

import psycopg2

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVER_SH = os.path.join(TOP, "dev", "lib", "server.sh")
SETTINGS = {"max_connections": "160", "probectl.keeper_interval": "3600", "autovacuum": "off",
            "max_worker_processes": "16", "synchronous_commit": "off", "log_min_messages": "error"}


class Server:
    def __init__(self):
        self._sh('server_tree && server_start && printf "%s\\n" "$WORK" "$TREE_BIN" "$TREE_LIB"')
        lines = self.output.strip().splitlines()
        self.work, self.bin, self.lib = lines[-3:]
        for name, value in SETTINGS.items():
            self.sql("ALTER SYSTEM SET %s = '%s'" % (name, value), "postgres")
        self.restart()

    def _sh(self, script):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(["bash", "-c", 'cd "$1" && . dev/lib/server.sh && ' + script, "-", TOP], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError("no private server:\n" + done.stdout + done.stderr)
        self.output = done.stdout

    def restart(self, mode="fast"):
        self._sh('WORK=%s && as_tester %s/pg_ctl -D $WORK/data -l $WORK/server.log -m %s -w -t 60 -s restart'
                 % (self.work, self.bin, mode))

    def remove(self):
        self._sh("WORK=%s TREE_BIN=%s && server_remove" % (self.work, self.bin))

    def dsn(self, database, user="postgres", **more):
        text = "host=%s port=5432 dbname=%s user=%s" % (self.work, database, user)
        return text + "".join(" %s='%s'" % pair for pair in more.items())

    def connect(self, database, user="postgres", **more):
        conn = psycopg2.connect(self.dsn(database, user, **more))
        conn.autocommit = True
        return conn

    def sql(self, text, database, args=None, user="postgres"):
        with contextlib.closing(self.connect(database, user)) as conn:
            return rows(conn, text, args)

    def database(self, name, template=None):
        """A new database: with the extension, or a copy of the template."""
        self.sql('DROP DATABASE IF EXISTS "%s" WITH (FORCE)' % name, "postgres")
        if template:
            # Workers of the template's database hold it; a copy needs it alone.
            self.quiet(template)
            self.sql('CREATE DATABASE "%s" TEMPLATE "%s" STRATEGY file_copy' % (name, template), "postgres")
        else:
            self.sql('CREATE DATABASE "%s"' % name, "postgres")
            self.sql("CREATE EXTENSION probectl CASCADE", name)
        return name

    def quiet(self, database):
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", "postgres", (database,))
        wait_for(lambda: self.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", "postgres",
                                  (database,))[0][0] == 0, 20, "the database to be left alone")

    def log(self):
        with open(os.path.join(self.work, "server.log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def crashed(self):
        return [line for line in self.log().splitlines()
                if "PANIC:" in line or "terminated by signal" in line or "TRAP:" in line]


def rows(conn, text, args=None):
    with conn.cursor() as cur:
        cur.execute(text, args)
        return cur.fetchall() if cur.description else None


def value(conn, text, args=None):
    return rows(conn, text, args)[0][0]


def refused(conn, text, args=None):
    """The SQLSTATE the statement ends with, or None when it is carried out."""
    try:
        rows(conn, text, args)
    except psycopg2.Error as error:
        return error.pgcode
    return None


@contextlib.contextmanager
def transaction(conn, commit=True):
    rows(conn, "BEGIN")
    try:
        yield conn
    except BaseException:
        rows(conn, "ROLLBACK")
        raise
    rows(conn, "COMMIT" if commit else "ROLLBACK")


@contextlib.contextmanager
def inside(conn, tenant, commit=True):
    """A transaction of an administrator bound to a tenant."""
    with transaction(conn, commit):
        rows(conn, "SELECT probectl.enter_tenant(%s)", (tenant,))
        yield conn


@contextlib.contextmanager
def session(conn, token, commit=True):
    with transaction(conn, commit):
        rows(conn, "SELECT probectl.enter_session(%s)", (token,))
        yield conn


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited %d s for %s" % (seconds, what)
        time.sleep(0.02)
