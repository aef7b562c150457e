/** How durations are distributed over time: the darker a cell, the more jobs. */
import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Bin } from "../api/types";
import { count, duration } from "../format/number";
import { minute } from "../format/time";
import { useNavigation } from "../state/location";
import { colour } from "./colours";
import type { Cell } from "./csv";
import { Figure } from "./figure";
import { Plot } from "./plot";
import { darkness, spanTicks } from "./scale";

interface Props {
  name: string;
  title: string;
  steps: readonly number[];
  step: number;
  bins: readonly Bin[];
  actions?: ComponentChildren;
}

/** The logarithm of a duration has no place for 0. */
const LEAST = 0.1;

export function HeatMap({ name, title, steps, step, bins, actions }: Props) {
  const { view } = useNavigation();
  const [cursor, setCursor] = useState<number>();
  const columns = useMemo(() => {
    const columns = new Map<number, Bin[]>(steps.map((at) => [at, []]));
    for (const bin of bins) columns.get(Date.parse(bin.at) / 1000)?.push(bin);
    return columns;
  }, [steps, bins]);
  const most = bins.reduce((most, bin) => Math.max(most, bin.jobs), 0);
  const least = bins.reduce((least, bin) => Math.min(least, Math.max(bin.from_seconds, LEAST)), Number.POSITIVE_INFINITY);
  const longest = bins.reduce((longest, bin) => Math.max(longest, bin.to_seconds), 0);
  const [bottom, top] = bins.length === 0 ? [1, 60] : [least, longest];
  // The plot knows two lines that are not drawn: they give its axes. Other bins are other data, so that they are drawn.
  const data = useMemo(
    () => [steps, steps.map(() => bottom), steps.map(() => top)] as unknown as uPlot.AlignedData,
    [steps, bottom, top, bins],
  );
  const at = (seconds: number) => minute(seconds * 1000, view.isLocal);
  const index = cursor !== undefined && cursor < steps.length ? cursor : undefined;
  const column = columns.get(steps[index ?? -1] ?? -1);
  const text = (column: readonly Bin[]) => {
    const fullest = fullestOf(column);
    if (fullest === undefined) return "no jobs";
    const jobs = column.reduce((jobs, bin) => jobs + bin.jobs, 0);
    return `${count(jobs)} jobs, most of them between ${duration(fullest.from_seconds)} and ${duration(fullest.to_seconds)}`;
  };
  const moment = index === undefined ? "" : at(steps[index] ?? 0);
  return (
    <Figure
      name={name}
      title={title}
      summary={`${title}: ${text(merged(bins))}.`}
      moment={moment}
      readouts={[
        { label: column === undefined ? "whole range" : "step", text: text(column ?? merged(bins)), sample: "blue block" },
      ]}
      titles={["time", "from seconds", "to seconds", "jobs"]}
      rows={() => bins.map((bin) => [bin.at, bin.from_seconds, bin.to_seconds, bin.jobs])}
      show={(cell: Cell, column) =>
        column === 0 ? minute(String(cell), view.isLocal) : column === 3 ? count(Number(cell)) : duration(Number(cell))
      }
      cursor={{ index, length: steps.length, text: `${moment}: ${text(column ?? [])}`, move: setCursor }}
      actions={actions}
    >
      <Plot
        shape={`${bottom} ${top} ${step} ${steps[0]} ${steps.length}`}
        data={data}
        draw={(plot) => drawCells(plot, bins, step, most)}
        height={300}
        cursor={index}
        onCursor={setCursor}
        options={() => ({
          scales: {
            x: { range: () => [steps[0] ?? 0, (steps.at(-1) ?? 1) + step] },
            y: { distr: 3, range: () => [bottom, top] },
          },
          axes: [
            {},
            {
              splits: () => spanTicks(bottom, top, 8),
              filter: (_, splits) => splits,
              values: (_, ticks) => ticks.map((tick) => duration(tick).replace(".0 ", " ")),
            },
          ],
          series: [
            {},
            { show: true, paths: () => null, points: { show: false } },
            { show: true, paths: () => null, points: { show: false } },
          ],
        })}
      />
    </Figure>
  );
}

function drawCells(plot: uPlot, bins: readonly Bin[], step: number, most: number): void {
  const { ctx } = plot;
  ctx.save();
  ctx.fillStyle = colour("blue");
  for (const bin of bins) {
    const start = Date.parse(bin.at) / 1000;
    const [left, right] = [plot.valToPos(start, "x", true), plot.valToPos(start + step, "x", true)];
    const bottom = plot.valToPos(Math.max(bin.from_seconds, LEAST), "y", true);
    const top = plot.valToPos(bin.to_seconds, "y", true);
    const gap = right - left > 6 ? 1 : 0;
    ctx.globalAlpha = darkness(bin.jobs, most);
    ctx.fillRect(
      Math.round(left),
      Math.round(top),
      Math.max(1, Math.round(right - left) - gap),
      Math.max(1, Math.round(bottom - top) - 1),
    );
  }
  ctx.restore();
}

function fullestOf(bins: readonly Bin[]): Bin | undefined {
  return bins.reduce<Bin | undefined>(
    (fullest, bin) => (fullest === undefined || bin.jobs > fullest.jobs ? bin : fullest),
    undefined,
  );
}

/** All steps together. */
function merged(bins: readonly Bin[]): Bin[] {
  const sums = new Map<number, Bin>();
  for (const bin of bins) {
    const sum = sums.get(bin.from_seconds);
    sums.set(bin.from_seconds, { ...bin, jobs: bin.jobs + (sum?.jobs ?? 0) });
  }
  return [...sums.values()];
}
