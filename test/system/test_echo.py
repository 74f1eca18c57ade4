# SPDX-License-Identifier: PostgreSQL
"""A udp test from the API to the stored result, answered by an agent that has the setting echo.listen."""
import uuid

import pytest

from conftest import free_port, wait_for
from test_first_light import OwnAgent


@pytest.fixture
def responder(stack, tmp_path):
    port = free_port()
    agent = OwnAgent(stack, tmp_path, "responder", 0)
    agent.settings(0, "echo:\n  listen: '[::]:%d'\n  rate: 1000\n" % port)
    agent.start()
    agent.wait(lambda: agent.metrics().get("probectl_agent_connected") == 1, 30, "the agent is registered")
    yield agent, port
    agent.stop()


def stored(stack, test_id, state):
    items = stack.api("GET", "/v1/results/latest?limit=100&test_id=" + test_id)[1]["items"]
    return [i for i in items if i["test_id"] == test_id and i["state"] == state]


def test_agent_answers_a_udp_test(stack, responder):
    agent, port = responder
    status, test = stack.api("POST", "/v1/tests", {
        "name": uuid.uuid4().hex[:8], "type": "udp", "target": "127.0.0.1:%d" % port, "interval_seconds": 1, "timeout_seconds": 1,
        "params": {"count": 4, "payload_bytes": 200, "allow_private_targets": True}})
    assert status == 201, test
    latest = wait_for(lambda: stored(stack, test["test_id"], "ok"), 30, "a result that is ok")[0]
    assert latest["type"] == "udp" and latest["latency_ms"] > 0 and latest["loss_ratio"] == 0
    assert agent.metrics()['probectl_agent_echo_packets_total{outcome="answered"}'] >= 4
    agent.stop()
    refused = wait_for(lambda: stored(stack, test["test_id"], "failed"), 30, "a result that is failed")[0]
    assert refused["error_type"] == "connect_refused"
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204
