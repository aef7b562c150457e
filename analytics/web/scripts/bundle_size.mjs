// What a browser fetches for the first view, compressed as it is served, held against the limit.
import { readdirSync, readFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

const LIMIT = 90 * 1024;
const dist = new URL("../dist/", import.meta.url);
const files = ["index.html", ...readdirSync(new URL("assets/", dist)).map((name) => `assets/${name}`), "icon.svg"];
const sizes = files.map((name) => {
  const bytes = readFileSync(new URL(name, dist));
  return { name, bytes: bytes.length, gzip: gzipSync(bytes).length, brotli: brotliCompressSync(bytes).length };
});
const sum = (key) => sizes.reduce((sum, size) => sum + size[key], 0);
const rows = [...sizes, { name: "first view", bytes: sum("bytes"), gzip: sum("gzip"), brotli: sum("brotli") }];
console.log(`${"".padEnd(24)}${["bytes", "gzip", "brotli"].map((title) => title.padStart(10)).join("")}`);
for (const { name, ...size } of rows) {
  console.log(name.padEnd(24) + [size.bytes, size.gzip, size.brotli].map((bytes) => String(bytes).padStart(10)).join(""));
}
if (sum("brotli") > LIMIT) {
  console.error(
    `the first view is ${sum("brotli")} bytes, more than ${LIMIT}: see what was added with \`npx vite build --sourcemap\``,
  );
  process.exit(1);
}
