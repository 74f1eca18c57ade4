# SPDX-License-Identifier: PostgreSQL
"""A backup is worth what its restore shows: another state directory, the same results, tokens, audit and
agents. What is wrong with a backup is said before anything is made."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import Stack, stack_environment, wait_for
from test_cli import one_line, wait_new_result
from test_first_light import OwnAgent

@pytest.fixture
def new(make_stack):
    return make_stack()


COUNTS = """SELECT tenant_id, (SELECT count(*) FROM probectl.test t WHERE t.tenant_id = n.tenant_id),
                   (SELECT count(*) FROM probectl.result r WHERE r.tenant_id = n.tenant_id),
                   (SELECT sum(stored) FROM probectl.ledger l WHERE l.tenant_id = n.tenant_id)
              FROM probectl.tenant n ORDER BY tenant_id"""


@pytest.fixture(scope="module")
def old():
    stack = Stack()
    stack.up()
    yield stack
    stack.remove()


@pytest.fixture(scope="module")
def backup(old, tmp_path_factory):
    """Of a probectl at work, with a second tenant, an agent elsewhere, and things that happen afterwards."""
    old.cli("tenant", "create", "second", "Second")
    agent = OwnAgent(old, tmp_path_factory.mktemp("agent"), "elsewhere", 3)
    agent.config.write_text(agent.config.read_text().replace("from_control: false", "from_control: true"))
    agent.start()
    agent.wait(lambda: agent.stored()[0] >= 10, 30, "results of the agent elsewhere")
    folder = str(tmp_path_factory.mktemp("backup") / "one")
    counts = old.sql(COUNTS)
    said = old.cli("backup", folder).stdout
    yield {"folder": folder, "counts": counts, "said": said, "agent": agent}
    agent.stop()


def add_test(stack, name):
    body = {"name": name, "type": "icmp", "target": "192.0.2.1", "interval_seconds": 300, "timeout_seconds": 3}
    status, answer = stack.api("POST", "/v1/tests", body)
    assert status == 201, answer


def names_of_tests(stack):
    return {item["name"] for item in stack.api("GET", "/v1/tests?limit=100")[1]["items"]}


def revisions_of(agent):
    """Of the control plane's tests, as the agent took them."""
    return [int(number) for number in re.findall(r"revision (\d+) of the control plane's tests", agent.log.read_text())]


def key_of(stack):
    return pathlib.Path(os.path.realpath(stack.home), "pg", "probectl.key")


def holds(folder, secret):
    return [path for path in pathlib.Path(folder).rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_without_the_key_and_for_its_owner_alone(old, backup):
    assert str(key_of(old)) in backup["said"]
    assert not holds(backup["folder"], key_of(old).read_bytes())
    assert os.stat(backup["folder"]).st_mode & 0o077 == 0


def test_by_a_name_from_here(old, new, tmp_path):
    """Copies run in another folder than the caller."""
    words = [(old, "backup", "--with-key", "here"), (new, "restore", "here")]
    for stack, *command in words:
        done = subprocess.run(stack.command(*command), cwd=tmp_path, env=stack_environment(), capture_output=True, text=True)
        assert done.returncode == 0, done
    assert (tmp_path / "here" / "data" / "PG_VERSION").exists()
    assert os.path.exists(new.home + "/pg/data/PG_VERSION")
    assert not os.path.exists("/here")


def test_key_is_copied_when_asked_for(old, backup, tmp_path):
    said = old.cli("backup", "--with-key", str(tmp_path / "two")).stdout
    assert "keep it like the key" in said
    assert holds(tmp_path / "two", key_of(old).read_bytes()) == [tmp_path / "two" / "probectl.key"]
    assert os.stat(tmp_path / "two" / "probectl.key").st_mode & 0o077 == 0


@pytest.mark.parametrize("where, code, says", [
    ("file", 2, "is there already"), ("full", 2, "is there already"), ("none/below", 1, "No such file"),
])
def test_no_place_for_a_backup(old, tmp_path, where, code, says):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert says in one_line(old.cli("backup", str(tmp_path / where), check=False), code)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "file").read_text() == "mine"


