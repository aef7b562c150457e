/** What a page says is what the API says. */
import type { APIRequestContext, Page } from "@playwright/test";
import type {
  Answer,
  Bin,
  DeadLettersAnswer,
  ErrorGroup,
  FinishedJobs,
  Job,
  JobAnswer,
  Pipeline,
  Summary,
} from "../src/api/types";
import { count, duration, figure, percent } from "../src/format/number";
import { exact, minute, second } from "../src/format/time";
import { api, expect, fixedRange, settled, test } from "./stage";

const RANGE = fixedRange();

/** The cells of a table, row by row. */
async function cells(page: Page, table: string): Promise<string[][]> {
  const rows = page.locator(`${table} tbody tr`);
  return rows.evaluateAll((rows) =>
    rows.map((row) => [...row.querySelectorAll("td")].map((cell) => (cell as HTMLElement).innerText.trim())),
  );
}

async function tile(page: Page, name: string): Promise<string[]> {
  return page.locator(`[data-tile=${name}] strong`).allInnerTexts();
}

function differing(what: string, shown: unknown, expected: unknown): string[] {
  const [left, right] = [JSON.stringify(shown), JSON.stringify(expected)];
  return left === right ? [] : [`${what}: the page says ${left}, the API ${right}`];
}

const finished = (jobs: FinishedJobs) => jobs.completed + jobs.errored;

/** The rows of a series with a place for each step; those of a chart's table stand newest first. */
function bySteps<T>(answer: Answer<FinishedJobs>, of: (row: FinishedJobs | undefined, minutes: number) => T): T[] {
  const step = (answer.step ?? 60) * 1000;
  const [from, to] = [Date.parse(answer.range.from), Date.parse(answer.range.to)];
  const values = [];
  for (let at = Math.floor(from / step) * step; at < to; at += step) {
    const row = answer.rows.find((row) => Date.parse(row.at ?? "") === at);
    values.push(of(row, (Math.min(at + step, to) - Math.max(at, from)) / 60_000));
  }
  return values.reverse();
}

async function overview(page: Page, request: APIRequestContext): Promise<string[]> {
  await page.goto(`?${RANGE}&compare=none&table=jobs&table=error-rate&table=durations&by=job_type`);
  await settled(page);
  const summary = await api<Summary>(request, `summary?${RANGE}`);
  const series = await api<Answer<FinishedJobs>>(request, `series?${RANGE}&kind=total`);
  const groups = await api<Answer<FinishedJobs>>(request, `durations?${RANGE}&kind=total&by=job_type`);
  const { jobs } = summary;
  const open = (state: string) => summary.open.filter((open) => open.state === state).reduce((sum, open) => sum + open.jobs, 0);
  return [
    ...differing("rate", await tile(page, "rate"), [figure(finished(jobs) / 240)]),
    ...differing("jobs", await page.locator("[data-tile=rate] .note").innerText(), `${count(finished(jobs))} jobs in all`),
    ...differing("error rate", await tile(page, "error_rate"), [percent(jobs.error_rate)]),
    ...differing("percentiles", await tile(page, "durations"), [jobs.total?.p50, jobs.total?.p95, jobs.total?.p99].map(duration)),
    ...differing("open", await tile(page, "open"), [count(open("open"))]),
    ...differing("stuck", await tile(page, "stuck"), [count(open("stuck"))]),
    ...differing(
      "jobs over time",
      (await cells(page, "[data-chart=jobs]")).map((row) => row.slice(1)),
      bySteps(series, (row, minutes) => [
        figure(row === undefined ? 0 : finished(row) / minutes),
        figure(row === undefined ? 0 : row.errored / minutes),
      ]),
    ),
    ...differing(
      "error rates over time",
      (await cells(page, "[data-chart=error-rate]")).map((row) => row[1]),
      bySteps(series, (row) => percent(row?.error_rate)),
    ),
    ...differing(
      "percentiles over time",
      (await cells(page, "[data-chart=durations]")).map((row) => row.slice(1)),
      bySteps(series, (row) => [row?.total?.p50, row?.total?.p95, row?.total?.p99].map(duration)),
    ),
    ...differing(
      "types",
      (await cells(page, "[data-table=breakdown]")).map((row) => [row[0], row[1], row[2], row[4]]),
      [...groups.rows]
        .sort((a, b) => finished(b) - finished(a))
        .map((row) => [row.job_type, count(finished(row)), percent(row.error_rate), duration(row.total?.p95)]),
    ),
  ];
}

