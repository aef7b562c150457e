/** By keyboard alone. */
import { readFile } from "node:fs/promises";
import type { Page } from "@playwright/test";
import { expect, fixedRange, settled, test } from "./stage";

/** Presses Tab until what has the focus is named so. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement as HTMLElement | null;
      return `${element?.getAttribute("aria-label") ?? ""} ${element?.innerText ?? ""}`.replaceAll("\n", " ");
    });
  for (let presses = 0; presses < 120; presses++) {
    await page.keyboard.press("Tab");
    if (name.test(await focused())) return;
  }
  throw new Error(`no stop of Tab is named ${name}`);
}

test("from the top to a job", async ({ page }) => {
  await page.goto("");
  await settled(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();

  await page.goto(`?${fixedRange()}`);
  await settled(page);
  await tabTo(page, /^ Errors$/);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/errors\?/);
  await expect(page.locator("main")).toBeFocused();
  await settled(page);
  await tabTo(page, /^ cm/);
  const id = await page.evaluate(() => (document.activeElement as HTMLElement).innerText);
  await page.keyboard.press("Enter");
  await expect(page.locator(".job-id")).toHaveText(id);
});

test("a filter is opened, set and left", async ({ page }) => {
  await page.goto("");
  await settled(page);
  await tabTo(page, /^ Resource/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("checkbox", { name: /image/ })).toBeVisible();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Space");
  await expect(page).toHaveURL(/resource=/);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("checkbox", { name: /image/ })).toHaveCount(0);
  expect(await page.evaluate(() => document.activeElement?.tagName)).toBe("SUMMARY");
});

test("keys that come faster than frames move the cursor step by step", async ({ page }) => {
  await page.goto(`durations?${fixedRange()}`);
  await settled(page);
  for (const chart of ["distribution", "percentiles"]) {
    const cursor = page.locator(`[data-chart=${chart}] [role=slider]`);
    await cursor.evaluate(async (slider) => {
      for (const key of ["Home", ...Array(5).fill("ArrowRight")]) {
        slider.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        // What a key changed is shown by then, but no frame has been drawn.
        for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      }
    });
    await expect(cursor).toHaveAttribute("aria-valuenow", "5");
  }
});

test("a chart is read step by step, and as a table", async ({ page }) => {
  await page.goto(`durations?${fixedRange()}`);
  await settled(page);
  for (const [name, chart] of [
    [/Created to finished: cursor/, "distribution"],
    [/Percentiles: cursor/, "percentiles"],
  ] as const) {
    await tabTo(page, name);
    const cursor = page.locator(`[data-chart=${chart}] [role=slider]`);
    await expect(cursor).toBeFocused();
    const summary = await page.locator(`[data-chart=${chart}] [data-summary]`).innerText();
    await expect(cursor).toHaveAttribute("aria-valuetext", summary);
    await page.keyboard.press("Home");
    await expect(cursor).toHaveAttribute("aria-valuenow", "0");
    const first = await cursor.getAttribute("aria-valuetext");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await expect(cursor).toHaveAttribute("aria-valuenow", "2");
    expect(await cursor.getAttribute("aria-valuetext")).not.toBe(first);
    await page.keyboard.press("End");
    await expect(cursor).toHaveAttribute("aria-valuenow", (await cursor.getAttribute("aria-valuemax")) ?? "");
  }
  await page.goto(`?${fixedRange()}`);
  await settled(page);
  await tabTo(page, /Show as table: Error rate/);
  await page.keyboard.press("Enter");
  await expect(page.locator("[data-chart=error-rate] table")).toBeVisible();
  await page.keyboard.press("Shift+Tab");
  const download = page.waitForEvent("download");
  await page.keyboard.press("Enter");
  const file = await download;
  expect(file.suggestedFilename()).toBe("hookline-error-rate.csv");
  const lines = (await readFile((await file.path()) ?? "", "utf8")).trim().split("\r\n");
  expect(lines[0]).toBe("time,error rate,before");
  expect(lines.length).toBe((await page.locator("[data-chart=error-rate] tbody tr").count()) + 1);
});
