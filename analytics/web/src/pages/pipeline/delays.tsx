/** How late webhooks are, by event. */
import type { Answer, WebhookDelay } from "../../api/types";
import { count, duration } from "../../format/number";
import { Table } from "../../ui/table";

export function Delays({ delays }: { delays: Answer<WebhookDelay> }) {
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
