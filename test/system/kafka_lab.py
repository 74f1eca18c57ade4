# SPDX-License-Identifier: PostgreSQL
"""A real Apache Kafka of one node (KRaft), for tests and for trying things by hand.

The broker's jars come from the Java registry through Maven, once, into build/kafka/<version>; it runs on a JRE of
the distribution with a small heap, on free ports of loopback, with its log below /tmp.

    python3 test/system/kafka_lab.py         starts one, prints its address, runs until interrupted
    python3 test/system/kafka_lab.py --fetch only fetches the jars
"""
import base64
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

from ports import free_port

TOP = pathlib.Path(__file__).resolve().parents[2]
VERSION = "3.9.1"       # newest that speaks every protocol version of librdkafka 2.0
CACHE = TOP / "build" / "kafka" / VERSION
START_SECONDS = 90

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>probectl.test</groupId><artifactId>kafka</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
<version>{VERSION}</version></dependency></dependencies></project>
"""

LOG = """log4j.rootLogger=WARN, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.File={log}
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%d %p %c{{1}}: %m%n
"""


def jars():
    """Class path of the broker; fetched when it is not there. Only one process fetches."""
    done = CACHE / ".done"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            (CACHE / "pom.xml").write_text(POM)
            subprocess.run(["mvn", "-q", "-B", "-f", str(CACHE / "pom.xml"), "dependency:copy-dependencies",
                            f"-DoutputDirectory={CACHE / 'jars'}"], check=True, stdin=subprocess.DEVNULL)
            done.touch()
    return f"{CACHE}/jars/*"


class Kafka:
    """One broker. users: {name: password} for SCRAM over TLS on a second listener, whose key and certificate are
    given as (key, cert) files; the first listener is plaintext on loopback."""

    def __init__(self, tls=None, users=None, **more):
        self.classes = jars()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="probectl-kafka-", dir="/tmp"))
        self.port, self.controller, self.secure_port = free_port(), free_port(), free_port()
        self.brokers = f"127.0.0.1:{self.port}"
        self.secure = f"127.0.0.1:{self.secure_port}"
        self.users = users or {}
        self.config = self.folder / "server.properties"
        self.log = self.folder / "broker.log"
        self.process = None
        self.config.write_text("".join(f"{k}={v}\n" for k, v in self._settings(tls, more).items()))
        (self.folder / "log4j.properties").write_text(LOG.format(log=self.log))
        self._java("kafka.tools.StorageTool", "format", "-t", self._id(), "-c", self.config,
                   *(arg for user, password in self.users.items()
                     for arg in ("--add-scram", f"SCRAM-SHA-256=[name={user},password={password}]")))

    @staticmethod
    def _id():
        return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")

    def _settings(self, tls, more):
        listeners = {"PLAIN": f"PLAINTEXT://127.0.0.1:{self.port}"}
        settings = {
            "process.roles": "broker,controller", "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller}",
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
            "log.dirs": self.folder / "data",
            "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1, "transaction.state.log.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0, "group.min.session.timeout.ms": 500,
            "auto.create.topics.enable": "false", "num.network.threads": 2, "num.io.threads": 4,
            "log.cleaner.enable": "false", "controlled.shutdown.enable": "true",
        }
        if tls:
            pem = self.folder / "broker.pem"
            key, cert = (pathlib.Path(name).read_text() for name in tls)
            pem.write_text(key + cert)
            listeners["SASL_SSL"] = f"SASL_SSL://127.0.0.1:{self.secure_port}"
            settings |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": pem,
                         "sasl.enabled.mechanisms": "SCRAM-SHA-256",
                         "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config":
                             "org.apache.kafka.common.security.scram.ScramLoginModule required;"}
        public = ",".join(listeners.values())
        settings["listeners"] = f"{public},CONTROLLER://127.0.0.1:{self.controller}"
        settings["advertised.listeners"] = public
        return settings | {name.replace("_", "."): value for name, value in more.items()}

    def _command(self, main, *args):
        return ["java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                f"-Dlog4j.configuration=file:{self.folder / 'log4j.properties'}", "-cp", self.classes, main,
                *map(str, args)]

    def _java(self, main, *args):
        done = subprocess.run(self._command(main, *args), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        with open(self.folder / "out.log", "a") as out:
            self.process = subprocess.Popen(self._command("kafka.Kafka", self.config), stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "out.log").read_text()[-2000:]
            assert time.monotonic() < end, "the broker does not answer: " + self.log.read_text()[-2000:]
            time.sleep(0.1)
        return self

    def answers(self):
        """It gives metadata: elected, unfenced, ready."""
        import confluent_kafka.admin
        try:
            admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.brokers, "log_level": 0,
                                                       "socket.timeout.ms": 2000})
            return len(admin.list_topics(timeout=1).brokers) == 1
        except confluent_kafka.KafkaException:
            return False

    def kill(self):
        """As a power cut."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if "--fetch" in sys.argv:
        jars()
        return
    broker = Kafka()
    try:
        broker.start()
        print(broker.brokers, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        broker.remove()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    main()
