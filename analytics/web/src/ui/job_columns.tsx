/** The columns of tables of jobs. */
import type { Job } from "../api/types";
import { duration } from "../format/number";
import { second } from "../format/time";
import { useNavigation } from "../state/location";
import type { View } from "../state/view";
import { FilterLink } from "./filters";
import type { Column } from "./table";

export function jobColumns(view: View): Column<Job>[] {
  const local = view.isLocal;
  return [
    { title: "Job", cell: (job) => <JobLink job={job} />, value: (job) => job.job_id },
    { title: "Outcome", cell: (job) => <Outcome job={job} />, value: (job) => job.outcome },
    { title: "Type", cell: (job) => <FilterLink dimension="job_type" value={job.job_type} />, value: (job) => job.job_type },
    { title: "Resource", cell: (job) => <FilterLink dimension="resource" value={job.resource} />, value: (job) => job.resource },
    { title: "Source", cell: (job) => <FilterLink dimension="source" value={job.source} />, value: (job) => job.source },
    { title: "Created", number: true, cell: (job) => second(job.created_at, local), value: (job) => job.created_at },
    { title: "Queue", number: true, cell: (job) => duration(job.queue_seconds), value: (job) => job.queue_seconds ?? null },
    { title: "Run", number: true, cell: (job) => duration(job.run_seconds), value: (job) => job.run_seconds ?? null },
    {
      title: "Total or age",
      number: true,
      cell: (job) => (job.outcome === "open" ? <i>{duration(job.age_seconds)}</i> : duration(job.total_seconds)),
      value: (job) => job.total_seconds ?? job.age_seconds ?? null,
    },
    {
      title: "Error",
      cell: (job) => (job.error_code === "" ? "" : <FilterLink dimension="error_code" value={job.error_code} />),
      value: (job) => job.error_code,
    },
  ];
}

function JobLink({ job }: { job: Job }) {
  const { href } = useNavigation();
  return (
    <a class="id" href={href({ id: job.job_id, source: job.source, resource: job.resource }, "job")}>
      {job.job_id}
    </a>
  );
}

const SIGNS: Record<string, string> = { completed: "✓", errored: "✕", open: "○" };

/** A sign stands beside the colour and the word. */
export function Outcome({ job }: { job: Job }) {
  return (
    <span class={`outcome ${job.outcome}`}>
      <span aria-hidden="true">{SIGNS[job.outcome]}</span> {job.outcome}
    </span>
  );
}
