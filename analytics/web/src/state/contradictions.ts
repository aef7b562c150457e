/** What the events of a job say that cannot all be true, in words: there is no duration then, rather than a negative one. */
import type { Delivery, Job } from "../api/types";
import { duration } from "../format/number";

export function contradictions(job: Job, deliveries: readonly Delivery[]): string[] {
  const at = (time: string | null | undefined) => (time == null ? undefined : Date.parse(time));
  const [created, started, finished] = [at(job.created_at), at(job.started_at), at(job.finished_at)];
  const found = [];
  const by = (earlier: number, later: number) => duration((later - earlier) / 1000);
  const actions = new Set(deliveries.map((delivery) => delivery.action));
  if (actions.has("completed") && actions.has("errored")) {
    found.push("It both completed and errored. It counts as completed.");
  }
  if (started !== undefined && created !== undefined && started < created) {
    found.push(`It started ${by(started, created)} before it was created, so its time in the queue is not known.`);
  }
  if (finished !== undefined && started !== undefined && finished < started) {
    found.push(`It ended ${by(finished, started)} before it started, so its time of running is not known.`);
  }
  if (finished !== undefined && created !== undefined && finished < created) {
    found.push(`It ended ${by(finished, created)} before it was created, so its time in all is not known.`);
  }
  return found;
}
