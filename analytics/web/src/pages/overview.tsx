/** How jobs do, at a glance. */
import { useQuestion } from "../api/question";
import type { Answer, FinishedJobs, OpenCount, Pipeline, Summary } from "../api/types";
import { type Line, Lines } from "../chart/lines";
import { SPAN_STEPS } from "../chart/scale";
import { comparedOf, perMinute, type Series, seriesOf, valuesOf } from "../chart/steps";
import { change, count, duration, figure, percent } from "../format/number";
import { useNavigation } from "../state/location";
import type { View } from "../state/view";
import { Breakdown } from "../ui/breakdown";
import { FilterLink } from "../ui/filters";
import { freshness } from "../ui/freshness";
import { Lag } from "../ui/lag";
import { Empty, Shown } from "../ui/states";
import { type Column, Table } from "../ui/table";
import { Tile } from "../ui/tile";

export function OverviewPage() {
  const { view } = useNavigation();
  const compare = view.compare === undefined ? {} : { compare: view.compare };
  const summary = useQuestion<Summary>(`api/v1/summary?${view.question({ ...compare, kind: "total" })}`);
  const series = useQuestion<Answer<FinishedJobs>>(`api/v1/series?${view.question({ ...compare, kind: "total" })}`);
  const pipeline = useQuestion<Pipeline>("api/v1/pipeline");
  return (
    <>
      <Shown known={summary} what="the overview">
        {(summary) => <Tiles summary={summary} pipeline={pipeline.data} />}
      </Shown>
      <Shown known={series} what="finished jobs over time">
        {(series) =>
          series.rows.length === 0 ? (
            <Empty what="finished jobs" />
          ) : (
            <Charts answer={series} history={pipeline.data?.history ?? []} />
          )
        }
      </Shown>
      <div class="beside">
        <Breakdown />
        {summary.data !== undefined && <OpenNow counts={summary.data.open} />}
      </div>
    </>
  );
}

function finished(jobs: FinishedJobs): number {
  return jobs.completed + jobs.errored;
}

function open(counts: readonly OpenCount[], state: string) {
  const those = counts.filter((count) => count.state === state);
  const oldest = those.reduce<number | null>((oldest, { oldest_seconds: age }) => Math.max(oldest ?? 0, age ?? 0), null);
  return { jobs: those.reduce((jobs, count) => jobs + count.jobs, 0), oldest };
}

function Tiles({ summary, pipeline }: { summary: Summary; pipeline: Pipeline | undefined }) {
  const { view, href } = useNavigation();
  const { jobs, range } = summary;
  const before = summary.compared?.jobs;
  const minutes = (Math.min(Date.parse(range.to), Date.parse(summary.as_of)) - Date.parse(range.from)) / 60_000;
  const rate = (jobs: FinishedJobs) => finished(jobs) / Math.max(minutes, 1);
  const [opened, stuck] = [open(summary.open, "open"), open(summary.open, "stuck")];
  const totals = pipeline?.totals;
  const known = (["p50", "p95", "p99"] as const).map((name) => ({
    label: name,
    text: duration(jobs.total?.[name]),
    change: change(jobs.total?.[name], before?.total?.[name]),
    moreIsWorse: true,
  }));
  return (
    <>
      <div class="tiles">
        <Tile
          name="rate"
          title="Finished jobs a minute"
          parts={[{ text: figure(rate(jobs)), change: before && change(rate(jobs), rate(before)) }]}
          note={`${count(finished(jobs))} jobs in all`}
        />
        <Tile
          name="error_rate"
          title="Error rate"
          href={href({}, "errors")}
          parts={[
            {
              text: percent(jobs.error_rate),
              change: before && change(jobs.error_rate, before.error_rate, true),
              moreIsWorse: true,
            },
          ]}
          note={`${count(jobs.errored)} jobs errored`}
        />
        <Tile name="durations" title="Created to finished" href={href({}, "durations")} parts={known} />
        <Tile
          name="open"
          title="Open jobs"
          href={href({ state: "open" }, "jobs")}
          parts={[{ text: count(opened.jobs) }]}
          note={opened.oldest === null ? "now" : `oldest ${duration(opened.oldest)}`}
        />
        <Tile
          name="stuck"
          title="Stuck jobs"
          href={href({ state: "stuck" }, "jobs")}
          parts={[{ text: count(stuck.jobs) }]}
          note={stuck.oldest === null ? "none beyond its threshold" : `oldest ${duration(stuck.oldest)}`}
          alarm={stuck.jobs > 0}
        />
        <Tile
          name="freshness"
          title="Signed to visible"
          href={href({}, "pipeline")}
          parts={[{ text: duration(freshness(pipeline).seconds) }]}
          note={totals?.lag_records == null ? "the lag is not known" : `${count(totals.lag_records)} records behind`}
          alarm={(totals?.stopped_partitions ?? 0) > 0}
        />
      </div>
      <Contradictions summary={summary} view={view} />
    </>
  );
}

