/** Borders of axes, and how dark a cell of a heat map is. */

/** Ticks of a logarithmic axis of durations: spans that people say. */
const SPANS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200, 604800];

/** Steps between the ticks of an even axis of durations. */
export const SPAN_STEPS = [
  0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30,
  60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 172800,
];

export function spanTicks(least: number, most: number, atMost: number): number[] {
  const within = SPANS.filter((span) => span >= least && span <= most);
  const every = Math.max(1, Math.ceil(within.length / Math.max(1, atMost)));
  return within.filter((_, index) => index % every === 0);
}

/** From 0 for no job to 1 for the most: the root lets few jobs be seen beside many. */
export function darkness(jobs: number, most: number): number {
  return most <= 0 || jobs <= 0 ? 0 : Math.min(1, 0.12 + 0.88 * Math.sqrt(jobs / most));
}

/** The upper end of an axis that begins at 0: a round number, or a whole number of steps, that leaves a little room. */
export function roundUp(most: number, steps?: readonly number[]): number {
  if (!(most > 0)) return 1;
  const wanted = most * 1.05;
  if (steps !== undefined) {
    const step = steps.find((step) => step * 5 >= wanted) ?? wanted;
    return Math.ceil(wanted / step) * step;
  }
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= wanted) ?? 10;
  return step * power;
}
