/** Filters with several values each. They apply at once. */
import { useState } from "preact/hooks";
import { useQuestion } from "../api/question";
import type { Answer, FinishedJobs } from "../api/types";
import { figure } from "../format/number";
import { useNavigation } from "../state/location";
import { DIMENSIONS, type Dimension } from "../state/view";
import { Menu } from "./menu";
import { Shown } from "./states";

export const LABELS: Record<Dimension, string> = {
  source: "Source",
  resource: "Resource",
  job_type: "Type",
  error_code: "Error code",
  outcome: "Outcome",
};
const OUTCOMES = ["completed", "errored", "open"];

export function Filters() {
  const { view, href } = useNavigation();
  const chosen = DIMENSIONS.flatMap((dimension) => view.all(dimension).map((value) => ({ dimension, value })));
  const none = Object.fromEntries(DIMENSIONS.map((dimension) => [dimension, undefined]));
  return (
    <div class="filters" role="group" aria-label="Filters">
      {DIMENSIONS.map((dimension) => (
        <Menu key={dimension} label={<Label dimension={dimension} />} class={view.all(dimension).length > 0 ? "chosen" : ""}>
          {() =>
            dimension === "outcome" ? <Choices dimension={dimension} values={OUTCOMES} /> : <Known dimension={dimension} />
          }
        </Menu>
      ))}
      {chosen.map(({ dimension, value }) => (
        <a
          key={`${dimension} ${value}`}
          class="chip"
          href={view.page && href(toggledChanges(view.all(dimension), dimension, value))}
        >
          <span class="hidden">Remove the filter </span>
          {LABELS[dimension]}: <b>{value}</b> <span aria-hidden="true">×</span>
        </a>
      ))}
      {chosen.length > 1 && (
        <a class="chip clear" href={href(none)}>
          Clear all
        </a>
      )}
    </div>
  );
}

function Label({ dimension }: { dimension: Dimension }) {
  const { view } = useNavigation();
  const values = view.all(dimension).length;
  return (
    <>
      {LABELS[dimension]}
      {values > 0 && (
        <b class="badge">
          {values}
          <span class="hidden"> chosen</span>
        </b>
      )}
    </>
  );
}

function toggledChanges(values: string[], dimension: string, value: string) {
  return { [dimension]: values.filter((other) => other !== value) };
}

/** The values that finished jobs of the range have. */
function Known({ dimension }: { dimension: Dimension }) {
  const { view } = useNavigation();
  const question = view.question({ by: dimension, kind: "total" }, [dimension, "outcome"]);
  const known = useQuestion<Answer<FinishedJobs>>(`api/v1/durations?${question}`);
  return (
    <Shown known={known} what="values">
      {(answer) => {
        const of = (row: FinishedJobs) => (dimension === "outcome" ? "" : (row[dimension] ?? ""));
        const rows = answer.rows.filter((row) => of(row) !== "").sort((a, b) => jobs(b) - jobs(a));
        const counts = new Map(rows.map((row) => [of(row), jobs(row)]));
        return <Choices dimension={dimension} values={[...counts.keys()]} counts={counts} />;
      }}
    </Shown>
  );
}

function jobs(row: FinishedJobs): number {
  return row.completed + row.errored;
}

interface ChoicesProps {
  dimension: Dimension;
  values: string[];
  counts?: Map<string, number>;
}

function Choices({ dimension, values, counts }: ChoicesProps) {
  const { view, go } = useNavigation();
  const [search, setSearch] = useState("");
  const chosen = view.all(dimension);
  const all = [...values, ...chosen.filter((value) => !values.includes(value))];
  const found = all.filter((value) => value.toLowerCase().includes(search.toLowerCase()));
  return (
    <div class="choices">
      {all.length > 8 && (
        <input
          type="search"
          aria-label={`Find a value of ${LABELS[dimension]}`}
          placeholder="Find"
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
      )}
      <fieldset>
        <legend class="hidden">{LABELS[dimension]}</legend>
        {found.map((value) => (
          <label key={value}>
            <input type="checkbox" checked={chosen.includes(value)} onChange={() => go(view.toggled(dimension, value))} />
            <span>{value}</span>
            <small>{counts === undefined ? "" : figure(counts.get(value) ?? 0)}</small>
          </label>
        ))}
        {found.length === 0 && <p class="hint">No finished job of this range has a value.</p>}
      </fieldset>
    </div>
  );
}

/** A value that filters by itself; once more, and it does not any longer. */
export function FilterLink({ dimension, value, text }: { dimension: Dimension; value: string; text?: string }) {
  const { view, to } = useNavigation();
  if (value === "") return <span class="muted">none</span>;
  const isChosen = view.all(dimension).includes(value);
  return (
    <a
      class="value"
      href={to(view.toggled(dimension, value))}
      aria-current={isChosen ? "true" : undefined}
      title={isChosen ? `Show other values of ${LABELS[dimension]}, too` : `Show ${LABELS[dimension]} ${value} alone`}
    >
      {text ?? value}
    </a>
  );
}
