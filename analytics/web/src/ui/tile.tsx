/** A figure, how it changed, and where to look further. */
import type { ComponentChildren } from "preact";
import type { Change } from "../format/number";

export interface Part {
  /** Stands before the figure where a tile has several. */
  label?: string;
  text: string;
  change?: Change | undefined;
  /** Whether more is worse; without it, neither is. */
  moreIsWorse?: boolean;
}

interface Props {
  name: string;
  title: string;
  parts: readonly Part[];
  note?: ComponentChildren;
  href?: string;
  alarm?: boolean;
}

export function Tile({ name, title, parts, note, href, alarm = false }: Props) {
  return (
    <section class={`card tile${parts.length > 1 ? " several" : ""}${alarm ? " alarm" : ""}`} data-tile={name}>
      <h2>{href === undefined ? title : <a href={href}>{title}</a>}</h2>
      <div class="parts">
        {parts.map((part) => (
          <div key={part.label ?? ""}>
            {part.label !== undefined && <small>{part.label}</small>}
            <strong data-figure={part.label ?? name}>{part.text}</strong>
            {part.change !== undefined && (
              <span class={`change ${part.moreIsWorse ? part.change.direction : "same"}`}>{part.change.text}</span>
            )}
          </div>
        ))}
      </div>
      {note !== undefined && <p class="note">{note}</p>}
    </section>
  );
}
