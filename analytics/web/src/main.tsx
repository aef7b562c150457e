import { render } from "preact";
import { LocationProvider } from "preact-iso";
import "./style/base.css";
import "./style/layout.css";
import "./style/parts.css";
import "./style/chart.css";
import { App } from "./app";
import { BASE } from "./state/location";

const root = document.getElementById("root");
if (root !== null) {
  // Files beside the pages, such as the API's answers, are the browser's to open.
  const pages = new RegExp(`^(?:${location.origin})?${BASE}(?:errors|durations|jobs?|pipeline)?(?:[?#]|$)`);
  render(
    <LocationProvider scope={pages}>
      <App />
    </LocationProvider>,
    root,
  );
}
