/** A job from created to end as bars, with its deliveries beneath. */
import type { Delivery, Job } from "../api/types";
import { duration } from "../format/number";
import { exact } from "../format/time";

interface Props {
  job: Job;
  deliveries: readonly Delivery[];
  local: boolean;
}

interface Bar {
  name: string;
  look: string;
  from: number;
  to: number;
  text: string;
}

export function Timeline({ job, deliveries, local }: Props) {
  const at = (time: string | null | undefined) => (time == null ? undefined : Date.parse(time));
  const created = at(job.created_at) ?? 0;
  const [started, finished] = [at(job.started_at), at(job.finished_at)];
  const now = job.age_seconds == null ? created : created + job.age_seconds * 1000;
  const end = finished ?? now;
  const bars: Bar[] = [];
  const add = (name: string, look: string, from: number | undefined, to: number | undefined, text: string) => {
    if (from !== undefined && to !== undefined && to >= from) bars.push({ name, look, from, to, text });
  };
  if (started !== undefined) {
    add("Queue", "queue", created, started, duration(job.queue_seconds ?? (started - created) / 1000));
    add(finished === undefined ? "Runs since" : "Run", job.outcome, started, end, duration((end - started) / 1000));
  } else {
    add(finished === undefined ? "Open since" : "Total", job.outcome, created, end, duration((end - created) / 1000));
  }
  const times = [created, started, finished, now, ...deliveries.map((delivery) => at(delivery.received_at))];
  const known = times.filter((time) => time !== undefined);
  const [first, last] = [Math.min(...known), Math.max(...known)];
  const span = Math.max(last - first, 1);
  const left = (time: number) => `${((time - first) / span) * 100}%`;
  const text = bars.map((bar) => `${bar.name} ${bar.text}`).join(", ");
  return (
    <figure class="timeline" aria-label={text === "" ? "No line of time: see the contradictions" : `Line of time: ${text}`}>
      <div class="lane" aria-hidden="true">
        {bars.map((bar) => (
          <div
            key={bar.name}
            class={`bar ${bar.look}`}
            style={{ left: left(bar.from), width: `${((bar.to - bar.from) / span) * 100}%` }}
          >
            <span>
              {bar.name} {bar.text}
            </span>
          </div>
        ))}
      </div>
      <div class="marks" aria-hidden="true">
        {deliveries.map((delivery) => (
          <i
            key={`${delivery.topic}/${delivery.partition}/${delivery.offset}`}
            class={delivery.action}
            style={{ left: left(at(delivery.received_at) ?? first) }}
            title={`${delivery.action} received ${exact(delivery.received_at, local)}`}
          />
        ))}
      </div>
      <div class="ends" aria-hidden="true">
        <span>{exact(new Date(first).toISOString(), local)}</span>
        <span>{text}</span>
        <span>{exact(new Date(last).toISOString(), local)}</span>
      </div>
    </figure>
  );
}
