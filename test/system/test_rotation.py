# SPDX-License-Identifier: PostgreSQL
"""The life of an agent's identity: it is rotated over its own link, and whoever loses the right to be
there loses his open streams as well. First the ingest alone, judged with a producer in Python;
then the agent itself on a complete stack."""

import contextlib
import hashlib
import os
import signal
import subprocess
import time
import uuid

import grpc
import pytest

import ingest_parts as parts
from ingest_parts import Identity, wait_until
from test_first_light import own_agent  # noqa: F401 (a fixture)
from test_ingest import World

Code = grpc.StatusCode

# How soon after the commit of a revocation a live call must be over.
CUT_SECONDS = 2.0


@pytest.fixture(scope="module")
def world():
    made = World()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def shared(world):
    ingest = world.ingest().start()
    yield ingest
    code, _ = ingest.stop()
    assert code == 0, ingest.log()


@pytest.fixture
def agent(world):
    return world.agent()


# ---- Rotate, by hand -----------------------------------------------------------------------


def new_request(folder):
    """A key and a request for it."""
    name = uuid.uuid4().hex
    key, request = folder / f"{name}.key", folder / f"{name}.csr"
    parts.run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
              "-subj", "/CN=agent", "-keyout", key, "-out", request)
    return key, request.read_text()


def fingerprint(key):
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True)
    return hashlib.sha256(der.stdout).hexdigest()


def sign(key, challenge, new_key):
    text = f"probectl.rotate.v1\n{challenge}\n{fingerprint(new_key)}\n"
    return subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), capture_output=True,
                          check=True).stdout


def rotate(world, producer, **fields):
    return producer.call("Rotate", world.messages.agent.RotateRequest(**fields), world.messages.agent.RotateResponse)


def refused(world, producer, **fields):
    with pytest.raises(grpc.RpcError) as error:
        rotate(world, producer, **fields)
    return error.value.code()


def certificates(world, agent):
    return world.database.one("SELECT count(*) FROM probectl.agent_certificate WHERE agent_id = %s", (agent.agent,))[0]


def test_rotation_gives_a_certificate_that_enters(world, shared, agent):
    with world.producer(shared, agent) as producer:
        challenge = rotate(world, producer).challenge
        key, request = new_request(world.folder)
        answer = rotate(world, producer, csr_pem=request, challenge=challenge, proof=sign(agent.key, challenge, key))
        assert producer.status("Heartbeat") == Code.OK, "the old certificate lives to its end"
    cert = world.folder / f"{uuid.uuid4().hex}.pem"
    cert.write_text(answer.certificate_pem)
    assert "BEGIN CERTIFICATE" in answer.ca_bundle_pem
    assert answer.not_after_unix > time.time()
    shown = parts.run("openssl", "x509", "-in", cert, "-noout", "-serial").strip().removeprefix("serial=")
    assert shown.lower().lstrip("0") == answer.serial
    with world.producer(shared, Identity(key, cert)) as producer:
        assert producer.register().agent_id == agent.agent
    assert certificates(world, agent) == 2
    assert shared.metric("probectl_ingest_calls_total", 'method="Rotate"') >= 2


def test_proof_by_another_key_is_refused(world, shared, agent):
    with world.producer(shared, agent) as producer:
        challenge = rotate(world, producer).challenge
        key, request = new_request(world.folder)
        # By the new key itself, by a stranger's, and a good one over something else.
        for proof in (sign(key, challenge, key), sign(world.agent().key, challenge, key),
                      sign(agent.key, challenge, agent.key), b"\x30\x00"):
            assert refused(world, producer, csr_pem=request, challenge=challenge, proof=proof) == Code.UNAUTHENTICATED
    assert certificates(world, agent) == 1


def test_challenge_of_another_is_refused(world, shared, agent):
    other = world.agent()
    with world.producer(shared, other) as producer:
        challenge = rotate(world, producer).challenge
    key, request = new_request(world.folder)
    with world.producer(shared, agent) as producer:
        assert refused(world, producer, csr_pem=request, challenge=challenge,
                       proof=sign(agent.key, challenge, key)) == Code.UNAUTHENTICATED
    assert certificates(world, agent) == 1