def test_disk_full_leaves_nothing(old, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if os.system("mount -t tmpfs -o size=4m tmpfs %s" % small):
        pytest.skip("may not mount here")
    try:
        line = one_line(old.cli("backup", str(small / "b"), check=False), 1)
        assert "disk is full" in line or "No space left" in line, line
        assert list(small.iterdir()) == []
    finally:
        os.system("umount %s" % small)


def nothing_made(stack):
    return not os.path.exists(stack.home + "/pg/data") and not os.path.exists(stack.home + "/pg/data.new")


def test_refused_without_a_key(backup, new):
    assert "--key FILE" in one_line(new.cli("restore", backup["folder"], check=False), 2)
    assert nothing_made(new)


def test_refused_with_what_is_no_key(backup, new, tmp_path):
    (tmp_path / "key").write_bytes(bytes(31))
    line = one_line(new.cli("restore", "--key", str(tmp_path / "key"), backup["folder"], check=False), 1)
    assert "no envelope key" in line
    assert nothing_made(new)


def test_refused_where_another_key_is(old, backup, new, tmp_path):
    """It may be the only one of a cluster that was moved away."""
    new.cli("restore", "--key", str(key_of(old)), backup["folder"])
    os.rename(new.home + "/pg/data", new.home + "/pg/moved")
    (tmp_path / "key").write_bytes(bytes(32))
    done = new.cli("restore", "--key", str(tmp_path / "key"), backup["folder"], check=False)
    assert done.returncode == 1 and "another envelope key" in done.stderr.splitlines()[-1], done
    assert key_of(new).read_bytes() == key_of(old).read_bytes() and nothing_made(new)


def test_refused_what_is_no_backup(new, tmp_path):
    assert "is no backup" in one_line(new.cli("restore", str(tmp_path), check=False), 2)
    assert nothing_made(new)


@pytest.mark.parametrize("harm", ["changed", "gone", "unlisted"])
def test_refused_when_damaged(old, backup, new, tmp_path, harm):
    copy = tmp_path / "copy"
    shutil.copytree(backup["folder"], copy)
    victim = copy / "data" / "global" / "pg_control"
    if harm == "changed":
        data = bytearray(victim.read_bytes())
        data[100] ^= 1
        victim.write_bytes(data)
    elif harm == "gone":
        victim.unlink()
    else:
        (copy / "data" / "backup_manifest").unlink()
    done = new.cli("restore", "--key", str(key_of(old)), str(copy), check=False)
    assert done.returncode == 1 and "damaged" in done.stderr.splitlines()[-1], done
    assert nothing_made(new)


def test_refused_where_a_cluster_is(old, backup):
    line = one_line(old.cli("restore", "--key", str(key_of(old)), backup["folder"], check=False), 1)
    assert "there is a cluster" in line


def test_goes_on_elsewhere(old, backup, new):
    """The last: it stops the old one and takes its place. What was stored is there, once, each tenant's; what came after is
    not; tokens are good, the audit chain is whole, and agents come back by themselves."""
    agent, token = backup["agent"], old.token
    add_test(old, "too late")
    newest = old.sql("SELECT max(test_revision) FROM probectl.tenant_revision")[0][0]
    agent.wait(lambda: revisions_of(agent)[-1:] == [newest], 20, "the agent elsewhere has the newest tests")
    old.down()
    new.gateway_listen, new.ingest_listen = old.gateway_listen, old.ingest_listen
    new.cli("restore", "--key", str(key_of(old)), backup["folder"])
    new.up()
    found = {row[0]: row[1:] for row in new.sql(COUNTS)}
    assert len(backup["counts"]) == 2 and len(found) == 2
    for tenant, tests, results, stored in backup["counts"]:
        assert found[tenant][0] == tests
        assert found[tenant][1] >= results and (found[tenant][2] or 0) >= (stored or 0)
    assert new.api("GET", "/v1/me", token=token)[0] == 200
    assert "too late" not in names_of_tests(new)
    agent.stack = new
    before = agent.stored()
    assert before[0] == before[1]
    agent.wait(lambda: agent.stored()[0] > before[0], 45, "the agent elsewhere delivers again")
    rows, distinct = agent.stored()
    assert rows == distinct
    # Its tests are older than those it had, and it takes them.
    agent.wait(lambda: revisions_of(agent)[-1] > newest, 45, "the agent elsewhere takes the tests of the backup")
    wait_new_result(new)
    assert new.cli("audit", "verify").returncode == 0
    wait_for(lambda: new.status()["exit"] == 0, 30, "every process healthy")
    new.check_workers()
