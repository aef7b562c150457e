"""The local stack: Kafka, ClickHouse, ingest, processor and the API, supervised, with everything they need in `.local/`."""

import argparse
import json
import os
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
import testbed
import tools
from daemons import ADDRESSES, LOGS, PROGRAMS, Supervisor, log
from paths import LOCAL, ROOT
from ports import accepts
from steps import Failure, locked, run_main, say, step, wait_until, write_private

NOT_ALL_RUNNING = 3
READY_SECONDS = 120
BUSY = "another `up` or `down` is at work: wait for it"
# Ingest first: the processor then takes in what was acknowledged, while its servers are still there.
STOP_ORDER = ("analytics", "ingest", "processor", "clickhouse", "kafka")
SAMPLES_SENT = LOCAL / "samples-sent"
# A few thousand jobs of realistic lengths that ended in the past minutes, with what goes wrong in real traffic.
SAMPLES = "--past 4m --jobs 3000 --duplicates 0.02 --shuffle 0.05 --missing-started 0.02 --foreign 0.002 --give-up-after 2m"

INGEST = """[server]
listen = "127.0.0.1:{webhook}"

[admin]
listen = "127.0.0.1:{admin}"

[sources.{source}.keys]
local = {{ env = "HOOKLINE_WEBHOOK_SECRET" }}
"""
PROCESSOR = """[admin]
listen = "127.0.0.1:{admin}"

[group]
instance_id = "local-1"
"""
ANALYTICS = """[serve]
listen = "127.0.0.1:{port}"
admin_urls = "{admin_urls}"
"""


def up() -> int:
    with locked(LOCAL / "stack.lock", BUSY):
        began = time.monotonic()
        if all_running(states(environment.kept())) and SAMPLES_SENT.exists():
            say("stack", "running already")
        else:
            bring_up()
            say("stack", f"up  {time.monotonic() - began:.1f} s")
    where_to_look(environment.kept())
    return 0


def bring_up() -> None:
    tools.require()
    tools.fetch()
    binaries = tools.build()
    values = environment.keep()
    programs = environment.of_programs(values)
    supervisor = Supervisor(values)
    if not supervisor.programs():
        configure(values)
        supervisor.launch(binaries)

    start(supervisor, "kafka", lambda: accepts(environment.port_of(values["KAFKA_BOOTSTRAP_SERVERS"])))
    start(supervisor, "clickhouse", lambda: answers(f"{values['CLICKHOUSE_URL']}/ping"))
    with step("migrate", "done"):
        tools.check(str(binaries / "hookline-analytics"), "migrate", env=programs)
    start(supervisor, "ingest", lambda: answers(f"{values['HOOKLINE_INGEST_ADMIN_URL']}/health/ready"))
    start(supervisor, "processor", lambda: answers(f"{values['HOOKLINE_PROCESSOR_ADMIN_URL']}/health/ready"))
    start(supervisor, "analytics", lambda: answers(f"{values['HOOKLINE_ANALYTICS_URL']}/health/ready"))

    if not SAMPLES_SENT.exists():
        with step("samples", "sent"):
            tools.check(str(binaries / "hookline-simulator"), *SAMPLES.split(), env=programs)
        with step("processor", "caught up"):
            wait_until("processor: caught up", lambda: lag(values) == 0, READY_SECONDS, log("processor"))
        SAMPLES_SENT.touch()
    tools.check(str(binaries / "hookline-analytics"), "report", env=programs)


def configure(values: dict[str, str]) -> None:
    """What is not in `.local/env`: everything else the daemons find there."""
    ingest = INGEST.format(
        webhook=environment.port_of(values["HOOKLINE_WEBHOOK_URL"]),
        admin=environment.port_of(values["HOOKLINE_INGEST_ADMIN_URL"]),
        source=values["HOOKLINE_SOURCE"],
    )
    processor = PROCESSOR.format(admin=environment.port_of(values["HOOKLINE_PROCESSOR_ADMIN_URL"]))
    analytics = ANALYTICS.format(
        port=environment.port_of(values["HOOKLINE_ANALYTICS_URL"]),
        admin_urls=f"{values['HOOKLINE_INGEST_ADMIN_URL']},{values['HOOKLINE_PROCESSOR_ADMIN_URL']}",
    )
    write_private(LOCAL / "analytics.toml", analytics)
    write_private(LOCAL / "ingest.toml", ingest)
    write_private(LOCAL / "processor.toml", processor)


