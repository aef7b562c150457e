/** Says that figures are old, and why. */
import { asOf, outage, refreshAll } from "../api/question";
import { clock, zone } from "../format/time";
import { useNavigation } from "../state/location";

export function Banner() {
  const { view } = useNavigation();
  const problem = outage.value;
  return (
    <div role="status">
      {problem !== undefined && (
        <div class="banner">
          <p>
            <b>
              {asOf.value === undefined
                ? "No figures yet."
                : `These figures are of ${clock(asOf.value, view.isLocal)} ${zone(view.isLocal)}.`}
            </b>{" "}
            {sentence(problem.detail)} The page asks again every 5 s.
          </p>
          <button type="button" onClick={refreshAll}>
            Ask now
          </button>
        </div>
      )}
    </div>
  );
}

function sentence(detail: string): string {
  const text = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