async function errors(page: Page, request: APIRequestContext): Promise<string[]> {
  await page.goto(`errors?${RANGE}`);
  await settled(page);
  const { rows } = await api<Answer<ErrorGroup>>(request, `errors?${RANGE}&limit=50`);
  const shown = await cells(page, "[data-table=errors]");
  return differing(
    "errors",
    shown.map((row) => [row[0]?.split("\n")[0], row[1], row[4], row[6], row[7], row[8]?.split(/\s+/).length]),
    rows.map((row) => [
      row.error_code,
      row.job_type,
      count(row.errored),
      minute(row.first_seen, false),
      minute(row.last_seen, false),
      row.examples.length,
    ]),
  );
}

async function durations(page: Page, request: APIRequestContext): Promise<string[]> {
  await page.goto(`durations?${RANGE}&kind=run&table=distribution&compare=none`);
  await settled(page);
  const bins = await api<Answer<Bin>>(request, `distribution?${RANGE}&kind=run`);
  const types = await api<Answer<FinishedJobs>>(request, `durations?${RANGE}&kind=run&by=job_type`);
  const slowest = await api<Answer<Job>>(request, `jobs?${RANGE}&time=finished&order=run&limit=10`);
  return [
    ...differing(
      "distribution",
      await cells(page, "[data-chart=distribution]"),
      bins.rows
        .map((bin) => [minute(bin.at, false), duration(bin.from_seconds), duration(bin.to_seconds), count(bin.jobs)])
        .reverse(),
    ),
    ...differing(
      "types",
      (await cells(page, "[data-table=breakdown]")).map((row) => [row[0], row[3], row[6]]),
      [...types.rows]
        .sort((a, b) => finished(b) - finished(a))
        .map((row) => [row.job_type, duration(row.run?.p50), duration(row.run?.max)]),
    ),
    ...differing(
      "slowest",
      (await cells(page, "[data-table=slowest]")).map((row) => [row[0], row[7]]),
      slowest.rows.map((job) => [job.job_id, duration(job.run_seconds)]),
    ),
  ];
}

async function jobs(page: Page, request: APIRequestContext): Promise<string[]> {
  const query = `${RANGE}&outcome=errored&resource=image&resource=video`;
  await page.goto(`jobs?${query}`);
  await settled(page);
  const { rows } = await api<Answer<Job>>(request, `jobs?${query}`);
  return differing(
    "jobs",
    (await cells(page, "[data-table=jobs]")).map((row) => [
      row[0],
      row[1]?.split(/\s+/)[1],
      row[2],
      row[5],
      row[6],
      row[7],
      row[8],
      row[9],
    ]),
    rows.map((job) => [
      job.job_id,
      job.outcome,
      job.job_type,
      second(job.created_at, false),
      duration(job.queue_seconds),
      duration(job.run_seconds),
      duration(job.total_seconds),
      job.error_code,
    ]),
  );
}

async function job(page: Page, request: APIRequestContext): Promise<string[]> {
  const { rows } = await api<Answer<Job>>(request, "jobs?from=-30m&outcome=completed&source=magichour&limit=500");
  // Those that came in as webhooks have deliveries; the newest of them all are these.
  const id = rows.find(
    (job) => job.credits_estimated !== null && Date.parse(job.first_received_at) > Date.parse(job.created_at),
  )?.job_id;
  await page.goto(`job?id=${id}`);
  await settled(page);
  const answer = await api<JobAnswer>(request, `jobs/${id}`);
  const facts = Object.fromEntries(
    await page
      .locator(".facts > div")
      .evaluateAll((facts) => facts.map((fact) => [...fact.children].map((child) => child.textContent))),
  );
  const found = answer.jobs[0];
  return [
    ...differing("created", facts.Created, exact(found?.created_at, false)),
    ...differing("finished", facts.Finished, exact(found?.finished_at, false)),
    ...differing("credits", facts["Credits charged"], found?.credits_charged),
    ...differing(
      "deliveries",
      (await cells(page, "[data-table=deliveries]")).map((row) => [row[0], row[2], row[4], row[9]]),
      answer.deliveries.map((row) => [row.action, exact(row.signed_at, false), exact(row.received_at, false), row.offset]),
    ),
    ...differing("that it has any", answer.deliveries.length > 0, true),
  ];
}

