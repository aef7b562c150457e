/** uPlot in a component: made once, then given data; made anew where its shape or the colours change. */
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useNavigation } from "../state/location";
import { colours } from "../state/theme";
import { colour } from "./colours";

interface Props {
  /** What the options depend on, apart from the colours. */
  shape: string;
  options: () => Pick<uPlot.Options, "series" | "scales"> & { axes: [uPlot.Axis, uPlot.Axis] };
  data: uPlot.AlignedData;
  /** Draws what is no series. */
  draw?: (plot: uPlot) => void;
  height: number;
  cursor: number | undefined;
  onCursor: (index: number | undefined) => void;
}

export function Plot({ shape, options, data, draw, height, cursor, onCursor }: Props) {
  const { view, go } = useNavigation();
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef({ cursor, draw, onCursor, zoom: (_: number, __: number) => {} });
  latest.current = {
    cursor,
    draw,
    onCursor,
    zoom: (from, to) => go(view.with({ from: instant(from), to: instant(to) })),
  };
  const local = view.isLocal;

  useLayoutEffect(() => {
    const element = holder.current;
    if (element === null) return;
    const own = options();
    const [muted, line] = [colour("muted"), colour("line")];
    const font = `11px ${getComputedStyle(element).fontFamily}`;
    const axis = (axis: uPlot.Axis): uPlot.Axis => ({
      stroke: muted,
      font,
      ticks: { show: false },
      grid: { stroke: line, width: 1 },
      ...axis,
    });
    const made = new uPlot(
      {
        width: Math.max(element.clientWidth, 60),
        height,
        padding: [8, 16, 0, 0],
        legend: { show: false },
        tzDate: (seconds) => (local ? new Date(seconds * 1000) : uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC")),
        cursor: {
          y: false,
          points: { size: 7 },
          drag: { x: true, y: false, setScale: false },
          // Other charts follow the cursor, and leave the dragging to the one that it began on.
          sync: { key: "page", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        },
        ...own,
        axes: [
          axis({ grid: { show: false }, values: TIMES, space: 72, size: 38, ...own.axes[0] }),
          axis({ size: 52, ...own.axes[1] }),
        ],
        hooks: {
          // One that is made anew, because what it shows has changed, has its cursor where that of the last one was.
          ready: [(plot) => moveCursor(plot, latest.current.cursor)],
          draw: [(plot) => latest.current.draw?.(plot)],
          setCursor: [(plot) => plot.status === 1 && latest.current.onCursor(plot.cursor.idx ?? undefined)],
          setSelect: [
            (plot) => {
              const { left, width } = plot.select;
              if (width < 4) return;
              const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
              plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              latest.current.zoom(from, to);
            },
          ],
        },
      },
      data,
      element,
    );
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: Math.max(element.clientWidth, 60), height }));
    sized.observe(element);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [shape, local, height, colours.value]);

  useEffect(() => {
    if (plot.current !== undefined && plot.current.data !== data) plot.current.setData(data);
  }, [data]);

  // Keys move the cursor where no mouse is.
  useEffect(() => {
    if (plot.current !== undefined) moveCursor(plot.current, cursor);
  }, [cursor]);

  return <div class="plot" ref={holder} aria-hidden="true" style={{ height }} />;
}

/** Tells nobody: who is told of a move that a later key has overtaken would move the cursor back, and be told of that, for ever. */
function moveCursor(plot: uPlot, index: number | undefined): void {
  if (index === undefined || plot.cursor.idx === index) return;
  plot.setCursor({ left: plot.valToPos(plot.data[0][index] ?? 0, "x"), top: 1 }, false);
}

function instant(seconds: number): string {
  return `${new Date(Math.round(seconds / 60) * 60_000).toISOString().slice(0, 19)}Z`;
}

/** Months as words and hours with 24: the same everywhere. */
const TIMES: uPlot.Axis.Values = [
  [86400 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
  [86400, "{D} {MMM}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
];
