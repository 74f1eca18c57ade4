# SPDX-License-Identifier: PostgreSQL
"""What the platform does with tenants: fair shares, the agent CA over years, the fleet, branding, keeping in turn, audit retention.
Time is probectl.clock; nothing waits for it."""
import contextlib
import os
import subprocess

import psycopg2
import pytest

import probes
import rig
import test_life as life


@pytest.fixture
def tenant(root):
    rig.rows(root, "SELECT probectl.ca_init()")
    return life.new_tenant(root)


def enrol(root, tenant):
    with rig.inside(root, tenant):
        join = rig.value(root, "SELECT probectl.join_token_create('1 day')")
    return rig.rows(root, "SELECT tenant_id, agent_id, serial, certificate FROM probectl.agent_enroll(%s, %s, 'h', '0.1')", (join, probes.request()))[0]


@contextlib.contextmanager
def clock(conn, at):
    rig.rows(conn, "SET probectl.clock = '%s'" % at)
    try:
        yield
    finally:
        rig.rows(conn, "SET probectl.clock = ''")


def shares(root, tenant):
    with rig.inside(root, tenant):
        return {name: (used, shed) for name, used, shed in rig.rows(root, "SELECT budget, used, shed FROM probectl.fairness_status()")}


def test_a_tenant_over_its_budget_waits_and_is_counted(server, plain, root, tenant):
    agent = enrol(root, tenant)
    other = enrol(root, life.new_tenant(root))
    # Ten a second, twice the weight, ten seconds of burst: 200 results; one batch may overdraw.
    rig.rows(root, "SELECT probectl.tenant_set_budget(%s, 2, 10, 0, 0)", (tenant,))
    with contextlib.closing(server.connect(plain, "probectl_ingest")) as conn:
        def send(who, first, count):
            with contextlib.suppress(psycopg2.Error):
                rig.rows(conn, "ROLLBACK")
            rig.rows(conn, "BEGIN")
            rig.rows(conn, "SELECT probectl.enter_agent(%s, %s, %s)", who[:3])
            code = rig.refused(conn, "SELECT probectl.ingest('network', %s)", (psycopg2.Binary(life.batch(first, count)),))
            rig.rows(conn, "COMMIT" if code is None else "ROLLBACK")
            return code
        assert send(agent, 1, 150) is None
        assert send(agent, 151, 250) is None, "what is left admits one batch, however large"
        assert send(agent, 401, 10) == "PC429"
        assert send(other, 1, 500) is None, "another tenant's budget is its own"
        used, shed = shares(root, tenant)["results"]
        assert (used, shed) == (400, 10)
        # Nothing is lost: the same batch is taken once the debt is paid.
        rig.rows(root, "SELECT probectl.tenant_set_budget(%s, 1, 0, 0, 0)", (tenant,))
        assert send(agent, 401, 10) is None
    with rig.inside(root, tenant):
        assert rig.value(root, "SELECT sum(stored) FROM probectl.ledger") == 410


def test_queries_have_a_budget_too(server, plain, root, tenant):
    _, token = life.new_person(root, tenant)
    rig.rows(root, "SELECT probectl.tenant_set_budget(%s, 1, 0, 0, 1)", (tenant,))
    with life.gateway(server, plain) as conn:
        codes = [rig.refused(conn, "SELECT probectl.enter_session(%s)", (token,)) for _ in range(14)]
        assert codes[:10] == [None] * 10 and codes[-1] == "PC429", codes
        assert shares(root, tenant)["queries"][1] >= 1
        # A guess spends nobody's budget.
        assert rig.refused(conn, "SELECT probectl.enter_session(%s)", (token[:-6] + "AAAAAA",)) == "PC401"


def verifies(folder, root_pem, chain):
    leaf, rest = os.path.join(folder, "leaf"), os.path.join(folder, "rest")
    parts = [p + "-----END CERTIFICATE-----\n" for p in chain.split("-----END CERTIFICATE-----\n") if p.strip()]
    for path, text in ((leaf, parts[0]), (rest, "".join(parts[1:])), (os.path.join(folder, "root"), root_pem)):
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
    done = subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", os.path.join(folder, "root"),
                           "-untrusted", rest, leaf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return subprocess.run(["openssl", "x509", "-in", leaf, "-noout", "-ext", "subjectAltName,extendedKeyUsage"],
                          stdout=subprocess.PIPE, text=True, check=True).stdout


def test_intermediates_overlap(server, plain, root, tenant, tmp_path):
    before = enrol(root, tenant)
    generation = rig.value(root, "SELECT probectl.ca_rotate()")
    after = enrol(root, tenant)
    root_pem = rig.value(root, "SELECT probectl.ca_root()")
    for agent in (before, after):
        names = verifies(str(tmp_path), root_pem, agent[3])
        assert "URI:spiffe://probectl/tenant/%s/agent/%s" % (agent[0], agent[1]) in names and "TLS Web Client Authentication" in names
        assert "Server" not in names
        with contextlib.closing(server.connect(plain, "probectl_ingest")) as conn:
            assert rig.refused(conn, "SELECT probectl.enter_agent(%s, %s, %s)", agent[:3]) is None
    assert before[3].split("-----END CERTIFICATE-----\n")[1] != after[3].split("-----END CERTIFICATE-----\n")[1]
    assert rig.value(root, "SELECT probectl.ca_bundle()").count("BEGIN CERTIFICATE") == 1 + generation
    assert rig.value(root, "SELECT count(*) FROM probectl_internal.certificate_authority WHERE position('PRIVATE' in encode(sealed_key, 'escape')) > 0") == 0


