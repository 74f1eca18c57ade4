# SPDX-License-Identifier: PostgreSQL
"""The life of a tenant and of what lets somebody in: races, suspension, erasure, roles with scope, policies, tokens,
sessions, invitations, operators, metering."""
import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
import uuid

import psycopg2
import pytest

import probes
import rig

ALLOWED_TO_NAME_THE_DEAD = {  # statements about a tenant outlive it
    "probectl_internal.tenant_registry", "probectl_internal.erasure", "probectl_internal.provider_audit_event", "probectl_internal.usage_hour"}


def new_tenant(conn, name=None):
    with rig.transaction(conn):
        return str(rig.value(conn, "SELECT probectl.tenant_create(%s, 'x')", ((name or "t") + uuid.uuid4().hex[:8],)))


def new_person(conn, tenant, role="admin"):
    """(user, API token)"""
    with rig.inside(conn, tenant):
        user = rig.value(conn, "SELECT probectl.user_create(%s, 'x', 'viewer')", (uuid.uuid4().hex + "@example.net",))
        token = rig.value(conn, "SELECT probectl.api_token_create('t', %s)", (user,))
    replica(conn, "DELETE FROM probectl.role_binding WHERE user_id = %s", (user,))
    if role:
        with rig.inside(conn, tenant):
            rig.rows(conn, "SELECT probectl.role_bind(%s, %s, NULL, NULL, NULL, NULL, NULL)", (role, user))
    return str(user), token


def replica(conn, text, args=None):
    rig.rows(conn, "SET session_replication_role = replica")
    try:
        rig.rows(conn, text, args)
    finally:
        rig.rows(conn, "SET session_replication_role = origin")


@contextlib.contextmanager
def gateway(server, database, user="probectl_gateway", **more):
    with contextlib.closing(server.connect(database, user, **more)) as conn:
        yield conn


def at_once(jobs, prepare):
    """Runs the jobs in as many sessions at the same moment; returns what each came to."""
    barrier, out = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(i, job):
        with contextlib.closing(prepare()) as conn:
            barrier.wait(60)
            out[i] = job(conn)
    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return out


def operator(conn, role="admin"):
    who = rig.value(conn, "INSERT INTO probectl_internal.provider_operator (email, role, status) VALUES (%s, %s, 'active') RETURNING operator_id", (uuid.uuid4().hex + "@example.net", role))
    secret, digest = rig.rows(conn, "SELECT secret, hash FROM probectl_internal.operator_mint('pos_')")[0]
    rig.rows(conn, "INSERT INTO probectl_internal.provider_session VALUES (%s, %s, now(), now() + interval '1 day')", (digest, who))
    return str(who), secret


# ---- races ---------------------------------------------------------------------------------------------


def test_a_hundred_decisions_end_in_one(server, plain, root):
    tenant = new_tenant(root)
    _, token = new_person(root, tenant)
    who, session = operator(root)
    for turn in range(3):
        with rig.transaction(root):
            rig.rows(root, "SELECT probectl.enter_operator(%s)", (session,))
            grant = rig.value(root, "SELECT probectl.break_glass_request(%s, 'a long enough reason', ARRAY['test.read'], 5)", (tenant,))

        def tenant_does(text, grant=grant):
            def job(conn):
                try:
                    with rig.session(conn, token):
                        return rig.value(conn, text, (grant,))
                except psycopg2.Error as error:
                    return error.pgcode
            return job

        def operator_revokes(conn, grant=grant):
            try:
                with rig.transaction(conn):
                    rig.rows(conn, "SELECT probectl.enter_operator(%s)", (session,))
                    return rig.value(conn, "SELECT probectl.provider_break_glass_revoke(%s, %s)", (tenant, grant))
            except psycopg2.Error as error:
                return error.pgcode
        consent, deny = tenant_does("SELECT probectl.break_glass_decide(%s, true)"), tenant_does("SELECT probectl.break_glass_decide(%s, false)")
        jobs = [(consent, deny, tenant_does("SELECT probectl.break_glass_revoke(%s)"), operator_revokes)[i % 4] for i in range(100)]
        random.Random(turn).shuffle(jobs)
        answers = at_once(jobs, lambda: server.connect(plain, "probectl_gateway"))
        state, decided_by, ended_by = rig.rows(root, "SELECT state, decided_by, ended_by FROM probectl.break_glass_grant WHERE grant_id = %s", (grant,))[0]
        moved = sorted(x for x in answers if x in ("active", "denied", "revoked"))
        assert set(answers) <= {"active", "denied", "revoked", "PC409"}, set(answers)
        assert state in ("denied", "revoked") and moved in (["denied"], ["revoked"], ["active", "revoked"]), (state, moved)
        recorded = [row[0] for row in rig.rows(root, "SELECT action FROM probectl_internal.provider_audit_event WHERE target = %s AND action <> 'breakglass.request' AND outcome = 'ok' ORDER BY seq", (str(grant),))]
        assert sorted(recorded) == ["breakglass." + x for x in moved] and recorded[-1] == "breakglass." + state
        assert (decided_by is not None) == (moved[0] in ("active", "denied"))
        assert ended_by is not None


