/** The pipeline over the last hour. */
import type { Pipeline } from "../../api/types";
import { type Group, groupsOf, linesOf } from "../../chart/groups";
import { type Line, Lines } from "../../chart/lines";
import { SPAN_STEPS } from "../../chart/scale";
import { duration, figure, NONE } from "../../format/number";
import { Lag } from "../../ui/lag";

type Point = Pipeline["history"][number];

export function History({ history }: { history: readonly Point[] }) {
  const steps = history.map((point) => Date.parse(point.at) / 1000);
  const values = (of: (point: Point) => number | null | undefined) => history.map((point) => of(point) ?? null);
  return (
    <div class="charts">
      <Lines
        name="rates"
        title="Webhooks and records a second"
        steps={steps}
        show={figure}
        lines={[
          { label: "webhooks answered", colour: "blue", values: values((point) => point.answers_per_second), fill: true },
          { label: "authentic", colour: "purple", dash: "dotted", values: values((point) => point.verified_per_second) },
          { label: "records consumed", colour: "teal", dash: "dashed", values: values((point) => point.records_per_second) },
        ]}
      />
      <Lines
        name="refused"
        title="Refused, or a dead letter, a second"
        steps={steps}
        show={figure}
        lines={orNone(groupsOf(history, notTaken), steps.length)}
      />
      <Lag history={history} />
      <Lines
        name="freshness"
        title="Freshness"
        steps={steps}
        show={duration}
        ticks={SPAN_STEPS}
        lines={[
          { label: "signed to visible", colour: "teal", values: values((point) => point.signed_to_visible_seconds) },
          { label: "oldest lag", colour: "orange", dash: "dashed", values: values((point) => point.lag_seconds) },
          { label: "roll-up's age", colour: "purple", dash: "dotted", values: values((point) => point.rollup_age_seconds) },
        ]}
      />
      <Stages name="ingest-stages" title="Ingest: time of each stage" steps={steps} groups={groupsOf(history, ingest)} />
      <Stages
        name="processor-stages"
        title="Processors: time of each stage"
        steps={steps}
        groups={groupsOf(history, processors)}
      />
    </div>
  );
}

/** What was answered otherwise than 200, or became a dead letter. */
function notTaken(point: Point): Record<string, number> {
  const named = (prefix: string, reasons: Record<string, number>) =>
    Object.entries(reasons).map(([reason, value]) => [`${prefix}: ${reason}`, value]);
  return Object.fromEntries([
    ...named("503", point.refusals_per_second),
    ...named("401", point.rejections_per_second),
    ...named("dead letter", point.dead_letters_per_second),
  ]);
}

const ingest = (point: Point) => point.ingest_stages;

/** Waiting for records is no work. */
function processors(point: Point): Record<string, number> {
  const { wait: _, ...stages } = point.processor_stages;
  return stages;
}

function orNone(groups: readonly Group[], length: number): Line[] {
  if (groups.length > 0) return linesOf(groups);
  return [{ label: "none", colour: "muted", values: Array.from({ length }, () => 0) }];
}

interface StagesProps {
  name: string;
  title: string;
  steps: readonly number[];
  groups: readonly Group[];
}

/** Seconds of work by the second: a stage near 1 s/s holds the others of its process up. */
function Stages({ name, title, steps, groups }: StagesProps) {
  return (
    <Lines
      name={name}
      title={title}
      steps={steps}
      show={(seconds) => (seconds === null ? NONE : `${duration(seconds)}/s`)}
      ticks={SPAN_STEPS}
      lines={orNone(groups, steps.length)}
    />
  );
}
