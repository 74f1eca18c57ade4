# SPDX-License-Identifier: PostgreSQL
"""Every word an agent may put into error_type is produced by a test, and stands in the handbook.

The words are read from the agent's own table. A new one fails here until it has a row: the test
that makes a peer, a router or a name server produce it. That test has to exist, has to run (its name is in
the list of its file, where files have one), and has to hold the word itself or in a table it uses.
"""
import ast
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
TABLE = (TOP / "collectors" / "agent" / "result.c").read_text()
DOCS = (TOP / "docs" / "30-agents.md").read_text()

PRODUCED = {
    "dns_nxdomain": "test/system/test_dns.py::test_failures",
    "dns_servfail": "test/system/test_dns.py::test_failures",
    "dns_timeout": "test/system/test_dns.py::test_no_server",
    "connect_refused": "test/net/test_path.py::test_tcp_refused",
    "connect_timeout": "test/net/test_path.py::test_tcp_timeout",
    "net_unreachable": "test/net/test_path.py::test_icmp_is_told_why",
    "host_unreachable": "test/net/test_path.py::test_tcp_is_told_why",
    "admin_prohibited": "test/net/test_path.py::test_udp_is_told_why",
    "ttl_exceeded": "test/net/test_path.py::test_tcp_is_told_why",
    "tls_expired": "test/system/test_http.py::test_certificates",
    "tls_not_yet_valid": "test/system/test_http.py::test_certificates",
    "tls_unknown_ca": "test/system/test_http.py::test_certificates_of_strangers",
    "tls_name_mismatch": "test/system/test_http.py::test_certificates",
    "tls_handshake": "test/system/test_http.py::test_handshakes_that_fail",
    "tls_revoked": "test/system/test_http.py::test_staples",
    "tls_staple": "test/system/test_http.py::test_staples",
    "http_header": "test/system/test_http.py::test_expectations",
    "http_status": "test/system/test_http.py::test_expectations",
    "http_body": "test/system/test_http.py::test_body_cut_short_is_a_failure",
    "read_timeout": "test/system/test_http.py::test_failures_of_connections",
    "reset": "test/net/test_path.py::test_tcp_reset",
    "no_reply": "test/net/test_path.py::test_all_lost",
    "guard_denied": "test/system/test_guard.py::test_private_target_is_refused_by_the_agent",
    "local_fault": "test/net/test_path.py::test_interface_down_is_our_own_fault",
    "config_error": "test/unit/test_tcp.c::test_wrong_family_is_a_configuration_error",
    "dns_bogus": "test/system/test_dns.py::test_verdicts",
    "dns_answer": "test/system/test_dns.py::test_failures",
    "dns_malformed": "test/system/test_dns.py::test_lies",
    "peer_unavailable": "test/unit/test_a2a.c::test_session_comes_later",
    "dns_lame": "test/system/test_dns.py::test_trace_lame",
}


def words_of_the_agent():
    body = re.search(r"error_names\[ERROR_TYPE_COUNT\] = \{(.*?)\};", TABLE, re.S).group(1)
    return [word for word in re.findall(r'\] = "([a-z_0-9]*)"', body) if word]


def test_every_word_has_a_test():
    words = words_of_the_agent()
    assert len(words) > 20 and len(set(words)) == len(words)
    assert sorted(words) == sorted(PRODUCED)


@pytest.mark.parametrize("word", sorted(PRODUCED))
def test_it_produces_it(word):
    path, name = PRODUCED[word].split("::")
    text = (TOP / path).read_text()
    assert word in (strings_of_python if path.endswith(".py") else strings_of_c)(text, name)


def strings_of_python(text, name):
    """The strings in a test, its decorators, and the module's tables that these use."""
    tree = ast.parse(text)
    tables = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Name)}
    found, pending, known = set(), [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name], set()
    assert len(pending) == 1, "no test " + name
    while pending:
        for node in ast.walk(pending.pop()):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Name) and node.id in tables and node.id not in known:
                known.add(node.id)
                pending.append(tables[node.id])
    return found


def strings_of_c(text, name):
    body = re.search(r"\n%s\(void \*\*state\)\n\{.*?\n\}\n" % name, text, re.S)
    assert body and re.search(r"cmocka_unit_test\w*\(%s\b" % name, text), "no test " + name
    return set(re.findall(r'"([a-z_0-9]+)"', body.group(0)))


@pytest.mark.parametrize("word", words_of_the_agent())
def test_it_is_documented(word):
    assert "`%s`" % word in DOCS