def test_replayed_rotation_is_refused_after_the_change(world, shared, agent):
    """What was captured on the way is worth nothing on a connection made with the new certificate."""
    with world.producer(shared, agent) as producer:
        challenge = rotate(world, producer).challenge
        key, request = new_request(world.folder)
        proof = sign(agent.key, challenge, key)
        cert = world.folder / f"{uuid.uuid4().hex}.pem"
        cert.write_text(rotate(world, producer, csr_pem=request, challenge=challenge, proof=proof).certificate_pem)
    with world.producer(shared, Identity(key, cert)) as producer:
        assert refused(world, producer, csr_pem=request, challenge=challenge, proof=proof) == Code.UNAUTHENTICATED


def test_forged_and_old_challenges_are_refused(world, agent):
    """Nothing is stored of a challenge: it says itself how old it is, and is sealed."""
    one = world.ingest().start()
    key, request = new_request(world.folder)
    try:
        with world.producer(one, agent) as producer:
            challenge = rotate(world, producer).challenge
            forged = challenge[:-6] + ("A" if challenge[-6] != "A" else "B") + challenge[-5:]
            assert refused(world, producer, csr_pem=request, challenge=forged,
                           proof=sign(agent.key, forged, key)) == Code.UNAUTHENTICATED
        one.stop()
        with world.database.session() as cursor:
            later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 90))
            cursor.execute(f"ALTER ROLE probectl_ingest SET probectl.clock = '{later}'")
        one.start()
        with world.producer(one, agent) as producer:
            assert refused(world, producer, csr_pem=request, challenge=challenge,
                           proof=sign(agent.key, challenge, key)) == Code.UNAUTHENTICATED
            fresh = rotate(world, producer).challenge
            assert rotate(world, producer, csr_pem=request, challenge=fresh, proof=sign(agent.key, fresh, key)).serial
    finally:
        with world.database.session() as cursor:
            cursor.execute("ALTER ROLE probectl_ingest RESET probectl.clock")
        one.stop()


@pytest.mark.parametrize("fields", [
    dict(csr_pem="x"), dict(challenge="x"), dict(proof=b"x"), dict(csr_pem="x", challenge="y"),
    dict(csr_pem="x" * 20000, challenge="y", proof=b"z"), dict(csr_pem="x", challenge="y" * 600, proof=b"z"),
    dict(csr_pem="x", challenge="y", proof=b"z" * 2000), dict(csr_pem="no request", challenge="y", proof=b"z")])
def test_half_a_request_is_invalid(world, shared, agent, fields):
    with world.producer(shared, agent) as producer:
        assert refused(world, producer, **fields) == Code.INVALID_ARGUMENT


def test_garbage_is_invalid(world, shared, agent):
    with world.producer(shared, agent) as producer:
        assert producer.status("Rotate", b"\xff\xff") == Code.INVALID_ARGUMENT


def test_the_key_in_use_is_no_new_key(world, shared, agent):
    request = parts.run("openssl", "req", "-new", "-key", agent.key, "-subj", "/CN=agent")
    with world.producer(shared, agent) as producer:
        challenge = rotate(world, producer).challenge
        assert refused(world, producer, csr_pem=request, challenge=challenge,
                       proof=sign(agent.key, challenge, agent.key)) == Code.INVALID_ARGUMENT


def test_ingest_started_again_between_the_two_calls(world, agent):
    one = world.ingest().start()
    with world.producer(one, agent) as producer:
        challenge = rotate(world, producer).challenge
    one.kill()
    other = world.ingest().start()
    try:
        with world.producer(other, agent) as producer:
            key, request = new_request(world.folder)
            answer = rotate(world, producer, csr_pem=request, challenge=challenge,
                            proof=sign(agent.key, challenge, key))
            assert answer.serial
    finally:
        other.stop()


# ---- revocation cuts -----------------------------------------------------------------------


def open_stream(world, producer):
    stream = producer.stream()
    stream.send(world.messages.request(1, 1, world.messages.results(1)))
    stream.wait_acks(1)
    return stream


def cut_after(began, ended):
    took = time.monotonic() - began
    assert took < CUT_SECONDS, f"cut after {took:.2f} s"
    print(f"cut after {took * 1000:.0f} ms")
    return ended


def revoke(world, agent):
    assert world.database.one("SELECT probectl.agent_revoke(%s)", (agent.agent,), agent.tenant)[0]
    return time.monotonic()


