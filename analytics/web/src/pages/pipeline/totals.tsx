/** What was counted since the processes started. */
import type { Pipeline } from "../../api/types";
import { count, duration } from "../../format/number";
import { Table } from "../../ui/table";

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

export function Totals({ totals }: { totals: NonNullable<Pipeline["totals"]> }) {
  return (
    <div class="charts three">
      <Counts name="answers" title="Answers of ingest" what="Status" counts={totals.answers} words={ANSWERS} />
      <Counts name="refusals" title="To be sent again, by reason" what="Reason" counts={totals.refusals} />
      <Counts name="rejections" title="Refused by signature, by reason" what="Reason" counts={totals.rejections} />
      <Counts name="dead" title="Dead letters, by reason" what="Reason" counts={totals.dead_letters} />
      <Counts name="ingest-seconds" title="Ingest: time by stage" what="Stage" counts={totals.ingest_stages} isTime />
      <Counts name="processor-seconds" title="Processors: time by stage" what="Stage" counts={totals.processor_stages} isTime />
    </div>
  );
}

interface Props {
  name: string;
  title: string;
  what: string;
  counts: Record<string, number>;
  words?: Record<string, string>;
  isTime?: boolean;
}

function Counts({ name, title, what, counts, words = {}, isTime = false }: Props) {
  const rows = Object.entries(counts).filter(([, number]) => number > 0);
  return (
    <Table
      name={name}
      title={title}
      rows={isTime ? rows.sort(([, a], [, b]) => b - a) : rows}
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
        {
          title: isTime ? "Seconds" : "Count",
          number: true,
          cell: ([, number]) => (isTime ? duration(number) : count(number)),
          value: ([, number]) => number,
        },
      ]}
    />
  );
}
