/** Finished jobs by a dimension, the most first. */
import { useQuestion } from "../api/question";
import type { Answer, FinishedJobs } from "../api/types";
import { change, count, duration, percent } from "../format/number";
import { useNavigation } from "../state/location";
import type { Dimension, Kind } from "../state/view";
import { FilterLink, LABELS } from "./filters";
import { Segments } from "./segments";
import { Empty, Shown } from "./states";
import { type Column, Table } from "./table";

const BY = ["resource", "job_type", "source", "error_code"] as const;
type By = (typeof BY)[number];

/** The dimension is a choice of the reader, unless it is given. */
export function Breakdown({ by, kind = "total" }: { by?: By; kind?: Kind }) {
  const { view } = useNavigation();
  const chosen = by ?? view.oneOf<By>("by", BY);
  const compare = view.compare === undefined ? {} : { compare: view.compare };
  const known = useQuestion<Answer<FinishedJobs>>(`api/v1/durations?${view.question({ by: chosen, kind, ...compare })}`);
  return (
    <Shown known={known} what={`jobs by ${LABELS[chosen].toLowerCase()}`}>
      {(answer) =>
        answer.rows.length === 0 ? (
          by === undefined ? null : (
            <Empty what="finished jobs" />
          )
        ) : (
          <Groups answer={answer} by={chosen} kind={kind} isChoice={by === undefined} />
        )
      }
    </Shown>
  );
}

const finished = (row: FinishedJobs) => row.completed + row.errored;
const TITLES: Record<Kind, string> = { total: "created to finished", run: "started to finished", queue: "created to started" };

function Groups({ answer, by, kind, isChoice }: { answer: Answer<FinishedJobs>; by: By; kind: Kind; isChoice: boolean }) {
  const name = (row: FinishedJobs) => row[by] ?? "";
  const before = new Map((answer.compared?.rows ?? []).map((row) => [name(row), row]));
  const rows = [...answer.rows].sort((a, b) => finished(b) - finished(a));
  const most = finished(rows[0] ?? { completed: 0, errored: 0 });
  const quantile = (at: "p50" | "p95" | "p99" | "max"): Column<FinishedJobs> => ({
    title: at,
    number: true,
    cell: (row) => duration(row[kind]?.[at]),
    value: (row) => row[kind]?.[at] ?? null,
  });
  const columns: Column<FinishedJobs>[] = [
    {
      title: LABELS[by as Dimension],
      cell: (row) => <FilterLink dimension={by} value={name(row)} />,
      value: name,
    },
    {
      title: "Finished",
      number: true,
      cell: (row) => (
        <>
          <meter class="share" min={0} max={most} value={finished(row)} aria-hidden="true" />
          <span class="amount">{count(finished(row))}</span>
        </>
      ),
      value: finished,
    },
    ...(answer.compared == null
      ? []
      : [
          {
            title: "Change",
            number: true,
            cell: (row: FinishedJobs) => {
              const earlier = before.get(name(row));
              const text = earlier === undefined ? "new" : (change(finished(row), finished(earlier))?.text ?? "–");
              return <span class="change">{text}</span>;
            },
            value: (row: FinishedJobs) => {
              const earlier = before.get(name(row));
              return earlier === undefined ? null : finished(row) - finished(earlier);
            },
          },
        ]),
    { title: "Error rate", number: true, cell: (row) => percent(row.error_rate), value: (row) => row.error_rate ?? null },
    quantile("p50"),
    quantile("p95"),
    quantile("p99"),
    quantile("max"),
  ];
  return (
    <Table
      name="breakdown"
      title={isChoice ? "Finished jobs by" : `${LABELS[by]}: ${TITLES[kind]}`}
      actions={isChoice && <Segments label="Group by" name="by" values={BY} current={by} text={(by) => LABELS[by]} />}
      columns={columns}
      rows={rows}
      rowKey={name}
    />
  );
}
