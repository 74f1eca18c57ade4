# SPDX-License-Identifier: PostgreSQL
"""Each probe of probes.py, and the channels beside the rows: what is told by errors, keys, sizes, statistics,
notifications and what a session keeps. Timing is out of scope: two tenants share a processor and a
cache, and no test could promise otherwise (docs/decisions)."""
import contextlib

import psycopg2
import pytest

import gate
import probes
import rig
import seed

A, B = seed.TENANT["a"], seed.TENANT["b"]


@pytest.fixture(scope="module")
def world(server, seeded):
    return probes.World(server, seeded)


@pytest.fixture
def a(server, world):
    """A session of the gateway bound to tenant a."""
    with contextlib.closing(server.connect(world.database, "probectl_gateway")) as conn:
        rig.rows(conn, "BEGIN")
        rig.rows(conn, "SELECT probectl.enter_session(%s)", (world.names["admin"],))
        rig.rows(conn, "SAVEPOINT s")
        yield conn


def said(conn, text, args=None):
    """Everything an error says."""
    try:
        rig.rows(conn, text, args)
    except psycopg2.Error as error:
        rig.rows(conn, "ROLLBACK TO SAVEPOINT s")
        d = error.diag
        return error.pgcode, " ".join(str(x) for x in (d.message_primary, d.message_detail, d.message_hint, d.context, d.constraint_name) if x)
    rig.rows(conn, "ROLLBACK TO SAVEPOINT s")
    return None, ""


@pytest.mark.parametrize("probe", probes.PROBES, ids=lambda p: p[0].replace(" ", "-"))
def test_probe(world, probe):
    assert world.ask(probe) is None


def test_every_listed_function_and_setting_is_refused(world):
    assert world.refusals() == []


def test_catalog_rules(server, world):
    with contextlib.closing(server.connect(world.database)) as conn:
        assert gate.rules(conn) == set()


def of_b(server, world, column, table):
    return server.sql("SELECT %s FROM probectl.%s WHERE tenant_id = '%s' ORDER BY 1 LIMIT 1" % (column, table, B), world.database)[0][0]


def test_unique_keys_tell_nothing(server, world, a):
    """A name and an identifier that b has are free in a, and the answer is the one a fresh name gets."""
    name, test = of_b(server, world, "name", "test"), of_b(server, world, "test_id", "test")
    for text, args in (("INSERT INTO probectl.test (name, type, target) VALUES (%s, 'icmp', 'x') RETURNING true", (name,)),
                       ("INSERT INTO probectl.test (test_id, name, type, target) VALUES (%s, 'fresh', 'icmp', 'x') RETURNING true", (test,)),
                       ("INSERT INTO probectl.test (name, type, target) VALUES (%s, 'icmp', 'x') ON CONFLICT (tenant_id, name) DO NOTHING RETURNING true", (name,)),
                       ("INSERT INTO probectl.test (name, type, target) VALUES (%s, 'icmp', 'x') ON CONFLICT (tenant_id, name) DO UPDATE SET target = 'y' RETURNING target = 'x'", (name,)),
                       ("INSERT INTO probectl.test (test_id, name, type, target) VALUES (%s, 'fresh', 'icmp', 'x') ON CONFLICT DO NOTHING RETURNING true", (test,))):
        assert rig.rows(a, text, args) == [(True,)]
        rig.rows(a, "ROLLBACK TO SAVEPOINT s")


@pytest.mark.parametrize("column, table", [("agent_id", "agent"), ("project_id", "project")])
def test_foreign_keys_tell_nothing(server, world, a, column, table):
    """b's identifier and one that nobody has get the same words."""
    answers = []
    for value in (of_b(server, world, column, table), "b0b0b0b0-dead-7000-8000-000000000000"):
        code, text = said(a, "INSERT INTO probectl.test (name, type, target, %s) VALUES ('k', 'icmp', 'x', %%s)" % column, (value,))
        answers.append((code, text.replace(str(value), "ID")))
    assert answers[0] == answers[1] and answers[0][0] == "23503"


def test_policy_violations_do_not_show_the_row(a):
    """And whether the other tenant exists makes no difference."""
    answers = [said(a, "INSERT INTO probectl.test (tenant_id, name, type, target) VALUES (%s, 'secret-name', 'icmp', 'x')", (tenant,)) for tenant in (B, "b0b0b0b0-dead-7000-8000-000000000000")]
    assert answers[0] == answers[1] and answers[0][0] in ("42501", "PC429") and "secret-name" not in answers[0][1]


def test_check_violations_show_own_values_only(a):
    code, text = said(a, "UPDATE probectl.test SET interval_seconds = -1")
    assert code in ("23514", "PC422") and seed.MARK["b"] not in text


def test_no_sequences(server, world):
    assert server.sql("SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace::regnamespace::text ~ '^probectl'", world.database) == []
    assert server.sql("SELECT attrelid::regclass FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace::regnamespace::text ~ '^probectl' AND attidentity <> ''", world.database) == []


