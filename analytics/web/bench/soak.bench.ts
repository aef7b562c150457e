/** One page, left open: its heap stays flat, and no question is asked twice at a time. */
import { expect, test } from "@playwright/test";
import { settled, variable } from "../tests/stage";

/** Bytes that the heap may differ by, after a collection. */
const TOLERATED = 10 * 1024 * 1024;

test("soak", async ({ page }) => {
  const minutes = Number(variable("HOOKLINE_SOAK_MINUTES"));
  const under = new Map<string, number>();
  let [asked, most] = [0, 0];
  page.on("request", (request) => {
    if (!request.url().includes("/api/v1/")) return;
    asked++;
    under.set(request.url(), (under.get(request.url()) ?? 0) + 1);
    most = Math.max(most, under.get(request.url()) ?? 0);
  });
  const ended = (url: string) => under.set(url, (under.get(url) ?? 1) - 1);
  page.on("requestfinished", (request) => ended(request.url()));
  page.on("requestfailed", (request) => ended(request.url()));
  await page.goto("?from=-1h");
  await settled(page);
  const debug = await page.context().newCDPSession(page);
  const heap = async () => {
    await debug.send("HeapProfiler.collectGarbage");
    return (await debug.send("Runtime.getHeapUsage")).usedSize;
  };
  // What is made once, such as compiled code, comes in the first minute.
  await page.waitForTimeout(60_000);
  const first = await heap();
  const began = await page.locator(".as-of").getAttribute("data-as-of");
  let largest = 0;
  for (let minute = 1; minute < minutes; minute++) {
    await page.waitForTimeout(60_000);
    const now = await heap();
    largest = Math.max(largest, Math.abs(now - first));
    console.log(
      `minute ${minute + 1}: ${(now / 1024 / 1024).toFixed(2)} MiB, ${asked} requests, at most ${most} for a question at a time`,
    );
  }
  expect(await page.locator(".as-of").getAttribute("data-as-of")).not.toBe(began);
  expect(largest).toBeLessThan(TOLERATED);
  expect(most).toBe(1);
});
