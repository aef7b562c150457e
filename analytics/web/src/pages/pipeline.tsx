/** Whether webhooks come in and become rows, and what does not. */
import { useQuestion } from "../api/question";
import type { Answer, DeadLettersAnswer, Pipeline, WebhookDelay } from "../api/types";
import { Lines } from "../chart/lines";
import { count, duration, figure } from "../format/number";
import { clock, minute, second } from "../format/time";
import { useNavigation } from "../state/location";
import { Lag } from "../ui/lag";
import { Shown } from "../ui/states";
import { Table } from "../ui/table";
import { Tile } from "../ui/tile";

export function PipelinePage() {
  const { view } = useNavigation();
  const pipeline = useQuestion<Pipeline>("api/v1/pipeline");
  const range = { from: view.get("from"), ...(view.get("to") === "" ? {} : { to: view.get("to") }) };
  const query = new URLSearchParams(range);
  const letters = useQuestion<DeadLettersAnswer>(`api/v1/dead-letters?${query}&limit=20`);
  // Every webhook of the range is read for it: a day, unless less is shown.
  const short = view.isRelative && view.seconds > 86400 ? "from=-24h" : query.toString();
  const delays = useQuestion<Answer<WebhookDelay>>(`api/v1/delays?${short}`);
  return (
    <>
      <Shown known={pipeline} what="the state of the pipeline">
        {(pipeline) => <State pipeline={pipeline} />}
      </Shown>
      <Shown known={letters} what="dead letters">
        {(letters) => <DeadLetters letters={letters} />}
      </Shown>
      <Shown known={delays} what="delays">
        {(delays) => delays.rows.length > 0 && <Delays delays={delays} />}
      </Shown>
    </>
  );
}

/** Statuses of answers in words. */
const ANSWERS: Record<string, string> = {
  "200": "accepted",
  "202": "accepted as a dead letter",
  "400": "refused: not a webhook",
  "401": "refused: signature",
  "404": "refused: no such source",
  "405": "refused: method",
  "408": "refused: too slow",
  "413": "refused: too large",
  "415": "refused: type of content",
  "429": "refused: too many",
  "503": "to be sent again",
};

function State({ pipeline }: { pipeline: Pipeline }) {
  const { view } = useNavigation();
  const { totals, history } = pipeline;
  const last = history.at(-1);
  const steps = history.map((point) => Date.parse(point.at) / 1000);
  const values = (of: (point: (typeof history)[number]) => number | null | undefined) =>
    history.map((point) => of(point) ?? null);
  return (
    <>
      <div class="tiles">
        <Tile
          name="answers"
          title="Webhooks a second"
          parts={[{ text: figure(last?.answers_per_second) }]}
          note="answered by ingest"
        />
        <Tile
          name="records"
          title="Records a second"
          parts={[{ text: figure(last?.records_per_second) }]}
          note="consumed by processors"
        />
        <Tile
          name="lag"
          title="Lag"
          parts={[{ text: count(totals?.lag_records) }]}
          note={
            totals?.lag_seconds == null
              ? "records that are not committed"
              : `records, ${duration(totals.lag_seconds)} old at most`
          }
        />
        <Tile
          name="visible"
          title="Signed to visible"
          parts={[{ text: duration(totals?.signed_to_visible_seconds) }]}
          note="mean since the start"
        />
        <Tile
          name="rollup"
          title="Roll-up"
          parts={[{ text: duration(pipeline.rollup_age_seconds) }]}
          note={pipeline.rollup_age_seconds == null ? "not refreshed for two days" : "old"}
        />
        <Tile
          name="stopped"
          title="Stopped partitions"
          parts={[{ text: count(totals?.stopped_partitions) }]}
          note={(totals?.stopped_partitions ?? 0) > 0 ? "they wait for an operator" : "all go on"}
          alarm={(totals?.stopped_partitions ?? 0) > 0}
        />
      </div>
      {totals == null && (
        <p class="remark">
          No listener is read: set <code>serve.admin_urls</code> to those of ingest and the processors, and rates, refusals and
          lag stand here.
        </p>
      )}
      {pipeline.unreachable > 0 && (
        <p class="remark alarm">
          {count(pipeline.unreachable)} {pipeline.unreachable === 1 ? "listener" : "listeners"} of <code>serve.admin_urls</code>{" "}
          did not answer
          {pipeline.read_at == null ? "" : ` at ${clock(pipeline.read_at, view.isLocal)}`}: the sums below are without them.
        </p>
      )}
      {history.length > 1 && (
        <div class="charts">
          <Lines
            name="rates"
            title="A second, over the last hour"
            steps={steps}
            show={figure}
            lines={[
              { label: "webhooks answered", colour: "blue", values: values((point) => point.answers_per_second), fill: true },
              { label: "records consumed", colour: "teal", dash: "dashed", values: values((point) => point.records_per_second) },
            ]}
          />
          <Lag history={history} />
        </div>
      )}
      {totals != null && (
        <div class="charts three">
          <Counts
            name="answers"
            title="Answers of ingest since its start"
            what="Status"
            counts={totals.answers}
            words={ANSWERS}
          />
          <Counts name="refusals" title="To be sent again, by reason" what="Reason" counts={totals.refusals} />
          <Counts name="dead" title="Dead letters since the start, by reason" what="Reason" counts={totals.dead_letters} />
        </div>
      )}
    </>
  );
}