def start(supervisor: Supervisor, name: str, ready: Callable[[], bool]) -> None:
    with step(name, "ready"):
        supervisor.start(name)
        supervisor.wait_ready(name, ready, READY_SECONDS)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def lag(values: dict[str, str]) -> float | None:
    """Records that the processor has not taken in yet; None while it does not say."""
    with urllib.request.urlopen(f"{values['HOOKLINE_PROCESSOR_ADMIN_URL']}/metrics", timeout=5) as response:
        page = response.read().decode()
    series = [line for line in page.splitlines() if line.startswith("hookline_processor_lag_records{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in series) if series else None


def where_to_look(values: dict[str, str]) -> None:
    print(f"""
webhooks      {values["HOOKLINE_WEBHOOK_URL"]}
metrics       {values["HOOKLINE_INGEST_ADMIN_URL"]}/metrics  {values["HOOKLINE_PROCESSOR_ADMIN_URL"]}/metrics
api           {values["HOOKLINE_ANALYTICS_URL"]}/openapi.json
clickhouse    {values["CLICKHOUSE_URL"]}  database {values["CLICKHOUSE_DATABASE"]}
kafka         {values["KAFKA_BOOTSTRAP_SERVERS"]}
addresses and secrets in {environment.FILE.relative_to(ROOT)}, logs in {LOGS.relative_to(ROOT)}

more traffic  make simulate ARGS='--jobs 2000 --rate 200'
also          make status, make logs, make down""")


def down() -> int:
    with locked(LOCAL / "stack.lock", BUSY):
        values = environment.kept()
        supervisor = Supervisor(values) if values else None
        programs = supervisor.programs() if supervisor else {}
        if not supervisor or not programs:
            say("stack", "not running")
            return 0
        pids = [supervisor.pid()] + [program["pid"] for program in programs.values() if program["pid"]]
        for name in STOP_ORDER:
            with step(name, "stopped"):
                supervisor.stop(name)
        supervisor.shutdown()
        wait_until("every process gone", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)
        say("stack", "down; its data stays in .local")
    return 0


def states(values: dict[str, str]) -> list[dict[str, Any]]:
    programs = Supervisor(values).programs() if values else {}
    rows = []
    for name in PROGRAMS:
        program = programs.get(name, {"statename": "STOPPED", "pid": 0})
        running = program["statename"] == "RUNNING"
        rows.append(
            {
                "name": name,
                "state": program["statename"].lower(),
                "pid": program["pid"] or None,
                "seconds": program["now"] - program["start"] if running else None,
                "addresses": [values[variable] for variable in ADDRESSES[name]] if values else [],
            }
        )
    return rows


def all_running(rows: list[dict[str, Any]]) -> bool:
    return all(row["state"] == "running" for row in rows)


def status(as_json: bool) -> int:
    rows = states(environment.kept())
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'NAME':<14}{'STATE':<12}{'PID':<10}{'SECONDS':<10}ADDRESSES")
        for row in rows:
            addresses = "  ".join(row["addresses"])
            print(f"{row['name']:<14}{row['state']:<12}{row['pid'] or '-':<10}{row['seconds'] or '-':<10}{addresses}")
    return 0 if all_running(rows) else NOT_ALL_RUNNING


def logs(names: list[str], follow: bool) -> int:
    if unknown := set(names) - set(PROGRAMS):
        raise Failure(f"no program is called {', '.join(unknown)}: there are {', '.join(PROGRAMS)}")
    files = [str(log(name)) for name in names or PROGRAMS if log(name).exists()]
    if not files:
        raise Failure(f"no log in {LOGS} yet: `make up` starts the stack")
    os.execvp("tail", ["tail", "-n", "40", *(["-F"] if follow else []), *files])


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything; the first time with sample traffic")
    commands.add_parser("down", help="stop everything that up started")
    command = commands.add_parser("status", help=f"what runs; exit code {NOT_ALL_RUNNING} unless all of it does")
    command.add_argument("--json", action="store_true")
    command = commands.add_parser("logs", help="the last lines of each log, or of those named")
    command.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    command.add_argument("-f", "--follow", action="store_true")
    commands.add_parser("tools", help="fetch what the other commands and `make lint` work with, where it is missing")
    command = commands.add_parser("run", help="run a command on a Kafka and a ClickHouse of its own, that stop with it")
    command.add_argument("--state", type=Path, default=LOCAL / "test", metavar="DIR", help="where they store (%(default)s)")
    command.add_argument("--keep", action="store_true", help="go on with what an earlier run stored, instead of wiping it")
    command.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args()
    match options.command:
        case "up":
            return up()
        case "down":
            return down()
        case "status":
            return status(options.json)
        case "tools":
            tools.require()
            tools.fetch()
            return 0
        case "logs":
            return logs(options.names, options.follow)
        case _:
            argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
            if not argv:
                parser.error("run needs a command: stack.py run -- cargo test")
            return testbed.run(argv, options.state.resolve(), options.keep)


if __name__ == "__main__":
    run_main(main)
