import type { components } from "./schema";

type Schemas = components["schemas"];

export type Answer<T> = Omit<Schemas["Answer_Job"], "rows" | "compared"> & {
  rows: T[];
  compared?: { range: Range; rows: T[] } | null;
};
export type Bin = Schemas["Bin"];
export type DeadLettersAnswer = Schemas["DeadLettersAnswer"];
export type Delivery = Schemas["Delivery"];
export type Durations = Schemas["Durations"];
export type ErrorGroup = Schemas["ErrorGroup"] & { examples: string[]; message: string };
export type Job = Schemas["Job"];
export type JobAnswer = Schemas["JobAnswer"];
export type FinishedJobs = Schemas["FinishedJobs"];
export type OpenCount = Schemas["OpenCount"];
export type Pipeline = Schemas["Pipeline"];
export type Problem = Schemas["Problem"];
export type Range = Schemas["Snapped"];
export type Summary = Schemas["Summary"];
export type WebhookDelay = Schemas["WebhookDelay"];
