/** What is shown: a view is its address, and there is no other state of it. */

export const PAGES = ["overview", "errors", "durations", "jobs", "job", "pipeline"] as const;
export type Page = (typeof PAGES)[number];

export const DIMENSIONS = ["source", "resource", "job_type", "error_code", "outcome"] as const;
export type Dimension = (typeof DIMENSIONS)[number];

export const PRESETS = ["1h", "3h", "6h", "24h", "7d", "30d"] as const;
export const KINDS = ["total", "run", "queue"] as const;
export type Kind = (typeof KINDS)[number];

/** What stays when another page is opened; the rest belongs to a page alone. */
const COMMON = ["from", "to", "compare", "zone", ...DIMENSIONS] as const;
const DEFAULTS: Record<string, string> = { from: "-24h", compare: "before", zone: "utc" };

/** Values that replace those of a parameter; none removes it. */
export type Changes = Record<string, string | readonly string[] | undefined>;

export class View {
  readonly page: Page;
  readonly #query: URLSearchParams;

  constructor(page: Page, query: URLSearchParams | string = "") {
    this.page = page;
    this.#query = new URLSearchParams(query);
  }

  /** The value of a parameter that has one at most; empty where it has none. */
  get(name: string): string {
    return this.#query.get(name) ?? DEFAULTS[name] ?? "";
  }

  all(name: string): string[] {
    return this.#query.getAll(name).filter((value, index, all) => all.indexOf(value) === index);
  }

  /** One of the values that a parameter may have; the first of them where it has another. */
  oneOf<T extends string>(name: string, values: readonly [T, ...T[]]): T {
    return values.find((value) => value === this.get(name)) ?? values[0];
  }

  get isRelative(): boolean {
    return /^-\d+[smhd]$/.test(this.get("from")) && this.get("to") === "";
  }

  /** Seconds of a relative range; of an absolute one those between its ends. */
  get seconds(): number {
    const [from, to] = [this.get("from"), this.get("to")];
    const ends = [from, to].map((text) => (text === "" ? Date.now() : Date.parse(text)) / 1000);
    return spanSeconds(from) ?? (ends[1] ?? Number.NaN) - (ends[0] ?? Number.NaN);
  }

  get isLocal(): boolean {
    return this.get("zone") === "local";
  }

  /** The same view with other values, or another page with what all pages share. */
  with(changes: Changes, page: Page = this.page): View {
    const query = new URLSearchParams();
    for (const [name, value] of this.#query) {
      const stays = page === this.page || (COMMON as readonly string[]).includes(name);
      if (stays && !(name in changes) && value !== "") query.append(name, value);
    }
    for (const [name, values] of Object.entries(changes)) {
      for (const value of typeof values === "string" ? [values] : (values ?? [])) {
        if (value !== "" && value !== DEFAULTS[name]) query.append(name, value);
      }
    }
    return new View(page, query);
  }

  /** The same with a value added to a filter, or taken away where it was there. */
  toggled(dimension: string, value: string, page: Page = this.page): View {
    const values = this.all(dimension);
    const others = values.filter((other) => other !== value);
    return this.with({ [dimension]: others.length < values.length ? others : [...values, value] }, page);
  }

  /** The address below the base path. */
  get href(): string {
    const query = this.#query.toString();
    return (this.page === "overview" ? "" : this.page) + (query === "" ? "" : `?${query}`);
  }

  /** The parameters of a question about the range and the filters. */
  question(more: Changes = {}, without: readonly string[] = []): string {
    const query = new URLSearchParams();
    for (const name of ["from", "to", ...DIMENSIONS]) {
      if (without.includes(name) || name in more) continue;
      for (const value of name === "from" ? [this.get(name)] : this.all(name)) {
        if (value !== "") query.append(name, value);
      }
    }
    for (const [name, values] of Object.entries(more)) {
      for (const value of typeof values === "string" ? [values] : (values ?? [])) query.append(name, value);
    }
    return query.toString();
  }

  /** How much earlier the comparison range lies; nothing where there is none. */
  get compare(): string | undefined {
    const compare = this.get("compare");
    if (compare === "none") return undefined;
    if (compare !== "before") return compare;
    const from = this.get("from");
    if (this.isRelative) return from;
    const seconds = Math.round(this.seconds);
    return Number.isFinite(seconds) && seconds >= 60 ? `-${seconds}s` : undefined;
  }
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

/** Seconds of a span such as `-24h`. */
export function spanSeconds(text: string): number | undefined {
  const [, number, unit] = /^-?(\d+)([smhd])$/.exec(text) ?? [];
  return number === undefined ? undefined : Number(number) * (UNITS[unit ?? ""] ?? Number.NaN);
}

/** The view of an address, whose path begins with `base`; nothing where there is no such page. */
export function viewOf(url: URL, base: string): View | undefined {
  const name = url.pathname.slice(base.length).replace(/\/+$/, "");
  const page = PAGES.find((page) => page === (name === "" ? "overview" : name));
  return page === undefined || (page === "overview" && name === "overview") ? undefined : new View(page, url.searchParams);
}
