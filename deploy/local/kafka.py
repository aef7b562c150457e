"""A real Apache Kafka without Docker: one node or several, each broker and controller, on loopback.

`kafka.py DIR` formats DIR when it is new, keeps ports and cluster id in it, starts the nodes, and writes DIR/kafka.json once
they are ready: bootstrap servers, cluster id, id, pid and port of each node, and what SASL takes. It stops them all at SIGTERM.
With --until-eof it does so at the end of stdin too, and a line `start N` there starts a node again that was killed;
kafka.json is rewritten when it is ready. With --exec there is one node, and this process becomes it.
"""

import argparse
import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from paths import LOCAL
from ports import accepts, free_port, is_free
from steps import Failure, run_main, tail, wait_until, write_private
from tls import certify

LIBS = LOCAL / "kafka-libs"
LOG_CONFIG = Path(__file__).resolve().parent / "log4j2.yaml"
START_SECONDS = 90
STOP_SECONDS = 30
USER = "hookline"


class Cluster:
    """What is kept in DIR/cluster.json: the id, the ports and the passwords; and where each node has its files."""

    def __init__(self, folder: Path, nodes: int, port: int | None, sasl: bool) -> None:
        self.folder = folder
        kept = folder / "cluster.json"
        if kept.exists():
            layout = json.loads(kept.read_text())
            if len(layout["nodes"]) != nodes or bool(layout["passwords"]) != sasl:
                raise Failure(f"{folder} holds another kind of cluster: remove it, or name another folder")
        else:
            listeners = ["port", "controller_port"] + (["secure_port"] if sasl else [])
            layout = {
                "cluster_id": new_cluster_id(),
                "nodes": [{name: free_port() for name in listeners} for _ in range(nodes)],
                "passwords": {name: secrets.token_hex(16) for name in ("plain", "scram")} if sasl else {},
            }
            write_private(kept, json.dumps(layout, indent=2))
        self.id: str = layout["cluster_id"]
        self.ports: dict[int, dict[str, int]] = dict(enumerate(layout["nodes"], start=1))
        self.passwords: dict[str, str] = layout["passwords"]
        if port:
            self.ports[1]["port"] = port
        if sasl and not (folder / "tls").exists():
            certify(folder / "tls")

    def node_folder(self, node: int) -> Path:
        return self.folder / f"node-{node}"

    def log(self, node: int) -> Path:
        return self.folder / f"node-{node}.log"

    def bootstrap(self, listener: str) -> str:
        return ",".join(f"127.0.0.1:{ports[listener]}" for ports in self.ports.values())

    def prepare(self, overrides: dict[str, str]) -> None:
        """Writes the configuration of every node, and formats the storage of those that are new."""
        formatting = []
        for node in self.ports:
            folder = self.node_folder(node)
            folder.mkdir(exist_ok=True)
            settings = self.settings(node) | overrides
            lines = "".join(f"{key}={value}\n" for key, value in settings.items())
            write_private(folder / "server.properties", lines)
            if not (folder / "data" / "meta.properties").exists():
                formatting.append(subprocess.Popen(self.format_command(node), stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        for tool in formatting:
            output, _ = tool.communicate()
            if tool.returncode != 0:
                raise Failure(f"kafka: storage was not formatted:\n{output.decode(errors='replace').strip()}")

    def settings(self, node: int) -> dict[str, str]:
        ports = self.ports[node]
        copies = min(3, len(self.ports))
        in_sync = max(1, copies - 1)
        listeners = {"PLAINTEXT": "port", "CONTROLLER": "controller_port"} | ({"SECURE": "secure_port"} if self.passwords else {})
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{p['controller_port']}" for n, p in self.ports.items()),
            "listeners": ",".join(f"{name}://127.0.0.1:{ports[port]}" for name, port in listeners.items()),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.node_folder(node) / "data"),
            "auto.create.topics.enable": "false",
            "min.insync.replicas": str(in_sync),
            "default.replication.factor": str(copies),
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(in_sync),
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": str(in_sync),
            # Few files, and no wait for members that might still join: a group of a test gets its partitions at once.
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
        } | (self.sasl_settings() if self.passwords else {})

    def sasl_settings(self) -> dict[str, str]:
        security = "org.apache.kafka.common.security"
        secure = "listener.name.secure"
        return {
            f"{secure}.ssl.keystore.type": "PEM",
            f"{secure}.ssl.keystore.location": str(self.folder / "tls" / "server.pem"),
            f"{secure}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            f"{secure}.plain.sasl.jaas.config": f"{security}.plain.PlainLoginModule required"
            f' user_{USER}="{self.passwords["plain"]}";',
            f"{secure}.scram-sha-512.sasl.jaas.config": f"{security}.scram.ScramLoginModule required;",
        }

    def format_command(self, node: int) -> list[str]:
        properties = str(self.node_folder(node) / "server.properties")
        command = [*java(256), "kafka.tools.StorageTool", "format", "-t", self.id, "-c", properties]
        if self.passwords:
            command += ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={self.passwords['scram']}]"]
        return command

    def node_command(self, node: int) -> list[str]:
        heap = 512 if len(self.ports) == 1 else 384
        return [*java(heap), "kafka.Kafka", str(self.node_folder(node) / "server.properties")]

    def require_ports(self, node: int) -> None:
        """The broker itself would tell its log only, after seconds."""
        for name, port in self.ports[node].items():
            if not is_free(port):
                raise Failure(f"kafka: {name} {port} of node {node} is in use by another program: end that one first")


