/** One job: what happened when, and what was received about it. */
import { useQuestion } from "../api/question";
import type { Delivery, Job, JobAnswer } from "../api/types";
import { count, duration } from "../format/number";
import { exact } from "../format/time";
import { contradictions } from "../state/contradictions";
import { useNavigation } from "../state/location";
import { Outcome } from "../ui/job_columns";
import { Shown } from "../ui/states";
import { Table } from "../ui/table";
import { Timeline } from "../ui/timeline";

export function JobPage() {
  const { view, href } = useNavigation();
  const id = view.get("id");
  const only = new URLSearchParams(["source", "resource"].flatMap((name) => view.all(name).map((value) => [name, value])));
  const path = `api/v1/jobs/${encodeURIComponent(id)}${only.size > 0 ? `?${only}` : ""}`;
  const known = useQuestion<JobAnswer>(id === "" ? undefined : path);
  const back = href({ id: undefined, source: undefined, resource: undefined }, "jobs");
  return (
    <>
      <p class="back">
        <a href={back}>← All jobs</a>
      </p>
      {id === "" ? (
        <div class="card state">
          <h2>No job is named</h2>
          <p>
            <a href={back}>Look for one among all jobs</a>
          </p>
        </div>
      ) : (
        <Shown known={known} what="job">
          {(answer) => <Content id={id} answer={answer} />}
        </Shown>
      )}
    </>
  );
}

function Content({ id, answer }: { id: string; answer: JobAnswer }) {
  const { view } = useNavigation();
  const local = view.isLocal;
  const of = (job: Job) => answer.deliveries.filter((other) => other.source === job.source && other.resource === job.resource);
  return (
    <>
      <h2 class="job-id id">{id}</h2>
      {answer.jobs.map((job) => (
        <Facts key={`${job.source} ${job.resource}`} job={job} deliveries={of(job)} />
      ))}
      {answer.deliveries.length > 0 && (
        <Table
          name="deliveries"
          title="Deliveries, the first signed first"
          rows={answer.deliveries}
          rowKey={(row) => `${row.log_id}/${row.topic}/${row.partition}/${row.offset}`}
          columns={[
            { title: "Event", cell: (row) => row.action, value: (row) => row.action },
            { title: "Happened", number: true, cell: (row) => exact(row.occurred_at, local), value: (row) => row.occurred_at },
            { title: "Signed", number: true, cell: (row) => exact(row.signed_at, local), value: (row) => row.signed_at },
            {
              title: "First signed",
              number: true,
              cell: (row) => exact(row.first_signed_at, local),
              value: (row) => row.first_signed_at ?? null,
            },
            { title: "Received", number: true, cell: (row) => exact(row.received_at, local), value: (row) => row.received_at },
            { title: "Source", cell: (row) => row.source, value: (row) => row.source },
            { title: "Key", cell: (row) => row.key_name, value: (row) => row.key_name },
            { title: "Topic", cell: (row) => row.topic, value: (row) => row.topic },
            { title: "Partition", number: true, cell: (row) => row.partition, value: (row) => row.partition },
            { title: "Offset", number: true, cell: (row) => row.offset, value: (row) => row.offset },
          ]}
        />
      )}
      {answer.dead_letters.length > 0 && (
        <Table
          name="dead-letters"
          title="Dead letters about it"
          rows={answer.dead_letters}
          rowKey={(row) => `${row.origin} ${row.received_at} ${row.event_type}`}
          columns={[
            { title: "Reason", cell: (row) => row.reason, value: (row) => row.reason },
            { title: "Event", cell: (row) => row.event_type, value: (row) => row.event_type },
            { title: "Received", number: true, cell: (row) => exact(row.received_at, local), value: (row) => row.received_at },
            { title: "Origin", cell: (row) => row.origin, value: (row) => row.origin },
            { title: "Detail", cell: (row) => row.detail, value: (row) => row.detail, wide: true },
          ]}
        />
      )}
    </>
  );
}

function Facts({ job, deliveries }: { job: Job; deliveries: readonly Delivery[] }) {
  const { href, view } = useNavigation();
  const local = view.isLocal;
  const found = contradictions(job, deliveries);
  const size = job.width != null && job.height != null ? `${job.width} × ${job.height}` : undefined;
  const facts: [string, string | undefined][] = [
    ["Created", exact(job.created_at, local)],
    ["Started", exact(job.started_at, local)],
    ["Finished", exact(job.finished_at, local)],
    ["Size", size],
    ["Frames a second", job.fps?.toString()],
    ["Length", job.media_seconds == null ? undefined : duration(job.media_seconds)],
    ["Images", job.image_count == null ? undefined : count(job.image_count)],
    ["Credits estimated", job.credits_estimated ?? undefined],
    ["Credits charged", job.credits_charged ?? undefined],
    ["Credits refunded", job.credits_refunded ?? undefined],
    ["First received", exact(job.first_received_at, local)],
    ["Last received", exact(job.last_received_at, local)],
  ];
  return (
    <section class="card job" aria-label={`${job.source} ${job.resource}`}>
      <div class="caption">
        <h2>
          <Outcome job={job} /> <span class="muted">·</span>{" "}
          <a href={href({ id: undefined, job_type: job.job_type, source: undefined, resource: undefined }, "jobs")}>
            {job.job_type}
          </a>{" "}
          <span class="muted">
            · {job.resource} · {job.source}
          </span>
        </h2>
      </div>
      {job.error_code !== "" && (
        <p class="error">
          <b>{job.error_code}</b> {job.error_message}
        </p>
      )}
      {found.length > 0 && (
        <ul class="contradictions" aria-label="Contradictions">
          {found.map((text) => (
            <li key={text}>{text}</li>
          ))}
        </ul>
      )}
      <Timeline job={job} deliveries={deliveries} local={local} />
      <dl class="facts">
        {facts.map(
          ([name, text]) =>
            text !== undefined && (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{text}</dd>
              </div>
            ),
        )}
      </dl>
    </section>
  );
}
