# SPDX-License-Identifier: PostgreSQL
"""The hostile run: a hundred thousand random statements by every role, nothing of anybody else in what comes back.

  test/tenancy/hostile.py [--statements N] [--seed N]

Prints TAP: one line a kind of statement and one for everything that has to hold besides; a run is
repeated with the seed that it prints.
"""
import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gate     # noqa: E402
import rig      # noqa: E402
import seed     # noqa: E402
import statements  # noqa: E402

BINARY = os.path.join(rig.TOP, "build", "test", "tenancy", "hostile")
AGENT = "SELECT probectl.enter_agent('%s', '%s', '%s')"


class Tap:
    def __init__(self):
        self.n = self.bad = self.statements = self.leaks = 0

    def ok(self, good, what, detail=""):
        self.n += 1
        self.bad += not good
        print("%sok %d - %s" % ("" if good else "not ", self.n, what))
        for line in str(detail).splitlines() if not good else []:
            print("# " + line)
        sys.stdout.flush()

    def done(self):
        print("1..%d" % self.n)
        return 1 if self.bad else 0


def build():
    os.makedirs(os.path.dirname(BINARY), exist_ok=True)
    include, lib = (subprocess.check_output(["pg_config", "--" + what], text=True).strip() for what in ("includedir", "libdir"))
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", include, "-o", BINARY,
                    os.path.join(rig.TOP, "test", "tenancy", "hostile.c"), "-L", lib, "-lpq"], check=True)


def others(letter):
    return "".join(x for x in "abcp" if x != letter)


def contexts(server, database, made):
    """By login: every way to stand in front of the tables."""
    enter = {letter: "SELECT probectl.enter_session('%s')" % made[letter]["tokens"]["admin"] for letter in "abc"}
    agents = {}
    for letter in "abc":
        agents[letter] = AGENT % server.sql("SELECT c.tenant_id, c.agent_id, c.serial FROM probectl.agent_certificate c JOIN probectl.agent g USING (tenant_id, agent_id)"
                                            " WHERE c.tenant_id = %s AND c.not_after > now() + interval '1 hour' AND g.revoked_at IS NULL LIMIT 1", database, (seed.TENANT[letter],))[0]
    return {
        "probectl_gateway": [("a by token", "a", enter["a"], others("a")), ("b by token", "b", enter["b"], others("b")),
                             ("a by session", "a", "SELECT probectl.enter_session('%s')" % made["a"]["tokens"]["session"], others("a")),
                             ("a viewer", "a", "SELECT probectl.enter_session('%s')" % made["a"]["tokens"]["viewer"], others("a")),
                             ("gateway unbound", None, "", "abcp"), ("app unbound", None, "SET LOCAL ROLE probectl_app", "abcp"),
                             ("provider", None, "SELECT probectl.enter_operator('%s')" % made["operator"], "abc"),
                             ("provider unbound", None, "SET LOCAL ROLE probectl_provider", "abcp"),
                             ("a, rebound", "a", enter["a"], others("a"))],
        "probectl_ingest": [("agent of a", "a", agents["a"], others("a")), ("agent of b", "b", agents["b"], others("b")), ("ingest unbound", None, "", "abcp")],
        "probectl_worker": [("a by worker", "a", "SELECT probectl.enter_tenant('%s')" % seed.TENANT["a"], others("a")),
                            ("c by worker", "c", "SELECT probectl.enter_tenant('%s')" % seed.TENANT["c"], others("c")),
                            ("worker, no tenant, unbound", None, "", "abcp")],
    }


def checksum(server, database, letters):
    """Everything these tenants have, but for what is recorded of attempts."""
    with contextlib.closing(server.connect(database)) as conn:
        return {(letter, table): rig.value(conn, "SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM probectl.%s t WHERE tenant_id = '%s'" % (table, seed.TENANT[letter]))
                for _, table in seed.tables(conn) if not table.startswith("audit_") for letter in letters}


