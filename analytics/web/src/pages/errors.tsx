/** Which errors, since when, and which jobs to look at. */
import { useQuestion } from "../api/question";
import type { Answer, ErrorGroup, FinishedJobs } from "../api/types";
import { linesOf } from "../chart/groups";
import { Lines } from "../chart/lines";
import { minutesOf, perMinute, stepsOf, valuesOf } from "../chart/steps";
import { count, figure, percent } from "../format/number";
import { minute } from "../format/time";
import { useNavigation } from "../state/location";
import { FilterLink } from "../ui/filters";
import { Segments } from "../ui/segments";
import { Empty, Shown } from "../ui/states";
import { Table } from "../ui/table";

const BY = ["error_code", "job_type", "resource"] as const;
type By = (typeof BY)[number];
const NAMES: Record<By, string> = { error_code: "code", job_type: "type", resource: "resource" };

export function ErrorsPage() {
  const { view } = useNavigation();
  const by = view.oneOf<By>("by", BY);
  const series = useQuestion<Answer<FinishedJobs>>(`api/v1/series?${view.question({ by })}`);
  const errors = useQuestion<Answer<ErrorGroup>>(`api/v1/errors?${view.question({ limit: "50" })}`);
  return (
    <>
      <Shown known={series} what="errors over time">
        {(answer) => <OverTime answer={answer} by={by} />}
      </Shown>
      <Shown known={errors} what="errors">
        {(answer) => (answer.rows.length === 0 ? <Empty what="errors" /> : <Groups answer={answer} />)}
      </Shown>
    </>
  );
}

function OverTime({ answer, by }: { answer: Answer<FinishedJobs>; by: By }) {
  const steps = stepsOf(answer.range, answer.step ?? 60);
  const minutes = minutesOf(steps, answer.step ?? 60, answer.range, answer.as_of);
  const groups = new Map<string, FinishedJobs[]>();
  for (const row of answer.rows) {
    if (row.errored === 0) continue;
    const name = row[by] || "no value";
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const errored = (rows: FinishedJobs[]) => rows.reduce((sum, row) => sum + row.errored, 0);
  const sorted = [...groups].sort(([, a], [, b]) => errored(b) - errored(a));
  const values = (rows: FinishedJobs[]) =>
    perMinute(
      valuesOf<number>(steps, merged(rows), (row) => row.errored, 0),
      minutes,
    );
  const lines = linesOf(sorted.map(([label, rows]) => ({ label, values: values(rows) })));
  if (lines.length === 0) return null;
  return (
    <Lines
      name="errors"
      title="Errors a minute"
      steps={steps}
      lines={lines}
      show={figure}
      height={230}
      actions={<Segments label="Lines by" name="by" values={BY} current={by} text={(by) => `By ${NAMES[by]}`} />}
    />
  );
}

/** One row for each step. */
function merged(rows: FinishedJobs[]): FinishedJobs[] {
  const steps = new Map<string, FinishedJobs>();
  for (const row of rows) {
    const at = row.at ?? "";
    steps.set(at, { ...row, errored: row.errored + (steps.get(at)?.errored ?? 0) });
  }
  return [...steps.values()];
}

function Groups({ answer }: { answer: Answer<ErrorGroup> }) {
  const { view, href } = useNavigation();
  const { rows } = answer;
  const all = rows.reduce((sum, row) => sum + row.errored, 0);
  const most = rows[0]?.errored ?? 1;
  const local = view.isLocal;
  const left = (answer.groups ?? rows.length) - rows.length;
  return (
    <Table
      name="errors"
      title="Errors, worst first"
      rows={rows}
      rowKey={(row) => [row.source, row.resource, row.job_type, row.error_code].join(" ")}
      footer={left > 0 && <p class="hint">{count(left)} smaller groups are not shown: filter to see them.</p>}
      columns={[
        {
          title: "Code",
          cell: (row) => (
            <>
              <FilterLink dimension="error_code" value={row.error_code} />
              {row.message !== "" && <small class="message">{row.message}</small>}
            </>
          ),
          value: (row) => row.error_code,
          wide: true,
        },
        { title: "Type", cell: (row) => <FilterLink dimension="job_type" value={row.job_type} />, value: (row) => row.job_type },
        {
          title: "Resource",
          cell: (row) => <FilterLink dimension="resource" value={row.resource} />,
          value: (row) => row.resource,
        },
        { title: "Source", cell: (row) => <FilterLink dimension="source" value={row.source} />, value: (row) => row.source },
        {
          title: "Errors",
          number: true,
          cell: (row) => (
            <>
              <meter class="share bad" min={0} max={most} value={row.errored} aria-hidden="true" />
              <span class="amount">{count(row.errored)}</span>
            </>
          ),
          value: (row) => row.errored,
        },
        { title: "Share", number: true, cell: (row) => percent(row.errored / all), value: (row) => row.errored / all },
        { title: "First seen", number: true, cell: (row) => minute(row.first_seen, local), value: (row) => row.first_seen },
        { title: "Last seen", number: true, cell: (row) => minute(row.last_seen, local), value: (row) => row.last_seen },
        {
          title: "Examples",
          cell: (row) => (
            <span class="examples">
              {row.examples.map((id) => (
                <a key={id} class="id" href={href({ id, source: row.source, resource: row.resource }, "job")}>
                  {id}
                </a>
              ))}
            </span>
          ),
          value: (row) => row.examples.join(" "),
        },
      ]}
    />
  );
}
