/** How long a webhook takes to become visible: in the last minute, or since the start where none came meanwhile. */
import type { Pipeline } from "../api/types";

export function freshness(pipeline: Pipeline | undefined): { seconds: number | null | undefined; note: string } {
  const lately = pipeline?.history.at(-1)?.signed_to_visible_seconds;
  if (lately != null) return { seconds: lately, note: "mean of the last minute" };
  return { seconds: pipeline?.totals?.signed_to_visible_seconds, note: "mean since the start" };
}