def test_the_last_place_goes_to_one(server, plain, root):
    tenant = new_tenant(root)
    _, token = new_person(root, tenant)
    rig.rows(root, "SELECT probectl.tenant_set_quota(%s, 'tests', 5)", (tenant,))
    with rig.inside(root, tenant):
        rig.rows(root, "INSERT INTO probectl.test (name, type, target) SELECT 'n' || i, 'icmp', 'x' FROM generate_series(1, 4) i")

    def job(number):
        def insert(conn):
            try:
                with rig.session(conn, token):
                    rig.rows(conn, "INSERT INTO probectl.test (name, type, target) VALUES (%s, 'icmp', 'x')", ("r%d" % number,))
                    return "in"
            except psycopg2.Error as error:
                return error.pgcode
        return insert
    answers = at_once([job(i) for i in range(50)], lambda: server.connect(plain, "probectl_gateway"))
    assert sorted(answers) == ["PC429"] * 49 + ["in"]
    assert rig.rows(root, "SELECT used, (SELECT count(*) FROM probectl.test t WHERE t.tenant_id = q.tenant_id) FROM probectl.tenant_quota q WHERE tenant_id = %s AND resource = 'tests'", (tenant,)) == [(5, 5)]


# ---- suspension and erasure ----------------------------------------------------------------------------


def test_a_suspended_tenant_is_refused_at_every_door(server, plain, root):
    rig.rows(root, "SELECT probectl.ca_init()")
    tenant = new_tenant(root)
    user, token = new_person(root, tenant)
    csr = probes.request()
    with rig.inside(root, tenant):
        links = [rig.value(root, "SELECT probectl.signin_link_create(%s)", (user,)) for _ in range(2)]
        invite = rig.value(root, "SELECT invitation FROM probectl.invitation_create('new@example.net', 'viewer')")
        joins = [rig.value(root, "SELECT probectl.join_token_create()") for _ in range(2)]
    session = rig.value(root, "SELECT session FROM probectl.signin_redeem(%s, 'x')", (links[0],))
    agent = rig.rows(root, "SELECT tenant_id, agent_id, serial FROM probectl.agent_enroll(%s, %s, 'h', 'v')", (joins[0], csr))[0]

    def doors():
        out = {}
        with gateway(server, plain) as conn, gateway(server, plain, "probectl_ingest") as ingest:
            for name, where, text, args in (("session", conn, "SELECT probectl.enter_session(%s)", (session,)), ("token", conn, "SELECT probectl.enter_session(%s)", (token,)),
                                            ("sign-in", conn, "SELECT probectl.signin_redeem(%s, 'x')", (links[1],)), ("invitation", conn, "SELECT probectl.signin_redeem(%s, 'x')", (invite,)),
                                            ("enrolment", conn, "SELECT probectl.agent_enroll(%s, %s, 'h', 'v')", (joins[1], csr)), ("ingest", ingest, "SELECT probectl.enter_agent(%s, %s, %s)", agent)):
                rig.rows(where, "BEGIN")
                out[name] = rig.refused(where, text, args)
                rig.rows(where, "ROLLBACK")
        return out
    assert set(doors().values()) == {None}
    for status in ("suspended", "active", "offboarding"):
        rig.rows(root, "SELECT probectl.tenant_set_status(%s, %s)", (tenant, status))
        if status == "active":
            assert set(doors().values()) == {None}
        else:
            assert doors() == {"session": "PC401", "token": "PC401", "sign-in": "PC401", "invitation": "PC401", "enrolment": "PC401", "ingest": "PC403"}, status