def run(server, database, made, number, count, seconds):
    """Runs the scripts at the same time; returns (kinds, statements, own secrets seen, leaks, output)."""
    with contextlib.closing(server.connect(database)) as conn:
        catalog = statements.Catalog(lambda text: rig.rows(conn, text))
    # What is recorded of attempts grows while they are made.
    limits = {"probectl." + table: most for table, most in made["rows"].items() if not table.startswith("audit_")}
    logins = contexts(server, database, made)
    share = {"probectl_gateway": 0.6, "probectl_ingest": 0.2, "probectl_worker": 0.2}
    folder = tempfile.mkdtemp(prefix="probectl-hostile-")
    secrets = os.path.join(folder, "secrets")
    with open(secrets, "w", encoding="utf-8") as out:
        out.writelines("%s %s\n" % (letter, form) for letter in seed.MARK for form in seed.forms(letter))
    options = "-c statement_timeout=3s -c lock_timeout=1s -c work_mem=4MB -c max_parallel_workers_per_gather=2"
    running = []
    for i, (login, who) in enumerate(logins.items()):
        for half in range(2 if login == "probectl_gateway" else 1):
            path = os.path.join(folder, "%s.%d" % (login, half))
            lines = int(count * share[login] / (2 if login == "probectl_gateway" else 1))
            with open(path, "w", encoding="utf-8") as out:
                out.write(statements.script(catalog, number * 10 + i * 2 + half, who, lines, limits))
            running.append(subprocess.Popen([BINARY, server.dsn(database, login, options=options), secrets, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"))
    kinds, totals, outputs, broken = {}, [0, 0, 0], [], []
    deadline = time.monotonic() + seconds
    for child in running:
        try:
            text = child.communicate(timeout=max(deadline - time.monotonic(), 1))[0]
        except subprocess.TimeoutExpired:
            child.kill()
            text = child.communicate()[0]
            broken.append("did not end in time")
        if child.returncode not in (0, 1):
            broken.append(text[-2000:])
        for line in text.splitlines():
            words = line.split()
            if words[:1] == ["kind"] and len(words) == 8:
                kinds[words[1]] = [x + int(y) for x, y in zip(kinds.get(words[1], [0] * 6), words[2:])]
            elif words[:1] == ["total"] and len(words) == 4:
                totals = [x + int(y) for x, y in zip(totals, words[1:])]
            else:
                outputs.append(line)
    subprocess.run(["rm", "-rf", folder], check=True)
    return kinds, totals, "\n".join(outputs), broken


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--statements", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--seconds", type=int, default=400, help="at most this long for each half")
    args = parser.parse_args()
    build()
    tap = Tap()
    server = rig.Server()
    try:
        print("# seed %d" % args.seed)
        one(server, tap, "regress_probectl_hostile", args.seed, args.statements * 2 // 5, args.seconds, False)
        one(server, tap, "regress_probectl_granted", args.seed + 1, args.statements - args.statements * 2 // 5, args.seconds, True)
        blind_spot(server, tap, "regress_probectl_granted", args.seed + 2)
        tap.ok(tap.statements >= args.statements, "%d statements, %d leaks" % (tap.statements, tap.leaks))
        tap.ok(not server.crashed(), "the server did not crash", server.crashed())
    finally:
        server.remove()
    return tap.done()


def grant_everything(conn):
    """Grants hide what policies would have to: without them, row-level security stands alone."""
    for name, in rig.rows(conn, gate.REL + "SELECT name FROM rel WHERE tenant"):
        rig.rows(conn, "GRANT ALL ON %s TO probectl_app, probectl_provider, probectl_gateway, probectl_ingest, probectl_worker" % name)


def blind_spot(server, tap, database, number):
    """With one policy weakened the same run finds leaks: it can see."""
    server.sql("ALTER POLICY tenant_isolation ON probectl.test USING (true)", database)
    with contextlib.closing(server.connect(database)) as conn:
        rows = {table: {letter: -1 for letter in seed.LETTERS} for _, table in seed.tables(conn)}
        # With everything granted a tenant could spoil the head of its own chain: new credentials are made without an event.
        rig.rows(conn, "SET session_replication_role = replica")
        made = dict({letter: {"tokens": seed.tokens(conn, letter)} for letter in seed.LETTERS}, operator=seed.operator(conn), rows=rows)
    _, totals, _, broken = run(server, database, made, number, 2000, 120)
    tap.ok(totals[2] > 50 and not broken, "with the policy of one table weakened, %d leaks in %d statements" % (totals[2], totals[0]), "\n".join(broken))


def one(server, tap, database, number, count, seconds, granted):
    how = "every grant" if granted else "as granted"
    server.database(database)
    with contextlib.closing(server.connect(database)) as conn:
        made = seed.make(conn)
        if granted:
            grant_everything(conn)
    empty = sorted(t for t, n in made["rows"].items() if min(n.values()) == 0)
    tap.ok(not empty, "%s: every tenant table has rows of three tenants" % how, "empty: %s %s" % (empty, made.get("unfilled")))
    tap.ok(len(made["b"]["taken"]) >= 60, "%s: %d columns hold a canary" % (how, len(made["b"]["taken"])))
    print("# without one: " + " ".join(made["b"]["kept"]))
    before = checksum(server, database, "abc")
    started = time.monotonic()
    kinds, totals, output, broken = run(server, database, made, number, count, seconds)
    took = time.monotonic() - started
    print("# kind: statements, answered, rows, refused (PC403), denied (42501), other errors")
    for name, n in sorted(kinds.items()):
        tap.ok(n[0] > 0 and n[1] + n[3] + n[4] + n[5] > 0, "%s: %s: %s" % (how, name, " ".join(map(str, n))))
    print("\n".join("# " + line for line in output.splitlines()[-60:]))
    tap.ok(not broken, "%s: no connection broke" % how, "\n".join(broken))
    tap.ok(totals[0] >= count, "%s: %d statements in %.0f s" % (how, totals[0], took))
    tap.ok(sum(n[1] for n in kinds.values()) > count * 0.15, "%s: enough of them were answered" % how)
    tap.ok(totals[1] > count * 0.05, "%s: own secrets were seen %d times, so others' would have been" % (how, totals[1]))
    tap.ok(totals[2] == 0, "%s: %d leaks" % (how, totals[2]), output)
    after = checksum(server, database, "abc")
    tap.ok(after == before, "%s: what tenants have is as it was" % how, [k for k in before if before[k] != after[k]])
    tap.statements += totals[0]
    tap.leaks += totals[2]


if __name__ == "__main__":
    sys.exit(main())
