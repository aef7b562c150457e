/** ClickHouse goes away and comes back. */
import { control, expect, settled, test } from "./stage";

test("figures stay and are said to be old while ClickHouse is away", async ({ page, request, context }) => {
  await page.goto("?from=-3h");
  await settled(page);
  const rate = page.locator("[data-tile=rate] strong");
  await expect(rate).toHaveText(/\d/);
  const asOf = await page.locator(".as-of").getAttribute("data-as-of");
  await control(request, "clickhouse/stop");
  try {
    await expect(page.locator(".banner")).toContainText("These figures are of");
    const kept = await rate.innerText();
    expect(kept).toMatch(/\d/);
    await expect(page.locator("[data-chart=jobs] canvas")).toBeVisible();
    // Whoever comes now is told what is wrong, on each page.
    const late = await context.newPage();
    for (const address of ["", "errors", "durations", "jobs"]) {
      await late.goto(`${address}?from=-2h`);
      await expect(late.getByRole("alert").first()).toContainText("ClickHouse");
      await expect(late.getByRole("button", { name: "Ask again" }).first()).toBeVisible();
      await expect(late.locator(".banner")).toContainText("No figures yet");
    }
    await late.close();
    await expect(rate).toHaveText(kept);
  } finally {
    await control(request, "clickhouse/start");
  }
  await expect(page.locator(".banner")).toHaveCount(0);
  await expect(page.locator(".as-of")).not.toHaveAttribute("data-as-of", asOf ?? "");
});
