# SPDX-License-Identifier: PostgreSQL
"""The dns canary against real bind9 and unbound: every transport, every error, signed zones good and bad.

The differential test asks unbound and the canary about the same generated zones; set
PROBECTL_DNS_CASES (default 120) to how many, 600 for the whole run, and PROBECTL_DNS_SEED to make others.
"""
import collections
import os
import random
import socket
import ssl
import threading

import pytest

import dns_cases
import dns_lab
from conftest import free_port

CASES = int(os.environ.get("PROBECTL_DNS_CASES", "120"))
SEED = os.environ.get("PROBECTL_DNS_SEED", "1")

pytestmark = pytest.mark.skipif(dns_lab.missing() != [], reason="not installed: %s" % ", ".join(dns_lab.missing()))

SOA = "@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n"


@pytest.fixture(scope="module")
def lab():
    lab = dns_lab.Lab()
    yield lab
    lab.close()


def certificate(lab, name, days, hosts, ca=None):
    """A key and a certificate in PEM; its own CA without one. openssl's clock cannot be turned back, so an
    expired one is made with explicit dates."""
    key, cert = lab.folder / (name + ".key"), lab.folder / (name + ".pem")
    conf = lab.folder / (name + ".cnf")
    conf.write_text("[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=%s\n[ext]\n"
                    "basicConstraints=CA:%s\n%s" % (name, "FALSE" if ca else "TRUE",
                                                    "subjectAltName=%s\n" % hosts if hosts else ""))
    lab.run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            str(key), "-out", str(lab.folder / (name + ".csr")), "-config", str(conf))
    sign = ["-signkey", str(key)] if ca is None else ["-CA", str(lab.folder / (ca + ".pem")), "-CAkey",
                                                     str(lab.folder / (ca + ".key")), "-CAcreateserial"]
    lab.run("openssl", "x509", "-req", "-in", str(lab.folder / (name + ".csr")), "-out", str(cert), "-days", str(days),
            "-extfile", str(conf), "-extensions", "ext", *sign)
    key.chmod(0o644)
    return cert


@pytest.fixture(scope="module")
def plain(lab):
    """One bind9 with plain, DoT and DoH, authoritative for example. and its kin; options."""
    ca = certificate(lab, "ca", 30, None)
    certificate(lab, "server", 30, "DNS:dns.example,IP:127.0.0.1", ca="ca")
    certificate(lab, "expired", -1, "DNS:dns.example,IP:127.0.0.1", ca="ca")
    tls = {name: free_port() for name in ("dot", "doh", "dot_expired")}
    zone = "$ORIGIN example.\n$TTL 300\n" + SOA + """
www A 192.0.2.1
www AAAA 2001:db8::1
alias CNAME www
mail MX 10 www
text TXT "hello, world" "second"
_sip._tcp SRV 1 2 5060 www
caa CAA 0 issue "ca.example"
"""
    zone += "".join("big A 10.0.0.%d\n" % i for i in range(1, 95))
    reverse = "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 300\n@ SOA ns.example. h.example. 1 3600 600 86400 60\n@ NS ns.example.\n1 PTR www.example.\n"
    extra = "".join('tls %s { cert-file "%s"; key-file "%s"; };\n' % (
        name, lab.folder / (pem + ".pem"), lab.folder / (pem + ".key"))
        for name, pem in (("good", "server"), ("old", "expired")))
    options = ("listen-on port %d tls good { 127.0.0.1; }; listen-on port %d tls old { 127.0.0.1; }; "
               "listen-on port %d tls good http default { 127.0.0.1; };" % (tls["dot"], tls["dot_expired"], tls["doh"]))
    port = lab.named({"example.": zone, "2.0.192.in-addr.arpa.": reverse}, options, extra=extra, name="plain")
    return {"server": "127.0.0.1:%d" % port, "ca": str(ca), **{k: "127.0.0.1:%d" % v for k, v in tls.items()}}


# ---- resolver mode ----