def test_revocation_cuts_a_silent_stream_and_a_waiting_pull(world, shared, agent):
    bystander = world.agent()
    cut = shared.metric("probectl_ingest_cut_total")
    with world.producer(shared, agent) as producer, world.producer(shared, bystander) as neighbour:
        stream, other = open_stream(world, producer), open_stream(world, neighbour)
        pull = producer.pull_future(producer.pull().revision, 30)
        waits = neighbour.pull_future(neighbour.pull().revision, 30)
        wait_until("two calls wait", lambda: shared.metric("probectl_ingest_waiters") == 2)
        began = revoke(world, agent)
        assert cut_after(began, stream.end()) == Code.UNAUTHENTICATED
        assert pull.exception(5).code() == Code.UNAUTHENTICATED
        cut_after(began, None)
        assert shared.metric("probectl_ingest_cut_total") - cut == 2
        assert f"agent {agent.agent}" in shared.log()
        # The neighbour of the same tenant goes on.
        other.send(world.messages.request(1, 2, world.messages.results(1)))
        other.wait_acks(2)
        assert not waits.done()
        waits.cancel()


@pytest.mark.tenancy
def test_suspension_cuts_every_stream_of_the_tenant_and_of_no_other(world, shared, agent):
    tenant = world.enrolment.tenant("cut-" + uuid.uuid4().hex[:8])
    agents = [world.agent(tenant) for _ in range(5)]
    producers = [world.producer(shared, one) for one in agents]
    try:
        with world.producer(shared, agent) as neighbour:
            other = open_stream(world, neighbour)
            streams = [open_stream(world, producer) for producer in producers]
            world.database.one("SELECT probectl.tenant_set_status(%s, 'suspended')", (tenant,))
            began = time.monotonic()
            assert [cut_after(began, stream.end()) for stream in streams] == [Code.PERMISSION_DENIED] * 5
            other.send(world.messages.request(1, 2, world.messages.results(1)))
            other.wait_acks(2)
    finally:
        for producer in producers:
            producer.channel.close()


@contextlib.contextmanager
def listener_away(world):
    """The connections that LISTEN are ended, and no other comes before the block has ended."""

    def execute(sql):
        with world.database.session() as cursor:
            cursor.execute(sql)
            return cursor.rowcount

    execute("ALTER ROLE probectl_ingest NOLOGIN")
    try:
        assert execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                       " WHERE usename = 'probectl_ingest' AND query LIKE 'LISTEN%'"), "the listener was not found"
        yield
    finally:
        execute("ALTER ROLE probectl_ingest LOGIN")


def test_revoked_while_nobody_listened(world, agent):
    """The connection that LISTENs was away when it was told: every live call is asked about."""
    one = world.ingest().start()
    bystander = world.agent()
    try:
        with world.producer(one, agent) as producer, world.producer(one, bystander) as neighbour:
            stream, other = open_stream(world, producer), open_stream(world, neighbour)
            with listener_away(world), world.database.session() as cursor:
                cursor.execute("SET session_replication_role = replica")
                cursor.execute("UPDATE probectl.agent SET revoked_at = now() WHERE agent_id = %s", (agent.agent,))
            began = time.monotonic()
            assert cut_after(began, stream.end()) == Code.UNAUTHENTICATED
            other.send(world.messages.request(1, 2, world.messages.results(1)))
            other.wait_acks(2)
    finally:
        one.stop()


def test_stream_opened_after_revocation_does_not_stay(world, shared, agent):
    with world.producer(shared, agent) as producer:
        assert producer.status("Heartbeat") == Code.OK
        revoke(world, agent)
        stream = producer.stream()
        began = time.monotonic()
        assert cut_after(began, stream.end()) == Code.UNAUTHENTICATED


def test_revocation_under_load_of_other_streams(world, shared, agent):
    """A cut does not stand behind the batches of others."""
    loud = [world.agent() for _ in range(4)]
    producers = [world.producer(shared, one) for one in loud]
    try:
        with world.producer(shared, agent) as producer:
            stream = open_stream(world, producer)
            streams = [one.stream() for one in producers]
            for number in range(60):
                for each in streams:
                    each.send(world.messages.request(1, 1 + number * 200, world.messages.results(200)))
            began = revoke(world, agent)
            assert cut_after(began, stream.end()) == Code.UNAUTHENTICATED
            for each in streams:
                each.wait_acks(60, 60)
    finally:
        for producer in producers:
            producer.channel.close()


# ---- the agent -----------------------------------------------------------------------------

TESTS = 4


