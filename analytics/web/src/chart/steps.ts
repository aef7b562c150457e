/** Rows of `/api/v1/series` on an even axis: steps without rows are there, too. */
import type { Answer, FinishedJobs, Range } from "../api/types";

/** The starts of the steps of a range, in Unix seconds. */
export function stepsOf(range: Range, step: number): number[] {
  const [from, to] = [Date.parse(range.from) / 1000, Date.parse(range.to) / 1000];
  const steps = [];
  for (let at = Math.floor(from / step) * step; at < to; at += step) steps.push(at);
  return steps;
}

/** How many minutes of each step lie in the range and have passed: the first and the last are often shorter. */
export function minutesOf(steps: number[], step: number, range: Range, asOf: string): number[] {
  const from = Date.parse(range.from) / 1000;
  const to = Math.min(Date.parse(range.to), Date.parse(asOf)) / 1000;
  return steps.map((at) => Math.max(Math.min(at + step, to) - Math.max(at, from), 0) / 60);
}

/** The value of each step; `none` where a step has no row. */
export function valuesOf<T>(steps: number[], rows: FinishedJobs[], value: (row: FinishedJobs) => T, none: T): T[] {
  const known = new Map(rows.map((row) => [Date.parse(row.at ?? "") / 1000, row]));
  return steps.map((at) => {
    const row = known.get(at);
    return row === undefined ? none : value(row);
  });
}

/** Rates need this much of a step, in minutes: less would be noise. */
const LEAST = 0.5;

export interface Series {
  steps: number[];
  minutes: number[];
  rows: FinishedJobs[];
  /** Finished jobs a minute. */
  rate: (number | null)[];
}

export function seriesOf(answer: Answer<FinishedJobs>): Series {
  const { range, rows } = answer;
  const step = answer.step ?? 60;
  const steps = stepsOf(range, step);
  const minutes = minutesOf(steps, step, range, answer.as_of);
  const jobs = valuesOf<number>(steps, rows, (row) => row.completed + row.errored, 0);
  return { steps, minutes, rows, rate: perMinute(jobs, minutes) };
}

/** Those of the comparison range, moved onto the steps of the range. */
export function comparedOf(answer: Answer<FinishedJobs>, series: Series): Series | undefined {
  if (answer.compared == null) return undefined;
  const step = answer.step ?? 60;
  const shift = (Date.parse(answer.range.from) - Date.parse(answer.compared.range.from)) / 1000;
  // A shift that is no whole number of steps puts each earlier step into the one that it begins in.
  const rows = answer.compared.rows.map((row) => {
    const at = Math.floor((Date.parse(row.at ?? "") / 1000 + shift) / step) * step;
    return { ...row, at: new Date(at * 1000).toISOString() };
  });
  // All of that range has passed.
  const minutes = minutesOf(series.steps, step, answer.range, answer.range.to);
  const jobs = valuesOf<number>(series.steps, rows, (row) => row.completed + row.errored, 0);
  return { steps: series.steps, minutes, rows, rate: perMinute(jobs, minutes) };
}

export function perMinute(jobs: number[], minutes: number[]): (number | null)[] {
  return jobs.map((jobs, index) => {
    const of = minutes[index] ?? 0;
    return of < LEAST ? null : jobs / of;
  });
}
