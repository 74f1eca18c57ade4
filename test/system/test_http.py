# SPDX-License-Identifier: PostgreSQL
"""The http canary against real nginx and openssl s_server: both versions of HTTP, redirects hop by hop, rules,
certificates of every kind, and each failure it has a word for.
"""
import datetime
import os
import re
import socket

import pytest

import http_lab
from conftest import free_port

pytestmark = pytest.mark.skipif(http_lab.missing() != [], reason="not installed: %s" % ", ".join(http_lab.missing()))

PHASES = ("dns", "connect", "tls", "ttfb", "transfer")
PAGES = """
location = /ok { add_header X-Kind "alpha, beta"; add_header X-Kind gamma; return 200 "hello, world"; }
location = /echo { return 200 "$request_method $server_protocol a=$http_x_a b=$http_x_b u=$http_user_agent t=$content_type l=$content_length"; }
location = /teapot { return 418; }
location = /big { alias FOLDER/big; }
location = /cut { proxy_pass http://127.0.0.1:CUT; }
location = /cut-chunked { proxy_pass http://127.0.0.1:CHUNKED; }
location = /slow { proxy_pass http://127.0.0.1:SILENT; }
location = /away { return 302 http://127.0.0.1:ELSEWHERE/ok; }
location = /first { return 301 /second; }
location = /second { return 302 https://localhost:SECURE/third; }
location = /third { return 307 /ok; }
location = /loop { return 302 /loop; }
location = /seen-other { return 303 /echo; }
"""


@pytest.fixture(scope="module")
def lab():
    lab = http_lab.Lab()
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def ca(lab):
    return http_lab.Authority(lab, "Test Root")


