/** Light or dark: the system's choice, unless this browser was told otherwise. */
import { effect, signal } from "@preact/signals";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "hookline.theme";
const stored = () => THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "system";

export const theme = signal<Theme>(stored());
/** Counts the changes of colours: canvases are drawn anew. */
export const colours = signal(0);

effect(() => {
  if (theme.value === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme.value);
  document.documentElement.dataset.theme = theme.value;
  colours.value = colours.peek() + 1;
});

for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", () => {
    colours.value++;
  });
}
