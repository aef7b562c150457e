/** Where one is, how old the figures are, and how they are shown. */
import { asOf, refreshAll } from "../api/question";
import { clock, zone } from "../format/time";
import { paused } from "../state/live";
import { useNavigation } from "../state/location";
import { THEMES, type Theme, theme } from "../state/theme";
import type { Page } from "../state/view";

export const NAMES: Record<Page, string> = {
  overview: "Overview",
  errors: "Errors",
  durations: "Durations",
  jobs: "Jobs",
  job: "Job",
  pipeline: "Pipeline",
};
const TABS = ["overview", "errors", "durations", "jobs", "pipeline"] as const;

export function Header() {
  const { view, href, go } = useNavigation();
  return (
    <header class="top">
      <a class="brand" href={href({}, "overview")}>
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
          <rect width="32" height="32" rx="7" />
          <path d="M10 7v18M22 7v6a6 6 0 0 1-12 0M22 25v-5" />
        </svg>
        Hookline
      </a>
      <nav aria-label="Pages">
        {TABS.map((page) => {
          const isCurrent = view.page === page || (page === "jobs" && view.page === "job");
          return (
            <a key={page} href={href({}, page)} aria-current={isCurrent ? "page" : undefined}>
              {NAMES[page]}
            </a>
          );
        })}
      </nav>
      <div class="status">
        <span class="as-of" data-as-of={asOf.value}>
          <i class={paused.value ? "dot" : "dot live"} aria-hidden="true" />
          <span>
            as of <time dateTime={asOf.value}>{asOf.value === undefined ? "…" : clock(asOf.value, view.isLocal)}</time>{" "}
            {zone(view.isLocal)}
          </span>
        </span>
        <button type="button" aria-pressed={paused.value} onClick={() => togglePause()}>
          {paused.value ? "Paused" : "Pause"}
        </button>
        <label>
          <span class="hidden">Time zone</span>
          <select
            value={view.isLocal ? "local" : "utc"}
            onChange={(event) => go(view.with({ zone: event.currentTarget.value }), true)}
          >
            <option value="utc">UTC</option>
            <option value="local">Local time</option>
          </select>
        </label>
        <label>
          <span class="hidden">Colours</span>
          <select
            value={theme.value}
            onChange={(event) => {
              theme.value = event.currentTarget.value as Theme;
            }}
          >
            {THEMES.map((theme) => (
              <option key={theme} value={theme}>
                {theme === "system" ? "System colours" : theme === "light" ? "Light" : "Dark"}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  );
}

function togglePause() {
  paused.value = !paused.value;
  if (!paused.value) refreshAll();
}