@pytest.fixture(scope="module")
def web(lab, ca):
    """One nginx: plain, plain HTTP/2, TLS with 1.1 only, TLS with both."""
    (lab.folder / "big").write_bytes(b"x" * 3_000_000)

    def cut(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    def cut_chunked(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n")

    def silent(connection):
        connection.recv(1)
    cert, key = ca.issue("web")
    tls = "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %s; ssl_certificate_key %s; " % (cert, key)
    secure = free_port()
    pages = PAGES
    for word, value in (("FOLDER", lab.folder), ("CUT", lab.script(cut)), ("CHUNKED", lab.script(cut_chunked)),
                        ("SILENT", lab.script(silent)), ("SECURE", secure), ("ELSEWHERE", free_port())):
        pages = pages.replace(word, str(value))
    ports = lab.nginx({"plain": "listen PORT;" + pages, "h2c": "listen PORT http2;" + pages,
                       "old": "listen PORT ssl; %s" % tls + pages,
                       "both": "listen PORT ssl http2; listen 127.0.0.1:%d ssl http2; %s" % (secure, tls) + pages})
    return {**{name: "http%s://localhost:%d" % ("s" if name in ("old", "both") else "", port) for name, port in ports.items()},
            "secure": secure, "ca": str(ca.cert)}


def fetch(lab, web, server, path, **params):
    if server in ("old", "both"):
        params.setdefault("ca_file", web["ca"])
    if server == "h2c":
        params.setdefault("http_version", "2")
    return lab.once(web[server] + path, **params)


def good(result):
    assert result["success"] and result["error_type"] == "", result
    return result


def bad(result, error_type, words=""):
    assert not result["success"] and result["error_type"] == error_type, result
    assert words in result["error_message"], result
    return result


# ---- versions, requests, rules ----

@pytest.mark.parametrize("server, version", [("plain", "1.1"), ("h2c", "2"), ("old", "1.1"), ("both", "2")])
def test_waterfall_and_version(lab, web, server, version):
    r = good(fetch(lab, web, server, "/ok", body_match="lo, wor"))
    m, a = r["metrics"], r["attributes"]
    phases = [p for p in PHASES if p != "tls" or server in ("old", "both")]
    assert [p for p in PHASES if "http.%s.ms" % p in m] == phases
    assert 0 < sum(m["http.%s.ms" % p] for p in phases) <= m["http.total.ms"] + 0.01
    assert (m["http.status"], m["http.content.bytes"], m["http.redirects"]) == (200, 12, 0)
    assert a["network.protocol.version"] == version
    assert a["network.peer.address"] == "127.0.0.1" and a["network.peer.port"] == web[server].rsplit(":", 1)[1]
    assert "probectl.http.hop.1" not in a


@pytest.mark.parametrize("server", ["plain", "h2c", "both"])
def test_requests(lab, web, server):
    version = "HTTP/1.1" if server == "plain" else "HTTP/2.0"
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        body = {"body": "x" * 40000, "content_type": "text/x"} if method in ("POST", "PUT", "PATCH") else {}
        words = "%s %s a=1, 2 b=\\ u=mine t=%s l=%s" % (method, version, body and "text/x", len(body.get("body", "")) or "")
        words = words.replace("t={}", "t=")
        # nginx answers 405 to some methods of a static location, with the page it would have said
        r = fetch(lab, web, server, "/echo", method=method, headers="X-A: 1\\, 2,X-B: \\\\, User-Agent: mine",
                  body_match=words, **body)
        good(r)
    r = good(fetch(lab, web, server, "/ok", method="HEAD"))
    assert r["metrics"]["http.content.bytes"] == 0


@pytest.mark.parametrize("server", ["plain", "both"])
def test_expectations(lab, web, server):
    for expect, status in (("418", "/teapot"), ("4xx", "/teapot"), ("200,400-420", "/teapot"), ("200-299", "/ok")):
        good(fetch(lab, web, server, status, expect_status=expect))
    bad(fetch(lab, web, server, "/teapot"), "http_status", "status 418, expected 200-399")
    bad(fetch(lab, web, server, "/ok", expect_status="201-299,3xx"), "http_status")
    bad(fetch(lab, web, server, "/ok", body_match="goodbye"), "http_body", "does not contain")
    for rules in ("x-kind", "X-KIND=gamma", "x-kind~beta,server~nginx", "!x-powered-by", "x-kind=alpha\\, beta"):
        good(fetch(lab, web, server, "/ok", expect_header=rules))
    for rules, words in (("x-other", "there is no header x-other"), ("!server", "there is a header server"),
                         ("x-kind=alpha", 'no header x-kind is "alpha"'), ("server,x-kind~delta", "contains")):
        bad(fetch(lab, web, server, "/ok", expect_header=rules), "http_header", words)


@pytest.mark.parametrize("server", ["plain", "h2c", "old", "both"])
def test_large_body(lab, web, server):
    r = good(fetch(lab, web, server, "/big"))
    assert r["metrics"]["http.content.bytes"] == 3_000_000 and r["metrics"]["http.throughput.kbps"] > 0
    r = good(fetch(lab, web, server, "/big", max_body_bytes="100000"))
    assert 100_000 <= r["metrics"]["http.content.bytes"] < 3_000_000
    assert r["attributes"]["probectl.http.body_limit_reached"] == "true"


@pytest.mark.parametrize("server", ["plain", "h2c", "old", "both"])
@pytest.mark.parametrize("path", ["/cut", "/cut-chunked"])
def test_body_cut_short_is_a_failure(lab, web, server, path):
    r = bad(fetch(lab, web, server, path), "http_body")
    assert r["metrics"]["http.status"] == 200


def test_version_that_the_server_has_not(lab, ca, web):
    bad(fetch(lab, web, "old", "/ok", http_version="2"), "tls_handshake", "application protocol")
    silent = "https://localhost:%d/" % lab.s_server(*ca.issue("no-alpn"))
    bad(lab.once(silent, ca_file=web["ca"], http_version="2"), "tls_handshake", "does not choose HTTP/2")
    good(lab.once(silent, ca_file=web["ca"]))
    bad(fetch(lab, web, "plain", "/ok", http_version="2"), "reset")
    assert good(fetch(lab, web, "both", "/ok", http_version="1.1"))["attributes"]["network.protocol.version"] == "1.1"


# ---- redirects ----

def hops(result):
    """[(status, address, {phase: ms}, url)] of the hops' lines."""
    lines = [result["attributes"].get("probectl.http.hop.%d" % (i + 1)) for i in range(11)]
    out = []
    for line in lines:
        if line:
            status, peer, *phases, url = line.split(" ")
            out.append((int(status), peer, {k: float(v) for k, v in (p.split("=") for p in phases)}, url))
    return out


def test_every_hop_has_its_own_waterfall(lab, web):
    r = good(fetch(lab, web, "plain", "/first", ca_file=web["ca"], body_match="hello"))
    secure = "https://localhost:%d" % web["secure"]
    seen = hops(r)
    assert [(h[0], h[3]) for h in seen] == [(301, web["plain"] + "/first"), (302, web["plain"] + "/second"),
                                            (307, secure + "/third"), (200, secure + "/ok")]
    for status, peer, phases, url in seen:
        assert peer == "127.0.0.1"
        assert list(phases) == [p for p in PHASES if p != "tls" or url.startswith("https")] + ["total"]
        assert sum(phases[p] for p in PHASES if p in phases) <= phases["total"] + 0.01
    m = r["metrics"]
    assert m["http.redirects"] == 3 and r["attributes"]["url.full"] == secure + "/ok"
    assert r["attributes"]["tls.protocol.version"] == "1.3" and r["attributes"]["network.protocol.version"] == "2"
    # less than the whole by what the agent needs between them: the CA certificates, the first time
    assert sum(h[2]["total"] for h in seen) <= m["http.total.ms"] + 0.01
    # where it broke is the last line
    r = bad(fetch(lab, web, "plain", "/first", ca_file=http_lab_other(lab)), "tls_unknown_ca")
    assert [h[0] for h in hops(r)] == [301, 302, 0] and "ttfb" not in hops(r)[2][2]
    bad(fetch(lab, web, "plain", "/away"), "connect_refused")
    bad(fetch(lab, web, "plain", "/loop"), "http_status", "more than 10 redirects")
    assert good(fetch(lab, web, "plain", "/first", follow_redirects="false"))["metrics"]["http.status"] == 301


def test_shell_draws_every_hop(lab, web):
    text = lab.run(http_lab.AGENT, "--once", "http", web["plain"] + "/first", "--param", "ca_file=" + web["ca"])
    heads = re.findall(r"^  (\d)  (\d{3}) (\S+)$", text, re.M)
    assert [(n, status) for n, status, _ in heads] == [("1", "301"), ("2", "302"), ("3", "307"), ("4", "200")]
    assert [url.rsplit("/", 1)[1] for _, _, url in heads] == ["first", "second", "third", "ok"]
    bars = re.findall(r"^  (\D+?) +[\d.]+ ms  \|( *)(#+) *\|$", text, re.M)
    assert [label for label, _, _ in bars].count("TLS handshake") == 2 and bars[-1][0] == "total"
    starts = [len(before) for _, before, _ in bars[:-1]]
    assert starts == sorted(starts) and all(len(before + bar) <= 40 for _, before, bar in bars)


def http_lab_other(lab):
    """The CA of nobody here."""
    return str(http_lab.Authority(lab, "Other Root").cert)


def test_headers_of_a_test_stay_at_home(lab, web):
    """What a test sends to its target is not sent to where that redirects."""
    good(fetch(lab, web, "plain", "/seen-other", method="POST", body="x", headers="X-A: secret", body_match="GET HTTP/1.1 a=secret b="))
    target = lab.nginx({"from": "listen PORT; return 302 %s/echo;" % web["plain"]})["from"]
    good(lab.once("http://localhost:%d/" % target, headers="X-A: secret", body_match="GET HTTP/1.1 a= b="))


REDIRECTOR = r"""
import socket, sys
one, two = socket.create_server(("93.184.216.34", 80)), socket.create_server(("127.0.0.1", 80))
print("up", flush=True)
for server, answer in ((one, "302 Found\r\nLocation: http://127.0.0.1/"), (two, "200 OK")):
    c, _ = server.accept()
    c.recv(4096)
    c.sendall(("HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % answer).encode())
"""


def beside(lab, name, text):
    """A command that runs another in a network of its own, beside a server that says when it is up and
    ends with it."""
    (lab.folder / name).write_text(text)
    script = ('ip link set lo up; ip addr add 93.184.216.34/32 dev lo; mount --bind %s/resolv.conf /etc/resolv.conf\n'
              'coproc python3 %s/%s\nread -u ${COPROC[0]} || exit 9\n"$@"\nstatus=$?\nkill $COPROC_PID\nexit $status')
    (lab.folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    return ["unshare", "-n", "-m", "bash", "-c", script % (lab.folder, lab.folder, name), "bash"]


@pytest.mark.parametrize("lifted, error_type, statuses", [("false", "guard_denied", [302, 0]), ("true", "", [302, 200])])
def test_guard_judges_every_hop(lab, lifted, error_type, statuses):
    """The first hop has a public address, in a network of its own; it redirects to loopback."""
    if os.geteuid() != 0:
        pytest.skip("needs namespaces")
    around = beside(lab, "redirector.py", REDIRECTOR)
    result = lab.once("http://93.184.216.34/", around=around, allow_private_targets=lifted)
    assert result["error_type"] == error_type, result
    assert [h[0] for h in hops(result)] == statuses


# ---- certificates ----

def test_certificate_is_told_in_full(lab, ca):
    middle = ca.issue("Middle", san=None, ca=True, extra="keyUsage=critical,keyCertSign")
    signer = http_lab.Authority(lab, "Middle Files")
    signer.cert, signer.key = middle
    cert, key = signer.issue("leaf", san="DNS:localhost,DNS:*.example.net,IP:127.0.0.1,URI:urn:x", days=(-3, 7), key=("rsa", "rsa_keygen_bits:2048"))
    port = lab.s_server(cert, key, "-cert_chain", middle[0], "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
    a = good(lab.once("https://localhost:%d/" % port, ca_file=str(ca.cert)))["attributes"]
    assert a["tls.protocol.version"] == "1.2" and a["tls.cipher.suite"] == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
    assert a["probectl.tls.server.san"] == "localhost,*.example.net,127.0.0.1,urn:x"
    assert a["probectl.tls.ocsp_staple"] == "none"
    for place, file, words in (("1", cert, "RSA 2048, sha256WithRSAEncryption|ecdsa-with-SHA256"), ("2", middle[0], "EC 256")):
        line = a["probectl.tls.server.chain." + place]
        fingerprint = lab.run("openssl", "x509", "-in", file, "-noout", "-fingerprint", "-sha256").split("=")[1].strip()
        assert "SHA-256 " + fingerprint.replace(":", "").lower() in line
        assert re.search(words, line), line
    assert a["probectl.tls.server.chain.1"].endswith("CN=leaf, issued by CN=Middle")
    assert "probectl.tls.server.chain.3" not in a
    m = lab.once("https://localhost:%d/" % port, ca_file=str(ca.cert))["metrics"]
    assert 6.9 < m["http.tls.cert_expiry_days"] <= 7


CERTIFICATES = {
    "expired": ({"days": (-9, -1)}, "tls_expired"),
    "not-yet-valid": ({"days": (1, 9)}, "tls_not_yet_valid"),
    "wrong-name": ({"san": "DNS:elsewhere.example"}, "tls_name_mismatch"),
    "wrong-address": ({"san": "IP:127.0.0.2"}, "tls_name_mismatch"),
    "localhost": ({"san": None}, "tls_name_mismatch"),  # the subject says it, but that does not count
    "nameless": ({"san": None, "days": (-1, 9)}, "tls_name_mismatch"),
    "not-for-servers": ({"extra": "extendedKeyUsage=clientAuth"}, "tls_handshake"),
    "unknown-extension": ({"extra": "1.2.3.4=critical,ASN1:NULL"}, "tls_handshake"),
    "must-staple": ({"extra": "tlsfeature=status_request"}, "tls_staple"),
    "weak-rsa": ({"key": ("rsa", "rsa_keygen_bits:1024")}, ""),  # seen, and not the test's to judge
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates(lab, ca, name):
    how, error_type = CERTIFICATES[name]
    cert, key = ca.issue(name, **how)
    port = lab.s_server(cert, key, "-cipher", "DEFAULT:@SECLEVEL=0")
    for _ in range(2):
        r = lab.once("https://localhost:%d/" % port, ca_file=str(ca.cert))
        assert r["error_type"] == error_type, r
        assert r["success"] == (error_type == "")
        a = r["attributes"]
        assert a["probectl.tls.server.subject"] == "CN=" + name
        assert a["probectl.tls.server.verified"] == ("false" if error_type else "true")
        assert a["tls.protocol.version"] == "1.3" and a["tls.cipher.suite"].startswith("TLS_")
        assert "CN=" + name in a["probectl.tls.server.chain.1"]
        assert "http.tls.cert_expiry_days" in r["metrics"]
        assert ("http.status" in r["metrics"]) == (error_type == "")
    # a server of DNS over TLS is judged the same; s_server does not speak it
    dot = lab.once("www.example", canary="dns", server="127.0.0.1:%d" % port, transport="dot", server_name="localhost",
                   ca_file=str(ca.cert), timeout=1500)
    assert dot["error_type"] == error_type or error_type == "" and not dot["error_type"].startswith("tls_"), dot
    if name == "weak-rsa":
        assert "RSA 1024" in a["probectl.tls.server.chain.1"]


def test_certificates_of_strangers(lab, ca):
    other = http_lab.Authority(lab, "Stranger")
    cert, key = other.issue("stranger")
    bad(lab.once("https://localhost:%d/" % lab.s_server(cert, key), ca_file=str(ca.cert)), "tls_unknown_ca")
    self_signed = lab.s_server(other.cert, other.key)
    r = bad(lab.once("https://localhost:%d/" % self_signed, ca_file=str(ca.cert)), "tls_unknown_ca", "self")
    assert r["attributes"]["probectl.tls.server.issuer"] == "CN=Stranger"
    # an intermediate that the server does not send
    middle = ca.issue("Missing Middle", san=None, ca=True)
    signer = http_lab.Authority(lab, "Missing Middle Files")
    signer.cert, signer.key = middle
    cert, key = signer.issue("below")
    bad(lab.once("https://localhost:%d/" % lab.s_server(cert, key), ca_file=str(ca.cert)), "tls_unknown_ca")
    good(lab.once("https://localhost:%d/" % lab.s_server(cert, key, "-cert_chain", middle[0]), ca_file=str(ca.cert)))


def test_handshakes_that_fail(lab, ca, web):
    cert, key = ca.issue("handshake")
    bad(lab.once(web["plain"].replace("http:", "https:") + "/", ca_file=web["ca"]), "tls_handshake")
    asks = lab.s_server(cert, key, "-Verify", "1", "-tls1_2")
    r = bad(lab.once("https://localhost:%d/" % asks, ca_file=str(ca.cert)), "tls_handshake")
    assert r["attributes"]["probectl.tls.server.subject"] == "CN=handshake"
    closes = lab.script(lambda connection: None)
    bad(lab.once("https://localhost:%d/" % closes, ca_file=str(ca.cert)), "tls_handshake", "closed")
    bad(lab.once("https://localhost:%d/" % closes, ca_file="/nonexistent.pem"), "local_fault", "ca_file")


def staple_case(lab, ca, name, prepare, **how):
    cert, key = ca.issue(name, **how)
    port = lab.s_server(cert, key, "-status_file", prepare(cert))
    return lab.once("https://localhost:%d/" % port, ca_file=str(ca.cert))


def test_staples(lab, ca):
    def revoked(cert):
        ca.revoke(cert)
        return ca.staple("revoked", cert)

    def about_another(cert):
        return ca.staple("another", ca.issue("somebody-else")[0])

    forger = http_lab.Authority(lab, "Forger")

    def not_the_issuers(cert):
        return ca.staple("forged", cert, signer=forger)
    demand = {"extra": "tlsfeature=status_request"}
    r = good(staple_case(lab, ca, "stapled", lambda cert: ca.staple("stapled", cert), **demand))
    assert re.match(r"good, until \d{4}-", r["attributes"]["probectl.tls.ocsp_staple"])
    r = bad(staple_case(lab, ca, "revoked", revoked), "tls_revoked", "revoked on 20")
    assert r["attributes"]["probectl.tls.ocsp_staple"].endswith("keyCompromise")
    assert r["attributes"]["probectl.tls.server.verified"] == "false" and "http.status" not in r["metrics"]
    # no good one is told, and fails where the certificate demands one
    for name, prepare, words in (("about-another", about_another, "another certificate"),
                                 ("forged", not_the_issuers, "not signed by the issuer")):
        r = good(staple_case(lab, ca, name, prepare))
        assert words in r["attributes"]["probectl.tls.ocsp_staple"]
        bad(staple_case(lab, ca, name + "-demanded", prepare, **demand), "tls_staple", words)


# ---- the network ----

def test_failures_of_connections(lab, web):
    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    bad(lab.once("http://localhost:%d/" % free_port()), "connect_refused")
    bad(lab.once("http://localhost:%d/" % lab.script(reset)), "reset")
    bad(lab.once("http://localhost:%d/" % lab.script(lambda c: None)), "reset", "without an answer")
    bad(lab.once("http://localhost:%d/" % lab.script(lambda c: c.sendall(b"220 mail ESMTP\r\n"))), "http_status", "HTTP/1.x")
    bad(fetch(lab, web, "plain", "/slow", timeout=700), "read_timeout")
    bad(fetch(lab, web, "both", "/slow", timeout=700), "read_timeout")


ROUTES = """
ip link set lo up; ip route add unreachable 198.51.100.1; ip route add prohibit 198.51.100.2; ip route add 192.0.2.0/24 dev lo
unshare -n sleep 60 & router=$!
until [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do kill -0 $router; done
ip link add name vx type veth peer name vy netns $router; ip addr add 100.64.0.1/24 dev vx; ip link set vx up
nsenter -t $router -n sh -c 'ip addr add 100.64.0.2/24 dev vy; ip link set vy up; echo 1 >/proc/sys/net/ipv4/ip_forward'
ip route add 203.0.113.0/24 via 100.64.0.2
"$@"; status=$?; kill $router; exit $status
"""


@pytest.mark.parametrize("address, error_type", [("198.51.100.1", "host_unreachable"), ("198.51.100.2", "admin_prohibited"),
                                                 ("203.0.113.1", "net_unreachable"), ("192.0.2.9", "connect_timeout"),
                                                 ("233.252.0.1", "local_fault")])
def test_failures_of_routes(lab, address, error_type):
    """In a network of its own: a router without a route, the kernel, or nobody; and no way out at all."""
    if os.geteuid() != 0:
        pytest.skip("needs a network namespace")
    around = ["unshare", "-n", "bash", "-c", ROUTES, "bash"]
    bad(lab.once("http://%s/" % address, around=around, timeout=1500), error_type)
    for transport in ("tcp", "udp"):
        bad(lab.once("www.example", around=around, timeout=1500, canary="dns", server=address, transport=transport),
            "dns_timeout" if (transport, error_type) == ("udp", "connect_timeout") else error_type)


DNS = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
print("up", flush=True)
while True:
    q, who = s.recvfrom(512)
    rcode = {b"\x07missing": 3, b"\x06broken": 2}.get(q[12:20] if q[12] == 7 else q[12:19])
    if rcode is not None:
        s.sendto(q[:2] + bytes((0x81, 0x80 | rcode)) + q[4:6] + bytes(6) + q[12:q.index(0, 12) + 5], who)
"""


@pytest.mark.parametrize("host, error_type", [("missing.example", "dns_nxdomain"), ("broken.example", "dns_servfail"),
                                              ("silent.example", "dns_timeout")])
def test_failures_of_names(lab, host, error_type):
    """resolv.conf leads to a server that denies, fails or keeps silent."""
    if os.geteuid() != 0:
        pytest.skip("needs namespaces")
    around = beside(lab, "dns.py", DNS)
    bad(lab.once("http://%s/" % host, around=around, timeout=3000), error_type)


def test_days_left_count_from_now(lab, ca):
    cert, key = ca.issue("days", days=(-1, 2))
    m = lab.once("https://localhost:%d/" % lab.s_server(cert, key), ca_file=str(ca.cert))["metrics"]
    end = datetime.datetime.strptime(lab.run("openssl", "x509", "-in", cert, "-noout", "-enddate").strip(), "notAfter=%b %d %H:%M:%S %Y %Z")
    left = (end - datetime.datetime.utcnow()).total_seconds() / 86400
    assert abs(m["http.tls.cert_expiry_days"] - left) < 0.01