@pytest.mark.parametrize("query", ["SELECT reltuples FROM pg_class", "SELECT * FROM pg_stats", "SELECT n_live_tup FROM pg_stat_user_tables", "SELECT * FROM pg_statistic_ext", "SELECT * FROM pg_stats_ext",
                                   "SELECT * FROM pg_stat_activity", "SELECT * FROM pg_prepared_statements", "SELECT * FROM pg_cursors", "SELECT * FROM pg_locks", "SELECT * FROM pg_largeobject_metadata",
                                   "SELECT pg_relation_size('probectl.result')", "SELECT pg_total_relation_size('probectl.test')", "SELECT pg_database_size(current_database())",
                                   "SELECT pg_stat_get_live_tuples('probectl.test'::regclass)", "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_xact_lock(1)", "SELECT lo_create(0)", "SELECT pg_notify('x', 'y')",
                                   "NOTIFY x", "SELECT pg_cursor()", "SELECT pg_prepared_statement()", "SELECT pg_current_xact_id()", "SELECT pg_control_checkpoint()", "SELECT pg_notification_queue_usage()"])
def test_what_looks_around_is_refused(a, query):
    assert said(a, query)[0] == "PC403"


def test_statistics_outside_a_tenant_hide_what_policies_protect(server, world):
    """pg_stats shows no most common value of a table whose rows the asker may not all see."""
    server.sql("ANALYZE probectl.test", world.database)
    for role in ("probectl_gateway", "probectl_ingest", "probectl_worker"):
        assert server.sql("SELECT DISTINCT tablename FROM pg_stats s WHERE schemaname ~ '^probectl' AND attname = 'tenant_id'", world.database, user=role) == []
        with pytest.raises(psycopg2.Error):
            server.sql("SELECT * FROM pg_statistic", world.database, user=role)


def test_a_plan_serves_every_tenant(server, world):
    """One prepared statement, made in a, sees b's rows in b and none outside; planned once for all as well."""
    for mode in ("auto", "force_generic_plan", "force_custom_plan"):
        with contextlib.closing(server.connect(world.database, "probectl_gateway", options="-c plan_cache_mode=" + mode)) as conn:
            rig.rows(conn, "PREPARE mine AS SELECT count(*), count(*) FILTER (WHERE tenant_id = probectl.current_tenant()), min(tenant_id::text) FROM probectl.test")
            for _ in range(3):
                for who, tenant in (("admin", A), ("admin_b", B)):
                    with rig.session(conn, world.names[who], commit=False):
                        everything, own, least = rig.rows(conn, "EXECUTE mine")[0]
                        assert everything == own > 0 and least == tenant
                assert rig.refused(conn, "EXECUTE mine") == "42501"


def test_settings_of_a_transaction_end_with_it(server, world):
    with contextlib.closing(server.connect(world.database, "probectl_gateway")) as conn:
        with rig.session(conn, world.names["admin"]):
            rig.rows(conn, "SET LOCAL application_name = 'mine'")
            rig.rows(conn, "SET LOCAL my.note = 'mine'")
        assert rig.value(conn, "SELECT coalesce(current_setting('probectl.tenant_id', true), '')") == ""
        with rig.session(conn, world.names["admin_b"]):
            assert rig.value(conn, "SELECT coalesce(current_setting('my.note', true), '')") == ""
            assert rig.value(conn, "SELECT current_setting('application_name')") != "mine"
            assert rig.value(conn, "SELECT current_setting('probectl.tenant_id')") == B


def test_notifications_name_a_tenant_and_a_kind(server, world):
    with contextlib.closing(server.connect(world.database, "probectl_gateway")) as conn, contextlib.closing(server.connect(world.database, "probectl_gateway")) as other:
        rig.rows(conn, "LISTEN probectl_event")
        with rig.session(other, world.names["admin_b"]):
            rig.rows(other, "INSERT INTO probectl.test (name, type, target) VALUES ('told', 'icmp', 'secret-target')")
        rig.wait_for(lambda: (conn.poll(), conn.notifies)[1], 5, "the notification")
        for event in conn.notifies:
            assert event.payload.split(" ")[0] == B and event.payload.split(" ")[1] in ("test", "agent", "result", "revoked", "breakglass") and len(event.payload.split(" ")) == 2


def test_row_counts_of_verbs_stay_inside(server, world, a):
    own = rig.value(a, "SELECT count(*) FROM probectl.test")
    with a.cursor() as cur:
        for text in ("UPDATE probectl.test SET target = target", "DELETE FROM probectl.test", "SELECT FROM probectl.test FOR UPDATE", "SELECT FROM ONLY probectl.test t WHERE t IS DISTINCT FROM NULL"):
            cur.execute(text)
            assert cur.rowcount == own
            cur.execute("ROLLBACK TO SAVEPOINT s")


def test_parallel_workers_stay_inside(a):
    """The setting travels to parallel workers: a scan by them sees the same rows."""
    want = rig.value(a, "SELECT count(*) FROM probectl.result")
    for text in ("SET LOCAL parallel_setup_cost = 0", "SET LOCAL parallel_tuple_cost = 0", "SET LOCAL min_parallel_table_scan_size = 0", "SET LOCAL force_parallel_mode = on", "SET LOCAL parallel_leader_participation = off"):
        rig.rows(a, text)
    assert rig.value(a, "SELECT count(*) FROM probectl.result") == want > 0
    assert rig.value(a, "SELECT count(*) FROM probectl.result WHERE tenant_id <> %s", (A,)) == 0