def test_erasure_leaves_nothing(server, plain, root):
    rig.rows(root, "SELECT probectl.ca_init()")
    tenant, other = new_tenant(root), new_tenant(root)
    for each in (tenant, other):
        new_person(root, each)
        with rig.inside(root, each):
            rig.rows(root, "INSERT INTO probectl.test (name, type, target) SELECT 'n' || i, 'icmp', 'x' FROM generate_series(1, 20) i")
            join = rig.value(root, "SELECT probectl.join_token_create()")
        rig.rows(root, "SELECT probectl.agent_enroll(%s, %s, 'h', 'v')", (join, probes.request()))
        replica(root, "INSERT INTO probectl.result (tenant_id, test_id, agent_id, started_at, received_at, result_id, type, target, port, transport, protocol, success, error_type, error, duration_us, metrics, attributes)"
                      " SELECT %s, gen_random_uuid(), gen_random_uuid(), now() - i * interval '5 hours', now(), gen_random_uuid(), 'icmp', 'x', 0, '', '', true, '', '', 1, '{}', '{}' FROM generate_series(0, 20) i", (each,))
    assert rig.refused(root, "SELECT probectl.tenant_erase(%s)", (tenant,)) == "PC409"
    rig.rows(root, "SELECT probectl.tenant_set_status(%s, 'offboarding')", (tenant,))
    attestation, signature = rig.rows(root, "SELECT attestation::text, signature FROM probectl.tenant_erase(%s)", (tenant,))[0]
    left, kept = {}, 0
    for name, in rig.rows(root, "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"):
        found = rig.value(root, "SELECT count(*) FROM %s x WHERE x::text LIKE %%s" % name, ("%" + tenant + "%",))
        kept += rig.value(root, "SELECT count(*) FROM %s x WHERE x::text LIKE %%s" % name, ("%" + other + "%",))
        if found:
            left[name] = found
    assert set(left) <= ALLOWED_TO_NAME_THE_DEAD, left
    assert kept > 60
    counts = json.loads(attestation)["rows"]
    assert counts["test"] == 20 and counts["result"] == 21 and counts["tenant"] == 1
    assert rig.value(root, "SELECT probectl.signature_verify(probectl.signing_key(), convert_to(%s, 'UTF8'), %s)", (attestation, signature)) is True
    assert rig.value(root, "SELECT probectl.signature_verify(probectl.signing_key(), convert_to(%s, 'UTF8'), %s)", (attestation.replace("20", "21", 1), signature)) is False
    rig.rows(root, "BEGIN")
    assert rig.refused(root, "SELECT probectl.enter_tenant(%s)", (tenant,)) == "PC404"
    rig.rows(root, "ROLLBACK")


# ---- roles with scope ----------------------------------------------------------------------------------


class Tree:
    """Two organizations of two teams of two projects, a test in each, and one of the tenant as a whole."""

    def __init__(self, conn):
        self.tenant, self.parents = new_tenant(conn), {}
        self.tests = {}
        for o in range(2):
            org = str(uuid.uuid4())
            replica(conn, "INSERT INTO probectl.organization (tenant_id, organization_id, slug, name) VALUES (%s, %s, %s, 'x')", (self.tenant, org, "o%d" % o))
            for t in range(2):
                team = str(uuid.uuid4())
                replica(conn, "INSERT INTO probectl.team (tenant_id, team_id, organization_id, slug, name) VALUES (%s, %s, %s, %s, 'x')", (self.tenant, team, org, "t%d" % t))
                for p in range(2):
                    project = str(uuid.uuid4())
                    replica(conn, "INSERT INTO probectl.project (tenant_id, project_id, team_id, slug, name) VALUES (%s, %s, %s, %s, 'x')", (self.tenant, project, team, "p%d" % p))
                    self.parents[project] = (org, team)
        with rig.inside(conn, self.tenant):
            for project in list(self.parents) + [None]:
                self.tests[project] = rig.value(conn, "INSERT INTO probectl.test (name, type, target, project_id) VALUES (%s, 'icmp', 'x', %s) RETURNING name", ("of " + str(project), project))

    def below(self, scope, place):
        """Names of the tests a binding there reaches."""
        if scope == "tenant":
            return set(self.tests.values())
        return {self.tests[p] for p, (org, team) in self.parents.items() if place == {"organization": org, "team": team, "project": p}[scope]}


