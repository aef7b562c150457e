"""`.local/env`: every address and secret of the local stack, chosen once and kept."""

import os
import secrets
import shlex
from collections.abc import Callable
from urllib.parse import urlsplit

from paths import LOCAL
from ports import free_port
from steps import write_private

FILE = LOCAL / "env"
SOURCE = "magichour"

CHOICES: dict[str, Callable[[], str]] = {
    "HOOKLINE_WEBHOOK_URL": lambda: f"http://127.0.0.1:{free_port()}/webhooks/{SOURCE}",
    "HOOKLINE_WEBHOOK_SECRET": lambda: f"mhw_live_{secrets.token_hex(24)}",
    "HOOKLINE_SOURCE": lambda: SOURCE,
    "HOOKLINE_INGEST_ADMIN_URL": lambda: f"http://127.0.0.1:{free_port()}",
    "HOOKLINE_PROCESSOR_ADMIN_URL": lambda: f"http://127.0.0.1:{free_port()}",
    "HOOKLINE_ANALYTICS_URL": lambda: f"http://127.0.0.1:{free_port()}",
    "HOOKLINE_PROMETHEUS_URL": lambda: f"http://127.0.0.1:{free_port()}",
    "HOOKLINE_TOPIC_PREFIX": lambda: "hookline",
    "KAFKA_BOOTSTRAP_SERVERS": lambda: f"127.0.0.1:{free_port()}",
    "CLICKHOUSE_URL": lambda: f"http://127.0.0.1:{free_port()}",
    "CLICKHOUSE_DATABASE": lambda: "hookline",
    "CLICKHOUSE_USER": lambda: "hookline",
    "CLICKHOUSE_PASSWORD": lambda: secrets.token_hex(16),
    "CLICKHOUSE_READER_USER": lambda: "reader",
    "CLICKHOUSE_READER_PASSWORD": lambda: secrets.token_hex(16),
    "SUPERVISOR_URL": lambda: f"http://hookline:{secrets.token_hex(16)}@127.0.0.1:{free_port()}/RPC2",
}


def kept() -> dict[str, str]:
    """What the file says; nothing before the first `up`."""
    if not FILE.exists():
        return {}
    words = shlex.split(FILE.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)


def keep() -> dict[str, str]:
    """What the file says, after choosing what it lacks: to have another port picked, delete its line."""
    before = kept()
    values = before | {name: choose() for name, choose in CHOICES.items() if name not in before}
    if values != before:
        lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        write_private(
            FILE, f"# Every address and secret of the local stack; to use them in a shell: . .local/env\nset -a\n{lines}set +a\n"
        )
    return values


def of_programs(values: dict[str, str]) -> dict[str, str]:
    """The environment of this process, with the stack's names from `values` alone: a name left over in somebody's shell
    must not decide what a daemon does."""
    ours = ("HOOKLINE_", "KAFKA_", "CLICKHOUSE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | values


def port_of(address: str) -> int:
    port = urlsplit(address if "//" in address else f"//{address}").port
    if port is None:
        raise ValueError(f"{address} has no port")
    return port