@pytest.mark.parametrize("name,qtype,answer", [
    ("www.example", "A", "192.0.2.1"), ("www.example", "AAAA", "2001:db8::1"), ("alias.example", "A", "192.0.2.1"),
    ("alias.example", "CNAME", "www.example."), ("mail.example", "MX", "10 www.example."), ("example", "NS", "ns.example."),
    ("text.example", "TXT", '"hello, world" "second"'), ("_sip._tcp.example", "SRV", "1 2 5060 www.example."),
    ("caa.example", "CAA", '0 issue "ca.example"'), ("192.0.2.1", "PTR", "www.example."),
    ("example", "SOA", "ns.example. h.example. 1 3600 600 86400 60")])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_types(lab, plain, name, qtype, answer, transport):
    r = lab.once(name, server=plain["server"], type=qtype, transport=transport)
    assert r["success"], r
    assert r["attributes"]["probectl.dns.answer"] == answer
    assert r["attributes"]["probectl.dns.qtype"] == qtype
    assert r["attributes"]["probectl.dns.server"] == plain["server"]
    assert r["metrics"]["dns.answers"] == 1
    assert 0 < r["metrics"]["dns.query.ms"] < 5000
    assert ("dns.connect.ms" in r["metrics"]) == (transport == "tcp")


def test_truncated(lab, plain):
    r = lab.once("big.example", server=plain["server"])
    assert r["success"] and r["metrics"]["dns.answers"] == 94
    assert r["attributes"]["probectl.dns.truncated"] == "true"
    assert r["attributes"]["probectl.dns.answer"].count(",") == 8  # eight, and "..."


def test_dot(lab, plain):
    r = lab.once("www.example", server=plain["dot"], transport="dot", ca_file=plain["ca"])
    assert r["success"], r
    assert r["metrics"]["dns.tls.ms"] > 0 and r["metrics"]["dns.connect.ms"] > 0
    assert r["attributes"]["tls.protocol.version"] == "1.3"
    r = lab.once("www.example", server=plain["dot"], transport="dot", ca_file=plain["ca"], server_name="dns.example")
    assert r["success"], r


def test_doh(lab, plain):
    r = lab.once("big.example", server=plain["doh"], transport="doh", ca_file=plain["ca"])
    assert r["success"], r
    assert r["metrics"]["dns.answers"] == 94
    assert r["attributes"]["network.protocol.version"] == "2"
    r = lab.once("www.example", server="https://%s/dns-query" % plain["doh"], transport="doh", ca_file=plain["ca"])
    assert r["success"], r


@pytest.mark.parametrize("params,error", [
    ({"server_name": "other.example"}, "tls_name_mismatch"), ({"port_of": "dot_expired"}, "tls_expired"),
    ({"ca_file": None}, "tls_unknown_ca"), ({"port_of": "server"}, "tls_handshake")])
def test_dot_failures(lab, plain, params, error):
    server = plain[params.get("port_of", "dot")]
    more = {}
    if "ca_file" not in params:
        more["ca_file"] = plain["ca"]
    else:  # the system's
        more["ca_file"] = str(certificate(lab, "stranger", 30, None))
    if "server_name" in params:
        more["server_name"] = params["server_name"]
    r = lab.once("www.example", server=server, transport="dot", timeout=3000, **more)
    assert r["error_type"] == error, r


@pytest.mark.parametrize("name,params,error", [
    ("nope.example", {}, "dns_nxdomain"), ("www.example", {"type": "MX"}, "dns_answer"),
    ("www.elsewhere", {}, "dns_servfail"), ("www.example", {"expect_answer": "192.0.2.9"}, "dns_answer"),
    ("www.example", {"expect_nxdomain": "true"}, "dns_answer"), ("www.example", {"expect_rcode": "REFUSED"}, "dns_answer"),
    ("www.example", {"expect_answer": "192.0.2.1, 192.0.2.2", "expect_match": "all"}, "dns_answer")])
def test_failures(lab, plain, name, params, error):
    r = lab.once(name, server=plain["server"], **params)
    assert (r["exit"], r["error_type"]) == (1, error), r
    assert r["error_message"]


@pytest.mark.parametrize("name,params", [
    ("nope.example", {"expect_nxdomain": "true"}), ("www.elsewhere", {"expect_rcode": "REFUSED"}),
    ("www.example", {"type": "MX", "expect_rcode": "NOERROR"}), ("www.example", {"expect_answer": "192.0.2.1,192.0.2.2"}),
    ("alias.example", {"type": "CNAME", "expect_answer": "WWW.example"}),
    ("text.example", {"type": "TXT", "expect_answer": "hello\\, world second"})])