@pytest.fixture(scope="module")
def tree(server, plain):
    with contextlib.closing(server.connect(plain)) as conn:
        return Tree(conn)


@pytest.mark.parametrize("scope", ["tenant", "organization", "team", "project"])
@pytest.mark.parametrize("subject", ["user", "service account", "group"])
def test_a_binding_reaches_what_is_below_and_nothing_else(server, plain, root, tree, scope, subject):
    some = sorted(tree.parents)[3]
    place = {"tenant": None, "organization": tree.parents[some][0], "team": tree.parents[some][1], "project": some}[scope]
    if subject == "service account":
        with rig.inside(root, tree.tenant):
            service = rig.value(root, "SELECT probectl.service_account_create(%s, NULL)", (uuid.uuid4().hex,))
            token = rig.value(root, "SELECT probectl.service_token_create('t', %s)", (service,))
        holder = (None, service, None)
    else:
        user, token = new_person(root, tree.tenant, None)
        holder = (user, None, None)
        if subject == "group":
            with rig.inside(root, tree.tenant):
                group = rig.value(root, "SELECT probectl.group_create(%s)", (uuid.uuid4().hex,))
                rig.rows(root, "SELECT probectl.group_set_member(%s, %s, true)", (group, user))
            holder = (None, None, group)
    with gateway(server, plain) as conn:
        def seen():
            with rig.session(conn, token):
                return {row[0] for row in rig.rows(conn, "SELECT name FROM probectl.test WHERE name LIKE 'of %%'")}

        def changes():
            with rig.session(conn, token, commit=False):
                return {row[0] for row in rig.rows(conn, "UPDATE probectl.test SET target = 'y' WHERE name LIKE 'of %%' RETURNING name")}
        assert seen() == set()
        with rig.inside(root, tree.tenant):
            binding = rig.value(root, "SELECT probectl.role_bind('editor', %s, %s, %s, %s, %s, %s)",
                                holder + tuple(place if scope == s else None for s in ("organization", "team", "project")))
        assert seen() == changes() == tree.below(scope, place)
        with rig.session(conn, token, commit=False):
            for project in tree.parents:
                code = rig.refused(conn, "SAVEPOINT s; INSERT INTO probectl.test (name, type, target, project_id) VALUES ('new', 'icmp', 'x', %s)", (project,))
                rig.rows(conn, "ROLLBACK TO SAVEPOINT s")
                assert code == (None if tree.tests[project] in tree.below(scope, place) else "42501")
        if subject == "group":
            with rig.inside(root, tree.tenant):
                rig.rows(root, "SELECT probectl.group_set_member(%s, %s, false)", (holder[2], user))
            assert seen() == set()
            with rig.inside(root, tree.tenant):
                rig.rows(root, "SELECT probectl.group_set_member(%s, %s, true)", (holder[2], user))
            assert seen() == tree.below(scope, place)
        with rig.inside(root, tree.tenant):
            assert rig.value(root, "SELECT probectl.role_unbind(%s)", (binding,))
        assert seen() == changes() == set()


