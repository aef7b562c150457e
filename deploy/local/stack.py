"""The local stack: Kafka, ClickHouse, our daemons and Prometheus, supervised, with everything they need in `.local/`."""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environment
import health
import testbed
import tools
from daemons import ADDRESSES, LOGS, OPTIONAL, PROGRAMS, Supervisor, log
from paths import HERE, LOCAL, ROOT
from steps import Failure, locked, run_main, say, step, wait_until, write_private

NOT_ALL_READY = 3
READY_SECONDS = 120
BUSY = "another `up` or `down` is at work: wait for it"
# Ingest first: the processor then takes in what was acknowledged, while its servers are still there.
STOP_ORDER = ("prometheus", "analytics", "ingest", "processor", "clickhouse", "kafka")
SAMPLES_SENT = LOCAL / "samples-sent"
# What the samples and `make simulate` sent, and what became of it: `hookline-simulator check` holds the tables against it.
LEDGER = LOCAL / "samples.jsonl"
# A few thousand jobs of realistic lengths that ended in the past minutes, with what goes wrong in real traffic.
SAMPLES = "--past 4m --jobs 3000 --duplicates 0.02 --shuffle 0.05 --missing-started 0.02 --foreign 0.002 --give-up-after 2m"

INGEST = """[server]
listen = "127.0.0.1:{webhook}"

[admin]
listen = "127.0.0.1:{admin}"

[sources.{source}.keys]
local = {{ env = "HOOKLINE_WEBHOOK_SECRET" }}
"""
# For a shell that has read `.local/env`.
CHECK = f"target/release/hookline-simulator check --ledger {LEDGER.relative_to(ROOT)}"
REPORT = "target/release/hookline-analytics report --watch"
PROCESSOR = """[admin]
listen = "127.0.0.1:{admin}"

[group]
instance_id = "local-1"
"""
ANALYTICS = """[serve]
listen = "127.0.0.1:{port}"
admin_urls = "{admin_urls}"
"""
PROMETHEUS = """global: {{scrape_interval: 5s, evaluation_interval: 15s}}
rule_files: ["{rules}"]
scrape_configs:
  - {{job_name: hookline-ingest, static_configs: [{{targets: ["{ingest}"]}}]}}
  - {{job_name: hookline-processor, static_configs: [{{targets: ["{processor}"]}}]}}
  - {{job_name: hookline-analytics, static_configs: [{{targets: ["{analytics}"]}}]}}
"""


def up() -> int:
    with locked(LOCAL / "stack.lock", BUSY):
        began = time.monotonic()
        first = not SAMPLES_SENT.exists()
        if all_running(states(environment.kept())) and not first:
            say("stack", "running already")
        else:
            bring_up()
            say("stack", f"up  {time.monotonic() - began:.1f} s")
    values = environment.kept()
    where_to_look(values)
    if first:
        print(flush=True)
        report(values)
    return 0


def report(values: dict[str, str]) -> None:
    """Straight to the terminal, whose width it fits."""
    tools.check(str(tools.binaries() / "hookline-analytics"), "report", env=environment.of_programs(values))


def bring_up() -> None:
    tools.require()
    tools.fetch()
    binaries = tools.build()
    # What an earlier version left in it may be readable for others, by its own mode.
    LOCAL.chmod(0o700)
    values = environment.keep()
    programs = environment.of_programs(values)
    supervisor = Supervisor(values)
    if not supervisor.programs():
        configure(values)
        supervisor.launch(binaries, tools.prometheus())

    for name in ("kafka", "clickhouse"):
        start(supervisor, name)
    with step("migrate", "done"):
        tools.check(str(binaries / "hookline-analytics"), "migrate", env=programs)
    for name in ("ingest", "processor", "analytics"):
        start(supervisor, name)
    for name in OPTIONAL:
        if name in supervisor.programs():
            start(supervisor, name)

    if not SAMPLES_SENT.exists():
        with step("samples", "sent"):
            tools.check(str(binaries / "hookline-simulator"), *SAMPLES.split(), "--ledger", str(LEDGER), env=programs)
        with step("processor", "caught up"):
            wait_until("processor: caught up", lambda: health.lag(values) == 0, READY_SECONDS, log("processor"))
        SAMPLES_SENT.touch()


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
    write_private(LOCAL / "prometheus.yml", prometheus_config(values))
    write_private(LOCAL / "analytics.toml", analytics)
    write_private(LOCAL / "ingest.toml", ingest)
    write_private(LOCAL / "processor.toml", processor)


def prometheus_config(values: dict[str, str]) -> str:
    return PROMETHEUS.format(
        rules=HERE.parent / "prometheus" / "rules" / "*.yml",
        ingest=urlsplit(values["HOOKLINE_INGEST_ADMIN_URL"]).netloc,
        processor=urlsplit(values["HOOKLINE_PROCESSOR_ADMIN_URL"]).netloc,
        analytics=urlsplit(values["HOOKLINE_ANALYTICS_URL"]).netloc,
    )


def start(supervisor: Supervisor, name: str) -> None:
    with step(name, "ready"):
        supervisor.start(name)
        supervisor.wait_ready(name, lambda: health.missing(name, supervisor.values) is None, READY_SECONDS)