class Nodes:
    """The running nodes of a cluster, as children of this process."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        # A killed node must not stay behind as a zombie: whoever killed it looks whether its pid is gone.
        signal.signal(signal.SIGCHLD, lambda *_: [child.poll() for child in self.running.values()] and None)

    def start(self, nodes: list[int]) -> None:
        for node in nodes:
            self.cluster.require_ports(node)
            with self.cluster.log(node).open("ab") as log:
                # A session of its own: Ctrl-C is for this process, which then stops the nodes in order.
                self.running[node] = subprocess.Popen(
                    self.cluster.node_command(node),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        for node in nodes:
            wait_until(f"kafka: node {node}", lambda: self.is_ready(node), START_SECONDS, self.cluster.log(node))  # noqa: B023
        self.publish()

    def is_ready(self, node: int) -> bool:
        """A broker opens its port last, when the controllers have admitted it."""
        if (code := self.running[node].poll()) is not None:
            raise Failure(f"kafka: node {node} ended with code {code}{tail(self.cluster.log(node))}")
        return accepts(self.cluster.ports[node]["port"])

    def publish(self) -> None:
        cluster = self.cluster
        state: dict[str, Any] = {
            "bootstrap_servers": cluster.bootstrap("port"),
            "cluster_id": cluster.id,
            "nodes": [{"id": n, "pid": p.pid, "port": cluster.ports[n]["port"]} for n, p in sorted(self.running.items())],
        }
        if cluster.passwords:
            users = {kind: {"user": USER, "password": password} for kind, password in cluster.passwords.items()}
            ca = str(cluster.folder / "tls" / "ca.pem")
            state["sasl"] = {"bootstrap_servers": cluster.bootstrap("secure_port"), "ca": ca, **users}
        write_private(cluster.folder / "kafka.json", json.dumps(state, indent=2))

    def obey(self, line: str) -> None:
        match line.split():
            case ["start", number] if number.isdecimal() and int(number) in self.running:
                node = int(number)
                if self.running[node].poll() is None:
                    print(f"kafka: node {node} is running", file=sys.stderr)
                else:
                    self.start([node])
            case _:
                known = ", ".join(map(str, self.running))
                print(f"kafka: {line.strip()!r} means nothing here: write `start N`, N one of {known}", file=sys.stderr)

    def stop(self) -> None:
        (self.cluster.folder / "kafka.json").unlink(missing_ok=True)
        for child in self.running.values():
            child.terminate()
        for node, child in self.running.items():
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"kafka: node {node} did not stop within {STOP_SECONDS} s and is killed", file=sys.stderr)
                child.kill()
                child.wait()


def java(heap_mb: int) -> list[str]:
    """Ends with its parent, even one that was killed: a broker that nobody minds would hold ports and memory."""
    return [
        "setpriv", "--pdeathsig", "TERM", "java", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={LOG_CONFIG}", "-cp", f"{LIBS}/*",
    ]  # fmt: skip


def new_cluster_id() -> str:
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]).startswith("-"):
        pass  # the tools would take it for an option
    return text


def setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--nodes", type=int, default=1, metavar="N")
    parser.add_argument("--port", type=int, help="of the first node; a free one by default, kept in DIR")
    parser.add_argument("--sasl-ssl", action="store_true", help="a second listener, with TLS, PLAIN and SCRAM-SHA-512")
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--until-eof", action="store_true", help="stop when stdin ends, too; obey `start N` lines")
    mode.add_argument("--exec", action="store_true", help="become the one node")
    options = parser.parse_args()
    if options.nodes < 1 or (options.exec and options.nodes != 1):
        parser.error("--nodes is at least 1, and exactly 1 with --exec")
    if not LIBS.exists():
        raise Failure(f"{LIBS} is missing: `make up` and `make test` fetch it")

    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kafka.json").unlink(missing_ok=True)
    cluster = Cluster(folder, options.nodes, options.port, options.sasl_ssl)
    cluster.prepare(dict(options.overrides))
    if options.exec:
        cluster.require_ports(1)
        command = cluster.node_command(1)
        os.execvp(command[0], command)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    nodes = Nodes(cluster)
    try:
        nodes.start(list(cluster.ports))
        if options.until_eof:
            for line in sys.stdin:
                nodes.obey(line)
        else:
            while True:
                signal.pause()
    finally:
        nodes.stop()
    return 0


if __name__ == "__main__":
    run_main(main)
