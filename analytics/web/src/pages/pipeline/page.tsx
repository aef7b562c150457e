/** Whether webhooks come in and become rows, and what does not. */
import { useQuestion } from "../../api/question";
import type { Answer, DeadLettersAnswer, Pipeline, WebhookDelay } from "../../api/types";
import { count, duration, figure } from "../../format/number";
import { clock } from "../../format/time";
import { useNavigation } from "../../state/location";
import { freshness } from "../../ui/freshness";
import { Shown } from "../../ui/states";
import { Tile } from "../../ui/tile";
import { DeadLetters } from "./dead_letters";
import { Delays } from "./delays";
import { History } from "./history";
import { Totals } from "./totals";

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
        {(pipeline) => (
          <>
            <Tiles pipeline={pipeline} />
            <Remarks pipeline={pipeline} />
            {pipeline.history.length > 1 && (
              <>
                <h2 class="section">The last hour</h2>
                <History history={pipeline.history} />
              </>
            )}
            {pipeline.totals != null && (
              <>
                <h2 class="section">Since the processes started</h2>
                <Totals totals={pipeline.totals} />
              </>
            )}
          </>
        )}
      </Shown>
      <h2 class="section">The range that is chosen above</h2>
      <Shown known={letters} what="dead letters">
        {(letters) => <DeadLetters letters={letters} />}
      </Shown>
      <Shown known={delays} what="delays">
        {(delays) => delays.rows.length > 0 && <Delays delays={delays} />}
      </Shown>
    </>
  );
}

function Tiles({ pipeline }: { pipeline: Pipeline }) {
  const { totals } = pipeline;
  const last = pipeline.history.at(-1);
  const visible = freshness(pipeline);
  const stopped = totals?.stopped_partitions ?? 0;
  return (
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
          totals?.lag_seconds == null ? "records that are not committed" : `records, ${duration(totals.lag_seconds)} old at most`
        }
      />
      <Tile name="visible" title="Signed to visible" parts={[{ text: duration(visible.seconds) }]} note={visible.note} />
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
        note={stopped > 0 ? "they wait for an operator" : "all go on"}
        alarm={stopped > 0}
      />
    </div>
  );
}

function Remarks({ pipeline }: { pipeline: Pipeline }) {
  const { view } = useNavigation();
  const { read_at: readAt, unreachable } = pipeline;
  return (
    <>
      {readAt == null && (
        <p class="remark">
          No metrics are read: set <code>serve.admin_urls</code> to the listeners of ingest and the processors, or{" "}
          <code>serve.prometheus_url</code> to a Prometheus that scrapes them, and rates, refusals and lag stand here.
        </p>
      )}
      {readAt != null && unreachable > 0 && (
        <p class="remark">
          {count(unreachable)} of those whose metrics are read (<code>serve.admin_urls</code> or <code>serve.prometheus_url</code>
          ) did not answer at {clock(readAt, view.isLocal)}: the figures of metrics are without{" "}
          {unreachable === 1 ? "it" : "them"}.
        </p>
      )}
    </>
  );
}
