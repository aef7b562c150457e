/** No page has a fault that axe finds, in any scheme of colours. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import type { AxeResults } from "axe-core";
import type { Job } from "../src/api/types";
import { api, expect, settled, test } from "./stage";

const SOURCE = readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function violations(page: Page): Promise<string[]> {
  // The policy of the page forbids it to load axe; the debugger may.
  await page.evaluate(await SOURCE);
  const results = await page.evaluate(async () => {
    const { axe } = window as unknown as { axe: { run: () => Promise<AxeResults> } };
    return axe.run();
  });
  return results.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
}

const SCHEMES = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  "forced colours": { forcedColors: "active" },
} as const;

for (const [scheme, media] of Object.entries(SCHEMES)) {
  test(`axe: ${scheme}`, async ({ page, request }) => {
    await page.emulateMedia(media);
    const { rows } = await api<{ rows: Job[] }>(request, "jobs?outcome=errored&limit=1");
    const job = `job?id=${rows[0]?.job_id}`;
    const addresses = [
      "",
      "?table=jobs&by=error_code",
      "errors",
      "durations",
      "jobs?state=stuck",
      job,
      "pipeline",
      "?resource=nothing",
      "?from=x",
    ];
    for (const address of addresses) {
      await page.goto(address);
      await settled(page);
      expect(await violations(page), `${scheme}: ${address}`).toEqual([]);
    }
    await page.goto("");
    await page.getByText("Other range").click();
    await page.getByText("Resource", { exact: true }).first().click();
    await settled(page);
    expect(await violations(page), `${scheme}: an open menu`).toEqual([]);
  });
}

test("axe: the control, a page with faults", async ({ page }) => {
  await page.goto("");
  await settled(page);
  await page.evaluate(() => {
    const main = document.querySelector("main");
    const image = document.createElement("img");
    image.src = "icon.svg";
    const pale = document.createElement("p");
    pale.textContent = "pale";
    pale.style.color = "#ddd";
    main?.append(image, pale);
  });
  const found = (await violations(page)).map((violation) => violation.split(":")[0]);
  expect(found).toEqual(expect.arrayContaining(["image-alt", "color-contrast"]));
});
