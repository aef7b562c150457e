/** The colours of the style sheet, for canvases. */

export type Colour = "blue" | "orange" | "purple" | "red" | "teal" | "grey" | "before" | "ink" | "muted" | "line" | "surface";

export function colour(name: Colour): string {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}
