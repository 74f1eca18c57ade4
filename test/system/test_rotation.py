# SPDX-License-Identifier: PostgreSQL
"""The life of an agent's identity: it is rotated over its own link, and whoever loses the right to be
there loses his open streams as well. First the ingest alone, judged with a producer in Python;
then the agent itself on a complete stack."""

import hashlib
import pathlib
import subprocess
import time
import uuid

import grpc
import pytest

import ingest_parts as parts
from ingest_parts import Identity, wait_until
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


def test_revoked_while_nobody_listened(world, agent):
    """The connection that LISTENs was away when it was told: every live call is asked about."""
    one = world.ingest().start()
    bystander = world.agent()
    try:
        with world.producer(one, agent) as producer, world.producer(one, bystander) as neighbour:
            stream, other = open_stream(world, producer), open_stream(world, neighbour)
            with world.database.session() as cursor:
                # In one transaction: the listener is gone before the revocation can be told.
                cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                               " WHERE usename = 'probectl_ingest' AND query LIKE 'LISTEN%'")
                assert cursor.fetchall(), "the listener was not found"
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
