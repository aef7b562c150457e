import { describe, expect, test } from "vitest";
import type { Answer, FinishedJobs } from "../api/types";
import { csv } from "./csv";
import { groupsOf, linesOf } from "./groups";
import { darkness, roundUp, SPAN_STEPS, spanTicks } from "./scale";
import { comparedOf, minutesOf, perMinute, seriesOf, stepsOf } from "./steps";
import { summary } from "./summary";

const range = { from: "2026-11-01T00:01:00Z", to: "2026-11-01T00:16:00Z" };
const start = Date.parse("2026-11-01T00:00:00Z") / 1000;
const row = (at: string, completed: number, errored = 0): FinishedJobs => ({ at, completed, errored, error_rate: null });

describe("steps", () => {
  const steps = stepsOf(range, 300);

  test("are whole multiples that cover the range", () => {
    expect(steps.map((at) => at - start)).toEqual([0, 300, 600, 900]);
  });

  test("count the minutes that lie in the range and have passed", () => {
    expect(minutesOf(steps, 300, range, "2026-11-01T00:12:30Z")).toEqual([4, 5, 2.5, 0]);
  });

  test("of less than half a minute have no rate", () => {
    expect(perMinute([8, 10, 1], [4, 5, 0.4])).toEqual([2, 2, null]);
  });
});

describe("a series", () => {
  const answer = {
    as_of: "2026-11-01T00:30:00Z",
    range,
    step: 300,
    read_from: "facts",
    rows: [row("2026-11-01T00:00:00Z", 6, 2), row("2026-11-01T00:10:00Z", 5)],
    compared: {
      range: { from: "2026-10-31T00:01:00Z", to: "2026-10-31T00:16:00Z" },
      rows: [row("2026-10-31T00:05:00Z", 20), row("2026-10-31T00:15:00Z", 3)],
    },
  } as Answer<FinishedJobs>;

  test("has steps without rows, too", () => {
    expect(seriesOf(answer).rate).toEqual([2, 0, 1, 0]);
  });

  test("has that of the comparison range on the same steps, of which the last is as short", () => {
    expect(comparedOf(answer, seriesOf(answer))?.rate).toEqual([0, 4, 0, 3]);
    expect(comparedOf({ ...answer, compared: null }, seriesOf(answer))).toBeUndefined();
  });
});

describe("groups", () => {
  const points = [{ a: 1, b: 5, zero: 0 }, { a: 2, c: 1 }, {}];

  test("stand largest first, and what no point has is left out", () => {
    expect(groupsOf(points, (point) => point as Record<string, number>)).toMatchObject([
      { label: "b", values: [5, 0, 0] },
      { label: "a", values: [1, 2, 0] },
      { label: "c", values: [0, 1, 0] },
    ]);
    expect(groupsOf([{}], (point) => point)).toEqual([]);
  });

  test("have a look each, and the smallest are one line", () => {
    const groups = Array.from({ length: 7 }, (_, index) => ({ label: `g${index}`, values: [index, null, null] }));
    const lines = linesOf([...groups.slice(0, 6), { label: "g6", values: [6, 4, null] }]);
    expect(lines.map(({ label }) => label)).toEqual(["g0", "g1", "g2", "g3", "g4", "others"]);
    expect(new Set(lines.map(({ colour, dash }) => `${colour} ${dash}`)).size).toBe(6);
    expect(lines.at(-1)?.values).toEqual([11, 4, null]);
    expect(linesOf(groups.slice(0, 2)).map(({ label }) => label)).toEqual(["g0", "g1"]);
    expect(linesOf([])).toEqual([]);
  });
});

describe("a scale", () => {
  test.each([
    [0, 1],
    [0.93, 1],
    [1, 1.5],
    [47, 50],
    [99, 150],
    [Number.NaN, 1],
  ])("up to %s ends at %s", (most, end) => {
    expect(roundUp(most)).toBeCloseTo(end, 10);
  });

  test("of durations ends at a whole number of its steps", () => {
    expect([roundUp(700, SPAN_STEPS), roundUp(4, SPAN_STEPS), roundUp(0, SPAN_STEPS)]).toEqual([900, 5, 1]);
  });

  test("of spans has ticks that people say", () => {
    expect(spanTicks(0.5, 3600, 20)).toEqual([0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]);
    expect(spanTicks(0.5, 3600, 4)).toEqual([0.5, 5, 60, 600]);
    expect(spanTicks(10, 1, 4)).toEqual([]);
  });

  test("of cells grows with the jobs, and no job is no cell", () => {
    expect([darkness(0, 9), darkness(9, 9), darkness(1, 0)]).toEqual([0, 1, 0]);
    expect(darkness(1, 100)).toBeGreaterThan(0.15);
    expect(darkness(2, 100)).toBeGreaterThan(darkness(1, 100));
  });
});

describe("a summary", () => {
  const say = (values: (number | null)[]) =>
    summary(
      { label: "p95", values },
      [0, 60, 120],
      (value) => `${value} s`,
      (at) => `minute ${at / 60}`,
    );

  test("says the last, the least and the most", () => {
    expect(say([30, 73, 41])).toBe("p95 is 41 s at the end, between 30 s and 73 s, highest at minute 1.");
    expect(say([null, 5, null])).toBe("p95 is 5 s throughout.");
    expect(say([null, null, null])).toBe("p95: nothing in this range.");
  });
});

test("no cell of a table is a formula or breaks its row", () => {
  expect(
    csv(
      ["a", "b"],
      [
        ["=1+1", 'x,"y"'],
        [null, -2],
        ["-x", "é\n"],
      ],
    ),
  ).toBe('a,b\r\n\'=1+1,"x,""y"""\r\n,-2\r\n\'-x,"é\n"\r\n');
});
