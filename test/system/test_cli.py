# SPDX-License-Identifier: PostgreSQL
"""The command line and the supervisor, as an operator meets them."""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import termios

import psycopg2
import psycopg2.extras
import pytest

from conftest import BIN, PROBECTL, alive, clean_environment, stack_environment

CHILDREN = ["postgres", "ingest", "gateway", "agent"]
COMMANDS = ["up", "down", "status", "env", "signin", "enroll", "tenant", "token", "top", "api", "audit", "psql",
            "backup", "restore", "bench", "renew", "supervise"]


def run(*words, **more):
    return subprocess.run([str(PROBECTL), *words], capture_output=True, text=True, timeout=60,
                          env=clean_environment(), **more)


def one_line(done, code):
    """A refusal: that exit code and one line on stderr, which is returned."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert re.fullmatch(r"probectl: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def results(stack):
    return stack.sql("SELECT count(*) FROM probectl.result")[0][0]


def wait_new_result(stack, deadline=45):
    """A result that starts after now is committed and readable."""
    before = stack.sql("SELECT clock_timestamp()")[0][0]
    stack.wait_for(lambda: stack.sql("SELECT 1 FROM probectl.result WHERE started_at > %s LIMIT 1", (before,)),
                   deadline, "a new result")


# ---- without a stack -----------------------------------------------------------------------


def test_help_lists_every_command():
    text = run("--help").stdout
    for name in COMMANDS:
        assert re.search(r"^  %s +\S" % name, text, re.M), name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_teaches(name):
    done = run("help", name)
    assert done.returncode == 0
    assert "Usage: probectl " + name in done.stdout
    assert "  probectl %s" % name in done.stdout, "no example"
    assert run(name, "--help").stdout == done.stdout


def test_version():
    control = pathlib.Path(__file__).resolve().parents[2] / "probectl.control"
    version = re.search(r"default_version *= *'(.*)'", control.read_text()).group(1)
    assert run("--version").stdout == "probectl %s\n" % version


@pytest.mark.parametrize("words, says", [
    (["upp"], "unknown command upp"),
    (["--upp"], "unknown option --upp"),
    (["up", "--port", "1"], "unknown option --port"),
    (["up", "now"], "unexpected argument now"),
    (["up", "--home"], "needs a value"),
    (["api", "GET"], "missing argument"),
    (["api", "GET", "v1/me"], "does not begin with /"),
    (["tenant"], "missing argument"),
    (["bench", "nothing"], "unknown benchmark"),
])
def test_usage_errors(words, says):
    assert says in one_line(run(*words), 2)


def test_wrong_listen_address(make_stack):
    line = one_line(make_stack().cli("up", "--gateway-listen", "8443", check=False), 2)
    assert "--gateway-listen 8443 is not HOST:PORT" in line


def test_nothing_there(tmp_path):
    home = str(tmp_path / "h")
    assert "probectl up" in one_line(run("env", "--home", home), 1)
    assert run("status", "--home", home).returncode == 4


def test_postgres_missing(make_stack):
    done = make_stack().cli("up", check=False, env={"PG_CONFIG": "/nonexistent/pg_config"})
    assert "apt-get install postgresql-15" in one_line(done, 1)


@pytest.mark.parametrize("option", ["gateway", "ingest"])
def test_port_taken(make_stack, option):
    stack = make_stack()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = "127.0.0.1:%d" % other.getsockname()[1]
        setattr(stack, option + "_listen", taken)
        done = stack.cli("up", "--gateway-listen", stack.gateway_listen, "--ingest-listen", stack.ingest_listen,
                         check=False)
    line = one_line(done, 1)
    assert taken in line and "--%s-listen" % option in line
    assert not os.path.exists(stack.home + "/pg/data"), "something was made before the port was looked at"


def test_path_too_long_for_sockets(make_stack):
    """Refused; root gets a link to a short place instead."""
    stack = make_stack()
    stack.home = stack.folder + "/" + "x" * 100
    if os.getuid() != 0:
        assert "shorter" in one_line(stack.cli("up", check=False), 2)
        return
    with socket.create_server(("127.0.0.1", 0)) as other:  # it need not get further
        stack.gateway_listen = "127.0.0.1:%d" % other.getsockname()[1]
        stack.cli("up", "--gateway-listen", stack.gateway_listen, check=False)
    assert re.fullmatch(r"/var/lib/probectl/[0-9a-f]{16}", os.readlink(stack.home))


def test_disk_full(make_stack):
    stack = make_stack()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", stack.folder]).returncode:
        pytest.skip("may not mount here")
    try:
        line = one_line(stack.cli("up", "--gateway-listen", stack.gateway_listen,
                                  "--ingest-listen", stack.ingest_listen, check=False), 1)
        assert "the disk is full" in line and "MB" in line
    finally:
        subprocess.run(["umount", stack.folder], check=True)


# ---- one that runs -------------------------------------------------------------------------


def test_up_again_changes_nothing(stack):
    pids, tests = stack.pids, stack.api("GET", "/v1/tests")[1]["items"]
    settings = pathlib.Path(stack.home, "etc/home.json").read_text()
    done = stack.up()
    assert "already running at " + stack.url in done.stdout
    assert stack.pids == pids
    assert stack.api("GET", "/v1/tests")[1]["items"] == tests
    assert pathlib.Path(stack.home, "etc/home.json").read_text() == settings


def test_up_with_another_port_is_refused(stack):
    done = stack.cli("up", "--gateway-listen", "127.0.0.1:1", check=False)
    assert "probectl down" in one_line(done, 1)


def test_status_json(stack):
    state = stack.wait_for(lambda: (s := stack.status())["exit"] == 0 and s, 30)
    assert state["status"] == "running" and state["url"] == stack.url
    assert list(state["by_name"]) == ["supervisor", *CHILDREN]
    for row in state["processes"]:
        assert row["healthy"] and row["state"] == "running" and row["pid"] > 1, row
        assert re.fullmatch(r"\d+(\.\d+)*", row["version"]), row
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["since"]), row
    for name in ("postgres", "ingest", "agent"):
        assert state["by_name"][name]["backlog"] >= 0
        assert state["by_name"][name]["last_result_at"], name


def test_status_table(stack):
    stack.wait_healthy()
    text = stack.cli("status").stdout
    for name in ["supervisor", *CHILDREN]:
        assert re.search(r"^%s +running +\d+" % name, text, re.M), text


def test_env(stack):
    env = stack.env
    assert env["PROBECTL_URL"] == stack.url and env["PROBECTL_INGEST"] == stack.ingest_listen
    assert env["PROBECTL_TOKEN"].startswith("pct_") and os.path.exists(env["PROBECTL_CA"])
    assert (env["PGDATABASE"], env["PGPORT"]) == ("probectl", "5432")
    assert oct(os.stat(stack.home + "/etc/token").st_mode & 0o777) == "0o600"
    # As a shell takes it, by a client that knows nothing else.
    script = 'eval "$(%s env --home %s)"; psql -Atc "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"' % (
        PROBECTL, stack.home)
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True).stdout == "t\n"


def test_service_user_is_no_superuser(stack):
    """The map, not the name, decides: the system user probectl is not the role probectl."""
    if os.getuid() != 0:
        pytest.skip("one user only")
    base = ["runuser", "-u", "probectl", "--", "psql", "-h", stack.run_dir, "-d", "probectl", "-Atc", "SELECT 1"]
    refused = subprocess.run([*base, "-U", "probectl"], capture_output=True, text=True, cwd="/")
    assert refused.returncode != 0 and "authentication failed" in refused.stderr
    assert subprocess.run([*base, "-U", "probectl_gateway"], capture_output=True, text=True, cwd="/").stdout == "1\n"


def test_services_are_not_root(stack):
    if os.getuid() != 0:
        pytest.skip("one user only")
    for name in CHILDREN:
        status = pathlib.Path("/proc/%d/status" % stack.pid(name)).read_text()
        assert re.search(r"^Uid:\t(\d+)", status, re.M).group(1) != "0", name
        allowed = "0000000000002000" if name == "agent" else "0000000000000000"
        assert re.search(r"^CapEff:\t(\w+)", status, re.M).group(1) in (allowed, "0" * 16), name


def test_api(stack):
    me = json.loads(stack.cli("api", "GET", "/v1/me").stdout)
    assert me["tenant"]["slug"] == "default"
    done = stack.cli("api", "GET", "/v1/tests/00000000-0000-0000-0000-000000000000", check=False)
    assert "HTTP 404" in one_line(done, 1)
    assert "not JSON" in one_line(stack.cli("api", "POST", "/v1/tests", "{", check=False), 2)
    # Without a home, by the environment alone.
    env = {k: v for k, v in stack.env.items() if k.startswith("PROBECTL_")}
    done = subprocess.run([str(PROBECTL), "api", "get", "/v1/me"], capture_output=True, text=True,
                          env={**clean_environment(), **env})
    assert json.loads(done.stdout) == me


def test_new_test_has_a_result_in_ten_seconds(stack):
    body = {"name": "from a pipe", "type": "tcp", "target": stack.ingest_listen, "interval_seconds": 5,
            "params": {"allow_private_targets": True}}
    test = json.loads(stack.cli("api", "POST", "/v1/tests", "-", input=json.dumps(body)).stdout)
    stack.wait_for(lambda: json.loads(stack.cli(
        "api", "GET", "/v1/results/latest?test_id=" + test["test_id"]).stdout)["items"], 10, "its first result")
    assert "from a pipe" in stack.cli("top", "--once").stdout
    assert stack.cli("api", "DELETE", "/v1/tests/" + test["test_id"]).stdout == ""


def test_top_in_a_terminal(stack):
    """Draws, quits at q, and puts the terminal back."""
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)
    top = subprocess.Popen(stack.command("top"), stdin=follower, stdout=follower, stderr=follower,
                           env=stack_environment())
    shown = b""
    while b"loopback ping" not in shown:
        assert select.select([leader], [], [], 10)[0], shown
        shown += os.read(leader, 65536)
    os.write(leader, b"q")
    assert top.wait(10) == 0
    while select.select([leader], [], [], 0)[0]:
        shown += os.read(leader, 65536)
    assert shown.endswith(b"\x1b[?25h\x1b[?1049l"), shown[-80:]
    assert termios.tcgetattr(follower) == before
    os.close(leader)
    os.close(follower)


def test_another_user_is_refused(stack):
    if os.getuid() != 0:
        pytest.skip("needs another user")
    for words in (["status"], ["down"], ["up"]):
        done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--",
                               *stack.command(*words)], capture_output=True, text=True, env=stack_environment())
        assert "belongs to root: run this as root" in one_line(done, 1)


def test_tokens(stack):
    token = stack.cli("token", "create", "a script").stdout.strip()
    assert token.startswith("pct_") and stack.api("GET", "/v1/me", token=token)[0] == 200
    listed = re.search(r"^(\S{36})  a script .* active$", stack.cli("token", "list").stdout, re.M)
    assert listed
    stack.cli("token", "revoke", listed.group(1))
    assert stack.api("GET", "/v1/me", token=token)[0] == 401
    assert "no active token" in one_line(stack.cli("token", "revoke", listed.group(1), check=False), 1)


def test_tenants(stack):
    made = stack.cli("tenant", "create", "acme", "Acme Ltd").stdout.strip()
    assert re.search(r"^acme +Acme Ltd +active +%s$" % made, stack.cli("tenant", "list").stdout, re.M)
    one_line(stack.cli("tenant", "create", "acme", check=False), 1)
    one_line(stack.cli("tenant", "create", "No Slug", check=False), 1)
    token = stack.cli("token", "create", "t", "--tenant", "acme").stdout.strip()
    assert stack.api("GET", "/v1/me", token=token)[1]["tenant"]["slug"] == "acme"
    # The other tenant's data is not there.
    assert stack.api("GET", "/v1/tests", token=token)[1]["items"] == []
    assert "there is no tenant nobody" in one_line(stack.cli("signin", "--tenant", "nobody", check=False), 1)


def test_signin_link_works_once(stack):
    link = stack.cli("signin").stdout.strip()
    base, code = link.split("/signin#")
    assert base == stack.url
    origin = {"Origin": stack.url}
    assert stack.api("POST", "/auth/signin", {"code": code}, headers=origin)[0] < 300
    assert stack.api("POST", "/auth/signin", {"code": code}, headers=origin)[0] == 401


def test_enroll_another_machine(stack):
    text = stack.cli("enroll", "--ttl", "10 minutes").stdout
    assert re.search(r"^  pjt_\S+$", text, re.M) and "listen on loopback only" in text


def test_enroll_another_agent_here(stack):
    stack.cli("enroll", "--local", "second")
    assert "runs already" in stack.cli("enroll", "--local", "second").stdout
    stack.wait_for(lambda: len([a for a in stack.api("GET", "/v1/agents")[1]["items"]
                                if a["status"] == "online"]) >= 2, 30, "two agents online")
    assert "a-z" in one_line(stack.cli("enroll", "--local", "../x", check=False), 2)


@pytest.mark.parametrize("name", CHILDREN)
def test_killed_child_comes_back(stack, name):
    restarts = stack.supervised()[name]["restarts"]
    old = stack.kill9(name)
    stack.wait_replaced(name, old)
    stack.wait_healthy()
    wait_new_result(stack)
    row = stack.supervised()[name]
    assert row["restarts"] > restarts and row["last_exit"], row


def process_state(pid):
    """Its letter as in ps, None when it is gone."""
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_busy_backend_does_not_hold_the_next_start_up(stack):
    """A backend that computes does not see that its postmaster was killed, and keeps the memory."""
    connection = psycopg2.connect(host=stack.run_dir, user="probectl", dbname="probectl", async_=True)
    psycopg2.extras.wait_select(connection)
    backend = connection.info.backend_pid
    connection.cursor().execute("SELECT count(*) FROM (SELECT generate_series(1, 100000000000)) x")
    stack.wait_for(lambda: stack.sql("SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'",
                                     (backend,)), 10, "the long statement runs")
    stack.wait_replaced("postgres", stack.kill9("postgres"))
    stack.wait_healthy()
    assert process_state(backend) in (None, "Z")


def test_status_names_what_is_down(stack):
    """A process that cannot start: degraded, with its name and how it ended."""
    path = pathlib.Path(stack.home, "etc/ingest.yaml")
    good = path.read_text()
    try:
        path.write_text(good + "no_such_setting: 1\n")
        stack.kill9("ingest")
        row = stack.wait_for(lambda: (r := stack.status()["by_name"]["ingest"])["restarts"] > 1
                             and r["state"] == "restarting" and r)
        assert "exit 2" in row["note"]
        assert stack.status()["exit"] == 3
    finally:
        path.write_text(good)
    stack.wait_healthy()


@pytest.mark.parametrize("process", ["ingest", "gateway"])
def test_status_names_who_has_no_database(stack, process):
    """It runs and answers, and cannot do its work: degraded, until it has a connection again."""
    role = "probectl_" + process
    try:
        stack.sql("ALTER ROLE %s NOLOGIN" % role)
        stack.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", (role,))
        row = stack.wait_for(lambda: (r := stack.status()["by_name"][process])["state"] == "waiting" and r)
        assert not row["healthy"] and row["note"] == "has no connection to the database"
        assert stack.status()["exit"] == 3
    finally:
        stack.sql("ALTER ROLE %s LOGIN" % role)
    stack.wait_healthy()


def test_status_names_an_agent_without_a_link(stack):
    """Ingest answers nobody: the agent sees that, and so does who asks for the status."""
    pid = stack.pid("ingest")
    os.kill(pid, signal.SIGSTOP)
    try:
        stack.wait_replaced("agent", stack.kill9("agent"))
        row = stack.wait_for(lambda: (r := stack.status()["by_name"]["agent"])["state"] == "waiting" and r)
        assert row["note"].startswith("has no link to the control plane") and not row["healthy"]
    finally:
        os.kill(pid, signal.SIGCONT)
    stack.wait_healthy(90)


def test_killed_supervisor_is_replaced_and_children_live(stack):
    before = stack.pids
    old = stack.kill9("supervisor")
    assert stack.status()["exit"] == 3
    stack.up()
    after = stack.pids
    assert after["supervisor"] not in (None, old)
    assert {n: p for n, p in after.items() if n != "supervisor"} == {
        n: p for n, p in before.items() if n != "supervisor"}
    # Those taken over are watched as well.
    stack.wait_replaced("gateway", stack.kill9("gateway"))
    stack.wait_healthy()


def test_down_after_a_killed_supervisor(stack):
    rows = stack.supervised()
    stack.kill9("supervisor")
    stack.down()
    for row in rows.values():
        assert not alive(row["process"]), row["name"]
    stack.up()


def test_stale_postmaster_pid(stack):
    """A lock file that names a living stranger does not keep PostgreSQL down."""
    stack.down()
    locks = [pathlib.Path(stack.home, "pg/data/postmaster.pid"), pathlib.Path(stack.run_dir, ".s.PGSQL.5432.lock")]
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE, **(
        {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}))
    try:
        for lock in locks:
            lock.write_text("%d\n%s\n1\n5432\n%s\n\n" % (
                stranger.pid, os.path.realpath(stack.home) + "/pg/data", stack.run_dir))
        stack.up()
    finally:
        stranger.communicate()
    assert stranger.returncode == 0


def test_down_and_up_keep_data(stack):
    kept, tests = results(stack), stack.api("GET", "/v1/tests")[1]["items"]
    token = stack.token
    done = stack.down()
    assert re.match(r"stopped .*agent, gateway, ingest, postgres \(", done.stdout), done.stdout
    assert not any(stack.pids.values())
    assert stack.status()["exit"] == 4 and "not running" in stack.down().stdout
    stack.up()
    assert results(stack) > kept, "results of before are gone"
    assert stack.token == token and stack.api("GET", "/v1/tests")[1]["items"] == tests


def test_data_of_another_build(stack):
    digest = stack.sql("SELECT probectl_internal.script_digest()")[0][0]
    replace = "CREATE OR REPLACE FUNCTION probectl_internal.script_digest() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT '{}'::text $$"
    stack.sql(replace.format("0" * 64))
    try:
        stack.down()
        done = stack.cli("up", check=False)
        line = one_line(done, 1)
        assert "was made by another build of this version" in line and "--home DIR" in line
    finally:
        stack.sql(replace.format(digest))
        stack.up()


def served_certificate(stack):
    host, port = stack.gateway_listen.split(":")
    return ssl.get_server_certificate((host, int(port)), ca_certs=stack.ca)


def test_certificate_is_renewed_without_a_break(stack):
    old, pids = served_certificate(stack), stack.pids
    assert stack.cli("renew").stdout == "", "it is not due"
    os.unlink(stack.home + "/pki/server.pem")
    assert "renewed" in stack.cli("renew").stdout
    stack.wait_for(lambda: served_certificate(stack) != old, 10, "the gateway serves the new certificate")
    assert pathlib.Path(stack.home, "pki/server.pem").read_text().startswith(served_certificate(stack).strip())
    assert stack.pids == pids
    wait_new_result(stack)


def test_edited_settings_are_kept(stack):
    path = pathlib.Path(stack.home, "etc/gateway.yaml")
    path.write_text(path.read_text() + "connections: 3\n")
    stack.down()
    stack.up()
    assert path.read_text().endswith("connections: 3\n")


# ---- further ones --------------------------------------------------------------------------

# What must be there when `up` is killed, and the next one has to complete.
MOMENTS = {
    "initdb": "pg/data.new/base",
    "cluster": "pg/data/PG_VERSION",
    "postgres": "pg/data/postmaster.pid",
    "ca": "pki/ca.pem",
    "certificate": "pki/server.pem",
    "token": "etc/token",
    "agent": "agent/local/identity",
}


def test_killed_up_is_completed_by_the_next(make_stack):
    """One home, killed at each moment in turn: each run gets further and the last one ends well."""
    stack = make_stack()
    for moment, path in MOMENTS.items():
        up = subprocess.Popen(stack.command("up", "--gateway-listen", stack.gateway_listen,
                                            "--ingest-listen", stack.ingest_listen),
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=stack_environment(),
                              start_new_session=True)
        full = os.path.join(stack.home, path)
        stack.wait_for(lambda: os.path.exists(full) or up.poll() is not None, 60, moment)
        assert up.poll() is None, (moment, up.stderr.read())
        # Its own children in the foreground (initdb) go with it, as when a terminal closes.
        os.killpg(up.pid, signal.SIGKILL)
        up.communicate()
    done = stack.up()
    assert "probectl is running" in done.stdout
    assert stack.status()["exit"] == 0
    names = sorted(t["name"] for t in stack.api("GET", "/v1/tests")[1]["items"])
    assert names == ["gateway health", "gateway port", "loopback ping"]
    assert len(stack.api("GET", "/v1/agents")[1]["items"]) == 1


def test_two_at_the_same_time(make_stack):
    stack = make_stack()
    both = [subprocess.Popen(stack.command("up", "--no-agent", "--gateway-listen", stack.gateway_listen,
                                           "--ingest-listen", stack.ingest_listen),
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=stack_environment())
            for _ in range(2)]
    for each in both:
        out = each.communicate(timeout=120)[0]
        assert each.returncode == 0, out
    assert stack.status()["exit"] == 0
    assert "agent" not in stack.supervised()


def test_home_that_services_cannot_reach(make_stack):
    """Below a closed folder (/root): a link to a place below /var/lib/probectl."""
    if os.getuid() != 0:
        pytest.skip("one user only")
    stack = make_stack()
    closed = os.path.join(stack.folder, "closed")
    os.mkdir(closed, 0o700)
    stack.home = closed + "/.probectl"
    stack.up()
    assert re.fullmatch(r"/var/lib/probectl/[0-9a-f]{16}", os.readlink(stack.home))
    assert stack.env["PGHOST"].startswith("/var/lib/probectl/")
    assert "already running" in stack.up().stdout


def test_programs_that_services_cannot_reach(make_stack):
    """A checkout below /root: the services run copies."""
    if os.getuid() != 0:
        pytest.skip("one user only")
    stack = make_stack()
    closed = os.path.join(stack.folder, "closed")
    os.mkdir(closed, 0o700)
    shutil.copytree(BIN, closed + "/bin")
    stack.program = closed + "/bin/probectl"
    stack.up()
    exe = os.readlink("/proc/%d/exe" % stack.pid("gateway"))
    assert exe == os.path.realpath(stack.home) + "/bin/probectl-gateway"


def test_as_an_ordinary_user(make_stack):
    if os.getuid() != 0:
        pytest.skip("already one")
    stack = make_stack()
    shutil.copytree(BIN, stack.folder + "/bin")
    os.mkdir(stack.folder + "/own")
    shutil.chown(stack.folder + "/own", "nobody")
    stack.home = stack.folder + "/own/h"
    stack.program = stack.folder + "/bin/probectl"
    argv = stack.command("up", "--gateway-listen", stack.gateway_listen, "--ingest-listen", stack.ingest_listen)
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
    try:
        done = subprocess.run([*user, *argv], capture_output=True, text=True, timeout=120, env=stack_environment())
        assert done.returncode == 0, done.stdout + done.stderr + stack.logs()
        nobody = os.stat(stack.folder + "/own").st_uid
        for name in CHILDREN:
            assert os.stat("/proc/%d" % stack.pid(name)).st_uid == nobody, name
    finally:
        subprocess.run([*user, *stack.command("down")], check=False)
