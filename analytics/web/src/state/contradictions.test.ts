import { expect, test } from "vitest";
import type { Delivery, Job } from "../api/types";
import { contradictions } from "./contradictions";

const job = (times: Partial<Job>) =>
  ({ created_at: "2026-11-01T00:00:10Z", started_at: null, finished_at: null, ...times }) as Job;
const deliveries = (...actions: string[]) => actions.map((action) => ({ action })) as Delivery[];

test("a sound job has none", () => {
  const sound = job({ started_at: "2026-11-01T00:00:11Z", finished_at: "2026-11-01T00:00:15Z" });
  expect(contradictions(sound, deliveries("started", "completed"))).toEqual([]);
  expect(contradictions(job({}), [])).toEqual([]);
});

test("each is said in words", () => {
  const all = job({ started_at: "2026-11-01T00:00:08Z", finished_at: "2026-11-01T00:00:05Z" });
  expect(contradictions(all, deliveries("completed", "errored"))).toEqual([
    "It both completed and errored. It counts as completed.",
    "It started 2.0 s before it was created, so its time in the queue is not known.",
    "It ended 3.0 s before it started, so its time of running is not known.",
    "It ended 5.0 s before it was created, so its time in all is not known.",
  ]);
});
