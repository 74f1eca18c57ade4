# SPDX-License-Identifier: PostgreSQL
"""The gate between tenants, on running processes. What is tried comes from the route table and from
the catalog, so a new route or a new table is tried as soon as it exists. Nothing here may be skipped."""
import base64
import contextlib
import json
import re
import ssl
import threading
import time
import urllib.request
import uuid

import psycopg2
import pytest

from producer import Api, Identity, Producer, load_messages

pytestmark = pytest.mark.tenancy

SECRET = "xyzzy-of-the-other"     # in every text the other tenant owns


class Party:
    """One tenant with a token, an agent, a test and results."""

    def __init__(self, stack, slug, messages, folder):
        self.tenant = stack.cli("tenant", "create", slug, slug).stdout.strip()
        self.token = stack.cli("token", "create", slug, "--tenant", slug).stdout.strip()
        self.api = Api({**stack.env, "PROBECTL_TOKEN": self.token})
        self.identity = Identity(self.api, str(folder / slug), slug + "-host")
        self.agent = self.identity.agent_id
        status, test = self.api.call("POST", "/v1/tests", {"name": slug, "type": "icmp", "target": slug + ".invalid"})
        assert status == 201, test
        self.test = test["test_id"]
        self.producer = Producer(messages, self.identity, stack.env["PROBECTL_INGEST"], 20)
        self.producer.start()
        stack.wait_for(lambda: self.producer.acknowledged >= 20, 30, "results of " + slug)
        self.producer.stop_producing()
        assert self.producer.wait_delivered(time.monotonic() + 30)
        stack.wait_for(lambda: self.api.get("/v1/results/latest")["items"], 30, "newest results of " + slug)

    def everything(self, stack):
        """The tenant's rows in every table, as a superuser sees them; what a worker derives at its own
        pace is left out."""
        return {table: stack.sql("SELECT count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM %s x"
                                 " WHERE tenant_id = '%s'" % (table, self.tenant))[0]
                for table in tenant_tables(stack) if table != "probectl.result_latest" and not table.startswith("probectl.metric_")}


def tenant_tables(stack, partitions=False):
    return [name for name, in stack.sql(
        "SELECT format('%%I.%%I', c.relnamespace::regnamespace, c.relname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE a.attname = 'tenant_id' AND NOT a.attisdropped AND c.relkind IN ('r', 'p')"
        " AND c.relnamespace IN ('probectl'::regnamespace, 'probectl_internal'::regnamespace, 'probectl_api'::regnamespace)"
        + ("" if partitions else " AND NOT c.relispartition") + " ORDER BY 1")]


