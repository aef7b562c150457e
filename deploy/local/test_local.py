"""Tests of the local stack's own code. `make test` runs them with the rest; alone:
`.local/venv/bin/python -m unittest discover deploy/local`."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import daemons
import health
import stack
import tools
from paths import HERE, LOCAL
from ports import free_port
from steps import Failure, locked, wait_until
from tools import PYTHON

SECONDS = 60
REQUIRED = [name for name in daemons.PROGRAMS if name not in daemons.OPTIONAL]
CLICKHOUSE = os.environ | {"CLICKHOUSE_USER": "u", "CLICKHOUSE_DATABASE": "d", "CLICKHOUSE_PASSWORD": "p"}


class Servers(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_clickhouse_ends_in_order_at_sigterm_and_at_the_end_of_its_stdin(self) -> None:
        for end in ("SIGTERM", "EOF"):
            command = [PYTHON, HERE / "clickhouse.py", self.folder, "--until-eof"]
            server = subprocess.Popen(command, env=CLICKHOUSE, stdin=subprocess.PIPE)
            try:
                port = self.folder / "http_port"
                wait_until("clickhouse", lambda p=port: p.exists() and p.stat().st_size > 0, SECONDS)
                if end == "SIGTERM":
                    server.terminate()
                elif server.stdin:
                    server.stdin.close()
                self.assertEqual(server.wait(SECONDS), 0, end)
                port.unlink()
            finally:
                server.kill()
                server.wait(SECONDS)
                if server.stdin:
                    server.stdin.close()

    def test_a_server_that_outlives_its_run_keeps_the_folder(self) -> None:
        lock, announcement = self.folder / "lock", self.folder / "server" / "http_port"
        run = f"""
import os, signal
from pathlib import Path
import testbed
from steps import locked
with locked(Path({str(lock)!r}), "") as held:
    with testbed.server("clickhouse", Path({str(announcement)!r}), dict(os.environ), held) as server:
        os.kill(server.pid, signal.SIGSTOP)
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""
        said = self.folder / "pid"
        with said.open("w") as file:  # not a pipe: the server inherits it, and would keep it open
            killed = subprocess.run([sys.executable, "-c", run], cwd=HERE, env=CLICKHOUSE, stdout=file, timeout=SECONDS)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        server = int(said.read_text())
        try:
            with self.assertRaisesRegex(Failure, "wait for it"), locked(lock, "wait for it"):
                pass
        finally:
            os.kill(server, signal.SIGCONT)

        def free() -> bool:
            with lock.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

        wait_until("the server ends with its stdin", free, SECONDS)

    def test_what_supervised_programs_write_is_private(self) -> None:
        data = self.folder / "data"
        values = {"SUPERVISOR_URL": f"http://u:p@127.0.0.1:{free_port()}/RPC2"}
        address = daemons.Supervisor(values).address
        names = {"logs": self.folder, "local": self.folder, "root": self.folder, "port": address.port}
        text = daemons.CONFIG.format(**names, user=address.username, password=address.password)
        writer = f"bash -c 'echo said; echo > {data}; exec sleep 60'"
        text += daemons.PROGRAM.format(name="writer", logs=self.folder, command=writer)
        config = self.folder / "supervisord.conf"
        config.write_text(text.replace("%", "%%"))
        command = [LOCAL / "venv" / "bin" / "supervisord", "--configuration", config]
        # It goes into the background, as for `make up`: only then it sets a umask.
        self.assertEqual(subprocess.run(command, stdout=subprocess.DEVNULL, timeout=SECONDS).returncode, 0)
        supervisor = daemons.Supervisor(values)
        try:
            wait_until("supervisord", lambda: bool(supervisor.programs()), SECONDS)
            supervisor.rpc.startProcess("writer", False)
            log = self.folder / "writer.log"
            wait_until("the log", lambda: log.exists() and log.stat().st_size > 0 and data.exists(), SECONDS)
            modes = {file.name: file.stat().st_mode & 0o777 for file in (data, log)}
        finally:
            supervisor.shutdown()
        self.assertEqual(modes, {"data": 0o600, "writer.log": 0o600})


class Words(unittest.TestCase):
    def test_a_program_that_is_not_ready_says_why(self) -> None:
        missing = '{"missing":{"kafka":"no broker answers","clickhouse":"gone"},"ready":false,"warnings":[]}'
        self.assertEqual(health.reason(503, missing), "kafka: no broker answers; clickhouse: gone")
        self.assertIsNone(health.reason(200, '{"missing":{},"ready":true,"warnings":[]}'))
        self.assertEqual(health.reason(503, "<html>"), "/health/ready answers 503")
        self.assertEqual(health.reason(None, "no answer: refused"), "no answer: refused")

    def test_lag_is_the_sum_of_all_partitions_or_unknown(self) -> None:
        line = 'hookline_processor_lag_records{topic="hookline.video",partition="'
        self.assertEqual(health.lag_of(f'# HELP x\n{line}0"}} 3\n{line}1"}} 4\nother 9\n'), 7)
        self.assertIsNone(health.lag_of("other 9\n"))

    def test_the_table_shows_what_is_missing_below(self) -> None:
        def row(name: str, missing: str | None, lag: float | None) -> dict[str, Any]:
            return {
                "name": name, "state": "running", "pid": 7, "seconds": 0, "missing": missing, "lag_records": lag,
                "addresses": ["http://127.0.0.1:1"],
            }  # fmt: skip

        text = stack.table([row("ingest", "kafka: gone", None), row("processor", None, 1204.0)])
        self.assertEqual(
            text.splitlines()[1:],
            [
                "ingest        running     no      7         0         http://127.0.0.1:1",
                "processor     running     yes     7         0         http://127.0.0.1:1",
                "",
                "ingest        not ready: kafka: gone",
                "processor     1,204 records behind",
            ],
        )

    def test_a_program_that_is_none_is_refused_with_the_names_there_are(self) -> None:
        with self.assertRaisesRegex(Failure, "called ingets: there are kafka, clickhouse, ingest, processor"):
            stack.change("restart", ["ingets", "kafka"])
        with self.assertRaisesRegex(Failure, "make stop ARGS=NAME"):
            stack.change("stop", [])

    def test_prometheus_takes_its_configuration_and_finds_the_rules(self) -> None:
        names = ("HOOKLINE_INGEST_ADMIN_URL", "HOOKLINE_PROCESSOR_ADMIN_URL", "HOOKLINE_ANALYTICS_URL")
        text = stack.prometheus_config(dict.fromkeys(names, "http://127.0.0.1:1"))
        program = tools.prometheus()
        self.assertIsNotNone(program, "`apt-get install prometheus` brings the one that this test needs")
        for config, sound in ((text, True), (text.replace("rule_files", "rules_file"), False)):
            with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
                file.write(config)
                file.flush()
                command = [Path(str(program)).with_name("promtool"), "check", "config", file.name]
                checked = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(checked.returncode == 0, sound, checked.stderr)
            self.assertEqual("4 rule files found" in checked.stdout, sound, checked.stdout)

    def test_a_stack_that_is_down_misses_nothing(self) -> None:
        rows = stack.states({})
        self.assertEqual([(row["state"], row["missing"]) for row in rows], [("stopped", None)] * len(REQUIRED))
        self.assertNotIn("prometheus", [row["name"] for row in rows], "it was never there")


if __name__ == "__main__":
    unittest.main()
