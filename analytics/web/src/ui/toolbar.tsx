/** The range, what it is compared with, and the filters. */
import { useState } from "preact/hooks";
import { fromInput, minute, toInput, zone } from "../format/time";
import { useNavigation } from "../state/location";
import { PRESETS } from "../state/view";
import { Filters } from "./filters";
import { Menu } from "./menu";

export function Toolbar() {
  const { view } = useNavigation();
  if (view.page === "job") return null;
  return (
    <section class="toolbar" aria-label="What is shown">
      <RangePicker />
      {["overview", "durations"].includes(view.page) && <Compare />}
      {view.page !== "pipeline" && <Filters />}
    </section>
  );
}

function RangePicker() {
  const { view, href } = useNavigation();
  const [from, to] = [view.get("from"), view.get("to")];
  const text = (time: string) => (/^\d/.test(time) ? minute(time, view.isLocal) : time === "" ? "now" : time);
  const isPreset = PRESETS.some((preset) => view.isRelative && from === `-${preset}`);
  return (
    <div class="range">
      <div class="segments" role="group" aria-label="Range">
        {PRESETS.map((preset) => (
          <a
            key={preset}
            href={href({ from: `-${preset}`, to: undefined })}
            aria-current={view.isRelative && from === `-${preset}` ? "true" : undefined}
          >
            <span class="hidden">last </span>
            {preset}
          </a>
        ))}
      </div>
      <Menu class={isPreset ? "" : "chosen"} label={isPreset ? "Other range" : `${text(from)} – ${text(to)}`}>
        {(close) => <OtherRange close={close} />}
      </Menu>
    </div>
  );
}

function OtherRange({ close }: { close: () => void }) {
  const { view, go } = useNavigation();
  const local = view.isLocal;
  const now = Date.now();
  const at = (text: string, otherwise: number) => toInput(new Date(/^\d/.test(text) ? Date.parse(text) : otherwise), local);
  const [from, setFrom] = useState(at(view.get("from"), now - (Number.isFinite(view.seconds) ? view.seconds : 86400) * 1000));
  const [to, setTo] = useState(at(view.get("to"), now));
  const [ago, setAgo] = useState(view.isRelative ? view.get("from").slice(1) : "12h");
  const ends = [fromInput(from, local), fromInput(to, local)];
  const isRange = ends[0] !== undefined && ends[1] !== undefined && ends[0] < ends[1];
  const apply = (event: Event) => {
    event.preventDefault();
    if (!isRange) return;
    go(view.with({ from: ends[0], to: ends[1] }));
    close();
  };
  const applyAgo = (event: Event) => {
    event.preventDefault();
    if (!/^\d+[mhd]$/.test(ago)) return;
    go(view.with({ from: `-${ago}`, to: undefined }));
    close();
  };
  return (
    <>
      <form onSubmit={apply}>
        <label>
          From <small>{zone(local)}</small>
          <input type="datetime-local" required value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
        </label>
        <label>
          To <small>{zone(local)}</small>
          <input type="datetime-local" required value={to} onInput={(event) => setTo(event.currentTarget.value)} />
        </label>
        {!isRange && <p class="hint">The range has to begin before it ends.</p>}
        <button type="submit" class="primary" disabled={!isRange}>
          Show this range
        </button>
      </form>
      <form onSubmit={applyAgo}>
        <label>
          Or the last <small>such as 90m, 12h or 14d; it moves on with the clock</small>
          <input pattern="\d+[mhd]" required value={ago} onInput={(event) => setAgo(event.currentTarget.value)} />
        </label>
        <button type="submit">Show the last {ago}</button>
      </form>
    </>
  );
}

function Compare() {
  const { view, go } = useNavigation();
  return (
    <label class="compare">
      Compare with{" "}
      <select value={view.get("compare")} onChange={(event) => go(view.with({ compare: event.currentTarget.value }))}>
        <option value="before">the range before</option>
        <option value="-1d">a day earlier</option>
        <option value="-7d">a week earlier</option>
        <option value="none">nothing</option>
      </select>
    </label>
  );
}
