/** How far the processors are behind, over the last hour. */
import type { Pipeline } from "../api/types";
import { Lines } from "../chart/lines";
import { figure } from "../format/number";

export function Lag({ history }: { history: Readonly<Pipeline["history"]> }) {
  return (
    <Lines
      name="lag"
      title="Lag in records, over the last hour"
      steps={history.map((point) => Date.parse(point.at) / 1000)}
      show={figure}
      atLeast={4}
      lines={[{ label: "lag", colour: "orange", values: history.map((point) => point.lag_records ?? null), fill: true }]}
    />
  );
}