function Contradictions({ summary }: { summary: Summary; view: View }) {
  const found = summary.contradictions;
  if (found == null) return null;
  const kinds = [
    [found.completed_and_errored, "both completed and errored"],
    [found.started_before_created, "started before they were created"],
    [found.ended_before_started, "ended before they started"],
    [found.ended_before_created, "ended before they were created"],
  ] as const;
  const some = kinds.filter(([jobs]) => jobs > 0).map(([jobs, what]) => `${count(jobs)} ${what}`);
  if (some.length === 0) return null;
  return (
    <p class="remark">Events contradict each other: {some.join(", ")}. Such jobs have no duration where it would be negative.</p>
  );
}

function errorRates(series: Series): (number | null)[] {
  return valuesOf<number | null>(series.steps, series.rows, (row) => row.error_rate ?? null, null);
}

function quantile(series: Series, name: "p50" | "p95" | "p99"): (number | null)[] {
  return valuesOf<number | null>(series.steps, series.rows, (row) => row.total?.[name] ?? null, null);
}

function Charts({ answer, history }: { answer: Answer<FinishedJobs>; history: Pipeline["history"] }) {
  const series = seriesOf(answer);
  const before = comparedOf(answer, series);
  const { steps, minutes, rows } = series;
  const errors = perMinute(
    valuesOf<number>(steps, rows, (row) => row.errored, 0),
    minutes,
  );
  const earlier = (values: (series: Series) => (number | null)[]): Line[] =>
    before === undefined ? [] : [{ label: "before", colour: "before", dash: "dashed", values: values(before) }];
  return (
    <div class="charts">
      <Lines
        name="jobs"
        title="Finished jobs a minute"
        steps={steps}
        show={figure}
        lines={[
          { label: "finished", colour: "blue", values: series.rate, fill: true },
          { label: "errored", colour: "red", values: errors, dash: "dotted" },
          ...earlier((series) => series.rate),
        ]}
      />
      <Lines
        name="error-rate"
        title="Error rate"
        steps={steps}
        show={percent}
        atLeast={0.01}
        lines={[{ label: "error rate", colour: "red", values: errorRates(series), fill: true }, ...earlier(errorRates)]}
      />
      <Lines
        name="durations"
        title="Created to finished"
        steps={steps}
        show={duration}
        ticks={SPAN_STEPS}
        main={1}
        lines={[
          { label: "p50", colour: "teal", values: quantile(series, "p50") },
          { label: "p95", colour: "orange", values: quantile(series, "p95") },
          { label: "p99", colour: "purple", values: quantile(series, "p99"), dash: "dotted" },
          ...earlier((series) => quantile(series, "p95")).map((line) => ({ ...line, label: "p95 before" })),
        ]}
      />
      {history.length > 1 && <Lag history={history} />}
    </div>
  );
}

/** Jobs without an end, which are about now, whatever the range is. */
function OpenNow({ counts }: { counts: readonly OpenCount[] }) {
  const { href } = useNavigation();
  const groups = [...new Map(counts.map((count) => [`${count.source} ${count.resource}`, count])).values()];
  const of = (group: OpenCount, state: string) =>
    counts.find((count) => count.source === group.source && count.resource === group.resource && count.state === state);
  const number = (state: string, title: string): Column<OpenCount> => ({
    title,
    number: true,
    cell: (group) => {
      const jobs = of(group, state)?.jobs ?? 0;
      if (jobs === 0) return <span class="muted">0</span>;
      return <a href={href({ state, source: group.source, resource: group.resource }, "jobs")}>{count(jobs)}</a>;
    },
    value: (group) => of(group, state)?.jobs ?? 0,
  });
  return (
    <Table
      name="open"
      title="Without an end, now"
      rows={groups}
      rowKey={(group) => `${group.source} ${group.resource}`}
      footer={groups.length === 0 && <p class="hint">Every job has ended.</p>}
      columns={[
        {
          title: "Resource",
          cell: (group) => <FilterLink dimension="resource" value={group.resource} />,
          value: (group) => group.resource,
        },
        {
          title: "Source",
          cell: (group) => <FilterLink dimension="source" value={group.source} />,
          value: (group) => group.source,
        },
        number("open", "Open"),
        number("stuck", "Stuck"),
        number("unresolved", "Unresolved"),
        {
          title: "Oldest open",
          number: true,
          cell: (group) => duration(of(group, "open")?.oldest_seconds),
          value: (group) => of(group, "open")?.oldest_seconds ?? null,
        },
      ]}
    />
  );
}