def current(agent):
    """(directory, serial) of the identity that counts, None while there is none."""
    link = agent.folder / "identity" / "current"
    if not link.is_symlink():
        return None
    version = os.readlink(link)
    cert = agent.folder / "identity" / version / "cert.pem"
    shown = parts.run("openssl", "x509", "-in", cert, "-noout", "-serial")
    return version, shown.strip().removeprefix("serial=").lower().lstrip("0")


def enrolled(own_agent, name, tests=TESTS):
    agent = own_agent(name, tests)
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, 30, "the agent is registered")
    agent.wait(lambda: agent.stored()[0] >= tests, 20, "first results")
    return agent


def rotated(agent, before, seconds=30):
    agent.wait(lambda: current(agent) != before, seconds, "another identity")
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, seconds, "the agent is registered")
    return current(agent)


def exact(agent):
    """Everything that was measured is stored once."""
    made = agent.settle()
    wait_until("all of it is stored", lambda: agent.stored()[0] >= made)
    assert agent.stored() == (made, made)
    assert not {k: v for k, v in agent.metrics().items() if "dropped" in k and v > 0}


def test_rotation_on_request_under_load(stack, own_agent):
    agent = enrolled(own_agent, "rotating")
    seen = [current(agent)]
    stored = agent.stored()[0]
    for _ in range(4):
        agent.process.send_signal(signal.SIGUSR1)
        seen.append(rotated(agent, seen[-1]))
        agent.wait(lambda: agent.stored()[0] > stored + TESTS, 20, "results go on")
        stored = agent.stored()[0]
    assert len({serial for _, serial in seen}) == 5
    kept = {each.name for each in (agent.folder / "identity").iterdir()}
    assert kept == {"current", seen[-1][0], seen[-2][0]}, "the one in use and the one before"
    for name in ("key.pem", "cert.pem", "ca.pem"):
        assert (agent.folder / "identity" / "current" / name).stat().st_mode & 0o777 == 0o600
    # The control plane knows all five, and the agent talks with the last one.
    known = stack.sql("SELECT count(*) FROM probectl.agent_certificate c JOIN probectl.agent a USING (tenant_id, agent_id)"
                      " WHERE a.hostname = 'rotating'")
    assert known == [(5,)]
    assert f"certificate {seen[-1][1]} is in use" in agent.log.read_text()
    exact(agent)


def test_ingest_restarted_in_the_middle_of_rotations(stack, own_agent):
    agent = enrolled(own_agent, "interrupted")
    before = current(agent)
    for _ in range(3):
        agent.process.send_signal(signal.SIGUSR1)
        old = stack.kill9("ingest")
        stack.wait_replaced("ingest", old)
    after = rotated(agent, before, 60)
    assert after[1] != before[1]
    exact(agent)


def agent_id(stack, agent):
    return str(stack.sql("SELECT agent_id FROM probectl.agent WHERE hostname = %s", (agent.name,))[0][0])


def mint(stack, who, folder, age):
    """Key, certificate and CA of an agent as if it had enrolled age seconds ago."""
    key, request = new_request(folder)
    clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    with stack.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET probectl.clock = %s", (clock,))
        cursor.execute("SELECT tenant_id FROM probectl.agent WHERE agent_id = %s", (who,))
        tenant, = cursor.fetchone()
        cursor.execute("BEGIN")
        cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
        cursor.execute("SELECT probectl.join_token_create('1 hour', %s)", (who,))
        token, = cursor.fetchone()
        cursor.execute("COMMIT")
        cursor.execute("SELECT certificate, ca_bundle FROM probectl.agent_enroll(%s, %s, 'minted', 'test')",
                       (token, request))
        cert, bundle = cursor.fetchone()
    return key.read_text(), cert, bundle


def put(agent, identity, name):
    """Installs an identity as another program would: a whole directory, then the link in one step."""
    folder = agent.folder / "identity" / name
    folder.mkdir(mode=0o700)
    for file, text in zip(("key.pem", "cert.pem", "ca.pem"), identity):
        (folder / file).write_text(text)
    link = agent.folder / "identity" / "new"
    link.symlink_to(name)
    link.replace(agent.folder / "identity" / "current")


def test_identity_changed_on_disk_is_taken(stack, own_agent):
    agent = enrolled(own_agent, "replaced")
    put(agent, mint(stack, agent_id(stack, agent), agent.folder, 0), "v-hand")
    serial = current(agent)[1]
    agent.wait(lambda: f"certificate {serial} is in use" in agent.log.read_text(), 10, "the agent has seen it")
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, 10, "the agent is registered")
    exact(agent)


