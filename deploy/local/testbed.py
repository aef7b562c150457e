"""Kafka and ClickHouse for the time of one command, with data of their own: what tests and benches run on."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from json import loads
from pathlib import Path

import tools
from paths import HERE
from ports import answers
from steps import Failure, locked, step, wait_until

START_SECONDS = 120
STOP_SECONDS = 60


def run(command: list[str], state: Path, keep: bool) -> int:
    """The command's exit code. The servers stop whatever happens to it, and to us: they watch our end of their stdin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    tools.require()
    tools.fetch()
    lock = state / "testbed.lock"
    if not keep and state.exists() and any(state.iterdir()) and not lock.exists():
        raise Failure(f"{state} is not a folder of an earlier run, so it is not wiped: name another with --state")
    with (
        locked(lock, f"another run is at work in {state}, or still stops: wait for it, or name another --state") as held,
        ExitStack() as stack,
    ):
        kafka, clickhouse = state / "kafka", state / "clickhouse"
        if not keep:
            for folder in (kafka, clickhouse):
                shutil.rmtree(folder, ignore_errors=True)
        environment = os.environ | {"HOOKLINE_PYTHON": str(tools.PYTHON), "HOOKLINE_DEPLOY_LOCAL": str(HERE)}
        if prometheus := tools.prometheus():
            environment["HOOKLINE_PROMETHEUS"] = prometheus
        with step("servers", "ready"):
            broker = stack.enter_context(server("kafka", kafka / "kafka.json", environment, held))
            if url := environment.get("CLICKHOUSE_URL"):
                require_answer(url)
            else:
                environment |= {
                    "CLICKHOUSE_DATABASE": "hookline",
                    "CLICKHOUSE_USER": "hookline",
                    "CLICKHOUSE_PASSWORD": secrets.token_hex(16),
                }
                engine = stack.enter_context(server("clickhouse", clickhouse / "http_port", environment, held))
                environment["CLICKHOUSE_URL"] = f"http://127.0.0.1:{announced('clickhouse', engine, clickhouse / 'http_port')}"
            ready = loads(announced("kafka", broker, kafka / "kafka.json"))
            environment["KAFKA_BOOTSTRAP_SERVERS"] = ready["bootstrap_servers"]
        try:
            code = subprocess.run(command, env=environment).returncode
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror}") from error
        return code if code >= 0 else 128 - code


def require_answer(url: str) -> None:
    """The server that the variable names is used instead of one of ours, so it must be there."""
    if not answers(f"{url}/ping"):
        raise Failure("CLICKHOUSE_URL is set, and nothing answers there: unset it, and a server is started; or start that one")


@contextmanager
def server(name: str, announcement: Path, environment: dict[str, str], lock: int) -> Iterator[subprocess.Popen[bytes]]:
    """The server holds `lock`, too. Otherwise one that outlives a run which was killed would be wiped under its feet, or
    announce itself to the next run in the same folder, and end at once."""
    announcement.unlink(missing_ok=True)  # of a run before, that was killed
    process = subprocess.Popen(
        [tools.PYTHON, HERE / f"{name}.py", announcement.parent, "--until-eof"],
        env=environment,
        stdin=subprocess.PIPE,
        # Ctrl-C is for the command; the servers go after it.
        start_new_session=True,
        pass_fds=(lock,),
    )
    try:
        yield process
    finally:
        if (code := process.poll()) is not None:
            print(f"{name} ended before the command did, {how(code)}: what failed may have failed for that", file=sys.stderr)
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"{name} did not stop within {STOP_SECONDS} s and was killed", file=sys.stderr)


def how(code: int) -> str:
    return f"with code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def announced(name: str, process: subprocess.Popen[bytes], file: Path) -> str:
    """What a server writes into `file` once it is ready."""

    def ready() -> bool:
        if process.poll() is not None:
            raise Failure(f"{name} ended before it was ready, {how(process.returncode)}, see above")
        return file.exists() and file.stat().st_size > 0

    wait_until(name, ready, START_SECONDS)
    return file.read_text().strip()
