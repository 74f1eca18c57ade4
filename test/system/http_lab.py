# SPDX-License-Identifier: PostgreSQL
"""Servers for the http canary: a CA, certificates good and bad, nginx, openssl s_server, sockets with a script."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from conftest import BIN, free_port, wait_for

AGENT = BIN / "probectl-agent"
DAY = 86400


def missing():
    """Programs that are not installed."""
    return [name for name in ("nginx", "openssl") if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]


class Authority:
    """A CA with its index, so that its responder knows what it issued and revoked."""

    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.folder = lab.folder / name.replace(" ", "-")
        self.folder.mkdir()
        self.key, self.cert = self.folder / "ca.key", self.folder / "ca.pem"
        (self.folder / "index").touch()
        (self.folder / "index.attr").write_text("unique_subject = no\n")
        self.conf = self.folder / "ca.conf"
        self.conf.write_text("[ca]\ndefault_ca=a\n[a]\ndatabase=%s/index\nnew_certs_dir=%s\nrand_serial=yes\n"
                             "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n" % (self.folder, self.folder))
        lab.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                "-subj", "/CN=" + name, "-keyout", self.key, "-out", self.cert,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")

    def issue(self, name, san="DNS:localhost,IP:127.0.0.1", days=(-1, 20), extra="", key=("ec", "ec_paramgen_curve:P-256"),
              ca=False):
        """(certificate, key); the days are when it begins and ends, from now."""
        cert, private, request, ext = (self.folder / (name + end) for end in (".pem", ".key", ".csr", ".ext"))
        ext.write_text("basicConstraints=CA:%s\n%s%s\n" % ("TRUE" if ca else "FALSE", "subjectAltName=%s\n" % san if san else "", extra))
        self.lab.run("openssl", "req", "-new", "-newkey", key[0], "-pkeyopt", key[1], "-nodes", "-subj", "/CN=" + name,
                     "-keyout", private, "-out", request)
        stamp = [time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + d * DAY)) for d in days]
        self.lab.run("openssl", "ca", "-batch", "-notext", "-config", self.conf, "-cert", self.cert, "-keyfile", self.key,
                     "-in", request, "-out", cert, "-extfile", ext, "-startdate", stamp[0], "-enddate", stamp[1])
        return cert, private

    def revoke(self, cert):
        self.lab.run("openssl", "ca", "-config", self.conf, "-cert", self.cert, "-keyfile", self.key, "-revoke", cert,
                     "-crl_reason", "keyCompromise")

    def staple(self, name, cert, signer=None):
        """The responder's answer about cert, in DER."""
        request, answer, signer = self.folder / (name + ".ocspreq"), self.folder / (name + ".ocsp"), signer or self
        self.lab.run("openssl", "ocsp", "-issuer", self.cert, "-cert", cert, "-no_nonce", "-reqout", request)
        self.lab.run("openssl", "ocsp", "-index", self.folder / "index", "-CA", self.cert, "-rsigner", signer.cert,
                     "-rkey", signer.key, "-reqin", request, "-respout", answer, "-ndays", "7", "-noverify")
        return answer


class Lab:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pctl-http-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.children, self.sockets = [], []

    def close(self):
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
        for one in self.sockets:
            one.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *words):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 0, "%s: %s%s" % (words, done.stdout, done.stderr)
        return done.stdout

    def start(self, words, ports):
        """A server in the foreground, which is up when its ports take connections."""
        log = open(self.folder / ("log-%d" % len(self.children)), "w+")
        child = subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, stdout=log, stderr=log)
        self.children.append(child)

        def up():
            assert child.poll() is None, pathlib.Path(log.name).read_text()
            return all(reachable(port) for port in ports)
        wait_for(up, 20, "%s on %s" % (words[0], ports))
        return child

    def nginx(self, servers):
        """nginx with these server blocks; {"name": text with PORT for its own}: name -> port."""
        ports = {name: free_port() for name in servers}
        folder = self.folder / ("nginx-%d" % len(self.children))
        folder.mkdir()
        blocks = "".join("server { server_name localhost; %s }\n" % text.replace("PORT", "127.0.0.1:%d" % ports[name])
                         for name, text in servers.items())
        paths = "".join("%s_temp_path %s/%s;\n" % (kind, folder, kind)
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "conf").write_text(
            "%sdaemon off; worker_processes 1; pid %s/pid; error_log %s/error.log;\nevents {}\n"
            "http { access_log off; %s\n%s}\n" % ("user root;\n" if os.geteuid() == 0 else "", folder, folder, paths, blocks))
        self.start([shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-p", folder, "-c", folder / "conf", "-e",
                    folder / "error.log"], ports.values())
        return ports

    def s_server(self, cert, key, *options):
        """openssl s_server -www with this certificate: its port."""
        port = free_port()
        self.start(["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", cert, "-key", key, "-www", *options], [port])
        return port

    def script(self, answer):
        """A socket that reads a request and calls answer(connection): its port."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listening)

        def serve():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    answer(connection)
        threading.Thread(target=serve, daemon=True).start()
        return listening.getsockname()[1]

    def once(self, target, around=(), timeout=10000, canary="http", **params):
        """One run as the control plane would get it; around is a command that runs the agent."""
        words = [*around, str(AGENT), "--once", canary, target, "--json", "--param", "timeout=%d" % timeout]
        for key, value in params.items():
            words += ["--param", "%s=%s" % (key, value)]
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


def reachable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
