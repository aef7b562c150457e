import { describe, expect, test } from "vitest";
import { change, count, duration, figure, percent } from "./number";
import { clock, exact, fromInput, minute, toInput, zone } from "./time";

test.each([
  [null, "–"],
  [0, "0 s"],
  [0.00000001, "1 µs"],
  [0.0003, "300 µs"],
  [0.0009996, "1 ms"],
  [0.25, "250 ms"],
  [0.9996, "1.0 s"],
  [9.94, "9.9 s"],
  [9.96, "10 s"],
  [59.4, "59 s"],
  [59.6, "1 m"],
  [73, "1 m 13 s"],
  [3599.7, "1 h"],
  [7500, "2 h 05 m"],
  [86400 * 3 + 7200, "3 d 02 h"],
  [-1.8, "−1.8 s"],
])("a duration of %s s is %s", (seconds, text) => {
  expect(duration(seconds)).toBe(text);
});

test.each([
  [null, "–"],
  [0, "0 %"],
  [0.00123, "0.12 %"],
  [0.0567, "5.7 %"],
  [0.9996, "100 %"],
])("a ratio of %s is %s", (ratio, text) => {
  expect(percent(ratio)).toBe(text);
});

test("what is not known is a dash and never a zero", () => {
  expect([count(null), figure(undefined), count(0), figure(0)]).toEqual(["–", "–", "0", "0"]);
  expect([count(1234567), figure(1234567), figure(12.345)]).toEqual(["1,234,567", "1.23M", "12.3"]);
});

describe("a change", () => {
  test("is relative, or in points where it is of a share", () => {
    expect(change(150, 100)).toEqual({ text: "▲ 50 %", direction: "up" });
    expect(change(96, 100)).toEqual({ text: "▼ 4.0 %", direction: "down" });
    expect(change(0.05, 0.02, true)).toEqual({ text: "▲ 3.0 pp", direction: "up" });
    expect(change(100, 100)).toEqual({ text: "no change", direction: "same" });
  });

  test("from nothing is none", () => {
    expect(change(5, 0)).toBeUndefined();
    expect(change(null, 5)).toBeUndefined();
    expect(change(5, undefined)).toBeUndefined();
  });
});

describe("a time", () => {
  const at = "2026-11-25T14:05:09.123Z";

  test("is shown in UTC", () => {
    expect([clock(at, false), minute(at, false), exact(at, false), zone(false)]).toEqual([
      "14:05:09",
      "25 Nov, 14:05",
      "25 Nov 2026, 14:05:09.123",
      "UTC",
    ]);
    expect(exact(null, false)).toBe("–");
  });

  test("is the same after an input field", () => {
    for (const local of [false, true]) expect(fromInput(toInput(new Date(at), local), local)).toBe("2026-11-25T14:05:00Z");
    expect(fromInput("", false)).toBeUndefined();
  });
});
