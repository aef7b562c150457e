"""A real ClickHouse server without Docker: the engine in the wheel chdb-core, serving its own HTTP interface.

`clickhouse.py DIR` serves the data in DIR until SIGTERM, and writes its port to DIR/http_port once it listens. User, password
and database come from CLICKHOUSE_USER, CLICKHOUSE_PASSWORD and CLICKHOUSE_DATABASE; CLICKHOUSE_READER_USER and
CLICKHOUSE_READER_PASSWORD add a user that may read that database, without bodies and signatures. For development and tests:
loopback only, no Keeper, so no replicated tables.
"""

import argparse
import hashlib
import os
import re
import signal
import sys
import threading
from pathlib import Path

from paths import ROOT
from steps import Failure, run_main, wait_until

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

CONFIG = """<clickhouse>
  <log-level>warning</log-level>
  <listen_host>127.0.0.1</listen_host>
  <http_port>{port}</http_port>
  <users_config>users.xml</users_config>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <background_pool_size>4</background_pool_size>
  <background_schedule_pool_size>16</background_schedule_pool_size>
</clickhouse>
"""

# The engine's own statements run as `default`, which has no password and cannot be hidden from HTTP: it may do what they
# need and nothing else.
USERS = """<clickhouse>
  <profiles>
    <default/>
    <reader>
      <readonly>1</readonly>
      <max_execution_time>10</max_execution_time>
      <max_memory_usage>2000000000</max_memory_usage>
      <max_threads>2</max_threads>
      <merge_tree_min_rows_for_concurrent_read>128</merge_tree_min_rows_for_concurrent_read>
      <max_result_rows>100000</max_result_rows>
      <max_concurrent_queries_for_user>20</max_concurrent_queries_for_user>
      <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close>
      <constraints><max_execution_time><max>30</max><changeable_in_readonly/></max_execution_time></constraints>
    </reader>
  </profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT CREATE DATABASE, SYSTEM LISTEN, CREATE TEMPORARY TABLE ON *.*</query>
      </grants>
    </default>
    <{user}>
      <password_sha256_hex>{password_sha256}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </{user}>{reader}
  </users>
</clickhouse>
"""

READER = """
    <{user}>
      <password_sha256_hex>{password_sha256}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>reader</profile>
      <quota>default</quota>
      <grants>
{grants}
      </grants>
    </{user}>"""
CREATE = re.compile(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+)(?: AS$|\n\((.*?)^\)$)", re.MULTILINE | re.DOTALL)
COLUMN = re.compile(r"^    (\w+) ", re.MULTILINE)
# What a webhook said as it was signed, and the proof of it.
NOT_FOR_READERS = {"body", "signature"}


def grants(database: str) -> list[str]:
    """A view runs as whoever asks it, so each table and view is granted by itself, and where a table has columns that are not for
    readers, its other columns."""
    statements = []
    for file in sorted((ROOT / "schemas" / "tables").glob("*.sql")):
        for name, head in CREATE.findall(file.read_text()):
            columns = [column for column in COLUMN.findall(head) if column != "INDEX"]
            shown = [column for column in columns if column not in NOT_FOR_READERS]
            of = f"({', '.join(shown)})" if shown != columns else ""
            statements.append(f"GRANT SELECT{of} ON {database}.{name}")
    return statements


def reader() -> str:
    password = os.environ.get("CLICKHOUSE_READER_PASSWORD")
    if not password:
        return ""
    queries = [f"        <query>{statement}</query>" for statement in grants(identifier("CLICKHOUSE_DATABASE"))]
    return READER.format(
        user=identifier("CLICKHOUSE_READER_USER"),
        password_sha256=hashlib.sha256(password.encode()).hexdigest(),
        grants="\n".join(queries),
    )


def identifier(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not IDENTIFIER.fullmatch(value) or value == "default":
        raise Failure(f"{variable} is {value!r}: set it to letters, digits and _, other than `default`")
    return value


def memory_limit() -> int:
    """A third of the machine, at most 4 GiB: a query that wants more fails by itself instead of taking its neighbours along."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(machine // 3, 4 << 30)


def configure(folder: Path, port: int) -> None:
    password = os.environ.get("CLICKHOUSE_PASSWORD")
    if not password:
        raise Failure("CLICKHOUSE_PASSWORD is not set: the server has no user without a password")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.xml").write_text(CONFIG.format(port=port, memory=memory_limit()))
    users = folder / "users.xml"
    users.touch(mode=0o600)
    users.write_text(
        USERS.format(
            user=identifier("CLICKHOUSE_USER"),
            password_sha256=hashlib.sha256(password.encode()).hexdigest(),
            reader=reader(),
        )
    )


def serve(folder: Path, database: str, until_eof: bool) -> int:
    try:
        from chdb import _chdb
    except ImportError as missing:
        raise Failure(f"{missing}: run me with the python of .local/venv, which `make up` and `make test` fill") from missing

    # The engine looks for its config.xml in the current folder, and serves for as long as its last statement runs: that one
    # reads a pipe that nobody writes to.
    os.chdir(folder)
    announcement, port_file = folder / "http_port", folder / "http_port.new"
    for file in (announcement, port_file):
        file.unlink(missing_ok=True)
    reader, writer = os.pipe()
    writers = [writer]

    def end_the_last_statement() -> None:
        if writers:
            os.close(writers.pop())

    statements = f"""
        CREATE DATABASE IF NOT EXISTS {database};
        SYSTEM START LISTEN HTTP;
        SELECT getServerPort('http_port') INTO OUTFILE 'http_port.new' TRUNCATE FORMAT TSV;
        INSERT INTO FUNCTION null('line String') FROM INFILE '/dev/fd/{reader}' FORMAT LineAsString"""
    # The path is absolute because the engine looks for the folder of a part that it syncs from within its path.
    path = str(folder / "data")
    engine = threading.Thread(target=_chdb.query, args=(statements, "TSV"), kwargs={"path": path})
    engine.start()

    def listening() -> bool:
        return port_file.exists() and port_file.stat().st_size > 0

    wait_until("clickhouse: listening", lambda: listening() or not engine.is_alive(), 60)
    if not listening():
        raise Failure("clickhouse: it does not listen; the engine says why above")

    # Only now, because the engine installs handlers of its own when it starts.
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: end_the_last_statement())
    # Whoever reads it may also stop us.
    port_file.replace(announcement)
    if until_eof:
        threading.Thread(target=lambda: (wait_for_eof(), end_the_last_statement()), daemon=True).start()
    engine.join()
    if writers:
        raise Failure("clickhouse: the engine ended by itself")
    return 0


def wait_for_eof() -> None:
    """Reads the descriptor, not `sys.stdin`: at exit the interpreter wants the lock of that object, which a thread that reads
    it does not let go of, and aborts."""
    while os.read(sys.stdin.fileno(), 65536):
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin ends, too")
    options = parser.parse_args()
    os.environ["TZ"] = "UTC"  # the engine ignores its timezone setting
    folder = options.folder.resolve()
    configure(folder, options.port)
    return serve(folder, identifier("CLICKHOUSE_DATABASE"), options.until_eof)


if __name__ == "__main__":
    run_main(main)
