/** How long each page takes until all of its figures are there. Every opening asks for another range, so no answer is known. */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { settled, variable } from "../tests/stage";

const DAY = 86_400;
const PAGES = ["", "errors", "durations", "jobs", "job", "pipeline"];

interface Figure {
  page: string;
  range: string;
  /** From the first request of the page to its last answer, and to the last figure that is shown. */
  data_ms: number[];
  shown_ms: number[];
}

test("page", async ({ browser }) => {
  const end = Date.parse(variable("HOOKLINE_BENCH_END")) / 1000;
  const repeat = Number(variable("HOOKLINE_BENCH_REPEAT"));
  const page = await browser.newPage({ baseURL: `${variable("HOOKLINE_ANALYTICS_URL")}/` });
  const figures: Figure[] = [];
  let asked = 0;
  for (const [range, seconds] of [
    ["24h", DAY],
    ["30d", 30 * DAY],
  ] as const) {
    for (const name of PAGES) {
      if (name === "job" && range === "30d") continue;
      const figure: Figure = { page: name || "overview", range, data_ms: [], shown_ms: [] };
      for (let time = 0; time < repeat; time++) {
        asked++;
        const to = end - asked * 60;
        const text = (at: number) => `${new Date(at * 1000).toISOString().slice(0, 19)}Z`;
        const query = name === "job" ? `id=${variable("HOOKLINE_BENCH_JOB")}` : `from=${text(to - seconds)}&to=${text(to)}`;
        await page.goto(`${name}?${query}`);
        await page.locator(".card").first().waitFor();
        await settled(page);
        const { data, shown } = await page.evaluate(() => {
          const asked = performance
            .getEntriesByType("resource")
            .filter((entry) => entry.name.includes("/api/v1/")) as PerformanceResourceTiming[];
          const began = Math.min(...asked.map((entry) => entry.startTime));
          const ended = Math.max(...asked.map((entry) => entry.responseEnd));
          return { data: ended - began, shown: performance.now() };
        });
        figure.data_ms.push(Math.round(data));
        figure.shown_ms.push(Math.round(shown));
      }
      figures.push(figure);
    }
  }
  // The first view, with everything but the figures themselves there to be used.
  const interactive = [];
  for (let time = 0; time < repeat; time++) {
    const first = await browser.newPage({ baseURL: `${variable("HOOKLINE_ANALYTICS_URL")}/` });
    await first.goto("?from=-1h");
    await first.getByRole("navigation").waitFor();
    interactive.push(await first.evaluate(() => Math.round(performance.now())));
    await first.close();
  }
  const middle = (times: number[]) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
  const lines = figures.map(
    ({ page, range, data_ms, shown_ms }) =>
      `${page.padEnd(12)}${range.padEnd(6)}${String(middle(data_ms)).padStart(9)}${String(Math.max(...data_ms)).padStart(9)}${String(middle(shown_ms)).padStart(9)}`,
  );
  console.log(`page        range ${"data ms".padStart(8)}${"most".padStart(9)}${"shown".padStart(9)}\n${lines.join("\n")}`);
  console.log(`first view, interactive: ${middle(interactive)} ms, at most ${Math.max(...interactive)} ms`);
  const file = variable("HOOKLINE_BENCH_FILE");
  let kept: Record<string, unknown> = {};
  try {
    kept = JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // The first bench of all.
  }
  const jobs = Number(variable("HOOKLINE_BENCH_JOBS"));
  writeFileSync(
    file,
    `${JSON.stringify({ ...kept, page: { jobs, interactive_ms: middle(interactive), pages: figures } }, null, 2)}\n`,
  );
  expect(figures.length).toBe(11);
});
