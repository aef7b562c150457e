/** On a phone, magnified four times, and for who wants nothing to move. */
import { expect, settled, test } from "./stage";

const ADDRESSES = ["", "errors", "durations", "jobs", "pipeline", "?table=jobs"];

for (const [what, width, height] of [
  ["a phone", 390, 844],
  ["400 % of 1280 pixels", 320, 256],
] as const) {
  test(`nothing is cut off on ${what}`, async ({ page }) => {
    await page.setViewportSize({ width, height });
    for (const address of ADDRESSES) {
      await page.goto(address);
      await settled(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(wide, address).toBeLessThanOrEqual(0);
      const outside = await page.evaluate(() =>
        [...document.querySelectorAll("main :is(h2, button, a, strong, select)")]
          .filter((element) => element.closest(".scroll") === null && element.closest(".hidden") === null)
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 1)
          .map((element) => element.outerHTML.slice(0, 80)),
      );
      expect(outside, address).toEqual([]);
    }
  });
}

test("nothing moves for who wants that", async ({ page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.route("**/api/v1/**", () => {});
  await page.goto("");
  await expect(page.locator(".loading").first()).toBeVisible();
  expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
  // The control: others see that something is being asked for.
  await page.emulateMedia({ reducedMotion: "no-preference" });
  expect(await page.evaluate(() => document.getAnimations().length)).toBeGreaterThan(0);
});
