/** Every view is its address. */
import type { Answer, FinishedJobs } from "../src/api/types";
import { api, expect, fixedRange, settled, test } from "./stage";

test("filters have several values, apply at once, and the address has them", async ({ page, request }) => {
  const range = fixedRange();
  await page.goto(`?${range}`);
  await settled(page);
  const all = await page.locator("[data-tile=rate] .note").innerText();
  await page.getByText("Resource", { exact: true }).first().click();
  await page.getByRole("checkbox", { name: /video/ }).check();
  await expect(page).toHaveURL(/Z&resource=video$/);
  await page.getByRole("checkbox", { name: /audio/ }).check();
  await expect(page).toHaveURL(/Z&resource=video&resource=audio$/);
  await page.keyboard.press("Escape");
  await settled(page);
  const { rows } = await api<Answer<FinishedJobs>>(request, `durations?${range}&by=resource&resource=video&resource=audio`);
  const sum = rows.reduce((sum, row) => sum + row.completed + row.errored, 0);
  await expect(page.locator("[data-tile=rate] .note")).toHaveText(`${sum.toLocaleString("en")} jobs in all`);
  expect(await page.locator("[data-tile=rate] .note").innerText()).not.toBe(all);

  await page.getByRole("link", { name: /Remove the filter Resource: video/ }).click();
  await expect(page).toHaveURL(/Z&resource=audio$/);
  await page.goBack();
  await expect(page).toHaveURL(/Z&resource=video&resource=audio$/);
  await expect(page.locator("[data-tile=rate] .note")).toHaveText(`${sum.toLocaleString("en")} jobs in all`);
  await page.goForward();
  await expect(page).toHaveURL(/Z&resource=audio$/);
});

test("a click on a value filters by it, on every page that shows it", async ({ page }) => {
  await page.goto("?by=job_type");
  await page.locator("[data-table=breakdown]").getByRole("link", { name: "VOICE_CLONER" }).click();
  await expect(page).toHaveURL(/job_type=VOICE_CLONER/);
  await expect(page.locator("[data-table=breakdown] tbody tr")).toHaveCount(1);
  // The filter goes along to other pages, and what belongs to a page alone does not.
  await page.getByRole("navigation").getByRole("link", { name: "Errors" }).click();
  await expect(page).toHaveURL(/\/errors\?job_type=VOICE_CLONER$/);
  await settled(page);
  const types = await page.locator("[data-table=errors] tbody td:nth-child(2)").allInnerTexts();
  expect(new Set(types)).toEqual(new Set(["VOICE_CLONER"]));
  await page.locator("[data-table=errors]").getByRole("link").filter({ hasText: /^cm/ }).first().click();
  await expect(page).toHaveURL(/\/job\?/);
  await expect(page.locator(".job-id")).toBeVisible();
  await page.goBack();
  await page.goBack();
  await expect(page).toHaveURL(/\/\?job_type=VOICE_CLONER&by=job_type$|\/\?by=job_type&job_type=VOICE_CLONER$/);
});

test("a view is restored from its address", async ({ page, context }) => {
  await page.goto("");
  await settled(page);
  await page.getByRole("link", { name: "last 6h" }).click();
  await page.getByLabel("Compare with").selectOption("a day earlier");
  await page.getByLabel("Time zone").selectOption("Local time");
  await page.getByRole("button", { name: "Show as table: Error rate" }).click();
  await page.getByRole("link", { name: "Source", exact: true }).click();
  await settled(page);
  const text = async (page: import("@playwright/test").Page) => [
    await page.locator("[data-tile=error_rate]").innerText(),
    await page.locator("[data-table=breakdown] tbody").innerText(),
    await page.locator("[data-chart=error-rate] tbody tr").count(),
  ];
  const before = await text(page);
  expect(new URL(page.url()).searchParams.get("from")).toBe("-6h");
  const other = await context.newPage();
  await other.goto(page.url());
  await settled(other);
  // A minute may have begun between the two: what is relative moves on.
  expect((await text(other)).length).toBe(before.length);
  await expect(other.getByLabel("Compare with")).toHaveValue("-1d");
  await expect(other.getByLabel("Time zone")).toHaveValue("local");
  await expect(other.locator("[data-chart=error-rate] table")).toBeVisible();
  await expect(other.locator(".as-of")).toContainText(/E[SD]T|GMT-/);
});

test("an absolute range is fixed, and dragging over a chart makes one", async ({ page }) => {
  await page.goto("?from=2026-01-01T00:00:00Z&to=2026-01-01T06:00:00Z");
  await expect(page.getByText("No finished jobs in this range")).toBeVisible();
  await page.getByRole("link", { name: "look at the last 30 days" }).click();
  await expect(page).toHaveURL(/\?from=-30d$/);
  await page.getByRole("link", { name: "last 24h" }).click();
  await settled(page);
  const box = await page.locator("[data-chart=jobs] .u-over").boundingBox();
  if (box === null) throw new Error("no chart");
  await page.mouse.move(box.x + box.width * 0.4, box.y + 50);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 50, { steps: 4 });
  await page.mouse.up();
  await expect(page).toHaveURL(/from=20\d\d-.*Z&to=20\d\d-.*Z/);
  await page.goBack();
  await expect(page.getByRole("link", { name: "last 24h" })).toHaveAttribute("aria-current", "true");
});

test("a range of one's own is chosen in the zone that is shown", async ({ page }) => {
  await page.goto("?zone=local");
  await page.getByText("Other range").click();
  await page.getByLabel(/^From/).fill("2026-11-20T08:00");
  await page.getByLabel(/^To/).fill("2026-11-20T09:30");
  await page.getByRole("button", { name: "Show this range" }).click();
  const query = new URL(page.url()).searchParams;
  expect([query.get("from"), query.get("to")]).toEqual(["2026-11-20T13:00:00Z", "2026-11-20T14:30:00Z"]);
});

test("what is wrong with an address is said, and how to mend it", async ({ page }) => {
  await page.goto("?from=yesterday");
  await expect(page.getByRole("alert").first()).toContainText("from:");
  await page.getByRole("link", { name: "Show the page without it" }).first().click();
  await settled(page);
  await expect(page.locator("[data-tile=rate] strong")).not.toHaveText("–");
  await page.goto("job?id=nobody");
  await expect(page.getByRole("alert")).toContainText("nothing was received about a job of this id");
  await expect(page.getByRole("link", { name: "Look among all jobs" })).toBeVisible();
});
