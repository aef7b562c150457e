/** A chart with what makes it readable without seeing it: a sentence, a cursor for arrow keys, and a table. */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { useNavigation } from "../state/location";
import { type Cell, csv, download } from "./csv";

export interface Readout {
  label: string;
  text: string;
  /** The class of the sample that stands beside the label, such as `blue dashed`. */
  sample: string;
}

interface Props {
  /** Names the chart in addresses and files. */
  name: string;
  title: string;
  summary: string;
  /** What the cursor is at, or what the chart is of. */
  moment: string;
  readouts: readonly Readout[];
  titles: readonly string[];
  rows: () => readonly (readonly Cell[])[];
  show: (cell: Cell, column: number) => string;
  /** The surface with its keys. */
  cursor: { index: number | undefined; length: number; text: string; move: (index: number) => void };
  children: ComponentChildren;
  actions?: ComponentChildren;
}

const KEYS: Record<string, (index: number, last: number) => number> = {
  ArrowLeft: (index) => index - 1,
  ArrowRight: (index) => index + 1,
  ArrowDown: (index) => index - 1,
  ArrowUp: (index) => index + 1,
  PageDown: (index) => index - 10,
  PageUp: (index) => index + 10,
  Home: () => 0,
  End: (_, last) => last,
};

export function Figure(props: Props) {
  const { name, title, cursor } = props;
  const { view, go } = useNavigation();
  const id = useId();
  const isTable = view.all("table").includes(name);
  const last = cursor.length - 1;
  const press = (event: KeyboardEvent) => {
    const key = KEYS[event.key];
    if (key === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    cursor.move(Math.min(last, Math.max(0, key(cursor.index ?? last, last))));
  };
  return (
    <figure class="card chart" aria-labelledby={`${id}-title`} aria-describedby={`${id}-summary`} data-chart={name}>
      <figcaption>
        <h2 id={`${id}-title`}>{title}</h2>
        <div class="actions">
          {props.actions}
          {isTable && (
            <button
              type="button"
              class="quiet"
              aria-label={`CSV of ${title}`}
              onClick={() => download(`hookline-${name}.csv`, csv(props.titles, props.rows()))}
            >
              CSV
            </button>
          )}
          <button
            type="button"
            class="quiet"
            aria-label={`Show as table: ${title}`}
            aria-pressed={isTable}
            onClick={() => go(view.toggled("table", name), true)}
          >
            Show as table
          </button>
        </div>
      </figcaption>
      <p class="hidden" id={`${id}-summary`} data-summary>
        {props.summary}
      </p>
      <div class="readouts" aria-hidden="true">
        {props.readouts.map((readout) => (
          <span key={readout.label}>
            <i class={`sample ${readout.sample}`} />
            {readout.label} <b>{readout.text}</b>
          </span>
        ))}
        <span class="moment">{props.moment}</span>
      </div>
      {isTable ? (
        <div class="scroll short" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
          <table>
            <thead>
              <tr>
                {props.titles.map((title, column) => (
                  <th key={title} scope="col" class={column > 0 ? "number" : ""}>
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {props
                .rows()
                .toReversed()
                .map((cells) => (
                  <tr key={cells[0]}>
                    {cells.map((cell, column) => (
                      <td key={props.titles[column]} class={column > 0 ? "number" : ""}>
                        {props.show(cell, column)}
                      </td>
                    ))}
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div
          class="surface"
          role="slider"
          tabIndex={0}
          aria-label={`${title}: cursor`}
          aria-valuemin={0}
          aria-valuemax={Math.max(last, 0)}
          aria-valuenow={cursor.index ?? Math.max(last, 0)}
          aria-valuetext={cursor.index === undefined ? props.summary : cursor.text}
          onKeyDown={press}
        >
          {props.children}
        </div>
      )}
    </figure>
  );
}
