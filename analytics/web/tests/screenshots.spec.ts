/** Every page as a picture in `screenshots/`, to be looked at. */
import type { Job } from "../src/api/types";
import { api, control, settled, test } from "./stage";

const PAGES = {
  overview: "",
  "overview-1h-local": "?from=-1h&zone=local&by=job_type",
  errors: "errors",
  durations: "durations",
  jobs: "jobs",
  "jobs-filtered": "jobs?state=open&resource=video&resource=image",
  pipeline: "pipeline",
  table: "?table=error-rate",
  empty: "?resource=nothing",
};

for (const scheme of ["light", "dark"] as const) {
  for (const [device, width, height] of [
    ["desktop", 1440, 900],
    ["phone", 390, 844],
  ] as const) {
    test(`screenshots: ${scheme}, ${device}`, async ({ page, request }) => {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height });
      await control(request, "jobs");
      // Those of the simulator have ids that are no hexadecimal digits, and deliveries.
      const job = async (query: string) =>
        (await api<{ rows: Job[] }>(request, `jobs?from=-1h&limit=500&${query}`)).rows.find((job) =>
          /[g-z]/.test(job.job_id.slice(2)),
        )?.job_id;
      const [newest, errored] = [await job("outcome=completed"), await job("outcome=errored")];
      const pages = { ...PAGES, job: `job?id=${newest}`, "job-errored": `job?id=${errored}` };
      for (const [name, address] of Object.entries(pages)) {
        await page.goto(address);
        await settled(page);
        await page.screenshot({ path: `screenshots/${name}-${scheme}-${device}.png`, fullPage: true });
      }
    });
  }
}
