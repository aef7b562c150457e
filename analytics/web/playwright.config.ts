import { defineConfig } from "@playwright/test";

// Debian's Chromium; none is downloaded, and it asks nobody for anything. Videos would need a download.
export default defineConfig({
  testDir: "tests",
  testMatch: "*.spec.ts",
  outputDir: "test-results",
  // The tests share one pipeline, and some of them stop its ClickHouse.
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  reporter: [["list"]],
  // A test fails by what it sees; these end one that hangs, and say where.
  timeout: 300_000,
  expect: { timeout: 60_000 },
  use: {
    baseURL: `${process.env.HOOKLINE_ANALYTICS_URL}/`,
    viewport: { width: 1440, height: 900 },
    timezoneId: "America/New_York",
    locale: "en-US",
    colorScheme: "light",
    actionTimeout: 60_000,
    navigationTimeout: 60_000,
    screenshot: "only-on-failure",
    launchOptions: {
      executablePath: "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-precise-memory-info",
        "--js-flags=--expose-gc",
      ],
    },
  },
});