def test_expectations(lab, plain, name, params):
    r = lab.once(name, server=plain["server"], **params)
    assert r["success"], r


def test_no_server(lab):
    r = lab.once("www.example", server="127.0.0.1:%d" % free_port())
    assert r["error_type"] == "connect_refused", r
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        r = lab.once("www.example", server="127.0.0.1:%d" % deaf.getsockname()[1], timeout=600)
        assert r["error_type"] == "dns_timeout", r
        assert len(deaf.recv(512)) > 12 and len(deaf.recv(512)) > 12  # asked twice


class Liar(threading.Thread):
    """A UDP server whose answers a function makes from the question."""

    def __init__(self, make):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.make = make
        self.start()

    def run(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            for answer in self.make(query):
                self.socket.sendto(answer, peer)


def reply(query, flags=b"\x85\x80", answers=b"", count=0, question=None):
    end = query.index(b"\0", 12) + 5
    return (query[:2] + flags + b"\0\1" + bytes([0, count]) + b"\0\0\0\0" + (question or query[12:end]) + answers)


A_RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])


@pytest.mark.parametrize("make,error", [
    (lambda q: [b"garbage"], "dns_timeout"),
    (lambda q: [bytes([q[0] ^ 1]) + reply(q, answers=A_RECORD, count=1)[1:]], "dns_timeout"),
    (lambda q: [reply(q, question=b"\5other\0\0\1\0\1")], "dns_timeout"),
    (lambda q: [reply(q, answers=A_RECORD[:-1], count=1)], "dns_malformed"),
    (lambda q: [reply(q, answers=A_RECORD + b"\0", count=1)], "dns_malformed"),
    (lambda q: [reply(q, answers=b"\xc0\x20" + A_RECORD[2:], count=1)], "dns_malformed"),
    (lambda q: [reply(q, flags=b"\x85\x82")], "dns_servfail"),
    (lambda q: [b"noise", reply(q, answers=A_RECORD, count=1)], "")])
def test_lies(lab, make, error):
    liar = Liar(make)
    r = lab.once("www.example", server=liar.address, timeout=500, tries=1)
    liar.socket.close()
    assert r["error_type"] == error, r


@pytest.mark.parametrize("head,body,error", [
    ("HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n", None, ""),
    ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n", None, "http_body"),
    ("HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n", b"no", "http_status"),
    ("HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: %d\r\n\r\n", b"xx", "dns_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\nContent-Length: 9%d\r\n\r\n", None, "reset")])
def test_doh_http1(lab, plain, head, body, error):
    """A server without HTTP/2, which real name servers no longer are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(lab.folder / "server.pem", lab.folder / "server.key")
    context.set_alpn_protocols(["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        link, _ = listener.accept()
        with context.wrap_socket(link, server_side=True) as tls:
            data = b""
            while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + 12:
                data += tls.recv(4096)
            query = data[data.index(b"\r\n\r\n") + 4:]
            content = body if body is not None else reply(query, answers=A_RECORD, count=1)
            tls.sendall((head % len(content)).encode() + content)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    r = lab.once("www.example", server="127.0.0.1:%d" % listener.getsockname()[1], transport="doh", ca_file=plain["ca"],
                 timeout=3000)
    thread.join(10)
    listener.close()
    assert r["error_type"] == error, r
    if not error:
        assert r["attributes"]["network.protocol.version"] == "1.1"


@pytest.mark.parametrize("params,word", [
    ({"type": "BAD"}, "type"), ({"transport": "quic"}, "transport"), ({"mode": "trace", "server": "127.0.0.1"}, "server"),
    ({"trust_anchor": ". IN DS 1 8 2 aa"}, "trust_anchor"), ({"dnssec": "true", "trust_anchor": "nonsense"}, "trust_anchor"),
    ({"dnssec": "true", "trust_anchor_file": "/nonexistent"}, "/nonexistent"), ({"expect_rcode": "WHAT"}, "expect_rcode"),
    ({"transport": "dot"}, "server"), ({"ca_file": "/x"}, "ca_file"), ({"mode": "trace", "root_hints": "x y"}, "root_hints"),
    ({"no_such": "1"}, "no_such"), ({"expect_nxdomain": "true", "expect_answer": "1"}, "expect_nxdomain")])
def test_bad_params(lab, params, word):
    assert word in lab.refused("www.example", **params)


# ---- unbound as the resolver ----

@pytest.fixture(scope="module")
def signed(lab):
    """A signed tree with one case for every defect, on bind9, and unbound in front of it."""
    cases = []
    for number, defect in enumerate(dns_cases.DEFECTS):
        case = dns_cases.Case(9000 + number, random.Random(number))
        case.defect, case.algorithm, case.denial, case.top = defect, "ECDSAP256SHA256", "nsec", "alpha."
        case.zone = "%s.alpha." % defect.replace("_", "-")
        cases.append(case)
    zones = dns_cases.tree(lab, cases)
    port = lab.named(zones, name="signed")
    tls = free_port()
    doh = free_port()
    certificate(lab, "ub", 30, "IP:127.0.0.1", ca="ca") if (lab.folder / "ca.pem").exists() else \
        (certificate(lab, "ca", 30, None), certificate(lab, "ub", 30, "IP:127.0.0.1", ca="ca"))
    resolver = lab.unbound(port, lab.folder / "anchor", name="front", extra="""
  interface: 127.0.0.1@%d
  interface: 127.0.0.1@%d
  tls-port: %d
  https-port: %d
  tls-service-key: "%s"
  tls-service-pem: "%s"
