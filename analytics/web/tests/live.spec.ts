/** A page that is left open. */
import { control, expect, settled, test } from "./stage";

test("figures come in by themselves, one request at a time, and unchanged ones cost nothing", async ({ page, request }) => {
  const under = new Map<string, number>();
  let most = 0;
  const statuses = new Map<number, number>();
  page.on("request", (request) => {
    if (!request.url().includes("/api/v1/")) return;
    under.set(request.url(), (under.get(request.url()) ?? 0) + 1);
    most = Math.max(most, under.get(request.url()) ?? 0);
  });
  const ended = (url: string) => under.set(url, (under.get(url) ?? 1) - 1);
  page.on("requestfailed", (request) => ended(request.url()));
  page.on("response", (response) => {
    if (!response.url().includes("/api/v1/")) return;
    ended(response.url());
    statuses.set(response.status(), (statuses.get(response.status()) ?? 0) + 1);
  });
  await page.goto("?from=-10m");
  await settled(page);
  const note = page.locator("[data-tile=rate] .note");
  const before = await note.innerText();
  const asOf = await page.locator(".as-of").getAttribute("data-as-of");
  await control(request, "jobs");
  await expect(note).not.toHaveText(before);
  await expect(page.locator(".as-of")).not.toHaveAttribute("data-as-of", asOf ?? "");
  await expect.poll(() => statuses.get(304) ?? 0).toBeGreaterThan(0);
  expect(most).toBe(1);
});

test("a pause holds the figures, and its end brings the new ones", async ({ page, request }) => {
  await page.goto("?from=-10m");
  await settled(page);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.waitForLoadState("networkidle");
  let asked = 0;
  page.on("request", () => asked++);
  const note = page.locator("[data-tile=rate] .note");
  const before = await note.innerText();
  // Two rounds of asking pass, by the clock of another page that goes on.
  const other = await page.context().newPage();
  await other.goto("?from=-10m");
  await settled(other);
  await control(request, "jobs");
  await expect(other.locator("[data-tile=rate] .note")).not.toHaveText(before);
  expect(asked).toBe(0);
  await expect(note).toHaveText(before);
  await page.getByRole("button", { name: "Paused" }).click();
  await expect(note).not.toHaveText(before);
});

test("the cursor of a chart stays where it is while figures come in and colours change", async ({ page, request }) => {
  await page.goto("durations?from=-10m");
  await settled(page);
  const chart = page.locator("[data-chart=distribution]");
  const cursor = chart.getByRole("slider");
  await cursor.press("Home");
  await cursor.press("ArrowRight");
  const summary = await chart.locator("[data-summary]").innerText();
  await control(request, "jobs");
  await expect(chart.locator("[data-summary]")).not.toHaveText(summary);
  await expect(cursor).toHaveAttribute("aria-valuenow", "1");
  await page.getByLabel("Colours").selectOption("Dark");
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await expect(cursor).toHaveAttribute("aria-valuenow", "1");
  await expect(chart.locator(".moment")).not.toBeEmpty();
});

test("a list keeps its place while new jobs come", async ({ page, request }) => {
  await page.goto("jobs?from=-24h&time=finished");
  await settled(page);
  await page.getByRole("button", { name: "Show more" }).click();
  await expect(page.locator("[data-table=jobs] tbody tr")).toHaveCount(100);
  const ids = () =>
    page.locator("[data-table=jobs] tbody tr").evaluateAll((rows) => rows.map((row) => (row as HTMLElement).dataset.row));
  const before = await ids();
  expect(new Set(before).size).toBe(100);
  await page.evaluate(() => scrollTo({ top: 900 }));
  const row = page.locator("[data-table=jobs] tbody tr").nth(30);
  const place = await row.boundingBox();
  await control(request, "jobs");
  const newer = page.getByRole("button", { name: /newer jobs?: show/ });
  await expect(newer).toBeAttached();
  expect(await ids()).toEqual(before);
  // What is read stays where it is, though a button has come above it.
  expect((await row.boundingBox())?.y).toBeCloseTo(place?.y ?? 0, 0);
  await newer.click();
  // They end in the last minutes and stand by when they were created, so not all of them are above those that were there.
  await expect.poll(async () => (await ids()).some((id) => !before.includes(id))).toBe(true);
});
