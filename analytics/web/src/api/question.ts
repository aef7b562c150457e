/** A question that is asked again and again while somebody looks: one request at a time, whoever shows its answer. */
import { batch, computed, effect, type Signal, signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { live } from "../state/live";
import { BASE } from "../state/location";
import type { Problem } from "./types";

export interface Known<T> {
  data: T | undefined;
  /** When ClickHouse was asked for the data. */
  asOf: string | undefined;
  /** Why the last request failed; the data is older then. */
  problem: Problem | undefined;
  /** Whether the data is that of another question, until the answer to this one comes. */
  isOther: boolean;
}

/** Milliseconds between an answer and the next request: as long as the server keeps answers. */
const NEAR = 5_000;
const FAR = 60_000;
const RETRY = 5_000;

class Question {
  readonly known: Signal<Known<unknown>> = signal({ data: undefined, asOf: undefined, problem: undefined, isOther: false });
  readonly #path: string;
  #viewers = 0;
  #etag: string | undefined;
  #request: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stop: (() => void) | undefined;
  #due = true;

  constructor(path: string) {
    this.#path = path;
  }

  /** Asks for as long as the returned function is not called. */
  view(): () => void {
    if (this.#viewers++ === 0) {
      active.value = [...active.peek(), this];
      this.#stop = effect(() => {
        // A first answer is due even where nothing is asked again.
        if (live.value || this.known.peek().data === undefined) this.#ask();
      });
    }
    return () => {
      if (--this.#viewers > 0) return;
      this.#stop?.();
      clearTimeout(this.#timer);
      this.#request?.abort();
      this.#request = undefined;
      questions.delete(this.#path);
      active.value = active.peek().filter((other) => other !== this);
    };
  }

  /** Asks at once, also while paused. */
  refresh(): void {
    this.#due = true;
    this.#ask();
  }

  #ask(): void {
    if (!this.#due || this.#request !== undefined || this.#viewers === 0) return;
    clearTimeout(this.#timer);
    this.#due = false;
    this.#request = new AbortController();
    void this.#once(this.#request.signal);
  }

  async #once(signal: AbortSignal): Promise<void> {
    let wait = /[?&]to=/.test(this.#path) ? FAR : NEAR;
    try {
      const headers: Record<string, string> = { Accept: "application/json" };
      if (this.#etag !== undefined) headers["If-None-Match"] = this.#etag;
      // The browser's own cache would answer a 304 as a 200, with the figures once more.
      const response = await fetch(BASE + this.#path, { headers, signal, cache: "no-store" });
      const asOf = response.headers.get("hookline-as-of") ?? undefined;
      if (response.status === 304) {
        this.#keep({ asOf, problem: undefined });
      } else if (response.ok) {
        const data = await response.json();
        this.#etag = response.headers.get("etag") ?? undefined;
        this.#keep({ data, asOf, problem: undefined });
      } else {
        this.#keep({ problem: await problemOf(response) });
        // What is asked wrongly stays wrong.
        wait = response.status < 500 ? FAR : RETRY;
      }
    } catch (error) {
      if (signal.aborted) return;
      wait = RETRY;
      this.#keep({ problem: unreachable(error) });
    }
    if (signal.aborted) return;
    this.#request = undefined;
    this.#timer = setTimeout(() => {
      this.#due = true;
      if (live.peek() || this.known.peek().data === undefined) this.#ask();
    }, wait);
  }

  #keep(news: Partial<Known<unknown>>): void {
    this.known.value = { ...this.known.peek(), ...news };
  }
}

async function problemOf(response: Response): Promise<Problem> {
  try {
    const problem = (await response.json()) as Problem;
    if (typeof problem.detail === "string") return problem;
  } catch {
    // Whoever answered is not serve.
  }
  const detail = `${response.url} answered ${response.status}: is a proxy between this page and hookline-analytics?`;
  return { type: "about:blank", title: response.statusText, status: response.status, detail };
}

function unreachable(error: unknown): Problem {
  const detail = "hookline-analytics does not answer: see whether `hookline-analytics serve` runs";
  return { type: "about:blank", title: String(error), status: 0, detail };
}

const questions = new Map<string, Question>();
const active: Signal<Question[]> = signal([]);

/** The oldest of the times for which figures are shown. */
export const asOf = computed(() => {
  const times = active.value.map((question) => question.known.value.asOf).filter((time) => time !== undefined);
  return times.sort()[0];
});

/** Why figures are older than they could be: a problem that nobody's parameters caused. */
export const outage = computed(() => {
  const problems = active.value.map((question) => question.known.value.problem);
  return problems.find((problem) => problem !== undefined && (problem.status === 0 || problem.status >= 500));
});

export function refreshAll(): void {
  batch(() => {
    for (const question of active.peek()) question.refresh();
  });
}

/** What is known of a question; asks nothing where there is none. While its first answer is awaited, the last data stays. */
export function useQuestion<T>(path: string | undefined): Known<T> {
  const question = useMemo(() => {
    if (path === undefined) return undefined;
    const question = questions.get(path) ?? new Question(path);
    questions.set(path, question);
    return question;
  }, [path]);
  useEffect(() => question?.view(), [question]);
  const last = useRef<Known<T> | undefined>(undefined);
  const known = (question?.known.value ?? { data: undefined, asOf: undefined, problem: undefined, isOther: false }) as Known<T>;
  if (known.data !== undefined) last.current = known;
  if (known.data === undefined && known.problem === undefined && last.current !== undefined) {
    return { ...last.current, problem: undefined, isOther: true };
  }
  return known;
}

/** One answer, once. */
export async function ask<T>(path: string): Promise<T> {
  const response = await fetch(BASE + path, { headers: { Accept: "application/json" }, cache: "no-store" });
  if (!response.ok) throw await problemOf(response);
  return (await response.json()) as T;
}
