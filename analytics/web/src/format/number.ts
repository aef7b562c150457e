/** Figures as text. What is not known is a dash, never a zero. */

export const NONE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function count(value: number | null | undefined): string {
  return value == null ? NONE : whole.format(value);
}

/** At most three digits, for axes and tiles: `12.4`, `1.2K`. */
export function figure(value: number | null | undefined): string {
  return value == null ? NONE : short.format(value);
}

/** A ratio as a percentage: more digits where it is small. */
export function percent(ratio: number | null | undefined): string {
  if (ratio == null) return NONE;
  const value = ratio * 100;
  const digits = value === 0 || value >= 99.95 ? 0 : value < 1 ? 2 : 1;
  return `${value.toFixed(digits)} %`;
}

/** A span as its two largest units: `300 µs`, `250 ms`, `41 s`, `1 m 13 s`, `2 h 05 m`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null) return NONE;
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${Math.ceil(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const rounded = Math.round(seconds);
  if (rounded < 60) return `${rounded} s`;
  if (rounded < 3600) return pair(rounded, 60, "m", 1, "s");
  if (rounded < 86400) return pair(rounded, 3600, "h", 60, "m");
  return pair(rounded, 86400, "d", 3600, "h");
}

function pair(seconds: number, large: number, largeUnit: string, small: number, smallUnit: string): string {
  const parts = Math.round(seconds / small);
  const each = large / small;
  const [first, second] = [Math.floor(parts / each), parts % each];
  return second === 0 ? `${first} ${largeUnit}` : `${first} ${largeUnit} ${String(second).padStart(2, "0")} ${smallUnit}`;
}

export interface Change {
  text: string;
  direction: "up" | "down" | "same";
}

/** How a figure differs from that of the comparison range, relatively or in percentage points. */
export function change(now: number | null | undefined, before: number | null | undefined, inPoints = false): Change | undefined {
  if (now == null || before == null) return undefined;
  if (inPoints) {
    const points = (now - before) * 100;
    return directed(points, `${Math.abs(points).toFixed(Math.abs(points) < 1 ? 2 : 1)} pp`, 0.005);
  }
  if (before === 0) return now === 0 ? { text: "no change", direction: "same" } : undefined;
  const share = ((now - before) / before) * 100;
  return directed(share, `${Math.abs(share).toFixed(Math.abs(share) < 10 ? 1 : 0)} %`, 0.05);
}

function directed(difference: number, text: string, least: number): Change {
  if (Math.abs(difference) < least) return { text: "no change", direction: "same" };
  return difference > 0 ? { text: `▲ ${text}`, direction: "up" } : { text: `▼ ${text}`, direction: "down" };
}