interface CountsProps {
  name: string;
  title: string;
  what: string;
  counts: Record<string, number>;
  words?: Record<string, string>;
}

function Counts({ name, title, what, counts, words = {} }: CountsProps) {
  const rows = Object.entries(counts).filter(([, number]) => number > 0);
  return (
    <Table
      name={name}
      title={title}
      rows={rows}
      rowKey={([label]) => label}
      footer={rows.length === 0 && <p class="hint">None.</p>}
      columns={[
        {
          title: what,
          cell: ([label]) => (
            <>
              {label} {words[label] !== undefined && <span class="muted">{words[label]}</span>}
            </>
          ),
          value: ([label]) => label,
        },
        { title: "Count", number: true, cell: ([, number]) => count(number), value: ([, number]) => number },
      ]}
    />
  );
}

function DeadLetters({ letters }: { letters: DeadLettersAnswer }) {
  const { view, href } = useNavigation();
  const local = view.isLocal;
  if (letters.by_reason.length === 0) return <p class="remark">No dead letter in this range.</p>;
  return (
    <>
      <Table
        name="dead-letters-by-reason"
        title="Dead letters of the range, by reason"
        rows={letters.by_reason}
        rowKey={(row) => `${row.source} ${row.reason}`}
        columns={[
          { title: "Reason", cell: (row) => row.reason, value: (row) => row.reason },
          { title: "Source", cell: (row) => row.source, value: (row) => row.source },
          { title: "Dead letters", number: true, cell: (row) => count(row.dead_letters), value: (row) => row.dead_letters },
          {
            title: "First",
            number: true,
            cell: (row) => minute(row.first_received_at, local),
            value: (row) => row.first_received_at,
          },
          {
            title: "Last",
            number: true,
            cell: (row) => minute(row.last_received_at, local),
            value: (row) => row.last_received_at,
          },
        ]}
      />
      <Table
        name="dead-letters"
        title="The newest dead letters"
        rows={letters.rows}
        rowKey={(row) => `${row.log_id}/${row.topic}/${row.partition}/${row.offset}`}
        columns={[
          { title: "Received", number: true, cell: (row) => second(row.received_at, local), value: (row) => row.received_at },
          { title: "Reason", cell: (row) => row.reason, value: (row) => row.reason },
          { title: "Event", cell: (row) => row.event_type, value: (row) => row.event_type },
          {
            title: "Job",
            cell: (row) =>
              row.job_id === "" ? (
                ""
              ) : (
                <a class="id" href={href({ id: row.job_id, source: row.source }, "job")}>
                  {row.job_id}
                </a>
              ),
            value: (row) => row.job_id,
          },
          { title: "Origin", cell: (row) => row.origin, value: (row) => row.origin },
          { title: "Detail", cell: (row) => row.detail, value: (row) => row.detail, wide: true },
        ]}
      />
    </>
  );
}

function Delays({ delays }: { delays: Answer<WebhookDelay> }) {
  return (
    <Table
      name="delays"
      title="How late webhooks are"
      rows={delays.rows}
      rowKey={(row) => `${row.source} ${row.resource} ${row.action}`}
      columns={[
        { title: "Event", cell: (row) => `${row.resource} ${row.action}`, value: (row) => `${row.resource} ${row.action}` },
        { title: "Source", cell: (row) => row.source, value: (row) => row.source },
        { title: "Webhooks", number: true, cell: (row) => count(row.webhooks), value: (row) => row.webhooks },
        {
          title: "Signed to received, p50",
          number: true,
          cell: (row) => duration(row.signed_to_received?.p50),
          value: (row) => row.signed_to_received?.p50 ?? null,
        },
        {
          title: "p95",
          number: true,
          cell: (row) => duration(row.signed_to_received?.p95),
          value: (row) => row.signed_to_received?.p95 ?? null,
        },
        {
          title: "p99",
          number: true,
          cell: (row) => duration(row.signed_to_received?.p99),
          value: (row) => row.signed_to_received?.p99 ?? null,
        },
        {
          title: "max",
          number: true,
          cell: (row) => duration(row.signed_to_received?.max),
          value: (row) => row.signed_to_received?.max ?? null,
        },
      ]}
    />
  );
}