def test_the_ca_says_when_it_is_about_to_end(root, tenant):
    assert not any(alarm for (alarm,) in rig.rows(root, "SELECT alarm FROM probectl.ca_status()"))
    end = rig.value(root, "SELECT to_char((max(not_after) - interval '29 days') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM probectl.ca_status() WHERE kind = 'intermediate'")
    said = "SELECT count(*) FROM probectl_internal.provider_audit_event WHERE action = 'ca.alarm'"
    with clock(root, end):
        assert rig.rows(root, "SELECT kind, days_left FROM probectl.ca_status() WHERE alarm") == [("intermediate", 29)]
        assert rig.value(root, "SELECT probectl_internal.ca_watch()") == 1
        rig.rows(root, "SELECT probectl_internal.ca_watch()")
        assert rig.value(root, said) == 1, "once a day is enough"
        rig.rows(root, "SELECT probectl.ca_rotate()")
        assert rig.rows(root, "SELECT kind FROM probectl.ca_status() WHERE alarm") == []


def test_the_fleet_is_counted_without_telemetry(server, plain, root, tenant):
    enrol(root, tenant)
    seen = enrol(root, tenant)
    with contextlib.closing(server.connect(plain, "probectl_ingest")) as conn, rig.transaction(conn):
        rig.rows(conn, "SELECT probectl.enter_agent(%s, %s, %s)", seen[:3])
        rig.rows(conn, "SELECT probectl.agent_register('h', '0.1', '{icmp}', '{}')")
    with rig.transaction(root):
        rig.rows(root, "SELECT probectl_internal.tenant_bind(%s)", (tenant,))
        rig.rows(root, "SELECT probectl_internal.fleet_count()")
    _, session = life.operator(root)
    with life.gateway(server, plain) as conn, rig.transaction(conn):
        rig.rows(conn, "SELECT probectl.enter_operator(%s)", (session,))
        fleet = rig.rows(conn, "SELECT version, agents, online, stale FROM probectl.provider_fleet() WHERE tenant_id = %s", (tenant,))
    assert fleet == [("0.1", 2, 1, 0)]


def test_branding_is_the_tenants_page(server, plain, root, tenant):
    _, token = life.new_person(root, tenant)
    assert rig.refused(root, "SELECT probectl.tenant_set_branding(%s, 'Acme Net', 'red', NULL, NULL)", (tenant,)) == "PC422"
    rig.rows(root, "SELECT probectl.tenant_set_branding(%s, 'Acme Net', '#aa3300', NULL, 'https://help.example')", (tenant,))
    with life.gateway(server, plain) as conn, rig.session(conn, token):
        body = rig.value(conn, "SELECT body::json -> 'branding' FROM probectl.api_call('GET', '/v1/me', '{}', '{}', NULL)")
    assert body == {"product_name": "Acme Net", "accent": "#aa3300", "logo_svg": None, "support_url": "https://help.example"}


def test_the_keeper_visits_tenants_in_turn(root, tenant):
    made = [life.new_tenant(root) for _ in range(3)]
    everybody = {str(t) for (t,) in rig.rows(root, "SELECT tenant_id FROM probectl_internal.tenant_registry WHERE status <> 'deleted'")}
    with clock(root, "2100-01-01T00:00:00Z"):
        assert {str(t) for (t,) in rig.rows(root, "SELECT probectl_internal.tenants_to_keep()")} == everybody
    rig.rows(root, "INSERT INTO probectl_internal.tenant_registry (tenant_id, slug, name, status, created_at) SELECT probectl.uuid_v7(), 'kept-' || i, 'x', 'active', now() FROM generate_series(1, 600) i")
    with clock(root, "2100-01-01T00:01:00Z"):
        first = {str(t) for (t,) in rig.rows(root, "SELECT probectl_internal.tenants_to_keep()")}
        assert len(first) == 500 and not first & set(made), "those never visited come first, and a pass is bounded"
    with clock(root, "2100-01-01T00:02:00Z"):
        second = {str(t) for (t,) in rig.rows(root, "SELECT probectl_internal.tenants_to_keep()")}
        assert set(made) <= second and len(second) == 500
    rig.rows(root, "DELETE FROM probectl_internal.tenant_registry WHERE slug LIKE 'kept-%'")


def test_audit_retention_keeps_the_chain_whole(server, plain, root, tenant):
    with rig.inside(root, tenant):
        rig.rows(root, "SELECT probectl.audit_checkpoint()")
        held = rig.value(root, "SELECT count(*) FROM probectl.audit_event")

    def retain(days):
        rig.rows(root, "ALTER SYSTEM SET probectl.audit_retention = %d" % days)
        rig.rows(root, "SELECT pg_reload_conf()")
        rig.wait_for(lambda: rig.value(root, "SHOW probectl.audit_retention") == str(days), 20, "the setting")
    try:
        with clock(root, "2099-01-01T00:00:00Z"):
            with rig.transaction(root):
                rig.rows(root, "SELECT probectl_internal.tenant_bind(%s)", (tenant,))
                assert rig.value(root, "SELECT probectl_internal.audit_retain()") == 0, "kept for ever unless told"
            retain(30)
            with rig.transaction(root):
                rig.rows(root, "SELECT probectl_internal.tenant_bind(%s)", (tenant,))
                assert rig.value(root, "SELECT probectl_internal.audit_retain()") == held
            with rig.inside(root, tenant):
                assert rig.rows(root, "SELECT ok, events FROM probectl.audit_verify()") == [(True, 1)]
    finally:
        retain(0)
