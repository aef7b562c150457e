/** What stands where figures would: loading, nothing there, or a problem; each says what to do next. */
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Known, refreshAll } from "../api/question";
import type { Problem } from "../api/types";
import { useNavigation } from "../state/location";
import { DIMENSIONS } from "../state/view";

interface ShownProps<T> {
  known: Known<T>;
  /** What is asked for, such as `errors`. */
  what: string;
  children: (data: T) => ComponentChildren;
}

export function Shown<T>({ known, what, children }: ShownProps<T>) {
  const isWrong = known.problem !== undefined && known.problem.status >= 400 && known.problem.status < 500;
  if (known.problem !== undefined && (known.data === undefined || isWrong))
    return <Failure problem={known.problem} what={what} />;
  if (known.data === undefined) return <Loading what={what} />;
  return (
    <div class={known.isOther ? "shown other" : "shown"} aria-busy={known.isOther}>
      {known.isOther && <Loading what={what} />}
      {children(known.data)}
    </div>
  );
}

function Loading({ what }: { what: string }) {
  const [began] = useState(() => performance.now());
  const [seconds, setSeconds] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setSeconds((performance.now() - began) / 1000), 100);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="loading">
      <i class="bar" aria-hidden="true" />
      <p>
        Asking for {what}
        {seconds >= 0.5 ? `, ${seconds.toFixed(1)} s so far` : ""}…
      </p>
    </div>
  );
}

function Failure({ problem, what }: { problem: Problem; what: string }) {
  const { view, href } = useNavigation();
  const isOurs = problem.parameter != null;
  return (
    <div class="card state" role="alert">
      <h2>No {what}</h2>
      <p>
        {isOurs && <code>{problem.parameter}: </code>}
        {problem.detail}
      </p>
      <p>
        {isOurs ? (
          <a href={href({ [problem.parameter ?? ""]: undefined, ...(problem.parameter === "from" ? { to: undefined } : {}) })}>
            Show the page without it
          </a>
        ) : problem.status === 404 && view.page === "job" ? (
          <a href={href({}, "jobs")}>Look among all jobs</a>
        ) : (
          <button type="button" onClick={refreshAll}>
            Ask again
          </button>
        )}
      </p>
    </div>
  );
}

/** No row has been found: says how to find some. */
export function Empty({ what }: { what: string }) {
  const { view, href } = useNavigation();
  const filters = DIMENSIONS.filter((dimension) => view.all(dimension).length > 0);
  const none = Object.fromEntries(DIMENSIONS.map((dimension) => [dimension, undefined]));
  return (
    <div class="card state">
      <h2>No {what} in this range</h2>
      <p>
        {filters.length > 0 && <a href={href(none)}>Remove the filters</a>}
        {filters.length > 0 && " or "}
        {view.get("from") !== "-30d" && <a href={href({ from: "-30d", to: undefined })}>look at the last 30 days</a>}
        {view.get("from") === "-30d" && <a href={href({}, "pipeline")}>see whether webhooks come in</a>}
      </p>
    </div>
  );
}

export function NotFound() {
  const { href } = useNavigation();
  return (
    <div class="card state">
      <h2>There is no such page</h2>
      <p>
        <a href={href({}, "overview")}>Go to the overview</a>
      </p>
    </div>
  );
}
