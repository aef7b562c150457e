import { useMemo } from "preact/hooks";
import { useLocation } from "preact-iso";
import { type Changes, type Page, View, viewOf } from "./view";

/** The path that all pages lie in, each one level deep, whatever a proxy in front puts before it. */
export const BASE = new URL(".", document.baseURI).pathname;

export interface Navigation {
  view: View;
  found: boolean;
  /** The address of this view with some values changed. */
  href(changes: Changes, page?: Page): string;
  to(view: View): string;
  /** Goes there; with `replace`, back does not return here. */
  go(view: View, replace?: boolean): void;
}

export function useNavigation(): Navigation {
  const { url, route } = useLocation();
  return useMemo(() => {
    const found = viewOf(new URL(url, document.baseURI), BASE);
    const view = found ?? new View("overview");
    const to = (view: View) => BASE + view.href;
    return {
      view,
      found: found !== undefined,
      to,
      href: (changes, page) => to(view.with(changes, page)),
      go: (view, replace = false) => route(to(view), replace),
    };
  }, [url, route]);
}
