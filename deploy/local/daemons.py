"""The programs of the stack under supervisord, which starts again what crashes."""

import http.client
import shlex
import subprocess
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environment
from paths import HERE, LOCAL, ROOT
from ports import is_free
from steps import Failure, tail, wait_until, write_private
from tools import PYTHON, VENV

LOGS = LOCAL / "log"
# In the order of starting; ingest and processor find their servers and topics when they come.
PROGRAMS = ("kafka", "clickhouse", "ingest", "processor", "analytics", "prometheus")
# Part of the stack where the machine has it or can fetch it.
OPTIONAL = ("prometheus",)
# What each of them listens on.
ADDRESSES = {
    "kafka": ("KAFKA_BOOTSTRAP_SERVERS",),
    "clickhouse": ("CLICKHOUSE_URL",),
    "ingest": ("HOOKLINE_WEBHOOK_URL", "HOOKLINE_INGEST_ADMIN_URL"),
    "processor": ("HOOKLINE_PROCESSOR_ADMIN_URL",),
    "analytics": ("HOOKLINE_ANALYTICS_URL",),
    "prometheus": ("HOOKLINE_PROMETHEUS_URL",),
}
STARTED = ("STARTING", "RUNNING", "BACKOFF")

# Supervisord gives its programs a umask of its own, 022 unless told: their data and logs hold signed bodies.
# Nothing starts by itself with supervisord: `up` starts one after another, each when what it needs is ready.
CONFIG = """[supervisord]
logfile={logs}/supervisord.log
logfile_maxbytes=2MB
logfile_backups=1
pidfile={local}/supervisord.pid
directory={root}
umask=077

[inet_http_server]
port=127.0.0.1:{port}
username={user}
password={password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
# With --pdeathsig they end with supervisord, even when it is killed: otherwise they would hold their ports, and nobody would
# know them any more.
PROGRAM = """
[program:{name}]
command=setpriv --pdeathsig TERM {command}
autostart=false
autorestart=true
startretries=20
stopwaitsecs=60
redirect_stderr=true
stdout_logfile={logs}/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
"""


def log(name: str) -> Path:
    return LOGS / f"{name}.log"


class Supervisor:
    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.address = urlsplit(values["SUPERVISOR_URL"])
        server = xmlrpc.client.ServerProxy(values["SUPERVISOR_URL"])
        self.rpc: Any = server.supervisor

    def programs(self) -> dict[str, dict[str, Any]]:
        """What supervisord says of each program; nothing when it does not run."""
        try:
            return {program["name"]: program for program in self.rpc.getAllProcessInfo()}
        except ConnectionRefusedError:
            return {}
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as other:
            raise Failure(
                f"port {self.address.port} is not answered by our supervisord but by another program: {other}"
            ) from other

    def launch(self, binaries: Path, prometheus: str | None) -> None:
        """Starts supervisord in the background, with no program yet."""
        LOGS.mkdir(parents=True, exist_ok=True)
        config = LOCAL / "supervisord.conf"
        write_private(config, self.config(binaries, prometheus))
        command = [VENV / "bin" / "supervisord", "--configuration", config]
        launched = subprocess.run(command, env=environment.of_programs(self.values), capture_output=True, text=True)
        if launched.returncode != 0:
            raise Failure(f"supervisord did not start: {(launched.stderr + launched.stdout).strip()}")
        wait_until("supervisord", lambda: bool(self.programs()), 20, LOGS / "supervisord.log")

    def config(self, binaries: Path, prometheus: str | None) -> str:
        servers = {
            name: [PYTHON, HERE / f"{name}.py", LOCAL / name, "--port", environment.port_of(self.values[ADDRESSES[name][0]])]
            for name in ("kafka", "clickhouse")
        }
        servers["kafka"].append("--exec")
        daemons = ("ingest", "processor", "analytics")
        ours = {name: [binaries / f"hookline-{name}", "--config", LOCAL / f"{name}.toml"] for name in daemons}
        ours["analytics"].append("serve")
        if prometheus:
            port = environment.port_of(self.values["HOOKLINE_PROMETHEUS_URL"])
            servers["prometheus"] = [
                prometheus, f"--config.file={LOCAL / 'prometheus.yml'}", f"--storage.tsdb.path={LOCAL / 'prometheus-data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ]  # fmt: skip
        text = CONFIG.format(
            logs=LOGS,
            local=LOCAL,
            root=ROOT,
            port=self.address.port,
            user=self.address.username,
            password=self.address.password,
        )
        for name, command in (servers | ours).items():
            text += PROGRAM.format(name=name, logs=LOGS, command=shlex.join(map(str, command)))
        return text.replace("%", "%%")

    def start(self, name: str) -> None:
        """Nothing to do where it was started before."""
        if self.programs()[name]["statename"] in STARTED:
            return
        for variable in ADDRESSES[name]:
            port = environment.port_of(self.values[variable])
            if not is_free(port):
                raise Failure(
                    f"{name}: port {port} is in use by another program. End that one, or delete the line {variable} from"
                    f" {environment.FILE} after `make down`, and another port is picked"
                )
        self.rpc.startProcess(name, False)

    def wait_ready(self, name: str, ready: Callable[[], bool], seconds: float) -> None:
        def settled() -> bool:
            state = self.programs()[name]["statename"]
            if state not in ("STARTING", "RUNNING"):
                raise Failure(f"{name} does not stay up ({state}){tail(log(name))}")
            return state == "RUNNING" and ready()

        try:
            wait_until(f"{name}: ready", settled, seconds, log(name))
        except Failure:
            self.stop(name)
            raise

    def stop(self, name: str) -> None:
        if self.programs()[name]["statename"] in STARTED:
            self.rpc.stopProcess(name)

    def pid(self) -> int:
        return self.rpc.getPID()

    def shutdown(self) -> None:
        self.rpc.shutdown()
