import type { FunctionComponent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { DurationsPage } from "./pages/durations";
import { ErrorsPage } from "./pages/errors";
import { JobPage } from "./pages/job";
import { JobsPage } from "./pages/jobs";
import { OverviewPage } from "./pages/overview";
import { PipelinePage } from "./pages/pipeline/page";
import { useNavigation } from "./state/location";
import type { Page } from "./state/view";
import { Banner } from "./ui/banner";
import { Header, NAMES } from "./ui/header";
import { NotFound } from "./ui/states";
import { Toolbar } from "./ui/toolbar";

const CONTENT: Record<Page, FunctionComponent> = {
  overview: OverviewPage,
  errors: ErrorsPage,
  durations: DurationsPage,
  jobs: JobsPage,
  job: JobPage,
  pipeline: PipelinePage,
};

export function App() {
  const { view, found } = useNavigation();
  const main = useRef<HTMLElement>(null);
  const shown = useRef(view.page);
  const Content = CONTENT[view.page];
  const title = view.page === "job" ? `Job ${view.get("id")}` : NAMES[view.page];
  useEffect(() => {
    document.title = `${title} · Hookline`;
  }, [title]);
  // Whoever reads by keyboard or ear begins at the new page.
  useEffect(() => {
    if (shown.current !== view.page) main.current?.focus();
    shown.current = view.page;
  }, [view.page]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <Header />
      <Toolbar />
      <main id="main" ref={main} tabIndex={-1}>
        <h1 class="hidden">{title}</h1>
        <Banner />
        {found ? <Content key={view.page} /> : <NotFound />}
      </main>
    </>
  );
}
