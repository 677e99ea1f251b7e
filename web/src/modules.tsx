/* The page of any PyTorch classifier: what is drawn of each submodule becomes bars that are pointed at and walked to. */
import { render } from "preact";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Bars } from "./bars";
import { largestAt } from "./engine";
import { number } from "./numbers";
import { Num } from "./parts";
import { lengthOf, type Scale, slotsOf } from "./walk";

interface Parts {
  scale: Scale;
  steps: { name: string; places: string[]; values: number[] }[];
}

const MOST = 64; // bars of a gradient that is too wide for the page

function Part({ step, scale }: { step: Parts["steps"][number]; scale: Scale }): JSX.Element {
  const values = Float64Array.from(step.values);
  const [chosen, choose] = useState(largestAt(values) + 1);
  const [opened, open] = useState(0);
  const slots = slotsOf(values, window.innerWidth - (window.innerWidth < 900 ? 200 : 680), opened, chosen, MOST);
  const at = (unit: number): string => step.places[unit - 1]!;
  return (
    <Bars name={`gradient at ${step.name}`} values={values} slots={slots} length={(v) => lengthOf(scale, v)} look="gradient" height={46} chosen={chosen}
      say={(unit) => `${at(unit)}, ${number(values[unit - 1]!, 4)}`} tip={(unit) => <>{at(unit)} <Num value={values[unit - 1]!} digits={4} /></>}
      choose={choose} more={() => open(opened + MOST)} />
  );
}

const { scale, steps } = JSON.parse(document.getElementById("parts")!.textContent!) as Parts;
document.querySelectorAll<HTMLElement>("[data-module]").forEach((section, i) => {
  const place = section.querySelector<HTMLElement>(".bars-of")!;
  if (steps[i]!.values.length === 0) return;
  place.replaceChildren();
  render(<Part step={steps[i]!} scale={scale} />, place);
  section.querySelector(".rows > .soft")?.remove(); // the folded bars say so themselves
});
document.getElementById("app")!.dataset.live = "true";
