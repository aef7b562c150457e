"""Whether a program of the stack is ready, by its own word, and how far the processor is behind."""

import json
import urllib.error
import urllib.request

import environment
from ports import accepts, answers


def missing(name: str, values: dict[str, str]) -> str | None:
    """What the program lacks; None where it is ready."""
    match name:
        case "kafka":
            there = accepts(environment.port_of(values["KAFKA_BOOTSTRAP_SERVERS"]))
            return None if there else "its port does not accept connections"
        case "clickhouse":
            return None if answers(f"{values['CLICKHOUSE_URL']}/ping") else "it does not answer /ping"
        case "prometheus":
            return None if answers(f"{values['HOOKLINE_PROMETHEUS_URL']}/-/ready") else "it does not answer /-/ready"
        case "analytics":
            return reason(*get(f"{values['HOOKLINE_ANALYTICS_URL']}/health/ready"))
        case _:
            return reason(*get(f"{values[f'HOOKLINE_{name.upper()}_ADMIN_URL']}/health/ready"))


def reason(status: int | None, body: str) -> str | None:
    """What an answer of /health/ready says is missing. A status of None is no answer."""
    if status is None:
        return body
    if status == 200:
        return None
    try:
        parts = json.loads(body)["missing"]
    except (ValueError, LookupError, TypeError):
        return f"/health/ready answers {status}"
    return "; ".join(f"{part}: {why}" for part, why in parts.items()) or f"/health/ready answers {status}"


def lag(values: dict[str, str]) -> float | None:
    """Records that the processor has not taken in yet; None while it does not say."""
    status, page = get(f"{values['HOOKLINE_PROCESSOR_ADMIN_URL']}/metrics")
    return lag_of(page) if status == 200 else None


def lag_of(page: str) -> float | None:
    series = [line for line in page.splitlines() if line.startswith("hookline_processor_lag_records{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in series) if series else None


def get(url: str) -> tuple[int | None, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return None, f"no answer: {error}"