def test_policies_on_random_cases(server, plain, root):
    """Deny wins at one priority, allow never grants, and access_explain() says what happens."""
    dice, tenant = random.Random(20262), new_tenant(root)
    people = [new_person(root, tenant, role) for role in ("editor", "viewer", None)]
    with rig.inside(root, tenant):
        rig.rows(root, "INSERT INTO probectl.test (name, type, target) VALUES ('icmp', 'icmp', 'x'), ('dns', 'dns', 'x')")
    cases = 0
    with gateway(server, plain) as conn:
        for turn in range(25):
            replica(root, "DELETE FROM probectl.access_policy WHERE tenant_id = %s", (tenant,))
            policies, attributes = [], {}
            with rig.inside(root, tenant):
                for user, _ in people:
                    attributes[user] = {"site": dice.choice("xyz")}
                    rig.rows(root, "SELECT probectl.user_set_attributes(%s, %s)", (user, json.dumps(attributes[user])))
                for n in range(dice.randrange(5)):
                    policy = dict(effect=dice.choice(["allow", "deny"]), permission=dice.choice(["test.read", "test.write", "*"]), subject=dice.choice([{}, {"site": "x"}, {"site": ["x", "y"]}]),
                                  resource=dice.choice([{}, {"type": "icmp"}, {"type": ["dns", "http"]}]), priority=dice.randrange(3), enabled=dice.random() < 0.85)
                    policies.append(policy)
                    rig.rows(root, "SELECT probectl.access_policy_set(%s, %s, %s, %s, %s, %s, %s)", ("p%d" % n, policy["effect"], policy["permission"], json.dumps(policy["subject"]),
                                                                                                     json.dumps(policy["resource"]), policy["priority"], policy["enabled"]))
            for place, (user, token) in enumerate(people):
                with rig.session(conn, token, commit=False):
                    read = {row[0] for row in rig.rows(conn, "SELECT name FROM probectl.test")}
                    written = {row[0] for row in rig.rows(conn, "UPDATE probectl.test SET target = 'y' WHERE true RETURNING name")}
                for kind in ("icmp", "dns"):
                    verdict = {}
                    for wanted in ("test.read", "test.write"):
                        matching = [p for p in policies if p["enabled"] and p["permission"] in (wanted, "*") and all(v == w if isinstance(w, str) else v in w for v, w in
                                    [(attributes[user].get(k), w) for k, w in p["subject"].items()] + [({"type": kind}.get(k), w) for k, w in p["resource"].items()])]
                        top = max((p["priority"] for p in matching), default=None)
                        denied = any(p["effect"] == "deny" for p in matching if p["priority"] == top)
                        by_role = place == 0 or (place == 1 and wanted == "test.read")
                        verdict[wanted] = by_role and not denied
                        with rig.inside(root, tenant):
                            explained = rig.rows(root, "SELECT verdict FROM probectl.access_explain(%s, %s, NULL, %s) ORDER BY step DESC", (user, wanted, json.dumps({"type": kind})))[0][0]
                        assert (explained == "allowed") == verdict[wanted], (policies, attributes[user], wanted, kind, explained)
                        cases += 1
                    assert (kind in read) == verdict["test.read"], (policies, attributes[user], kind)
                    assert (kind in written) == (verdict["test.write"] and verdict["test.read"]), (policies, attributes[user], kind)
    assert cases == 25 * 3 * 4


# ---- tokens, sessions, invitations ----------------------------------------------------------------------


@contextlib.contextmanager
def clock(conn, when):
    rig.rows(conn, "SET probectl.clock = %s", (when,))
    try:
        yield
    finally:
        rig.rows(conn, "SET probectl.clock = ''")


def enters(conn, token):
    rig.rows(conn, "BEGIN")
    code = rig.refused(conn, "SELECT probectl.enter_session(%s)", (token,))
    rig.rows(conn, "ROLLBACK")
    return code is None or code


def later(conn, offset):
    return rig.value(conn, "SELECT to_char((now() + %s::interval) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", (offset,))


def test_a_token_ends_and_is_rotated_with_an_overlap(plain, root):
    tenant = new_tenant(root)
    user, _ = new_person(root, tenant)
    with rig.inside(root, tenant):
        old = rig.value(root, "SELECT probectl.api_token_create('rotated', %s, '1 hour')", (user,))
        which = rig.value(root, "SELECT credential_id FROM probectl.api_token_list() WHERE name = 'rotated'")
    assert enters(root, old) is True
    with clock(root, later(root, "61 minutes")):
        assert enters(root, old) == "PC401"
    with rig.inside(root, tenant):
        new = rig.value(root, "SELECT probectl.api_token_rotate(%s, '90 days', '10 minutes')", (which,))
    assert enters(root, old) is True and enters(root, new) is True and old != new
    with clock(root, later(root, "11 minutes")):
        assert enters(root, old) == "PC401" and enters(root, new) is True
    rig.rows(root, "BEGIN")
    rig.rows(root, "SELECT probectl.enter_tenant(%s)", (tenant,))
    assert rig.refused(root, "SELECT probectl.api_token_create('x', %s, '11 years')", (user,)) == "PC422"
    rig.rows(root, "ROLLBACK")


