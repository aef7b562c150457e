/** Times as text, in UTC or in the zone of the browser. */

const formats = new Map<string, Intl.DateTimeFormat>();

function format(local: boolean, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${local} ${JSON.stringify(options)}`;
  let format = formats.get(key);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("en-GB", { hourCycle: "h23", ...options, ...(local ? {} : { timeZone: "UTC" }) });
    formats.set(key, format);
  }
  return format;
}

const CLOCK = { hour: "2-digit", minute: "2-digit" } as const;
const SECONDS = { ...CLOCK, second: "2-digit" } as const;
const DAY = { day: "numeric", month: "short" } as const;

/** `14:05:09`. */
export function clock(at: string | number, local: boolean): string {
  return format(local, SECONDS).format(new Date(at));
}

/** `25 Nov, 14:05`. */
export function minute(at: string | number, local: boolean): string {
  return format(local, { ...DAY, ...CLOCK }).format(new Date(at));
}

/** `25 Nov, 14:05:09`. */
export function second(at: string | number, local: boolean): string {
  return format(local, { ...DAY, ...SECONDS }).format(new Date(at));
}

/** `25 Nov 2026, 14:05:09.123`, or a dash. */
export function exact(at: string | null | undefined, local: boolean): string {
  if (at == null) return "–";
  return format(local, { ...DAY, year: "numeric", ...SECONDS, fractionalSecondDigits: 3 }).format(new Date(at));
}

/** The name of the zone: `UTC`, or such as `GMT+2`. */
export function zone(local: boolean): string {
  if (!local) return "UTC";
  const parts = format(true, { timeZoneName: "short" }).formatToParts(new Date());
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "local";
}

/** The text of `<input type="datetime-local">`, and back. */
export function toInput(at: Date, local: boolean): string {
  const shifted = new Date(at.getTime() - (local ? at.getTimezoneOffset() * 60_000 : 0));
  return shifted.toISOString().slice(0, 16);
}

export function fromInput(text: string, local: boolean): string | undefined {
  const at = new Date(local ? text : `${text}Z`);
  return Number.isNaN(at.getTime()) ? undefined : `${at.toISOString().slice(0, 19)}Z`;
}
