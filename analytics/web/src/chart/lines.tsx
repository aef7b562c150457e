/** Lines over time. */

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { minute } from "../format/time";
import { useNavigation } from "../state/location";
import { type Colour, colour } from "./colours";
import type { Cell } from "./csv";
import { Figure } from "./figure";
import { Plot } from "./plot";
import { roundUp } from "./scale";
import { summary } from "./summary";

export interface Line {
  label: string;
  colour: Colour;
  values: readonly (number | null)[];
  /** Dashes tell lines apart where colours do not. */
  dash?: "dashed" | "dotted";
  fill?: boolean;
}

interface Props {
  name: string;
  title: string;
  steps: readonly number[];
  lines: readonly Line[];
  show: (value: number | null) => string;
  /** The line of the sentence; the first where none is said. */
  main?: number;
  height?: number;
  actions?: ComponentChildren;
  /** The least upper end of the axis. */
  atLeast?: number;
  /** Steps between ticks that are not those of tens, such as of durations. */
  ticks?: readonly number[];
}

const DASHES = { dashed: [6, 4], dotted: [2, 3] };

export function Lines({ name, title, steps, lines, show, main = 0, height = 190, actions, atLeast = 0, ticks }: Props) {
  const { view } = useNavigation();
  const [cursor, setCursor] = useState<number>();
  const at = (seconds: number) => minute(seconds * 1000, view.isLocal);
  const data = useMemo(() => [steps, ...lines.map((line) => line.values)] as unknown as uPlot.AlignedData, [steps, lines]);
  const shape = lines.map((line) => `${line.label} ${line.colour} ${line.dash} ${line.fill}`).join() + atLeast;
  const index = cursor !== undefined && cursor < steps.length ? cursor : undefined;
  const shown = (line: Line) => show(index === undefined ? lastOf(line.values) : (line.values[index] ?? null));
  const step = steps[index ?? steps.length - 1];
  const moment = step === undefined ? "" : at(step);
  return (
    <Figure
      name={name}
      title={title}
      summary={summary(lines[main] ?? { label: title, values: [] }, steps, (value) => show(value), at)}
      moment={index === undefined ? "latest" : moment}
      readouts={lines.map((line) => ({ label: line.label, text: shown(line), sample: `${line.colour} ${line.dash ?? ""}` }))}
      titles={["time", ...lines.map((line) => line.label)]}
      rows={() => steps.map((step, row) => [iso(step), ...lines.map((line) => line.values[row] ?? null)])}
      show={(cell: Cell, column) => (column === 0 ? minute(String(cell), view.isLocal) : show(cell as number | null))}
      cursor={{
        index,
        length: steps.length,
        text: `${moment}: ${lines.map((line) => `${line.label} ${shown(line)}`).join(", ")}`,
        move: setCursor,
      }}
      actions={actions}
    >
      <Plot
        shape={shape}
        data={data}
        height={height}
        cursor={index}
        onCursor={setCursor}
        options={() => ({
          scales: { y: { range: (_, __, most) => [0, roundUp(Math.max(most ?? 0, atLeast), ticks)] } },
          axes: [
            {},
            {
              values: (_, splits) => splits.map((split) => show(split).replace(".0 ", " ")),
              ...(ticks === undefined ? {} : { incrs: [...ticks] }),
            },
          ],
          series: [
            {},
            ...lines.map((line): uPlot.Series => {
              const stroke = colour(line.colour);
              return {
                label: line.label,
                stroke,
                width: line.colour === "before" ? 1 : 1.5,
                points: { show: false },
                ...(line.dash ? { dash: DASHES[line.dash] } : {}),
                ...(line.fill ? { fill: translucent(stroke) } : {}),
              };
            }),
          ],
        })}
      />
    </Figure>
  );
}

function lastOf(values: readonly (number | null)[]): number | null {
  return values.findLast((value) => value !== null) ?? null;
}

function iso(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
}

function translucent(colour: string): string {
  return colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.1)");
}
