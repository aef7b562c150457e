/** The pipeline that the pages are shown on, and a page that may ask nobody else. */
import { type APIRequestContext, test as base, expect, type Page } from "@playwright/test";

export function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: \`make test ARGS='--test it dashboard'\` runs these tests`);
  return value;
}

/** Does something to the pipeline, such as `clickhouse/stop`. */
export async function control(request: APIRequestContext, what: string): Promise<void> {
  const answer = await request.post(`${variable("HOOKLINE_CONTROL_URL")}/${what}`, { timeout: 90_000 });
  expect(answer.ok(), what).toBe(true);
}

/** An answer of the API, to hold a page against. */
export async function api<T>(request: APIRequestContext, path: string): Promise<T> {
  const answer = await request.get(`api/v1/${path}`);
  expect(answer.ok(), `${path}: ${await answer.text()}`).toBe(true);
  return (await answer.json()) as T;
}

/** Waits until nothing is awaited any more. */
export async function settled(page: Page): Promise<void> {
  await expect(page.locator(".loading")).toHaveCount(0);
  await expect(page.locator("[aria-busy=true]")).toHaveCount(0);
}

/** Four whole hours, fixed, so that page and API are asked the same. */
export function fixedRange(): string {
  const hour = Math.floor(Date.now() / 3_600_000) * 3_600_000;
  const text = (at: number) => `${new Date(at).toISOString().slice(0, 19)}Z`;
  return `from=${text(hour - 5 * 3_600_000)}&to=${text(hour - 3_600_000)}`;
}

/** Every test fails that made a request to another host, or whose page had an error or a breach of its policy. */
export const test = base.extend<{ strict: undefined }>({
  strict: [
    async ({ context }, use) => {
      const found: string[] = [];
      const allowed = ["HOOKLINE_ANALYTICS_URL", "HOOKLINE_GUARDED_URL"].map((name) => new URL(variable(name)).host);
      await context.route("**", (route) => {
        const { host, protocol } = new URL(route.request().url());
        if (allowed.includes(host) || protocol === "blob:" || protocol === "data:") return route.fallback();
        found.push(`a request to ${route.request().url()}`);
        return route.abort();
      });
      context.on("console", (message) => {
        // The browser itself tells of answers that are no success: tests of outages wait for them.
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) found.push(message.text());
      });
      context.on("weberror", (error) => found.push(String(error.error())));
      await use(undefined);
      expect(found).toEqual([]);
    },
    { auto: true },
  ],
});
export { expect };
