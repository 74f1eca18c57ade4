# SPDX-License-Identifier: PostgreSQL
"""Probes: short sequences of statements, each with the one answer the boundary allows.

A table of (name, login, steps, expectation). Steps are SQL, in one session; {names} are of World.names: tokens, links,
grants. The expectation is the SQLSTATE the last step has to end with, or a function of its rows and of the
notices since the step before. test_boundary.py asserts each, the mutants are judged by all.
"""
import base64
import contextlib
import hashlib
import hmac
import io
import os
import re
import struct
import subprocess
import tempfile
import time

import psycopg2

import rig
import seed
import statements

ENTER = "SELECT probectl.enter_session('{%s}')"
GATEWAY, ROOT, INGEST = "probectl_gateway", "postgres", "probectl_ingest"


def totp(secret, step):
    digest = hmac.new(base64.b32decode(secret + "=" * (-len(secret) % 8)), struct.pack(">Q", step), hashlib.sha1).digest()
    at = digest[-1] & 15
    return "%06d" % ((struct.unpack(">I", digest[at:at + 4])[0] & 0x7fffffff) % 1000000)


def request():
    """A certificate request for a fresh key."""
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", os.path.join(folder, "k"), "-subj", "/CN=x"],
                              check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def bound(*steps, who="admin"):
    return ["BEGIN", ENTER % who] + list(steps)


def none(rows, _):
    return rows == [] or rows[0][0] in (0, None)


def some(rows, _):
    return bool(rows) and bool(rows[0][0])


def quiet(_, notices):
    return not notices


NEW_TEST = "INSERT INTO probectl.test (name, type, target%s) VALUES ('p%s', 'icmp', 'x'%s)"
SAVEPOINT = ["BEGIN", "SAVEPOINT s", ENTER % "admin", "ROLLBACK TO SAVEPOINT s"]
# One record, an icmp result.
BATCH = r"'\x080110011a2e1a0469636d70722430303030303030302d303030302d343030302d383030302d3030303030303030303930304001'"
# A sample of the series "up" at that noon.
NOON = "SET probectl.clock = '2100-01-15T12:00:00Z'"
WRITE = r"SELECT probectl.remote_write('\x248c0a220a0e0a085f5f6e616d655f5f12027570121009000000000000f03f10f0cdbfbbb777')"
# The registry is empty of it, and all tenants are of one epoch.
NO_SERIES = [NOON, "INSERT INTO probectl.metric_state (tenant_id) VALUES ('%s'), ('%s') ON CONFLICT DO NOTHING" % (seed.TENANT["a"], seed.TENANT["b"]),
             "DELETE FROM probectl.metric_series WHERE name = 'up'", "UPDATE probectl.metric_state SET epoch = (SELECT max(epoch) + 1 FROM probectl.metric_state)"]
NO_RESULTS = ["DELETE FROM probectl.%s WHERE agent_id = '{second_id}'" % table for table in ("result", "ledger", "stream_position")]


def written(letter):
    return ["BEGIN", "SELECT probectl.enter_tenant('%s')" % seed.TENANT[letter], WRITE, "COMMIT"]


