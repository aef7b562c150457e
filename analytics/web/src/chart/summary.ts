/** What a chart shows, in one sentence. */

export interface Summarised {
  label: string;
  values: readonly (number | null)[];
}

/** `p95 is 41 s at the end, between 30 s and 1 m 13 s, which was highest at 14:05.` */
export function summary(
  series: Summarised,
  steps: readonly number[],
  show: (value: number) => string,
  at: (seconds: number) => string,
): string {
  let [last, lowest, highest]: (number | undefined)[] = [];
  series.values.forEach((value, index) => {
    if (value === null) return;
    last = index;
    if (lowest === undefined || value < (series.values[lowest] ?? value)) lowest = index;
    if (highest === undefined || value > (series.values[highest] ?? value)) highest = index;
  });
  if (last === undefined || lowest === undefined || highest === undefined) return `${series.label}: nothing in this range.`;
  const text = (index: number) => show(series.values[index] ?? 0);
  if (text(lowest) === text(highest)) return `${series.label} is ${text(last)} throughout.`;
  const top = at(steps[highest] ?? 0);
  return `${series.label} is ${text(last)} at the end, between ${text(lowest)} and ${text(highest)}, highest at ${top}.`;
}