def test_broken_identity_on_disk_changes_nothing(stack, own_agent):
    agent = enrolled(own_agent, "broken")
    key, cert, bundle = mint(stack, agent_id(stack, agent), agent.folder, 0)
    put(agent, (new_request(agent.folder)[0].read_text(), cert, bundle), "v-bad")
    agent.wait(lambda: "the certificate is not for this key; the one in use stays" in agent.log.read_text(), 10,
               "a line about it")
    exact(agent)


def test_identity_of_another_agent_stops_the_agent(stack, own_agent):
    agent, other = enrolled(own_agent, "one"), None
    other = str(stack.sql("SELECT agent_id FROM probectl.agent WHERE name = 'local'")[0][0])
    put(agent, mint(stack, other, agent.folder, 0), "v-other")
    assert agent.process.wait(15) == 1
    assert "another agent's" in agent.log.read_text()


def aged(stack, agent, age):
    """Stops the agent and gives it the certificate it would have after being off for long."""
    agent.process.terminate()
    agent.process.wait(15)
    put(agent, mint(stack, agent_id(stack, agent), agent.folder, age), "v-aged")
    agent.start()


def test_certificate_is_rotated_when_it_is_due(stack, own_agent):
    agent = enrolled(own_agent, "due")
    aged(stack, agent, 20 * 3600)
    serial = current(agent)[1]
    agent.wait(lambda: current(agent)[1] != serial, 30, "another certificate, unasked")
    left = agent.metrics()["probectl_agent_certificate_not_after_seconds"] - time.time()
    assert 23 * 3600 < left <= 24 * 3600 + 60, left
    exact_since_start(agent)


def exact_since_start(agent):
    """As exact, for an agent that was started again and counts from there."""
    agent.settle()
    rows, different = agent.stored()
    assert rows == different and agent.backlog() == 0


def test_young_certificate_is_left_alone(stack, own_agent):
    agent = enrolled(own_agent, "young")
    aged(stack, agent, 14 * 3600)
    serial = current(agent)[1]
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, 20, "registered")
    stored = agent.stored()[0]
    agent.wait(lambda: agent.stored()[0] > stored + 2 * TESTS, 20, "results go on")
    assert current(agent)[1] == serial


def test_ended_certificate_asks_for_a_token_and_takes_one(stack, own_agent):
    agent = enrolled(own_agent, "ended")
    who = agent_id(stack, agent)
    aged(stack, agent, 25 * 3600)
    agent.wait(lambda: "the certificate ended at" in agent.log.read_text(), 10, "a line that says what to do")
    assert f"put a new join token for agent {who}" in agent.log.read_text()
    agent.wait(lambda: agent.backlog() >= 2 * TESTS, 20, "results are kept")
    # A token that is no use is said to be so, and the agent lives on.
    (agent.folder / "token").write_text("pjt_" + "A" * 40)
    agent.wait(lambda: "put a new join token into" in agent.log.read_text(), 20, "the token is refused")
    tenant, = stack.sql("SELECT tenant_id FROM probectl.agent WHERE agent_id = %s", (who,))[0]
    with stack.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
        cursor.execute("SELECT probectl.join_token_create('1 hour', %s)", (who,))
        token, = cursor.fetchone()
        cursor.execute("COMMIT")
    (agent.folder / "token").write_text(token)
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, 30, "the agent is back")
    assert agent_id(stack, agent) == who
    assert not (agent.folder / "token").exists()
    exact_since_start(agent)


def test_revoked_agent_is_off_at_once_and_rotates_no_more(stack, own_agent):
    agent = enrolled(own_agent, "revoked")
    serial = current(agent)[1]
    tenant, = stack.sql("SELECT tenant_id FROM probectl.agent WHERE agent_id = %s", (agent_id(stack, agent),))[0]
    with stack.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
        cursor.execute("SELECT probectl.agent_revoke(%s)", (agent_id_of(cursor, agent),))
        cursor.execute("COMMIT")
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 0, CUT_SECONDS, "the agent is cut off")
    stored = agent.stored()[0]
    agent.process.send_signal(signal.SIGUSR1)
    agent.wait(lambda: agent.backlog() >= 2 * TESTS, 20, "results are kept")
    assert agent.stored()[0] == stored and current(agent)[1] == serial


def agent_id_of(cursor, agent):
    cursor.execute("SELECT agent_id FROM probectl.agent WHERE hostname = %s", (agent.name,))
    return cursor.fetchone()[0]
