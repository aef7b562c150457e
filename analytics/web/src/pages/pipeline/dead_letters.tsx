/** What could not be processed, by reason and one by one. */
import type { DeadLettersAnswer } from "../../api/types";
import { count } from "../../format/number";
import { minute, second } from "../../format/time";
import { useNavigation } from "../../state/location";
import { Table } from "../../ui/table";

export function DeadLetters({ letters }: { letters: DeadLettersAnswer }) {
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
