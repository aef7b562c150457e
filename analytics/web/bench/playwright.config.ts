import config from "../playwright.config";

export default {
  ...config,
  testDir: ".",
  outputDir: "../test-results",
  testMatch: "*.bench.ts",
  timeout: 0,
  use: { ...config.use, screenshot: "off" as const },
};
