"""Writes the dashboards of Grafana: `make docs` does. With --check it only says whether they are up to date."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${clickhouse}"}
JOBS = 'source=~"$source", resource=~"$resource"'
# One step that is longer than any range.
WHOLE = "from = $__fromTime, to = $__toTime, step = 31536000"

Panel = dict[str, Any]


def series(title: str, unit: str, *queries: tuple[str, str]) -> Panel:
    """A graph of Prometheus; each query with the legend of its series."""
    targets = [
        {"refId": chr(ord("A") + number), "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend}
        for number, (expr, legend) in enumerate(queries)
    ]
    return {
        "type": "timeseries", "title": title, "datasource": PROMETHEUS, "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
    }  # fmt: skip


def table(title: str, sql: str) -> Panel:
    """A table of ClickHouse, in the format of its official plugin."""
    target = {
        "refId": "A", "datasource": CLICKHOUSE, "editorType": "sql", "queryType": "table", "format": 1, "rawSql": sql,
        "pluginVersion": "4.20.0",
    }  # fmt: skip
    return {
        "type": "table", "title": title, "datasource": CLICKHOUSE, "targets": [target],
        "fieldConfig": {"defaults": {}, "overrides": []},
    }  # fmt: skip


def of_labels(name: str, metric: str) -> dict[str, Any]:
    return {
        "name": name, "type": "query", "datasource": PROMETHEUS, "query": f"label_values({metric}, {name})", "refresh": 2,
        "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    for number, panel in enumerate(panels):
        panel |= {"id": number + 1, "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}}
    restarts = {
        "name": "restarts", "enable": True, "iconColor": "orange", "datasource": PROMETHEUS, "titleFormat": "{{job}} began",
        "expr": 'changes(process_start_time_seconds{job=~"hookline-.*"}[1m]) > 0',
    }  # fmt: skip
    variables = [
        {"name": "prometheus", "type": "datasource", "query": "prometheus"},
        {"name": "clickhouse", "type": "datasource", "query": "grafana-clickhouse-datasource"},
        {"name": "page", "type": "textbox", "label": "Hookline's page", "query": "http://127.0.0.1:9083"},
        of_labels("source", "hookline_jobs_finished_total"),
        of_labels("resource", "hookline_jobs_finished_total"),
    ]
    link = {
        "title": "Hookline", "type": "link", "icon": "external link", "targetBlank": True,
        "url": "${page}/?from=${__from:date:iso}&to=${__to:date:iso}",
    }  # fmt: skip
    return {
        "uid": f"hookline-{name}", "title": f"Hookline / {name}", "tags": ["hookline"], "schemaVersion": 39, "timezone": "utc",
        "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "links": [link], "annotations": {"list": [restarts]},
        "templating": {"list": variables}, "panels": panels,
    }  # fmt: skip


def rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}[$__rate_interval]))"


def quantile(level: float, metric: str, by: str) -> str:
    return f"histogram_quantile({level}, {rate(metric, f'le, {by}' if by else 'le')})"


DASHBOARDS = {
    "jobs": [
        series(
            "Finished jobs",
            "ops",
            (rate(f"hookline_jobs_finished_total{{{JOBS}}}", "resource, outcome"), "{{resource}} {{outcome}}"),
        ),
        series(
            "Share of errored jobs in the last hour",
            "percentunit",
            (f'hookline_error_ratio{{{JOBS}, window="1h"}}', "{{source}} {{resource}}"),
        ),
        series(
            "p95 from creation to end, last hour",
            "s",
            (f'hookline_job_duration_seconds{{{JOBS}, kind="total", percentile="p95", window="1h"}}', "{{source}} {{resource}}"),
        ),
        series(
            "p95 by job type", "s", (quantile(0.95, f"hookline_job_total_seconds_bucket{{{JOBS}}}", "job_type"), "{{job_type}}")
        ),
        series(
            "Open and stuck jobs",
            "short",
            (f"hookline_open_jobs{{{JOBS}}}", "open {{source}} {{resource}}"),
            (f"hookline_stuck_jobs{{{JOBS}}}", "stuck {{source}} {{resource}}"),
        ),
        series("The oldest open job", "s", (f"hookline_oldest_open_job_seconds{{{JOBS}}}", "{{source}} {{resource}}")),
        table(
            "Durations by job type",
            "SELECT resource, job_type, jobs, total_p50, total_p95, total_max, queue_p95, run_p95 "
            f"FROM job_durations({WHOLE}) ORDER BY jobs DESC",
        ),
        table(
            "Errors",
            f"SELECT resource, error_code, sum(errored) AS jobs FROM error_rates({WHOLE}) "
            "WHERE error_code != '' GROUP BY ALL ORDER BY jobs DESC",
        ),
        table("Stuck jobs", "SELECT source, resource, job_id, created_at FROM stuck_jobs ORDER BY created_at LIMIT 100"),
    ],
    "pipeline": [
        series("Lag", "s", ("max by (topic) (hookline_processor_lag_seconds)", "{{topic}}")),
        series("Records that are not committed", "short", ("sum by (topic) (hookline_processor_lag_records)", "{{topic}}")),
        series("Records consumed", "ops", (rate('hookline_processor_records_consumed_total{mode="live"}', "topic"), "{{topic}}")),
        series(
            "From signing to the table, p95 of batches",
            "s",
            (quantile(0.95, 'hookline_processor_end_to_end_latency_seconds_bucket{mode="live"}', ""), "p95"),
        ),
        series(
            "Where the time goes",
            "percentunit",
            (rate('hookline_processor_stage_seconds_total{mode="live"}', "stage"), "{{stage}}"),
        ),
        series(
            "Inserts that were repeated",
            "ops",
            (rate('hookline_processor_insert_retries_total{mode="live"}', "table, cause"), "{{table}} {{cause}}"),
        ),
        series(
            "Commits and refreshes",
            "ops",
            (rate("hookline_processor_commits_total", "result"), "commits {{result}}"),
            (rate("hookline_processor_refreshes_total", "result"), "refreshes {{result}}"),
        ),
        series("What a process waits for", "short", ("1 - hookline_ready", "{{job}} {{part}}")),
        series("Errors of Kafka's clients", "ops", (rate("hookline_kafka_errors_total", "job, kind"), "{{job}} {{kind}}")),
        table(
            "Dead letters",
            "SELECT reason, source, count() AS letters, max(received_at) AS last FROM dead_letters FINAL "
            "WHERE $__timeFilter(received_at) GROUP BY ALL ORDER BY letters DESC",
        ),
        table("Expired offsets", "SELECT * FROM expired_offsets ORDER BY detected_at DESC LIMIT 100"),
    ],
    "ingest": [
        series("Answers", "ops", (rate("hookline_ingest_answers_total", "status"), "{{status}}")),
        series(
            "Webhooks answered 503", "ops", (rate("hookline_ingest_unavailable_total", "reason, code"), "{{reason}} {{code}}")
        ),
        series(
            "Webhooks answered 401",
            "ops",
            (rate('hookline_ingest_rejected_total{source=~"$source"}', "source, reason"), "{{source}} {{reason}}"),
        ),
        series(
            "Secrets in use",
            "ops",
            (rate('hookline_ingest_verified_total{source=~"$source"}', "source, key"), "{{source}} {{key}}"),
        ),
        series(
            "Time to answer",
            "s",
            (quantile(0.5, "hookline_ingest_request_seconds_bucket", ""), "p50"),
            (quantile(0.99, "hookline_ingest_request_seconds_bucket", ""), "p99"),
        ),
        series("Where the time goes", "percentunit", (rate("hookline_ingest_stage_seconds_total", "stage"), "{{stage}}")),
        series(
            "Between signing and receipt, p95",
            "s",
            (
                quantile(0.95, 'hookline_ingest_clock_skew_seconds_bucket{source=~"$source"}', "source, direction"),
                "{{source}} {{direction}}",
            ),
        ),
        series(
            "Connections and requests",
            "short",
            ("hookline_ingest_connections", "connections {{instance}}"),
            ("hookline_ingest_requests_in_flight", "requests {{instance}}"),
        ),
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    outdated = []
    for name, panels in DASHBOARDS.items():
        file = FOLDER / f"{name}.json"
        text = json.dumps(dashboard(name, panels), indent=2) + "\n"
        if not file.exists() or file.read_text() != text:
            outdated.append(file.name)
            if not check:
                file.write_text(text)
    if check and outdated:
        print(f"not what generate.py makes: {', '.join(outdated)}; run `make docs`", file=sys.stderr)
    return int(check and bool(outdated))


if __name__ == "__main__":
    sys.exit(main())
