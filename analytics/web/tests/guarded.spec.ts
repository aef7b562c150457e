/** Below a base path and behind a password, with a policy that lets nothing else in. */
import { expect, settled, test, variable } from "./stage";

const URL_ = () => variable("HOOKLINE_GUARDED_URL");

test("nobody sees it without the password", async ({ request }) => {
  expect((await request.get(`${URL_()}/`)).status()).toBe(401);
  expect((await request.get(`${URL_()}/assets/dashboard.js`)).status()).toBe(401);
});

test("with the password it works below its path", async ({ browser }) => {
  const credentials = { username: variable("HOOKLINE_USER"), password: variable("HOOKLINE_PASSWORD") };
  const context = await browser.newContext({ httpCredentials: credentials });
  const page = await context.newPage();
  const answer = await page.goto(URL_());
  expect(page.url()).toBe(`${URL_()}/`);
  expect(answer?.headers()["content-security-policy"]).toContain("script-src 'self'; style-src 'self'");
  await settled(page);
  await expect(page.locator("[data-tile=rate] strong")).not.toHaveText("–");
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await expect(page).toHaveURL(`${URL_()}/jobs`);
  await page.locator("[data-table=jobs] .id").first().click();
  await expect(page).toHaveURL(new RegExp(`^${URL_()}/job\\?id=`));
  await page.reload();
  await expect(page.locator(".job-id")).toBeVisible();
  await context.close();
});

test("the browser keeps files by their tag", async ({ request }) => {
  const first = await request.get("assets/dashboard.js");
  expect(first.headers()["cache-control"]).toBe("no-cache");
  const tag = first.headers().etag ?? "";
  expect(tag).not.toBe("");
  expect((await request.get("assets/dashboard.js", { headers: { "if-none-match": tag } })).status()).toBe(304);
});