def change(command: str, names: list[str]) -> int:
    """Stops, starts or restarts single programs."""
    require_known(names)
    if not names:
        raise Failure(f"which one? `make {command} ARGS=NAME`, with NAME one of {', '.join(PROGRAMS)}")
    with locked(LOCAL / "stack.lock", BUSY):
        values = environment.kept()
        supervisor = Supervisor(values) if values else None
        if not supervisor or not supervisor.programs():
            raise Failure("the stack does not run: `make up` starts it")
        if absent := [name for name in names if name not in supervisor.programs()]:
            raise Failure(
                f"the stack was started without {', '.join(absent)}: `make down` and `make up` start it where it is there"
            )
        if command != "start":
            for name in [name for name in STOP_ORDER if name in names]:
                with step(name, "stopped"):
                    supervisor.stop(name)
        if command != "stop":
            for name in [name for name in PROGRAMS if name in names]:
                start(supervisor, name)
    return 0


def require_known(names: list[str]) -> None:
    if unknown := [name for name in names if name not in PROGRAMS]:
        raise Failure(f"no program is called {', '.join(unknown)}: there are {', '.join(PROGRAMS)}")


def where_to_look(values: dict[str, str]) -> None:
    runs = "prometheus" in Supervisor(values).programs()
    prometheus = f"\nprometheus    {values['HOOKLINE_PROMETHEUS_URL']}/alerts" if runs else ""
    print(f"""
webhooks      {values["HOOKLINE_WEBHOOK_URL"]}
metrics       {values["HOOKLINE_INGEST_ADMIN_URL"]}/metrics  {values["HOOKLINE_PROCESSOR_ADMIN_URL"]}/metrics
dashboard     {values["HOOKLINE_ANALYTICS_URL"]}/
api           {values["HOOKLINE_ANALYTICS_URL"]}/openapi.json
clickhouse    {values["CLICKHOUSE_URL"]}  database {values["CLICKHOUSE_DATABASE"]}
kafka         {values["KAFKA_BOOTSTRAP_SERVERS"]}{prometheus}
addresses and secrets in {environment.FILE.relative_to(ROOT)}, logs in {LOGS.relative_to(ROOT)}

a report      {REPORT}
more traffic  make simulate
held against  {CHECK}
also          make status, make logs, make restart ARGS=NAME, make down""")


def down() -> int:
    with locked(LOCAL / "stack.lock", BUSY):
        values = environment.kept()
        supervisor = Supervisor(values) if values else None
        programs = supervisor.programs() if supervisor else {}
        if not supervisor or not programs:
            say("stack", "not running")
            return 0
        pids = [supervisor.pid()] + [program["pid"] for program in programs.values() if program["pid"]]
        for name in [name for name in STOP_ORDER if name in programs]:
            with step(name, "stopped"):
                supervisor.stop(name)
        supervisor.shutdown()
        wait_until("every process gone", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)
        say("stack", "down; its data stays in .local")
    return 0


def states(values: dict[str, str]) -> list[dict[str, Any]]:
    programs = Supervisor(values).programs() if values else {}
    rows = []
    for name in [name for name in PROGRAMS if name not in OPTIONAL or name in programs]:
        program = programs.get(name, {"statename": "STOPPED", "pid": 0})
        running = program["statename"] == "RUNNING"
        rows.append(
            {
                "name": name,
                "state": program["statename"].lower(),
                "pid": program["pid"] or None,
                "seconds": program["now"] - program["start"] if running else None,
                "missing": health.missing(name, values) if running else None,
                "lag_records": health.lag(values) if running and name == "processor" else None,
                "addresses": [values[variable] for variable in ADDRESSES[name]] if values else [],
            }
        )
    return rows


def all_running(rows: list[dict[str, Any]]) -> bool:
    return all(row["state"] == "running" for row in rows)


def status(as_json: bool) -> int:
    rows = states(environment.kept())
    print(json.dumps(rows, indent=2) if as_json else table(rows))
    return 0 if all_running(rows) and not any(row["missing"] for row in rows) else NOT_ALL_READY


def table(rows: list[dict[str, Any]]) -> str:
    """What is missing and the lag come below, where a long reason breaks no column."""
    lines = [f"{'NAME':<14}{'STATE':<12}{'READY':<8}{'PID':<10}{'SECONDS':<10}ADDRESSES"]
    notes = []
    for row in rows:
        running = row["state"] == "running"
        ready = "-" if not running else "no" if row["missing"] else "yes"
        place = f"{row['pid'] or '-':<10}{'-' if row['seconds'] is None else row['seconds']:<10}"
        lines.append(f"{row['name']:<14}{row['state']:<12}{ready:<8}{place}{'  '.join(row['addresses'])}")
        if row["missing"]:
            notes.append(f"{row['name']:<14}not ready: {row['missing']}")
        if row["lag_records"] is not None:
            notes.append(f"{row['name']:<14}{row['lag_records']:,.0f} records behind")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def logs(names: list[str], follow: bool) -> int:
    require_known(names)
    files = [str(log(name)) for name in names or PROGRAMS if log(name).exists()]
    if not files:
        raise Failure(f"no log in {LOGS} yet: `make up` starts the stack")
    os.execvp("tail", ["tail", "-n", "40", *(["-F"] if follow else []), *files])


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything; the first time with sample traffic")
    commands.add_parser("down", help="stop everything that up started")
    command = commands.add_parser("status", help=f"what runs; exit code {NOT_ALL_READY} unless all of it does and is ready")
    command.add_argument("--json", action="store_true")
    for name, text in (
        ("stop", "stop the programs named"),
        ("start", "start them again; the others go on"),
        ("restart", "stop them and start them again, as they are configured and built now"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
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
        case "stop" | "start" | "restart":
            return change(options.command, options.names)
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