def test_a_session_ends_idle_and_absolutely(plain, root):
    tenant = new_tenant(root)
    user, _ = new_person(root, tenant)
    idle, lifetime = rig.rows(root, "SELECT setting::int, (SELECT setting::int FROM pg_settings WHERE name = 'probectl.session_lifetime') FROM pg_settings WHERE name = 'probectl.session_idle'")[0]
    with rig.inside(root, tenant):
        links = [rig.value(root, "SELECT probectl.signin_link_create(%s)", (user,)) for _ in range(2)]
    used, left = [rig.value(root, "SELECT session FROM probectl.signin_redeem(%s, 'x')", (link,)) for link in links]
    step = idle * 2 // 3
    for minutes in range(step, lifetime, step):
        with clock(root, later(root, "%d minutes" % minutes)):
            rig.rows(root, "BEGIN")
            rig.rows(root, "SELECT probectl.enter_session(%s)", (used,))
            rig.rows(root, "COMMIT")
    with clock(root, later(root, "%d minutes" % (idle + 1))):
        assert enters(root, left) == "PC401"
    with clock(root, later(root, "%d minutes" % (lifetime + 1))):
        assert enters(root, used) == "PC401"
    assert enters(root, left) is True
    with rig.inside(root, tenant):
        assert rig.value(root, "SELECT count(*) FROM probectl.session_list()") == 2
        rig.rows(root, "SELECT probectl.credential_revoke(credential_id) FROM probectl.session_list()")
    assert enters(root, left) == "PC401"


def test_a_suspended_user_is_out_with_the_next_request(plain, root):
    tenant = new_tenant(root)
    user, token = new_person(root, tenant)
    for status, expected in (("suspended", "PC401"), ("active", True)):
        with rig.inside(root, tenant):
            rig.rows(root, "SELECT probectl.user_set_status(%s, %s)", (user, status))
        assert enters(root, token) == expected


def test_an_invitation_works_once_and_ends(plain, root):
    tenant = new_tenant(root)
    with rig.inside(root, tenant):
        user, code = rig.rows(root, "SELECT * FROM probectl.invitation_create('invited@example.net', 'viewer')")[0]
        late = rig.value(root, "SELECT invitation FROM probectl.invitation_create('late@example.net', 'viewer', '1 hour')")
    session = rig.value(root, "SELECT session FROM probectl.signin_redeem(%s, 'x')", (code,))
    assert enters(root, session) is True
    assert rig.value(root, "SELECT status FROM probectl.tenant_user WHERE user_id = %s", (user,)) == "active"
    assert rig.refused(root, "SELECT probectl.signin_redeem(%s, 'x')", (code,)) == "PC401"
    with clock(root, later(root, "61 minutes")):
        assert rig.refused(root, "SELECT probectl.signin_redeem(%s, 'x')", (late,)) == "PC401"


def test_one_link_signs_in_once_even_at_once(server, plain, root):
    tenant = new_tenant(root)
    user, _ = new_person(root, tenant)
    with rig.inside(root, tenant):
        link = rig.value(root, "SELECT probectl.signin_link_create(%s)", (user,))
    answers = at_once([lambda conn: rig.refused(conn, "SELECT probectl.signin_redeem(%s, 'x')", (link,))] * 20, lambda: server.connect(plain, "probectl_gateway"))
    assert sorted(str(x) for x in answers) == ["None"] + ["PC401"] * 19


# ---- operators ----------------------------------------------------------------------------------------