@pytest.fixture(scope="module")
def parties(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tenancy")
    messages = load_messages(folder)
    one, other = Party(stack, "one", messages, folder), Party(stack, SECRET, messages, folder)
    yield one, other
    for party in (one, other):
        party.producer.stop()


def assert_silent_about(other, answer):
    text = json.dumps(answer)
    for mark in (SECRET, other.tenant, other.agent, other.test):
        assert mark not in text, text[:500]


# ---- HTTP ------------------------------------------------------------------------------------------


def test_no_route_knows_the_other_tenant(stack, parties):
    """Each route of the table, asked with the other tenant's identifiers wherever one fits."""
    one, other = parties
    ids = {"test_id": other.test, "agent_id": other.agent, "result_id": other.producer.made[0],
           "tenant_id": other.tenant}
    before = other.everything(stack)
    routes = stack.sql("SELECT method, path FROM probectl.api_route ORDER BY path, method")
    assert len(routes) >= 10
    tried = 0
    for method, path in routes:
        names = re.findall(r"\{(\w+)\}", path)
        for name in names:
            assert name in ids or name.endswith("_id"), "teach this test what {%s} of %s is" % (name, path)
        url = re.sub(r"\{(\w+)\}", lambda m: ids.get(m[1]) or str(uuid.uuid4()), path)
        queries = [""] + ["?%s=%s" % pair for pair in ids.items()] if method == "GET" else [""]
        bodies = [None] if method in ("GET", "DELETE") else [
            {}, {"name": "stolen", "type": "icmp", "target": "x", "agent_id": other.agent},
            {"tenant_id": other.tenant, "name": "stolen too", "type": "icmp", "target": "x"}, {"agent_id": other.agent}]
        for query in queries:
            for body in bodies:
                status, answer = one.api.call(method, url + query, body)
                assert status < 500, (method, url, query, body, answer)
                if names and set(names) <= ids.keys():
                    # Bad input may be told apart from a good one, an object of another tenant never.
                    assert status == 404 or (status == 422 and body), (method, url, query, body, status, answer)
                if status < 400 and answer is not None:
                    assert_silent_about(other, answer)
                tried += 1
    assert tried > len(routes)
    # Joining the dots of what POST made: nothing of it points at the other tenant.
    assert not stack.sql("SELECT 1 FROM probectl.test WHERE tenant_id = %s AND agent_id = %s", (one.tenant, other.agent))
    after = other.everything(stack)
    assert after == before, {table for table in before if before[table] != after[table]}


def test_lists_never_hold_the_other_tenant(stack, parties):
    """All pages of all lists."""
    one, other = parties
    for path in ("/v1/tests", "/v1/agents", "/v1/results/latest", "/v1/results?test_id=" + one.test, "/v1/audit"):
        after, pages = "", 0
        while True:
            answer = one.api.get("%s%slimit=3%s" % (path, "&" if "?" in path else "?", after))
            assert_silent_about(other, answer)
            pages += 1
            if answer["next"] is None:
                break
            after = "&after=" + answer["next"]
        assert pages >= 1


def test_token_with_another_tenants_name_on_it(parties):
    """The tenant in a token is no claim that is believed: it only says where to look."""
    one, other = parties
    prefix, text = one.token.split("_", 1)
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert raw[:16] == uuid.UUID(one.tenant).bytes
    forged = prefix + "_" + base64.urlsafe_b64encode(uuid.UUID(other.tenant).bytes + raw[16:]).decode().rstrip("=")
    for token in (forged, forged[:-2] + "AA", prefix + "_", "pcs_" + text, "pjt_" + text):
        status, answer = one.api.call("GET", "/v1/me", token=token)
        assert status == 401, (token, answer)
        assert_silent_about(other, answer)


def test_events_stay_in_their_tenant(stack, parties):
    """While the other tenant's stream tells of results, ours is silent."""
    one, other = parties
    seen = {party.tenant: [] for party in parties}
    streams, readers = [], []

    def listen(party):
        request = urllib.request.Request(stack.url + "/v1/events", headers={"Authorization": "Bearer " + party.token})
        stream = urllib.request.urlopen(request, timeout=60, context=ssl.create_default_context(cafile=stack.ca))
        streams.append(stream)

        def read():
            with contextlib.suppress(Exception):
                for line in stream:
                    if line.startswith((b"event:", b"data:")):
                        seen[party.tenant].append(line.strip())
        readers.append(threading.Thread(target=read, daemon=True))
        readers[-1].start()

    for party in parties:
        listen(party)
    goal = other.producer.acknowledged + 40
    other.producer.producing.set()
    stack.wait_for(lambda: other.producer.acknowledged >= goal, 30, "more results of the other tenant")
    other.producer.stop_producing()
    stack.wait_for(lambda: b"event: result" in seen[other.tenant], 30, "an event of the other tenant")
    assert seen[one.tenant] == []
    assert set(seen[other.tenant]) <= {b"event: result", b"data: {}"}


# ---- SQL --------------------------------------------------------------------------------------------


def attempt(cursor, statement, args=()):
    """Rows, or the SQLSTATE of the refusal; the transaction goes on either way."""
    cursor.execute("SAVEPOINT attempt")
    try:
        cursor.execute(statement, args)
        rows = cursor.fetchall() if cursor.description else cursor.rowcount
        cursor.execute("RELEASE attempt")
        return rows
    except psycopg2.Error as error:
        cursor.execute("ROLLBACK TO attempt")
        return error.pgcode


@pytest.mark.parametrize("login", ["probectl_gateway", "probectl_ingest"])
def test_login_without_a_credential_sees_nothing(stack, parties, login):
    """Every tenant table and every partition, as the process's own login and as each role it may take."""
    with contextlib.closing(stack.connect(user=login)) as connection, connection.cursor() as cursor:
        roles = [role for role, in stack.sql("SELECT rolname FROM pg_roles WHERE pg_has_role(%s, oid, 'MEMBER')"
                                             " AND rolname <> %s ORDER BY 1", (login, login))]
        assert "probectl_app" in roles and not {"probectl", "probectl_owner", "probectl_worker"} & set(roles), roles
        for role in [None, *roles]:
            cursor.execute("BEGIN")
            if role:
                cursor.execute("SET LOCAL ROLE " + role)
            for table in tenant_tables(stack, partitions=True):
                found = attempt(cursor, "SELECT * FROM %s LIMIT 1" % table)
                assert found in ([], "42501"), (login, role, table, found)
            for statement in ("SELECT probectl.enter_tenant('%s')" % parties[1].tenant,
                              "SET probectl.tenant_id = '%s'" % parties[1].tenant,
                              "SELECT set_config('probectl.tenant_id', '%s', true)" % parties[1].tenant,
                              "SET ROLE probectl_owner", "SET ROLE probectl_worker"):
                found = attempt(cursor, statement)
                assert isinstance(found, str), (login, role, statement, found)
            cursor.execute("ROLLBACK")


def test_entered_session_reaches_no_other_tenant(stack, parties):
    """Bound to one tenant: reading, writing and moving rows of the other, in every table and partition."""
    one, other = parties
    with contextlib.closing(stack.connect(user="probectl_gateway")) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT probectl.enter_session(%s)", (one.token,))
        seen = 0
        for table in tenant_tables(stack, partitions=True):
            found = attempt(cursor, "SELECT count(*) FROM %s WHERE tenant_id <> %%s" % table, (one.tenant,))
            assert found in ([(0,)], "42501", "PC403"), (table, found)
            seen += found == [(0,)]
            for statement in ("UPDATE %s SET tenant_id = tenant_id WHERE tenant_id = %%s", "DELETE FROM %s WHERE tenant_id = %%s"):
                found = attempt(cursor, statement % table, (other.tenant,))
                assert found in (0, "42501", "PC403"), (table, statement, found)
            found = attempt(cursor, "UPDATE %s SET tenant_id = %%s" % table, (other.tenant,))
            assert isinstance(found, str), (table, "moved", found)
        assert seen >= 8, "the tenant's role reads hardly anything: is this test looking at the right role?"
        found = attempt(cursor, "INSERT INTO probectl.test (tenant_id, name, type, target) VALUES (%s, 'x', 'icmp', 'x')",
                        (other.tenant,))
        assert isinstance(found, str), found
        # A key of the other tenant cannot be noticed by pointing at it.
        found = attempt(cursor, "INSERT INTO probectl.test (name, type, target, agent_id) VALUES ('x', 'icmp', 'x', %s)",
                        (other.agent,))
        assert found == "23503", found
        for statement in ("SELECT probectl.enter_session('%s')" % other.token, "RESET ROLE", "SET LOCAL ROLE NONE",
                          "SET SESSION AUTHORIZATION DEFAULT", "EXPLAIN SELECT * FROM probectl.result", "LISTEN probectl_event",
                          "NOTIFY probectl_event, 'x'", "SELECT pg_notify('probectl_event', 'x')", "CREATE TEMP TABLE t (x int)",
                          "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT * FROM pg_stat_activity",
                          "SELECT pg_relation_size('probectl.result')", "SELECT reltuples FROM pg_class",
                          "SELECT * FROM pg_stats", "SELECT pg_advisory_lock(1)", "SELECT pg_backend_pid(), pg_cancel_backend(1)",
                          "COPY probectl.test FROM STDIN", "COPY probectl.result TO '/tmp/x'", "LOCK TABLE probectl.result",
                          "SET LOCAL row_security = off", "SET LOCAL search_path = x", "PREPARE TRANSACTION 'x'"):
            found = attempt(cursor, statement)
            assert isinstance(found, str), (statement, found)
        # And after all these attempts it is still bound to the one tenant.
        cursor.execute("SELECT probectl.current_tenant()::text")
        assert cursor.fetchone() == (one.tenant,)
        cursor.execute("ROLLBACK")
        cursor.execute("SELECT probectl.current_tenant()")
        assert cursor.fetchone() == (None,)


def test_savepoint_does_not_free_the_transaction(stack, parties):
    one, other = parties
    with contextlib.closing(stack.connect(user="probectl_gateway")) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SAVEPOINT before")
        cursor.execute("SELECT probectl.enter_session(%s)", (one.token,))
        cursor.execute("ROLLBACK TO before")
        with pytest.raises(psycopg2.Error, match="already bound"):
            cursor.execute("SELECT probectl.enter_session(%s)", (other.token,))
        cursor.execute("ROLLBACK")


def test_agents_certificate_is_good_for_its_tenant_only(stack, parties):
    """The three parts of a certificate's identity belong together."""
    one, other = parties
    serials = {party.tenant: stack.sql("SELECT serial FROM probectl.agent_certificate WHERE tenant_id = %s AND agent_id = %s",
                                       (party.tenant, party.agent))[0][0] for party in parties}
    with contextlib.closing(stack.connect(user="probectl_ingest")) as connection, connection.cursor() as cursor:
        def enter(tenant, agent, serial):
            cursor.execute("BEGIN")
            found = attempt(cursor, "SELECT probectl.enter_agent(%s, %s, %s)", (tenant, agent, serial))
            cursor.execute("ROLLBACK")
            return found
        assert not isinstance(enter(one.tenant, one.agent, serials[one.tenant]), str)
        for tenant, agent, serial in ((other.tenant, one.agent, serials[one.tenant]), (one.tenant, other.agent, serials[one.tenant]),
                                      (other.tenant, other.agent, serials[one.tenant]), (one.tenant, one.agent, serials[other.tenant]),
                                      (one.tenant, one.agent, ""), (str(uuid.uuid4()), one.agent, serials[one.tenant])):
            assert enter(tenant, agent, serial) == "PC401", (tenant, agent, serial)
