import { defineConfig } from "vitest/config";

// Addresses are relative and names have no hash: the pages work under any path, and what is embedded is revalidated by its ETag.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // `unbuilt.html` stays beside what is built.
    emptyOutDir: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    rollupOptions: {
      output: { entryFileNames: "assets/dashboard.js", assetFileNames: "assets/dashboard[extname]" },
    },
  },
  server: { proxy: { "/api": process.env.HOOKLINE_ANALYTICS_URL ?? "http://127.0.0.1:9083" } },
  test: { include: ["src/**/*.test.ts"] },
});
