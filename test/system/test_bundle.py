# SPDX-License-Identifier: PostgreSQL
"""The agent and the tests it is given, by a control plane that is not always to be trusted.

The server here has the right certificate, so the link stands, but what it hands out is signed well, badly, by nobody or
by the wrong one, or is old.
"""
import pytest

from control import Agent, Control, Signer
from ingest_parts import Authority, Messages


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    return Messages(tmp_path_factory.mktemp("messages"))


@pytest.fixture
def scene(messages, tmp_path):
    """(authority, control, make an agent)"""
    authority, agents = Authority(tmp_path, "authority"), []
    control = Control(messages, authority)

    def make(settings=""):
        folder = tmp_path / ("agent%d" % len(agents))
        folder.mkdir()
        agents.append(Agent(folder, authority, control, settings))
        agents[-1].start()
        return agents[-1]

    yield authority, control, make
    for agent in agents:
        agent.stop()
    control.server.stop(None)


def test_only_what_the_control_plane_signed_is_run(scene, tmp_path):
    authority, control, make = scene
    signer = Signer(authority)
    control.give(5, signer)
    agent = make()
    agent.wait("revision 5 runs", lambda: agent.runs(5))
    agent.wait("the control plane knows", lambda: any(b.config_epoch == 5 for b in control.beats))
    stranger = Authority(tmp_path, "stranger")
    bad = [
        ("signature", "signature does not hold", dict(revision=6, signer=signer, spoil=True)),
        ("signature", "it is not signed", dict(revision=6, signer=None)),
        ("signature", "signer may not sign this", dict(revision=6, signer=Signer(authority, ("DNS:localhost",), "serverAuth"))),
        ("signature", "issuer", dict(revision=6, signer=Signer(stranger))),
        ("identity", "it is for agent", dict(revision=6, signer=signer, agent="33333333-3333-4333-8333-333333333333")),
        ("identity", "of tenant 3333", dict(revision=6, signer=signer, tenant="33333333-3333-4333-8333-333333333333")),
        ("rollback", "revision 4 is older than 5", dict(revision=4, signer=signer)),
    ]
    for reason, words, what in bad:
        before = agent.refused(reason)
        control.answer = None
        control.give(**what)
        agent.wait(words, lambda: agent.refused(reason) > before)
        agent.wait("the heartbeat says: " + words, lambda: words in control.beats[-1].tests_problem)
        assert control.beats[-1].tests_refused >= 1 and control.beats[-1].config_epoch == 5
        assert agent.runs(5)
    assert "error tests: the bundle of the control plane is refused: its signature does not hold; revision 5 runs on" in \
        agent.log.read_text()
    control.give(7, signer)
    agent.wait("revision 7 runs", lambda: agent.runs(7))
    agent.wait("the heartbeat has nothing to say", lambda: control.beats[-1].config_epoch == 7 and not control.beats[-1].tests_problem)


def test_kept_tests_run_without_a_link_and_bound_what_comes_after(scene):
    authority, control, make = scene
    signer = Signer(authority)
    control.give(5, signer)
    agent = make()
    agent.wait("revision 5 runs", lambda: agent.runs(5))
    agent.stop()
    control.answer = None
    agent.start()
    agent.wait("they run again", lambda: agent.runs(5))
    agent.wait("and it says so when it asks", lambda: control.pulls and control.pulls[-1] == 5)
    control.give(3, signer)
    agent.wait("an older one is refused after a restart too", lambda: agent.refused("rollback") >= 1)
    agent.stop()
    # What somebody else wrote there does not run.
    kept = agent.folder / "spool" / "tests.signed"
    kept.write_bytes(kept.read_bytes().replace(b"127.0.0.1:9", b"127.0.0.1:7"))
    control.answer = None
    agent.start()
    agent.wait("it has none", lambda: agent.runs(0))


def test_an_agent_that_is_told_not_to_asks_for_none(scene):
    authority, control, make = scene
    control.give(5, Signer(authority))
    agent = make("tests:\n  from_control: false\ncanaries:\n  - {type: tcp, target: \"127.0.0.1:9\", interval: 1m}\n")
    agent.wait("it beats", lambda: len(control.beats) >= 2)
    assert control.pulls == [] and agent.metric("probectl_agent_tests") == 1
    assert control.beats[-1].config_epoch == 0 and control.beats[-1].tests_problem == ""