def test_an_operator_enrols_signs_in_and_is_locked_out(plain, root):
    email = uuid.uuid4().hex + "@example.net"
    code = rig.value(root, "SELECT probectl.operator_create(%s, 'operator')", (email,))
    secret = rig.value(root, "SELECT probectl.operator_enrol_start(%s)", (code,))
    now = int(rig.value(root, "SELECT extract(epoch FROM now())"))
    password = "a long enough password"
    rig.rows(root, "SELECT probectl.operator_enrol_complete(%s, %s, %s)", (code, password, probes.totp(secret, now // 30)))

    def sign_in(at, given=password, totp=None):
        with clock(root, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))):
            return rig.value(root, "SELECT session FROM probectl.operator_signin(%s, %s, %s)", (email, given, totp or probes.totp(secret, at // 30)))
    assert sign_in(now) is None, "the code that enrolled was used again"
    at = now + 60
    session = sign_in(at)
    assert session and session.startswith("pos_")
    assert sign_in(at) is None, "a code worked twice"
    assert sign_in(at + 30, totp=probes.totp(secret, at // 30)) is None, "a code worked twice, a step later"
    assert sign_in(at + 60), "a fresh code works; failures before it are forgotten"
    at += 120
    for n in range(5):
        assert sign_in(at + n, given="wrong password") is None
    assert sign_in(at + 30) is None, "locked"
    events = [r[0] for r in rig.rows(root, "SELECT action FROM probectl_internal.provider_audit_event WHERE outcome = 'denied' ORDER BY seq DESC LIMIT 2")]
    assert "operator.lockout" in events
    assert sign_in(at + 60 * 3), "and let in again"


# ---- metering -----------------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def batch(first, count):
    """probectl.stream.v1.Batch of results: epoch 1; field numbers as in proto/."""
    body = b"\x08\x01\x10" + varint(first)
    for n in range(count):
        record = b"\x1a\x04icmp\x72\x24" + str(uuid.UUID(int=first + n)).encode() + b"\x40\x01"
        body += b"\x1a" + varint(len(record)) + record
    return body


def test_usage_is_neither_lost_nor_doubled_when_the_keeper_dies(server, plain, root):
    """Ingest goes on while the meter runs and its backend is killed at random points; then the sums agree with what is stored."""
    rig.rows(root, "SELECT probectl.ca_init()")
    tenant = new_tenant(root)
    with rig.inside(root, tenant):
        join = rig.value(root, "SELECT probectl.join_token_create()")
    agent = rig.rows(root, "SELECT tenant_id, agent_id, serial FROM probectl.agent_enroll(%s, %s, 'h', 'v')", (join, probes.request()))[0]
    dice, stop, sent = random.Random(20263), threading.Event(), [0, 0]

    def produce():
        with gateway(server, plain, "probectl_ingest") as conn:
            while not stop.is_set():
                count = 1 + sent[0] % 7
                with rig.transaction(conn):
                    rig.rows(conn, "SELECT probectl.enter_agent(%s, %s, %s)", agent)
                    rig.rows(conn, "SELECT probectl.ingest('network', %s)", (psycopg2.Binary(batch(sent[0] + 1, count)),))
                sent[0] += count
                sent[1] += 1
    producer = threading.Thread(target=produce)
    producer.start()
    killed = done = 0
    try:
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline:
            with contextlib.closing(server.connect(plain, "probectl_worker")) as meter:
                pid = meter.get_backend_pid()
                killer = threading.Timer(dice.random() * 0.012, lambda pid=pid: server.sql("SELECT pg_terminate_backend(%s)", plain, (pid,)))
                killer.start()
                try:
                    while True:
                        rig.rows(meter, "SELECT probectl_internal.usage_meter()")
                        done += 1
                except psycopg2.Error:
                    killed += 1
                killer.join()
    finally:
        stop.set()
        producer.join(30)
    rig.wait_for(lambda: server.sql("SELECT probectl_internal.usage_meter() > (SELECT max(xid) FROM probectl.ledger WHERE tenant_id = '%s')" % tenant, plain, user="probectl_worker")[0][0] is not False, 10, "the meter to catch up")
    server.sql("SELECT probectl_internal.usage_meter()", plain, user="probectl_worker")
    results, batches = rig.rows(root, "SELECT sum(results), sum(batches) FROM probectl_internal.usage_hour WHERE metered_tenant = %s", (tenant,))[0]
    stored = rig.value(root, "SELECT sum(stored) FROM probectl.ledger WHERE tenant_id = %s", (tenant,))
    assert killed >= 20 and sent[1] >= 50, (killed, done, sent)
    assert (results, batches) == (stored, sent[1]) and stored == sent[0]