CLAIM = "SELECT fence FROM probectl.bus_claim('p', 't', 0)"
PROBES = [
    ("own rows are seen", GATEWAY, bound("SELECT count(*) FROM probectl.test"), some),
    ("the role is the tenant's", GATEWAY, bound("SELECT current_user = 'probectl_app'"), some),
    # The context.
    ("a savepoint does not unbind", GATEWAY, SAVEPOINT + [ENTER % "admin_b"], "PC403"),
    ("nor does it leave rows", GATEWAY, SAVEPOINT + ["SAVEPOINT t", "SELECT probectl.current_tenant() IS NULL"], some),
    ("nor an exception block", GATEWAY, ["BEGIN", "DO $$ BEGIN PERFORM probectl.enter_session('{admin}'); RAISE EXCEPTION 'x'; EXCEPTION WHEN raise_exception THEN NULL; END $$", ENTER % "admin_b"], "PC403"),
    ("after the end there is no tenant", GATEWAY, bound("COMMIT", "BEGIN", "SET LOCAL ROLE probectl_app", "SELECT count(*) FROM probectl.test"), none),
    ("the setting cannot be set", ROOT, ["SET probectl.tenant_id = '%s'" % seed.TENANT["b"]], "42501"),
    ("nor by set_config", ROOT, ["SELECT set_config('probectl.tenant_id', '%s', false)" % seed.TENANT["b"]], "42501"),
    ("nor for a role", ROOT, ["BEGIN", "ALTER ROLE probectl_gateway SET probectl.tenant_id = '%s'" % seed.TENANT["b"]], "42501"),
    ("nor in a tenant", GATEWAY, bound("SET LOCAL probectl.tenant_id = ''"), "PC403"),
    ("nor the principal", ROOT, ["SET probectl.principal = '00'"], "42501"),
    ("nor is it shown", GATEWAY, bound("SHOW probectl.principal"), "42501"),
    ("a parallel worker is who its leader is", GATEWAY, bound("SET LOCAL parallel_setup_cost = 0", "SET LOCAL parallel_tuple_cost = 0", "SET LOCAL min_parallel_table_scan_size = 0",
        "SET LOCAL enable_indexscan = off", "SET LOCAL enable_bitmapscan = off", "SET LOCAL force_parallel_mode = on", "SET LOCAL parallel_leader_participation = off", "SELECT count(*) FROM probectl.metric_series"), some),
    ("a cursor WITH HOLD is refused", GATEWAY, bound("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM probectl.test"), "PC403"),
    ("one declared before is as well", GATEWAY, ["BEGIN", "SET LOCAL ROLE probectl_app", "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM probectl.test", "RESET ROLE", ENTER % "admin"], "PC403"),
    ("a plan is not printed", GATEWAY, ["SET client_min_messages = log", "SET debug_print_plan = on"] + bound("SELECT count(*) FROM probectl.test"), quiet),
    ("row_security = off gives an error, not rows", GATEWAY, ["SET row_security = off"] + bound("SELECT count(*) FROM probectl.test"), "42501"),
    ("a temporary table carries nothing", GATEWAY, ["CREATE TEMP TABLE t (x text)", "GRANT ALL ON t TO PUBLIC"] + bound("INSERT INTO pg_temp.t SELECT name FROM probectl.test"), "PC403"),
    ("nor is one read", GATEWAY, ["CREATE TEMP TABLE t (x text)", "GRANT ALL ON t TO PUBLIC"] + bound("SELECT * FROM pg_temp.t"), "PC403"),
    ("a login's definer is not trusted", GATEWAY, ["CREATE FUNCTION pg_temp.keep(v text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT set_config(''a.b'', v, false)'"] + bound("SELECT pg_temp.keep('x')"), "PC403"),
    ("COPY FROM is refused", GATEWAY, bound("COPY probectl.test FROM STDIN"), "PC403"),
    ("COPY to a file is refused", GATEWAY, bound("COPY probectl.test TO '/tmp/regress_probectl_copy'"), "PC403"),
    ("a prepared transaction is refused", GATEWAY, bound("PREPARE TRANSACTION 'x'"), "PC403"),
    ("EXPLAIN is refused", GATEWAY, bound("EXPLAIN SELECT * FROM probectl.test"), "PC403"),
    ("EXPLAIN in a function is refused", GATEWAY, bound("DO $$ DECLARE r record; BEGIN FOR r IN EXECUTE 'EXPLAIN SELECT 1' LOOP END LOOP; END $$"), "PC403"),
    ("a catalog is not read", GATEWAY, bound("SELECT reltuples FROM pg_class"), "PC403"),
    ("nor are statistics", GATEWAY, bound("SELECT * FROM pg_stats"), "PC403"),
    ("nor is a view of the standard", GATEWAY, bound("SELECT * FROM information_schema.tables"), "PC403"),
    ("nor in a subquery", GATEWAY, bound("SELECT 1 WHERE EXISTS (SELECT FROM pg_stat_user_tables)"), "PC403"),
    ("nor by COPY", GATEWAY, bound("COPY pg_statistic_ext TO STDOUT"), "PC403"),
    ("LISTEN is refused", GATEWAY, bound("LISTEN probectl_event"), "PC403"),
    ("SET is refused", GATEWAY, bound("SET work_mem = '8MB'"), "PC403"),
    ("SET LOCAL is not", GATEWAY, bound("SET LOCAL work_mem = '8MB'", "SELECT true"), some),
    ("the row's place is not told", GATEWAY, bound("SELECT ctid FROM probectl.test"), "PC403"),
    ("nor its transaction", GATEWAY, bound("SELECT count(*) FROM probectl.test WHERE xmin::text <> ''"), "PC403"),
    # Sessions and tokens.
    ("a guessed token", GATEWAY, ["BEGIN", ENTER % "forged"], "PC401"),
    ("a revoked token", GATEWAY, ["BEGIN", ENTER % "revoked"], "PC401"),
    ("an expired token", GATEWAY, ["BEGIN", ENTER % "expired"], "PC401"),
    ("a suspended user's token", GATEWAY, ["BEGIN", ENTER % "suspended_user"], "PC401"),
    ("a suspended tenant's token", GATEWAY, ["BEGIN", ENTER % "suspended_tenant"], "PC401"),
    ("an idle session", GATEWAY, ["BEGIN", ENTER % "idle"], "PC401"),
    ("a link is no session", GATEWAY, ["BEGIN", ENTER % "link"], "PC401"),
    ("scopes narrow a token", GATEWAY, bound("SELECT count(*) FROM probectl.agent", who="scoped"), none),
    ("a token within its scopes", GATEWAY, bound("SELECT count(*) FROM probectl.test", who="scoped"), some),
    ("a project's person writes there", GATEWAY, bound(NEW_TEST % (", project_id", "1", ", '{one}'") + " RETURNING true", who="of_project"), some),
    ("not in another project", GATEWAY, bound(NEW_TEST % (", project_id", "2", ", '{two}'"), who="of_project"), "42501"),
    ("nor in the tenant", GATEWAY, bound(NEW_TEST % ("", "3", ""), who="of_project"), "42501"),
    ("a viewer makes no users", GATEWAY, bound("SELECT probectl.user_create('x@example.net', 'x', 'viewer')", who="viewer"), "PC403"),
    ("nobody gives what he does not hold", GATEWAY, bound("SELECT probectl.role_bind('admin', probectl_internal.principal_id(), NULL, NULL, NULL, NULL, NULL)", who="clerk"), "PC403"),
    ("a policy denies", GATEWAY, bound(NEW_TEST % ("", "4", ""), who="denied"), "42501"),
    ("deny wins at one priority", GATEWAY, bound(NEW_TEST % ("", "5", ""), who="torn"), "42501"),
    ("an error in a policy denies", ROOT, ["BEGIN", "CREATE OR REPLACE FUNCTION probectl_internal.attributes_match(wanted jsonb, actual jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS"
                                     " $$ BEGIN RETURN 1 / 0 = 1; END $$", ENTER % "editor", NEW_TEST % ("", "6", "")], "42501"),
    ("without the error it does not", GATEWAY, bound(NEW_TEST % ("", "7", "") + " RETURNING true", who="editor"), some),
    ("a limit holds", GATEWAY, bound(NEW_TEST % ("", "8", ""), who="limited"), "PC429"),
    ("a budget of queries holds", GATEWAY, ["DO $$ BEGIN FOR i IN 1 .. 40 LOOP PERFORM probectl.enter_session('{poor}'); COMMIT; END LOOP; END $$"], "PC429"),
    # Doors.
    ("a used link", GATEWAY, ["SELECT probectl.signin_redeem('{used_link}', 'x')"], "PC401"),
    ("an expired link", GATEWAY, ["SELECT probectl.signin_redeem('{expired_link}', 'x')"], "PC401"),
    ("a suspended user's link", GATEWAY, ["SELECT probectl.signin_redeem('{suspended_user_link}', 'x')"], "PC401"),
    ("a suspended tenant's link", GATEWAY, ["SELECT probectl.signin_redeem('{suspended_tenant_link}', 'x')"], "PC401"),
    ("a suspended tenant enrols nobody", GATEWAY, ["SELECT probectl.agent_enroll('{suspended_join}', '{csr}', 'h', 'v')"], "PC401"),
    ("a live agent", INGEST, ["BEGIN", "SELECT probectl.enter_agent({live_agent})", "SELECT true"], some),
    ("an unknown certificate", INGEST, ["BEGIN", "SELECT probectl.enter_agent({live_agent_of_b_in_a})"], "PC401"),
    ("another agent's certificate", INGEST, ["BEGIN", "SELECT probectl.enter_agent({other_serial})"], "PC401"),
    ("agents of one tenant", INGEST, ["SELECT * FROM probectl.ingest_agents({live_group})"], "PC422"),
    ("an unknown certificate among agents", INGEST, ["SELECT * FROM probectl.ingest_agents({group_of_b_in_a})"], "PC401"),
    ("another agent's certificate among agents", INGEST, ["SELECT * FROM probectl.ingest_agents({group_other_serial})"], "PC401"),
    ("a revoked agent among agents", INGEST, ["SELECT * FROM probectl.ingest_agents({group_revoked})"], "PC401"),
    ("agents of a suspended tenant", INGEST, ["SELECT * FROM probectl.ingest_agents({group_suspended})"], "PC403"),
    ("what agents sent is not read behind them", INGEST, ["BEGIN", "SELECT count(*) FROM probectl.ingest_agents('%s', ARRAY[]::uuid[], ARRAY[]::text[], ARRAY[]::text[], ARRAY[]::bytea[])" % seed.TENANT["a"], "SELECT count(*) FROM probectl.result"], "42501"),
    ("a revoked agent", INGEST, ["BEGIN", "SELECT probectl.enter_agent({revoked_agent})"], "PC401"),
    ("a revoked certificate", INGEST, ["BEGIN", "SELECT probectl.enter_agent({revoked_certificate})"], "PC401"),
    ("an expired certificate", INGEST, ["BEGIN", "SELECT probectl.enter_agent({expired_certificate})"], "PC401"),
    # What is written without a statement.
    ("what is stored is of the agent's tenant", ROOT, NO_RESULTS + ["BEGIN", "SELECT probectl.enter_agent({second_agent})", "SELECT probectl.ingest('network', %s)" % BATCH, "COMMIT", "SELECT " + " AND ".join(
        "EXISTS (SELECT FROM probectl.%s WHERE agent_id = '{second_id}' AND tenant_id = '%s')" % (table, seed.TENANT["a"]) for table in ("result", "ledger", "stream_position"))], some),
    ("what is written is of its sender's tenant", ROOT, NO_SERIES + ["DELETE FROM probectl.metric_hot"] + written("a") + [
        "SELECT EXISTS (SELECT FROM probectl.metric_series WHERE name = 'up' AND tenant_id = '%s') AND EXISTS (SELECT FROM probectl.metric_hot WHERE tenant_id = '%s')" % (seed.TENANT["a"], seed.TENANT["a"])], some),
    ("what labels mean is known of one tenant only", ROOT, NO_SERIES + written("b") + written("a") + ["SELECT count(*) FROM probectl.metric_series WHERE name = 'up' AND tenant_id = '%s'" % seed.TENANT["a"]], some),
    ("what labels mean is known until the series is deleted", ROOT, NO_SERIES + written("a") + ["BEGIN", "SELECT probectl_internal.tenant_bind('%s')" % seed.TENANT["a"], "DELETE FROM probectl.metric_series WHERE name = 'up'", "COMMIT"] + written("a") +
     ["SELECT count(*) FROM probectl.metric_series WHERE name = 'up' AND tenant_id = '%s'" % seed.TENANT["a"]], some),
    # The bus: what the consumer may say of an agent that cannot enter, and who may store a partition.
    ("a refused batch of an agent", INGEST, ["BEGIN", "SELECT probectl.ingest_refused({second_agent}, 'network', %s, 'x')" % BATCH], some),
    ("with a certificate it never had", INGEST, ["SELECT probectl.ingest_refused({other_serial}, 'network', %s, 'x')" % BATCH], "PC404"),
    ("of another tenant's agent", INGEST, ["SELECT probectl.ingest_refused({live_agent_of_b_in_a}, 'network', %s, 'x')" % BATCH], "PC404"),
    ("after it nothing is read", INGEST, ["BEGIN", "SELECT probectl.ingest_refused({second_agent}, 'network', %s, 'x')" % BATCH, "SELECT count(*) FROM probectl.dead_letter"], "42501"),
    ("nor as the tenant's role", INGEST, ["BEGIN", "SELECT probectl.ingest_refused({second_agent}, 'network', %s, 'x')" % BATCH, "SET LOCAL ROLE probectl_app"], "PC403"),
    ("a dead letter is tried again", GATEWAY, bound("SELECT probectl.dead_letter_replay('{letter}') = 'stored'"), some),
    ("not by a viewer", GATEWAY, bound("SELECT probectl.dead_letter_replay('{letter}')", who="viewer"), "PC403"),
    ("not that of another tenant", GATEWAY, bound("SELECT probectl.dead_letter_replay('{letter_b}')"), "PC404"),
    ("not that of a revoked agent", GATEWAY, bound("SELECT probectl.dead_letter_replay('{revoked_letter}')"), "PC409"),
    ("a partition moves on for its owner", INGEST, ["BEGIN", CLAIM, "SELECT probectl.bus_advance('p', 't', 0, (SELECT fence FROM probectl.bus_claim('p', 't', 0)), 0, 1)::text = ''"], some),
    ("not for the owner before", INGEST, ["BEGIN", CLAIM, CLAIM, "SELECT probectl.bus_advance('p', 't', 0, 1, 0, 1)"], "PC412"),
    ("not from another place", INGEST, ["BEGIN", CLAIM, "SELECT probectl.bus_advance('p', 't', 0, 1, 1, 2)"], "PC412"),
    ("not in a tenant", INGEST, ["BEGIN", "SELECT probectl.enter_agent({live_agent})", CLAIM], "42501"),
    ("who spreads otherwise is refused", INGEST, ["BEGIN", "SELECT probectl.bus_layout('p', 4, 4)", "SELECT probectl.bus_layout('p', 5, 4)"], "PC409"),
    ("an agent of a suspended tenant", INGEST, ["BEGIN", "SELECT probectl.enter_agent({suspended_agent})"], "PC403"),
    ("a deleted tenant", ROOT, ["BEGIN", "SELECT probectl.enter_tenant('{deleted}')"], "PC403"),
    # Operators.
    ("nobody is an operator", GATEWAY, ["BEGIN", "SET LOCAL ROLE probectl_provider", "SELECT probectl.provider_tenants()"], "PC401"),
    ("an operator sees names", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{operator}')", "SELECT count(*) FROM probectl.provider_tenants()"], some),
    ("an operator is one for a transaction", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{operator}')", "COMMIT", "BEGIN", "SET LOCAL ROLE probectl_provider", "SELECT probectl.provider_tenants()"], "PC401"),
    ("a transaction is one operator's", GATEWAY, ["BEGIN", "SAVEPOINT s", "SELECT probectl.enter_operator('{operator}')", "ROLLBACK TO SAVEPOINT s", "SELECT probectl.enter_operator('{operator}')"], "PC403"),
    ("no admin", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{plain_operator}')", "SELECT probectl.provider_audit(0, 1)"], "PC403"),
    ("nor does one export", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{plain_operator}')", "SELECT probectl.provider_audit_export(0, 1)"], "PC403"),
    ("an admin exports", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{operator}')", "SELECT count(*) FROM probectl.provider_audit_export(0, 1)"], some),
    ("an expired operator's session", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{expired_operator}')"], "PC401"),
    ("a signed-out operator's session", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{ended_operator}')"], "PC401"),
    ("a disabled operator's session", GATEWAY, ["BEGIN", "SELECT probectl.enter_operator('{disabled_operator}')"], "PC401"),
    ("a one-time password works once", ROOT, ["SELECT count(*) FROM probectl_internal.totp_step('{sealed}'::bytea, '{code}', {step}) t WHERE t IS NOT NULL"], none),
    ("a look inside shows what was granted", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{active_grant}', 'p')" % seed.TENANT["a"], "SELECT count(*) FROM probectl.test"], some),
    ("and nothing else", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{active_grant}', 'p')" % seed.TENANT["a"], "SELECT count(*) FROM probectl.agent"], none),
    ("before consent there is none", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{asked_grant}', 'p')" % seed.TENANT["a"]], "PC403"),
    ("nor after its end", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{ended_grant}', 'p')" % seed.TENANT["a"]], "PC403"),
    ("nor when it was taken back", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{revoked_grant}', 'p')" % seed.TENANT["a"]], "PC403"),
    ("nor with another's grant", GATEWAY, ["BEGIN", "SELECT probectl.enter_break_glass('{plain_operator}', '%s', '{active_grant}', 'p')" % seed.TENANT["a"]], "PC403"),
    ("the tenant's chain has it", ROOT, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{active_grant}', 'looked-here')" % seed.TENANT["a"], "COMMIT",
                                         "SELECT count(*) FROM probectl.audit_event WHERE action = 'breakglass.read' AND target = 'looked-here' AND at > now() - interval '2 seconds'"], some),
    ("the provider's chain has it", ROOT, ["BEGIN", "SELECT probectl.enter_break_glass('{operator}', '%s', '{active_grant}', 'looked-there')" % seed.TENANT["a"], "COMMIT",
                                           "SELECT count(*) FROM probectl_internal.provider_audit_event WHERE action = 'breakglass.read' AND target = 'looked-there' AND at > now() - interval '2 seconds'"], some),
    ("a denied request stays denied", GATEWAY, bound("SELECT probectl.break_glass_decide('{denied_grant}', true)"), "PC409"),
    ("a viewer does not consent", GATEWAY, bound("SELECT probectl.break_glass_decide('{asked_grant}', true)", who="viewer"), "PC403"),
    ("nor does a program", GATEWAY, bound("SELECT probectl.break_glass_decide('{asked_grant}', true)", who="robot"), "PC403"),
    ("a locked operator does not sign in", ROOT, ["BEGIN", "SELECT session FROM probectl.operator_signin('locked@example.net', 'correct horse battery', '{code}')"], none),
    ("records cannot be changed", ROOT, ["BEGIN", "UPDATE probectl.audit_event SET actor = 'x'"], "any error"),
    ("nor deleted", ROOT, ["BEGIN", "DELETE FROM probectl_internal.provider_audit_event"], "any error"),
]


def group(tenant, agent, serial):
    """Arguments of ingest_agents: a batch that is none, so that only the door is asked."""
    return "'%s', ARRAY['%s']::uuid[], ARRAY['%s'], ARRAY['network'], ARRAY['\\x00'::bytea]" % (tenant, agent, serial)


class World:
    """A seeded database with one of each thing that must not work any more."""

    def __init__(self, server, database):
        self.server, self.database, self.names = server, database, {}
        self.made = seed.made
        with contextlib.closing(server.connect(database)) as conn:
            self.people(conn)
            self.second_tenants(conn)
            self.agents(conn)
            self.operators(conn)
            self.functions = self.refused_functions(conn)
        self.settings = re.findall(r'"([^"]+)"', re.sub(r"/\*.*?\*/", "", re.search(r"fixed\[\] = \{(.*?)\};", self.source(), re.S).group(1), flags=re.S))
        self.count = len(PROBES) + len(self.functions) + len(self.settings)

    @staticmethod
    def source():
        with open(os.path.join(rig.TOP, "src", "tenant", "guard.c"), encoding="utf-8") as text:
            return text.read()

    def person(self, conn, name, role, **binding):
        user = rig.value(conn, "SELECT probectl.user_create(%s, %s, %s)", (name + "@people.example", name, None if binding else role))
        if binding:
            rig.rows(conn, "SELECT probectl.role_bind(%s, %s, NULL, NULL, NULL, NULL, %s)", (role, user, binding["project"]))
        self.names[name] = rig.value(conn, "SELECT probectl.api_token_create(%s, %s, '1 day')", (name, user))
        return user

    def people(self, conn):
        n, tokens = self.names, self.made["a"]["tokens"]
        n.update(admin=tokens["admin"], viewer=tokens["viewer"], admin_b=self.made["b"]["tokens"]["admin"])
        n["forged"] = n["admin"][:40] + ("A" if n["admin"][40] != "A" else "B") + n["admin"][41:]
        with rig.inside(conn, seed.TENANT["a"]):
            team = rig.value(conn, "SELECT team_id FROM probectl.team LIMIT 1")
        for place in ("one", "two"):
            with rig.transaction(conn):
                rig.rows(conn, "SET LOCAL session_replication_role = replica")
                n[place] = rig.value(conn, "INSERT INTO probectl.project (tenant_id, team_id, slug, name) VALUES (%s, %s, %s, %s) RETURNING project_id", (seed.TENANT["a"], team, place, place))
        with rig.inside(conn, seed.TENANT["a"]):
            rig.rows(conn, "SELECT probectl.role_set('clerk', ARRAY['directory.write', 'directory.read'])")
            who = {name: self.person(conn, name, role) for name, role in (("revoked", "admin"), ("expired", "admin"), ("suspended_user", "admin"), ("clerk", "clerk"), ("denied", "editor"),
                                                                          ("torn", "editor"), ("editor", "editor"), ("linked", "viewer"))}
            self.person(conn, "of_project", "editor", project=n["one"])
            n["scoped"] = rig.value(conn, "SELECT probectl.api_token_create('s', %s, '1 day', ARRAY['test.read'])", (who["editor"],))
            for name in ("denied", "torn"):
                rig.rows(conn, "SELECT probectl.user_set_attributes(%s, %s)", (who[name], '{"who": "%s"}' % name))
            rig.rows(conn, "SELECT probectl.access_policy_set('p1', 'deny', 'test.write', '{\"who\": \"denied\"}', '{}', 5, true)")
            rig.rows(conn, "SELECT probectl.access_policy_set('p2', 'deny', 'test.write', '{\"who\": \"torn\"}', '{}', 5, true)")
            rig.rows(conn, "SELECT probectl.access_policy_set('p3', 'allow', 'test.write', '{\"who\": \"torn\"}', '{}', 5, true)")
            robot = rig.value(conn, "SELECT probectl.service_account_create('robot', 'admin')")
            n["robot"] = rig.value(conn, "SELECT probectl.service_token_create('r', %s)", (robot,))
            for name in ("link", "used_link", "expired_link", "idle_link"):
                n[name] = rig.value(conn, "SELECT probectl.signin_link_create(%s)", (who["linked"],))
            n["suspended_user_link"] = rig.value(conn, "SELECT probectl.signin_link_create(%s)", (who["suspended_user"],))
            rig.rows(conn, "SELECT probectl.user_set_status(%s, 'suspended')", (who["suspended_user"],))
            rig.rows(conn, "SELECT probectl.credential_revoke(credential_id) FROM probectl.api_token_list() WHERE name = 'revoked'")
        rig.rows(conn, "SELECT probectl.signin_redeem(%s, 'x')", (n["used_link"],))
        n["idle"] = rig.value(conn, "SELECT session FROM probectl.signin_redeem(%s, 'idle')", (n["idle_link"],))
        rig.rows(conn, "SET session_replication_role = replica")
        rig.rows(conn, "UPDATE probectl.credential SET expires_at = now() - interval '1 minute' WHERE name = 'expired' OR kind = 'signin' AND hint = left(%s, 4) || '..' || substr(%s, 27, 6)", (n["expired_link"],) * 2)
        rig.rows(conn, "UPDATE probectl.credential SET used_at = now() - interval '40 days', created_at = now() - interval '40 days', expires_at = now() + interval '9 days' WHERE name = 'idle'")
        rig.rows(conn, "SET session_replication_role = origin")
        n["csr"] = request()

    def second_tenants(self, conn):
        n = self.names
        for slug, name in (("gone-slug", "suspended_tenant"), ("limited-slug", "limited"), ("poor-slug", "poor")):
            with rig.transaction(conn):
                tenant = rig.value(conn, "SELECT probectl.tenant_create(%s, %s)", (slug, name))
            with rig.inside(conn, tenant):
                user = self.person(conn, name, "admin")
                if name == "suspended_tenant":
                    n["suspended_tenant_link"] = rig.value(conn, "SELECT probectl.signin_link_create(%s)", (user,))
                    n["suspended_join"] = rig.value(conn, "SELECT probectl.join_token_create()")
                    join = rig.value(conn, "SELECT probectl.join_token_create()")
            if name == "suspended_tenant":
                agent = rig.rows(conn, "SELECT tenant_id, agent_id, serial FROM probectl.agent_enroll(%s, %s, 'h', 'v')", (join, n["csr"]))[0]
                n["suspended_agent"] = "'%s', '%s', '%s'" % agent
                n["group_suspended"] = group(*agent)
                rig.rows(conn, "SELECT probectl.tenant_set_status(%s, 'suspended')", (tenant,))
            elif name == "limited":
                rig.rows(conn, "SELECT probectl.tenant_set_quota(%s, 'tests', 0)", (tenant,))
            else:
                rig.rows(conn, "SELECT probectl.tenant_set_budget(%s, 1, 0, 0, 1)", (tenant,))
        with rig.transaction(conn):
            n["deleted"] = str(rig.value(conn, "SELECT probectl.tenant_create('deleted-slug', 'x')"))
        rig.rows(conn, "SET session_replication_role = replica")
        rig.rows(conn, "UPDATE probectl.tenant SET status = 'deleted' WHERE tenant_id = %s", (n["deleted"],))
        rig.rows(conn, "SET session_replication_role = origin")

    def agents(self, conn):
        n, made = self.names, {}
        for letter, name in (("a", "live"), ("a", "second"), ("a", "revoked_agent"), ("a", "revoked_certificate"), ("a", "expired_certificate"), ("b", "live_b")):
            with rig.inside(conn, seed.TENANT[letter]):
                join = rig.value(conn, "SELECT probectl.join_token_create()")
            made[name] = rig.rows(conn, "SELECT tenant_id, agent_id, serial FROM probectl.agent_enroll(%s, %s, 'h', 'v')", (join, n["csr"]))[0]
            n[name + "_agent" if name == "live" else name] = "'%s', '%s', '%s'" % made[name]
        n["live_group"], n["group_revoked"] = group(*made["live"]), group(*made["revoked_agent"])
        n["group_of_b_in_a"] = group(seed.TENANT["a"], made["live_b"][1], made["live_b"][2])
        n["group_other_serial"] = group(seed.TENANT["a"], made["live"][1], made["second"][2])
        for name, agent in (("letter", "live"), ("letter_b", "live_b"), ("revoked_letter", "revoked_agent")):
            with rig.transaction(conn):
                rig.rows(conn, "SELECT probectl.ingest_refused(%%s, %%s, %%s, 'network', %s, 'x')" % BATCH, made[agent])
            n[name] = rig.value(conn, "SELECT dead_letter_id FROM probectl.dead_letter WHERE agent_id = %s", (made[agent][1],))
        n["second_agent"], n["second_id"] = "'%s', '%s', '%s'" % made["second"], made["second"][1]
        with rig.inside(conn, seed.TENANT["a"]):
            rig.rows(conn, "SELECT probectl.agent_revoke(%s)", (made["revoked_agent"][1],))
        n["live_agent_of_b_in_a"] = "'%s', '%s', '%s'" % (seed.TENANT["a"], made["live_b"][1], made["live_b"][2])
        n["other_serial"] = "'%s', '%s', '%s'" % (seed.TENANT["a"], made["live"][1], made["second"][2])
        rig.rows(conn, "SET session_replication_role = replica")
        rig.rows(conn, "UPDATE probectl.agent_certificate SET revoked_at = NULL WHERE serial = %s", (made["revoked_agent"][2],))
        rig.rows(conn, "UPDATE probectl.agent_certificate SET revoked_at = now() WHERE serial = %s", (made["revoked_certificate"][2],))
        rig.rows(conn, "UPDATE probectl.agent_certificate SET not_after = now() - interval '1 minute', not_before = now() - interval '1 day' WHERE serial = %s", (made["expired_certificate"][2],))
        rig.rows(conn, "SET session_replication_role = origin")

    def operator_session(self, conn, name, role="admin"):
        who = rig.value(conn, "INSERT INTO probectl_internal.provider_operator (email, role, status) VALUES (%s, %s, 'active') RETURNING operator_id", (name + "@operators.example", role))
        secret, digest = rig.rows(conn, "SELECT secret, hash FROM probectl_internal.operator_mint('pos_')")[0]
        rig.rows(conn, "INSERT INTO probectl_internal.provider_session VALUES (%s, %s, now() - interval '1 hour', now() + interval '1 day')", (digest, who))
        self.names[name] = secret
        return who

    def grant(self, conn, operator, decide=None):
        with rig.transaction(conn):
            rig.rows(conn, "SELECT probectl.enter_operator(%s)", (self.names[operator],))
            grant = rig.value(conn, "SELECT probectl.break_glass_request(%s, 'a reason that is long enough', ARRAY['test.read'], 60)", (seed.TENANT["a"],))
        if decide is not None:
            with rig.session(conn, self.names["admin"]):
                rig.rows(conn, "SELECT probectl.break_glass_decide(%s, %s)", (grant, decide))
        return str(grant)

    def operators(self, conn):
        n = self.names
        self.operator_session(conn, "operator")
        self.operator_session(conn, "plain_operator", "operator")
        expired = self.operator_session(conn, "expired_operator")
        rig.rows(conn, "UPDATE probectl_internal.provider_session SET expires_at = now() - interval '1 minute' WHERE operator_id = %s", (expired,))
        self.operator_session(conn, "ended_operator")
        rig.rows(conn, "SELECT probectl.operator_signout(%s)", (n["ended_operator"],))
        disabled = self.operator_session(conn, "disabled_operator")
        rig.rows(conn, "UPDATE probectl_internal.provider_operator SET status = 'disabled' WHERE operator_id = %s", (disabled,))
        n["active_grant"], n["asked_grant"] = self.grant(conn, "operator", True), self.grant(conn, "operator")
        n["denied_grant"], n["ended_grant"] = self.grant(conn, "operator", False), self.grant(conn, "operator", True)
        n["revoked_grant"] = self.grant(conn, "operator", True)
        with rig.session(conn, n["admin"]):
            rig.rows(conn, "SELECT probectl.break_glass_revoke(%s)", (n["revoked_grant"],))
        rig.rows(conn, "SET session_replication_role = replica")
        rig.rows(conn, "UPDATE probectl.break_glass_grant SET expires_at = now() - interval '1 minute' WHERE grant_id = %s", (n["ended_grant"],))
        rig.rows(conn, "SET session_replication_role = origin")
        self.totp, sealed = rig.rows(conn, "SELECT secret, sealed FROM probectl_internal.totp_make()")[0]
        n["sealed"] = "\\x" + bytes(sealed).hex()
        rig.rows(conn, "INSERT INTO probectl_internal.provider_operator (email, role, status, password, sealed_totp, locked_until, failures)"
                       " VALUES ('locked@example.net', 'admin', 'active', probectl_internal.password_hash('correct horse battery'), %s, now() + interval '1 day', 5)", (sealed,))

    def refused_functions(self, conn):
        """A call of every server function each row of the guard's list names: (row, call)."""
        listed = re.findall(r'"([^"]+)"', re.search(r"refused_functions\[\] = \{(.*?)\};", self.source(), re.S).group(1))
        grammar = statements.Grammar(statements.Catalog(lambda text: rig.rows(conn, text)), 1, "a")
        out, missing = [], []
        for row in listed:
            found = rig.rows(conn, "SELECT p.oid::regprocedure::text, format('%%I.%%I', p.pronamespace::regnamespace, p.proname), p.proargtypes::regtype[]::text[], p.proretset FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace"
                                   " AND p.prokind = 'f' AND p.provariadic = 0 AND p.proname LIKE %s AND NOT 'internal'::regtype = ANY (p.proargtypes::regtype[]) ORDER BY p.oid", (row.replace("_", r"\_").replace("*", "%"),))
            calls = []
            for signature, name, kinds, many in found:
                args = [grammar.constant(kind) for kind in kinds or []]
                # A strict function of NULL is folded away before anybody is asked.
                if many or not any(arg.startswith("NULL") for arg in args):
                    rig.rows(conn, "GRANT EXECUTE ON FUNCTION %s TO PUBLIC" % signature)
                    calls.append((row, "SELECT %s%s(%s)" % ("* FROM " if many else "", name, ", ".join(args))))
            if not calls:
                missing.append(row)
            out += calls[:4]
        assert not missing, "no function can be called for %s of refused_functions" % missing
        return out

    def connect(self, user, options):
        """A mutant may have brought the server down; the next one waits until it is back."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.server.connect(self.database, user, options="-c statement_timeout=10s " + options)
            except psycopg2.OperationalError as error:
                if "recovery mode" not in str(error) and "starting up" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def ask(self, probe, options=""):
        """None, or what is wrong with the answer."""
        name, user, steps, expected = probe
        step = int(time.time()) // 30
        names = dict(self.names, step=step, code=totp(self.totp, step))
        with contextlib.closing(self.connect(user, options)) as conn, conn.cursor() as cur:
            code, rows = None, []
            for at, text in enumerate(steps):
                del conn.notices[:]
                try:
                    text = re.sub(r"\{(\w+)\}", lambda m: str(names[m.group(1)]) if m.group(1) in names else m.group(0), text)
                    if text.startswith("COPY") and "STD" in text:
                        cur.copy_expert(text, io.StringIO(""))
                    else:
                        cur.execute(text)
                    rows = cur.fetchall() if cur.description else []
                except psycopg2.Error as error:
                    code = error.pgcode or "lost"
                    assert "not in the plan" not in str(error), str(error)
                    if at < len(steps) - 1 and not (isinstance(expected, str) and code == expected):
                        return "%s: step %d: %s %s" % (name, at, code, str(error).split("\n")[0])
                    break
            notices = list(conn.notices)
        if isinstance(expected, str):
            return None if code == expected or (expected == "any error" and code) else "%s: %s instead of %s" % (name, code or "done", expected)
        return None if code is None and expected(rows, notices) else "%s: %s" % (name, code or rows[:1] or notices[:1])

    def refusals(self, options=""):
        """Every listed function and setting is refused with PC403."""
        out = []
        values = {"role": "none", "session_authorization": None, "client_min_messages": "notice", "search_path": "probectl", "session_replication_role": "replica"}
        checks = [("function %s: %s" % pair, pair[1]) for pair in self.functions]
        checks += [("setting " + s, "SET LOCAL SESSION AUTHORIZATION DEFAULT" if s == "session_authorization" else "SET LOCAL %s = %s" % (s, values.get(s, "on"))) for s in self.settings]
        with contextlib.closing(self.connect(GATEWAY, options)) as conn:
            rig.rows(conn, "BEGIN")
            rig.rows(conn, ENTER.replace("{%s}", self.names["admin"]))
            rig.rows(conn, "SAVEPOINT s")
            for name, text in checks:
                try:
                    rig.rows(conn, text)
                    answer = "done"
                except psycopg2.Error as error:
                    # Some would be refused later, for what they do; the list has to be first.
                    answer = "%s %s" % (error.pgcode, str(error).split("\n")[0])
                if answer[:5] != "PC403" or name.startswith("function") and "calling this function" not in answer:
                    out.append("%s: %s instead of PC403" % (name, answer))
                rig.rows(conn, "ROLLBACK TO SAVEPOINT s")
        return out

    def failures(self, options, name=None):
        """What is wrong; for a mutant the first thing, looked for where its name says."""
        out = self.refusals(options) if name and name.startswith(("function ", "setting ")) else []
        words = set((name or "").split()) - {"a", "the", "is", "are", "not", "in", "of", "may", "be"}
        for probe in sorted(PROBES, key=lambda p: -len(words & set(p[0].split()))):
            if name and out:
                return out
            wrong = self.ask(probe, options)
            out += [wrong] if wrong else []
        return out if name and out else out + self.refusals(options)