/** The state of the pipeline changes with each reading, so the page is told what was read here; `alter` tells it something else. */
async function pipeline(page: Page, request: APIRequestContext, alter = (state: Pipeline) => state): Promise<string[]> {
  await expect.poll(async () => (await api<Pipeline>(request, "pipeline")).history.length).toBeGreaterThan(1);
  const state = await api<Pipeline>(request, "pipeline");
  const told = alter(structuredClone(state));
  await page.route("**/api/v1/pipeline", (route) => route.fulfill({ json: told, headers: { "hookline-as-of": told.as_of } }));
  const charts = ["rates", "lag", "freshness", "processor-stages"];
  await page.goto(`pipeline?from=-3h&${charts.map((chart) => `table=${chart}`).join("&")}`);
  await settled(page);
  const letters = await api<DeadLettersAnswer>(request, "dead-letters?from=-3h&limit=20");
  const { totals, history } = state;
  const counted = (counts: Record<string, number> = {}, show = count) =>
    Object.entries(counts)
      .filter(([, number]) => number > 0)
      .map(([label, number]) => [label, show(number)]);
  const slowest = (stages: Record<string, number> = {}) => Object.fromEntries(Object.entries(stages).sort((a, b) => b[1] - a[1]));
  const shown = async (table: string) =>
    (await cells(page, `[data-table=${table}]`)).map(([label, number]) => [label?.split(" ")[0], number]);
  const chart = async (name: string) => (await cells(page, `[data-chart=${name}]`)).map((row) => row.slice(1)).reverse();
  const stages = (await page.locator("[data-chart=processor-stages] thead th").allInnerTexts()).slice(1, 6);
  return [
    ...differing("that there are dead letters", letters.by_reason.length > 0, true),
    ...differing(
      "dead letters by reason",
      (await cells(page, "[data-table=dead-letters-by-reason]")).map((row) => [row[0], row[2]]),
      letters.by_reason.map((row) => [row.reason, count(row.dead_letters)]),
    ),
    ...differing("dead letters", (await cells(page, "[data-table=dead-letters]")).length, letters.rows.length),
    ...differing("answers", await shown("answers"), counted(totals?.answers)),
    ...differing("rejections", await shown("rejections"), counted(totals?.rejections)),
    ...differing("dead letters since the start", await shown("dead"), counted(totals?.dead_letters)),
    ...differing("stages of ingest", await shown("ingest-seconds"), counted(slowest(totals?.ingest_stages), duration)),
    ...differing("stages of processors", await shown("processor-seconds"), counted(slowest(totals?.processor_stages), duration)),
    ...differing("lag", await tile(page, "lag"), [count(totals?.lag_records)]),
    ...differing(
      "rates",
      await chart("rates"),
      history.map((point) => [point.answers_per_second, point.verified_per_second, point.records_per_second].map(figure)),
    ),
    ...differing(
      "lag over time",
      await chart("lag"),
      history.map((point) => [figure(point.lag_records)]),
    ),
    ...differing(
      "freshness",
      await chart("freshness"),
      history.map((point) => [point.signed_to_visible_seconds, point.lag_seconds, point.rollup_age_seconds].map(duration)),
    ),
    ...differing(
      "stages of processors over time",
      (await chart("processor-stages")).map((row) => row.slice(0, stages.length)),
      history.map((point) => stages.map((stage) => `${duration(point.processor_stages[stage] ?? 0)}/s`)),
    ),
  ];
}

for (const [name, compare] of Object.entries({ overview, errors, durations, jobs, job, pipeline })) {
  test(`numbers: ${name}`, async ({ page, request }) => {
    expect(await compare(page, request)).toEqual([]);
  });
}

test("numbers: the control, a page that is told other figures", async ({ page, request }) => {
  for (const path of ["summary", "series", "durations", "distribution", "errors", "jobs"]) {
    await page.route(new RegExp(`/api/v1/${path}[/?]`), async (route) => {
      const response = await route.fetch();
      // One more job of each, or one row less.
      const body = await response.json();
      if (body.jobs?.completed !== undefined) body.jobs.completed += 1_000;
      if (Array.isArray(body.rows)) body.rows = body.rows.slice(1);
      if (Array.isArray(body.deliveries)) body.deliveries.reverse().pop();
      await route.fulfill({ response, json: body });
    });
  }
  for (const [name, compare] of Object.entries({ overview, errors, durations, jobs, job })) {
    expect(await compare(page, request), name).not.toEqual([]);
  }
  const later = (state: Pipeline) => {
    for (const point of state.history) point.rollup_age_seconds = (point.rollup_age_seconds ?? 0) + 60;
    return state;
  };
  expect(await pipeline(page, request, later), "pipeline").not.toEqual([]);
});
