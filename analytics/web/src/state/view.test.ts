import { describe, expect, test } from "vitest";
import { spanSeconds, View, viewOf } from "./view";

const view = (address: string, base = "/") => viewOf(new URL(address, "http://h"), base);

describe("an address", () => {
  test.each([
    ["/", ""],
    ["/errors?from=-7d&source=a&source=b", "errors?from=-7d&source=a&source=b"],
    ["/job?id=a%2Fb%3F%26%C3%A9", "job?id=a%2Fb%3F%26%C3%A9"],
    [
      "/jobs?from=2026-11-01T00%3A00%3A00Z&to=2026-11-02T00%3A00%3A00Z",
      "jobs?from=2026-11-01T00%3A00%3A00Z&to=2026-11-02T00%3A00%3A00Z",
    ],
  ])("%s is the view that has it", (address, href) => {
    expect(view(address)?.href).toBe(href);
  });

  test("lies below the base path", () => {
    expect(view("/a/b/errors", "/a/b/")?.page).toBe("errors");
    expect(view("/a/b/", "/a/b/")?.page).toBe("overview");
    expect(view("/a/b/overview", "/a/b/")).toBeUndefined();
    expect(view("/nothing")).toBeUndefined();
  });
});

describe("a change", () => {
  const filtered = new View("jobs", "from=-7d&resource=video&order=run&zone=local");

  test("keeps what it does not name, and what another page knows, too", () => {
    expect(filtered.with({ resource: ["video", "image"] }).href).toBe(
      "jobs?from=-7d&order=run&zone=local&resource=video&resource=image",
    );
    expect(filtered.with({}, "errors").href).toBe("errors?from=-7d&resource=video&zone=local");
  });

  test("to a default leaves nothing in the address", () => {
    expect(filtered.with({ from: "-24h", zone: "utc", order: undefined, resource: [] }).href).toBe("jobs");
  });

  test("adds a value to a filter, and takes it away", () => {
    const added = filtered.toggled("resource", "image");
    expect(added.all("resource")).toEqual(["video", "image"]);
    expect(added.toggled("resource", "video").all("resource")).toEqual(["image"]);
  });
});

describe("a range", () => {
  test("that is relative stays relative", () => {
    const relative = new View("overview", "from=-6h");
    expect(relative.isRelative).toBe(true);
    expect(relative.seconds).toBe(6 * 3600);
    expect(relative.question()).toBe("from=-6h");
    expect(relative.compare).toBe("-6h");
  });

  test("that is absolute is compared with one of its length", () => {
    const absolute = new View("overview", "from=2026-11-01T00:00:00Z&to=2026-11-01T03:00:00Z");
    expect(absolute.isRelative).toBe(false);
    expect(absolute.compare).toBe("-10800s");
    expect(absolute.with({ compare: "-7d" }).compare).toBe("-7d");
    expect(absolute.with({ compare: "none" }).compare).toBeUndefined();
  });

  test("that is no range is left to the API to refuse", () => {
    const wrong = new View("overview", "from=yesterday");
    expect(wrong.question()).toBe("from=yesterday");
    expect(wrong.compare).toBeUndefined();
  });

  test.each([
    ["-24h", 86400],
    ["90m", 5400],
    ["-7d", 604800],
    ["-1w", undefined],
    ["", undefined],
  ])("%s is a span", (text, seconds) => {
    expect(spanSeconds(text)).toBe(seconds);
  });
});

test("a question has the filters but those that are left out", () => {
  const filtered = new View("errors", "error_code=a&error_code=b&outcome=errored&by=job_type");
  expect(filtered.question({ limit: "5" }, ["outcome"])).toBe("from=-24h&error_code=a&error_code=b&limit=5");
});
