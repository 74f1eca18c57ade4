# SPDX-License-Identifier: PostgreSQL
"""Who may let a test look into an agent's own network, and that the agent does not do it for others."""
import socket
import uuid

import pytest

from conftest import wait_for

pytestmark = pytest.mark.tenancy


def in_tenant(stack, statement, args=()):
    (tenant,), = stack.sql("SELECT tenant_id FROM probectl.tenant_list() WHERE slug = 'default'")
    connection = stack.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT probectl.enter_tenant(%s)", (tenant,))
            cursor.execute(statement, args)
            rows = cursor.fetchall()
            cursor.execute("COMMIT")
            return rows
    finally:
        connection.close()


@pytest.fixture(scope="module")
def editor(stack):
    """A token of somebody who may write tests and no more."""
    (user,), = in_tenant(stack, "SELECT probectl.user_create('editor@example.net', 'An editor', 'editor')")
    (token,), = in_tenant(stack, "SELECT probectl.api_token_create('editor', %s, '1 hour')", (user,))
    return token


@pytest.fixture(scope="module")
def target():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield "127.0.0.1:%d" % listener.getsockname()[1]


def body(target, **more):
    return {"name": uuid.uuid4().hex[:8], "type": "tcp", "target": target, "interval_seconds": 1, "timeout_seconds": 1, **more}


ALLOWED = {"allow_private_targets": True}


def latest(stack, test, state):
    def row():
        items = stack.api("GET", "/v1/results/latest?limit=100&test_id=" + test["test_id"])[1]["items"]
        return [i for i in items if i["test_id"] == test["test_id"] and i["state"] == state]
    return wait_for(row, 15, "a result that is " + state)[0]


def test_private_target_is_refused_by_the_agent(stack, target):
    status, test = stack.api("POST", "/v1/tests", body(target))
    assert status == 201
    result = latest(stack, test, "failed")
    assert result["error_type"] == "guard_denied"
    assert "127.0.0.1 is a loopback address" in result["error"] and "allow_private_targets" in result["error"]
    # The same test reaches its target once it may.
    assert stack.api("PATCH", "/v1/tests/" + test["test_id"], {"params": ALLOWED})[0] == 200
    assert latest(stack, test, "ok")["error_type"] in (None, "")
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204


def test_name_that_leads_to_a_private_address_is_refused(stack, target):
    status, test = stack.api("POST", "/v1/tests", body("localhost:" + target.split(":")[1]))
    assert status == 201
    assert latest(stack, test, "failed")["error_type"] == "guard_denied"
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"])[0] == 204


def denied(answer):
    status, text = answer
    assert status == 403 and "test.allow_private" in text["error"]["message"], answer


def test_editor_may_not_lift_the_guard(stack, editor, target):
    before = stack.sql("SELECT count(*) FROM probectl.audit_event WHERE outcome = 'denied' AND target = 'test.allow_private'")
    denied(stack.api("POST", "/v1/tests", body(target, params=ALLOWED), token=editor))
    denied(stack.api("POST", "/v1/tests", body(target, params={"allow_private_targets": "true"}), token=editor))
    status, test = stack.api("POST", "/v1/tests", body(target), token=editor)
    assert status == 201
    denied(stack.api("PATCH", "/v1/tests/" + test["test_id"], {"params": ALLOWED}, token=editor))
    # The keeper writes what was refused; the refusals themselves rolled back.
    wait_for(
        lambda: stack.sql("SELECT count(*) FROM probectl.audit_event WHERE outcome = 'denied' AND target = 'test.allow_private'")[0][0]
        == before[0][0] + 3,
        30,
        "three refusals in the chain",
    )
    assert stack.api("DELETE", "/v1/tests/" + test["test_id"], token=editor)[0] == 204


def test_editor_may_not_point_a_privileged_test_elsewhere(stack, editor, target):
    status, test = stack.api("POST", "/v1/tests", body(target, params=ALLOWED))
    assert status == 201
    path = "/v1/tests/" + test["test_id"]
    denied(stack.api("PATCH", path, {"target": "169.254.169.254:80"}, token=editor))
    denied(stack.api("PATCH", path, {"type": "icmp", "target": "10.0.0.1"}, token=editor))
    denied(stack.api("PATCH", path, {"params": {**ALLOWED, "count": 9}}, token=editor))
    # What changes nothing about where it looks is the editor's own right; so is taking it away.
    assert stack.api("PATCH", path, {"name": "renamed", "enabled": False}, token=editor)[0] == 200
    assert stack.api("PATCH", path, {"params": {"allow_private_targets": False}}, token=editor)[0] == 200
    denied(stack.api("PATCH", path, {"params": ALLOWED}, token=editor))
    assert stack.api("DELETE", path)[0] == 204


@pytest.mark.parametrize("value", ["yes", 1, ""])
def test_value_must_be_true_or_false(stack, target, value):
    status, text = stack.api("POST", "/v1/tests", body(target, params={"allow_private_targets": value}))
    assert status == 422 and text["error"]["field"] == "params"