""" % (tls, doh, tls, doh, lab.folder / "ub.key", lab.folder / "ub.pem"))
    return {"auth": "127.0.0.1:%d" % port, "udp": "127.0.0.1:%d" % resolver, "dot": "127.0.0.1:%d" % tls,
            "doh": "127.0.0.1:%d" % doh, "anchor": str(lab.folder / "anchor"), "port": resolver}


@pytest.mark.parametrize("transport", ["udp", "tcp", "dot", "doh"])
def test_secure_by_every_transport(lab, signed, transport):
    more = {"ca_file": str(lab.folder / "ca.pem")} if transport in ("dot", "doh") else {}
    server = signed[transport] if transport != "tcp" else signed["udp"]
    r = lab.once("www.none.alpha", server=server, transport=transport, dnssec="true", trust_anchor_file=signed["anchor"],
                 **more)
    assert r["success"] and r["dnssec"] == "secure", r
    assert r["metrics"]["dns.dnssec.secure"] == 1


VERDICTS = [
    ("none", "www", "A", "secure", ""), ("none", "x.wild", "A", "secure", ""), ("none", "away", "A", None, ""),
    ("none", "nope", "A", "secure", "dns_nxdomain"), ("none", "www", "MX", "secure", "dns_answer"),
    ("none", "www.island", "A", "insecure", ""), ("none", "island", "DS", "secure", "dns_answer"),
    ("none", "q.moved", "A", "secure", "dns_nxdomain"), ("expired", "www", "A", "bogus", "dns_bogus"),
    ("future", "www", "A", "bogus", "dns_bogus"), ("tampered_a", "www", "A", "bogus", "dns_bogus"),
    ("stripped_a", "www", "A", "bogus", "dns_bogus"), ("stripped_all", "www", "A", "bogus", "dns_bogus"),
    ("stripped_nsec", "nope", "A", "bogus", "dns_bogus"), ("no_nsec", "x.wild", "A", "bogus", "dns_bogus"),
    ("wrong_key", "www", "A", "bogus", "dns_bogus"), ("ds_algorithm", "www", "A", "insecure", ""),
    ("ds_digest_type", "www", "A", "insecure", ""), ("ds_missing", "www", "A", "insecure", ""),
    ("iterations_200", "nope", "A", "insecure", "dns_nxdomain"), ("iterations_150", "nope", "A", "secure", "dns_nxdomain"),
    ("unsigned_with_ds", "www", "A", "bogus", "dns_bogus"), ("unsigned", "www", "A", "insecure", ""),
    ("more_labels", "www", "A", "bogus", "dns_bogus"), ("tampered_dname", "q.moved", "A", "bogus", "dns_bogus")]


@pytest.mark.parametrize("defect,name,qtype,verdict,error", VERDICTS)
@pytest.mark.parametrize("server", ["auth", "udp"])
def test_verdicts(lab, signed, defect, name, qtype, verdict, error, server):
    qname = "%s.%s.alpha." % (name, defect.replace("_", "-"))
    r = lab.once(qname, server=signed[server], type=qtype, dnssec="true", trust_anchor_file=signed["anchor"])
    if verdict:
        assert (r["dnssec"], r["error_type"]) == (verdict, error), r
        assert r["success"] == (error == "")
        assert r["metrics"]["dns.dnssec.secure"] == (verdict == "secure")
        assert (verdict == "secure") == ("probectl.dns.dnssec.reason" not in r["attributes"])
    rcode, ad, _ = dns_lab.ask(signed["port"], qname, qtype)
    assert r["dnssec"] == ("bogus" if rcode == 2 else "secure" if ad else "insecure"), r


def test_ede(lab, signed):
    r = lab.once("www.expired.alpha", server=signed["auth"], dnssec="true", trust_anchor_file=signed["anchor"])
    assert r["attributes"]["probectl.dns.ede"] == "7 Signature Expired"
    assert "expired on" in r["attributes"]["probectl.dns.dnssec.reason"]


def test_no_anchor_covers(lab, signed):
    """Of a name that no anchor covers nothing can be said; that is no failure."""
    key = open(signed["anchor"]).read().replace(".", "covered.", 1)
    r = lab.once("www.none.alpha", server=signed["auth"], dnssec="true", trust_anchor=key)
    assert (r["success"], r["dnssec"]) == (True, "indeterminate"), r
    assert "no trust anchor" in r["attributes"]["probectl.dns.dnssec.reason"]


def test_wrong_anchor(lab, signed):
    key = lab.ds(".", which_one=1)
    r = lab.once("www.none.alpha", server=signed["auth"], dnssec="true", trust_anchor=key)
    assert r["error_type"] == "dns_bogus", r


def test_failing_server_is_not_bogus(lab, signed):
    """A resolver that refuses the chain gives no ground to call anything bogus."""
    def make(query):
        end = query.index(b"\0", 12)
        if query[end + 1:end + 3] == b"\0\1":
            return [reply(query, answers=A_RECORD, count=1)]
        return [reply(query, flags=b"\x85\x85")]
    liar = Liar(make)
    r = lab.once("www.example", server=liar.address, dnssec="true", trust_anchor_file=signed["anchor"])
    liar.socket.close()
    assert (r["dnssec"], r["error_type"]) == ("indeterminate", "dns_servfail"), r


# ---- trace mode: zones on addresses of their own, with real referrals ----

@pytest.fixture(scope="module")
def world(lab):
    """. on 127.0.0.21, test. on .22, leaf.test. on .23 and lame on .24; one bind9 with a view each."""
    leaf = "$ORIGIN leaf.test.\n$TTL 300\n" + SOA + "www A 192.0.2.9\nalias CNAME www.other.test.\n"
    other = "$ORIGIN other.test.\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns1.leaf.test.\nwww A 192.0.2.10\n"
    leaf += "ns1 A 127.0.0.23\n"
    leaf = leaf.replace("ns A 127.0.0.1", "ns A 127.0.0.23")
    loop1 = "loop1.test. NS ns.loop2.test.\nloop2.test. NS ns.loop1.test.\n"
    test = ("$ORIGIN test.\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.22\n"
            "leaf NS lame.leaf\nleaf NS ns.leaf\nns.leaf A 127.0.0.23\nlame.leaf A 127.0.0.24\n"
            "other NS ns1.leaf\n" + loop1 + "dead NS ns.dead\nns.dead A 127.0.0.24\n" +
            lab.ds("leaf.test.") + "\n")
    root = "$TTL 300\n. SOA ns. h. 1 3600 600 86400 60\n. NS ns.\nns. A 127.0.0.21\ntest. NS ns.test.\nns.test. A 127.0.0.22\n" + \
        lab.ds("test.") + "\n"
    views = {"root": ("127.0.0.21", {".": lab.sign(".", root)}), "test": ("127.0.0.22", {"test.": lab.sign("test.", test)}),
             "leaf": ("127.0.0.23", {"leaf.test.": lab.sign("leaf.test.", leaf), "other.test.": other}),
             "lame": ("127.0.0.24", {"nothing.": "$TTL 1\n@ SOA a. b. 1 1 1 1 1\n@ NS a.\n"})}
    port = lab.relay(["127.0.0.%d" % i for i in range(21, 25)], lab.named({}, views=views, name="world"))
    (lab.folder / "world-anchor").write_text(lab.ds(".") + "\n")
    (lab.folder / "hints").write_text(". 3600 IN NS ns.\nns. 3600 IN A 127.0.0.21\n")
    return {"root_hints": str(lab.folder / "hints"), "port": port, "mode": "trace"}


def hops(r):
    return [r["attributes"]["probectl.dns.trace.%d" % i] for i in range(1, 17) if "probectl.dns.trace.%d" % i in r["attributes"]]


def test_trace(lab, world):
    r = lab.once("www.leaf.test", **world)
    assert r["success"], r
    assert r["attributes"]["probectl.dns.answer"] == "192.0.2.9"
    assert r["attributes"]["probectl.dns.trace"] == ". > test. > leaf.test."
    steps = hops(r)
    assert len(steps) == r["metrics"]["dns.trace.hops"]
    assert "127.0.0.21" in steps[0] and "referral test." in steps[0] and " ms" in steps[0]
    assert "127.0.0.22" in steps[1] and "referral leaf.test." in steps[1]
    assert "127.0.0.23" in steps[-1] and "answer" in steps[-1]


def test_trace_follows_aliases_and_finds_servers_without_glue(lab, world):
    """alias.leaf.test is www.other.test, whose only server, ns1.leaf.test, has no address in the referral."""
    r = lab.once("alias.leaf.test", **world)
    assert r["success"], r
    assert r["attributes"]["probectl.dns.answer"] == "192.0.2.10"
    assert r["attributes"]["probectl.dns.canonical_name"] == "www.other.test."
    assert any("address of a server" in step and "ns1.leaf.test. A" in step for step in hops(r)), hops(r)


def test_trace_lame(lab, world):
    r = lab.once("www.dead.test", timeout=5000, **world)
    assert r["error_type"] == "dns_lame", r
    assert any("REFUSED" in step for step in hops(r))
    seen = set()
    for _ in range(12):  # whichever server is asked first, the answer comes
        r = lab.once("www.leaf.test", **world)
        assert r["success"], r
        seen.add(any("REFUSED" in step for step in hops(r)))
    assert seen == {True, False} or seen == {True}


def test_trace_loop_ends(lab, world):
    r = lab.once("www.loop1.test", timeout=5000, **world)
    assert r["error_type"] == "dns_lame", r
    assert r["duration_nano"] < 4e9


def test_trace_validates(lab, world):
    anchor = {"dnssec": "true", "trust_anchor_file": str(lab.folder / "world-anchor")}
    assert lab.once("www.leaf.test", **world, **anchor)["dnssec"] == "secure"
    r = lab.once("nope.leaf.test", **world, **anchor, expect_nxdomain="true")
    assert (r["success"], r["dnssec"]) == (True, "secure"), r
    r = lab.once("alias.leaf.test", **world, **anchor)
    assert (r["success"], r["dnssec"]) == (True, "insecure"), r
    assert "delegated unsigned" in r["attributes"]["probectl.dns.dnssec.reason"]


# ---- differential ----

def test_verdicts_equal_unbounds(lab):
    cases = [dns_cases.Case(i, random.Random("%s-%d" % (SEED, i))) for i in range(CASES)]
    other = dns_lab.Lab()
    count, differ = collections.Counter(), []
    try:
        port = other.named(dns_cases.tree(other, cases))
        resolver = other.unbound(port, other.folder / "anchor")
        anchor = str(other.folder / "anchor")
        for case in cases:
            rcode, ad, _ = dns_lab.ask(resolver, case.qname, case.qtype)
            theirs = "bogus" if rcode == 2 else "secure" if ad else "insecure"
            for server in (port, resolver):
                r = other.once(case.qname, type=case.qtype, server="127.0.0.1:%d" % server, dnssec="true",
                               trust_anchor_file=anchor)
                if r["dnssec"] != theirs:
                    differ.append("%s: unbound %s, canary %s (%s)" % (
                        case, theirs, r["dnssec"], r["attributes"].get("probectl.dns.dnssec.reason", r["error_message"])))
            count[theirs] += 1
    finally:
        other.close()
    print("%d cases: %s" % (len(cases), dict(count)))
    assert differ == []
    # A generator that makes only one kind of zone would prove nothing.
    assert min(count["secure"], count["insecure"], count["bogus"]) >= len(cases) // 20
