/** Lines of groups: the largest have looks of their own, the rest is one line. */
import type { Colour } from "./colours";
import type { Line } from "./lines";

export interface Group {
  label: string;
  values: readonly (number | null)[];
}

/** Each with a colour and a dash of its own. */
const LOOKS: { colour: Colour; dash?: "dashed" | "dotted" }[] = [
  { colour: "red" },
  { colour: "blue", dash: "dashed" },
  { colour: "orange", dash: "dotted" },
  { colour: "purple" },
  { colour: "teal", dash: "dashed" },
];

/** The lines of groups that stand largest first. */
export function linesOf(groups: readonly Group[]): Line[] {
  const lines: Line[] = LOOKS.slice(0, groups.length).map((look, index) => ({
    label: "",
    values: [],
    ...groups[index],
    ...look,
  }));
  const others = groups.slice(LOOKS.length);
  if (others.length === 0) return lines;
  return [...lines, { label: "others", colour: "muted", dash: "dotted", values: sums(others) }];
}

function sums(groups: readonly Group[]): (number | null)[] {
  const [first, ...others] = groups.map((group) => group.values);
  return (first ?? []).map((value, index) =>
    others.reduce<number | null>((sum, values) => {
      const other = values[index] ?? null;
      return sum === null || other === null ? (sum ?? other) : sum + other;
    }, value),
  );
}

/** The groups that are more than 0 anywhere, largest first, of points that name each with its value. */
export function groupsOf<T>(points: readonly T[], of: (point: T) => Record<string, number>): Group[] {
  const named = points.map(of);
  const labels = new Set(named.flatMap(Object.keys));
  const sized = [...labels].map((label) => {
    const values = named.map((values) => values[label] ?? 0);
    return { label, values, sum: values.reduce((sum, value) => sum + value, 0) };
  });
  return sized.filter(({ sum }) => sum > 0).sort((a, b) => b.sum - a.sum);
}
