/** Jobs by any filter. What is being read keeps its place while new ones come. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, useQuestion } from "../api/question";
import type { Answer, Job, Problem } from "../api/types";
import { count } from "../format/number";
import { useNavigation } from "../state/location";
import { spanSeconds } from "../state/view";
import { jobColumns } from "../ui/job_columns";
import { Segments } from "../ui/segments";
import { Empty, Shown } from "../ui/states";
import { Table } from "../ui/table";
import { jobKey } from "./durations";

const STATES = ["any", "open", "stuck", "unresolved"] as const;
const ORDERS = ["newest", "total", "run", "queue"] as const;
const ORDER_NAMES = { newest: "Newest first", total: "Longest first", run: "Longest run first", queue: "Longest queue first" };
const TIMES = ["created", "finished"] as const;
const AGES = ["any", "5m", "15m", "1h", "6h"] as const;

export function JobsPage() {
  const { view } = useNavigation();
  const state = view.oneOf("state", STATES);
  const order = view.oneOf("order", ORDERS);
  const time = state === "any" ? view.oneOf("time", TIMES) : "created";
  const age = state === "any" ? "any" : view.oneOf("age", AGES);
  const older = age === "any" ? {} : { to: `-${age}` };
  const days = state === "unresolved" && (spanSeconds(view.get("from")) ?? 0) <= 86400 ? { from: "-30d" } : {};
  const question = `api/v1/jobs?${view.question({ state, order, time, ...older, ...days })}`;
  const known = useQuestion<Answer<Job>>(question);
  return (
    <>
      <div class="heading">
        <Find />
        <Segments label="State" name="state" values={STATES} current={state} />
        <Choice name="order" label="Order" values={ORDERS} current={order} text={(order) => ORDER_NAMES[order]} />
        {state === "any" ? (
          <Choice
            name="time"
            label="Range of"
            values={TIMES}
            current={time}
            text={(time) => (time === "created" ? "Created in the range" : "Finished in the range")}
          />
        ) : (
          <Choice
            name="age"
            label="Age"
            values={AGES}
            current={age}
            text={(age) => (age === "any" ? "Any age" : `Older than ${age}`)}
          />
        )}
      </div>
      <Shown known={known} what="jobs">
        {(answer) =>
          answer.rows.length === 0 ? <Empty what="jobs" /> : <Listed key={question} answer={answer} question={question} />
        }
      </Shown>
    </>
  );
}

function Find() {
  const { view, go } = useNavigation();
  const [id, setId] = useState("");
  const find = (event: Event) => {
    event.preventDefault();
    if (id.trim() !== "") go(view.with({ id: id.trim(), source: undefined, resource: undefined }, "job"));
  };
  return (
    <form class="find" role="search" onSubmit={find}>
      <input
        type="search"
        aria-label="Id of a job"
        placeholder="Id of a job"
        value={id}
        onInput={(event) => setId(event.currentTarget.value)}
      />
      <button type="submit">Open</button>
    </form>
  );
}

interface ChoiceProps<T extends string> {
  name: string;
  label: string;
  values: readonly T[];
  current: T;
  text: (value: T) => string;
}

function Choice<T extends string>({ name, label, values, current, text }: ChoiceProps<T>) {
  const { view, go } = useNavigation();
  return (
    <label>
      <span class="hidden">{label}</span>
      <select value={current} onChange={(event) => go(view.with({ [name]: event.currentTarget.value }))}>
        {values.map((value) => (
          <option key={value} value={value}>
            {text(value)}
          </option>
        ))}
      </select>
    </label>
  );
}

interface Pages {
  rows: Job[];
  next: string | undefined;
}

function Listed({ answer, question }: { answer: Answer<Job>; question: string }) {
  const { view } = useNavigation();
  const [pages, setPages] = useState<Pages>({ rows: answer.rows, next: answer.next ?? undefined });
  const [problem, setProblem] = useState<Problem>();
  const [asking, setAsking] = useState(false);
  const isFirstPage = useRef(true);
  const shown = new Set(pages.rows.map(jobKey));
  const newer = answer.rows.filter((job) => !shown.has(jobKey(job)));
  const restart = () => {
    isFirstPage.current = true;
    setPages({ rows: answer.rows, next: answer.next ?? undefined });
  };
  // Rows move only where their top is in sight and no further page was asked for; elsewhere they are renewed in place.
  useEffect(() => {
    if (isFirstPage.current && scrollY < 120) {
      restart();
      return;
    }
    const news = new Map(answer.rows.map((job) => [jobKey(job), job]));
    setPages((pages) => ({ ...pages, rows: pages.rows.map((job) => news.get(jobKey(job)) ?? job) }));
  }, [answer]);
  const more = async () => {
    setAsking(true);
    setProblem(undefined);
    try {
      const page = await ask<Answer<Job>>(`${question}&cursor=${encodeURIComponent(pages.next ?? "")}`);
      isFirstPage.current = false;
      setPages((pages) => {
        const known = new Set(pages.rows.map(jobKey));
        return { rows: [...pages.rows, ...page.rows.filter((job) => !known.has(jobKey(job)))], next: page.next ?? undefined };
      });
    } catch (problem) {
      setProblem(problem as Problem);
    } finally {
      setAsking(false);
    }
  };
  return (
    <Table
      name="jobs"
      title="Jobs"
      columns={jobColumns(view)}
      rows={pages.rows}
      rowKey={jobKey}
      note={
        <div role="status">
          {newer.length > 0 && (
            <button
              type="button"
              class="newer"
              onClick={() => {
                restart();
                scrollTo({ top: 0 });
              }}
            >
              {count(newer.length)} newer {newer.length === 1 ? "job" : "jobs"}: show {newer.length === 1 ? "it" : "them"}
            </button>
          )}
        </div>
      }
      footer={
        <p class="more">
          {count(pages.rows.length)} jobs shown.{" "}
          {pages.next === undefined ? (
            "There are no more."
          ) : (
            <button type="button" disabled={asking} onClick={() => void more()}>
              {asking ? "Asking…" : "Show more"}
            </button>
          )}
          {problem !== undefined && <span role="alert"> {problem.detail}</span>}
        </p>
      }
    />
  );
}
