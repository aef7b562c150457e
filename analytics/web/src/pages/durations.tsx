/** How long jobs take, of which types, and which took longest. */
import { useQuestion } from "../api/question";
import type { Answer, Bin, FinishedJobs, Job } from "../api/types";
import { HeatMap } from "../chart/heatmap";
import { Lines } from "../chart/lines";
import { SPAN_STEPS } from "../chart/scale";
import { seriesOf, stepsOf, valuesOf } from "../chart/steps";
import { duration } from "../format/number";
import { useNavigation } from "../state/location";
import { KINDS, type Kind } from "../state/view";
import { Breakdown } from "../ui/breakdown";
import { jobColumns } from "../ui/job_columns";
import { Segments } from "../ui/segments";
import { Empty, Shown } from "../ui/states";
import { Table } from "../ui/table";

const NAMES: Record<Kind, string> = { total: "Created to finished", run: "Started to finished", queue: "Created to started" };

export function DurationsPage() {
  const { view } = useNavigation();
  const kind = view.oneOf<Kind>("kind", KINDS);
  const bins = useQuestion<Answer<Bin>>(`api/v1/distribution?${view.question({ kind })}`);
  const series = useQuestion<Answer<FinishedJobs>>(`api/v1/series?${view.question({ kind })}`);
  const slowest = useQuestion<Answer<Job>>(`api/v1/jobs?${view.question({ time: "finished", order: kind, limit: "10" })}`);
  const choice = <Segments label="Duration" name="kind" values={KINDS} current={kind} text={(kind) => NAMES[kind]} />;
  return (
    <>
      <div class="heading">{choice}</div>
      <Shown known={bins} what="the distribution of durations">
        {(answer) =>
          answer.rows.length === 0 ? (
            <Empty what="durations" />
          ) : (
            <HeatMap
              name="distribution"
              title={NAMES[kind]}
              steps={stepsOf(answer.range, answer.step ?? 60)}
              step={answer.step ?? 60}
              bins={answer.rows}
            />
          )
        }
      </Shown>
      <Shown known={series} what="percentiles over time">
        {(answer) => answer.rows.length > 0 && <Percentiles answer={answer} kind={kind} />}
      </Shown>
      <Breakdown by="job_type" kind={kind} />
      <Shown known={slowest} what="the slowest jobs">
        {(answer) =>
          answer.rows.length > 0 && (
            <Table name="slowest" title="Slowest jobs" columns={jobColumns(view)} rows={answer.rows} rowKey={jobKey} />
          )
        }
      </Shown>
    </>
  );
}

export function jobKey(job: Job): string {
  return [job.source, job.resource, job.job_id].join(" ");
}

function Percentiles({ answer, kind }: { answer: Answer<FinishedJobs>; kind: Kind }) {
  const { steps, rows } = seriesOf(answer);
  const of = (name: "p50" | "p95" | "p99") => valuesOf<number | null>(steps, rows, (row) => row[kind]?.[name] ?? null, null);
  return (
    <Lines
      name="percentiles"
      title="Percentiles"
      steps={steps}
      show={duration}
      ticks={SPAN_STEPS}
      main={1}
      lines={[
        { label: "p50", colour: "teal", values: of("p50") },
        { label: "p95", colour: "orange", values: of("p95") },
        { label: "p99", colour: "purple", values: of("p99"), dash: "dotted" },
      ]}
    />
  );
}
