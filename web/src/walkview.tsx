/* The walk: all steps one under the other, or in lanes with one of them open where a network is deep or a screen small. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Example } from "./chain";
import type { Place } from "./engine";
import { Image, Features, Label } from "./example";
import type { Inputs, Sample } from "./inputs";
import { Lanes } from "./lanes";
import { HiddenStep, OutputStep, type View } from "./steps";
import { scaleOf, type Scale, shownUnits, type Slots, slotsOf, stepsOf } from "./walk";
import { WeightStep } from "./weights";
import type { Notation } from "./symbols";

export const NARROW = 900; // px of a window below which one step is shown at a time
const MOST = 3; // layers whose steps stand one under the other

/** Whether a media query holds. */
export function useMedia(query: string): boolean {
  const list = useRef(window.matchMedia(query));
  const [matches, setMatches] = useState(list.current.matches);
  useEffect(() => {
    const changed = (): void => setMatches(list.current.matches);
    list.current.addEventListener("change", changed);
    return () => list.current.removeEventListener("change", changed);
  }, []);
  return matches;
}

interface ViewProps {
  e: Example;
  place: Place;
  notation: Notation;
  at: number | null;
  picked: ReadonlyMap<number, number>;
  log: boolean;
  /** whether a hand is on the example: scales and folds wait until it lets go */
  held: boolean;
  exam: boolean;
  sorted: boolean;
  hidden(index: number): boolean;
  visit(index: number): void;
  pick(layer: number, unit: number, dragged?: boolean): void;
  choose(place: Place): void;
  opened: ReadonlyMap<number, number>;
  open(layer: number, more: number): void;
  derive(names: string[]): void;
}

/** What the steps share: the units, the folds and the scale of an example at a place. */
export function useView(props: ViewProps): View & { lanes: boolean; small: boolean } {
  const { e, place, picked, held, log, sorted, opened } = props;
  const small = useMedia(`(max-width: ${NARROW - 1}px)`);
  const printed = useMedia("print");
  const depth = e.net.weights.length;
  const lanes = !printed && (small || depth > MOST);
  const units = shownUnits(e, place, picked);
  const room = printed ? 400 : lanes ? Math.min(window.innerWidth - 110, 560) : window.innerWidth - 680;
  const kept = useRef<{ scale: Scale; slots: Slots[]; log: boolean; sorted: boolean } | null>(null);
  if (!held || !kept.current || kept.current.log !== log || kept.current.sorted !== sorted) {
    const { most } = e.facts;
    const slots = e.b.gradA.map((delta, k) => {
      const keep = units[k + 1] ?? 1;
      if (k + 1 < depth || delta.length <= most.classes) return slotsOf(delta, room, opened.get(k + 1) ?? 0, keep, most.bars, sorted && k + 1 < depth);
      return classSlots(e, keep, 10 + (opened.get(k + 1) ?? 0));
    });
    kept.current = { scale: scaleOf(e, log), slots: [{ units: [], rest: [], shut: 0, share: 1, restShare: 0 }, ...slots], log, sorted };
  }
  const more = (layer: number): void => props.open(layer, Math.min(e.net.widths[layer]!, (opened.get(layer) ?? 0) + e.facts.most.bars));
  return { ...props, steps: stepsOf(depth, place), units, slots: kept.current.slots, scale: kept.current.scale, narrow: lanes, room, lanes, small, more };
}

/** Of many classes the label, the most probable and the one that is looked at, in their order; the rest folded. */
function classSlots(e: Example, keep: number, count: number): Slots {
  const order = Array.from(e.f.p.keys(), (i) => i + 1).sort((i, j) => e.f.p[j - 1]! - e.f.p[i - 1]! || i - j);
  const chosen = new Set([e.label + 1, keep, ...order.slice(0, count)]);
  const rest = order.filter((unit) => !chosen.has(unit));
  const folded = rest.length > 0;
  return { units: [...chosen].sort((i, j) => i - j), rest, shut: 0, share: folded ? 0.8 : 1, restShare: folded ? 0.2 : 0 };
}

interface Props {
  view: View & { lanes: boolean; small: boolean };
  inputs: Inputs;
  sample: Sample;
  listed: number[];
  editor: boolean;
  legend: JSX.Element;
  change(to: Sample): void;
  relabel(label: number): void;
}

export function Walk({ view, ...rest }: Props): JSX.Element {
  const { steps, lanes, at, place } = view;
  const cards = steps.map((step, i) => {
    if (step.kind === "output") return <OutputStep key="output" view={view} />;
    return step.kind === "hidden" ? <HiddenStep key={step.layer} view={view} index={i} /> : <WeightStep key="weight" view={view} {...rest} />;
  });
  const elsewhere = rest.editor && (lanes || place.layer > 1);
  useIntoView(view);
  if (!lanes) {
    return <div class="stack">{cards}{elsewhere && <Apart view={view} {...rest} />}</div>;
  }
  return (
    <div class="laned">
      <Lanes view={view} wide={steps.length > MOST + 1} />
      <div class="pane">{cards[at ?? 0]}{view.small && rest.legend}</div>
      {elsewhere && <Apart view={view} {...rest} />}
    </div>
  );
}

/** The example in a card of its own, where no step has it. */
function Apart({ view, inputs, sample, listed, change, relabel }: Props): JSX.Element {
  const { e, place } = view;
  const chosen = place.layer === 1 && place.input ? place.input - 1 : -1;
  const shared = { e, inputs, sample, chosen, change };
  const features = Array.from(e.features.keys());
  return (
    <section class="card apart" aria-labelledby="example-title"><h2 id="example-title">The example</h2>
      <div class={inputs.image ? "editor" : "editor listed"}>
        {inputs.image ? <Image {...shared} label={<Label e={e} change={relabel} />} /> : <Label e={e} change={relabel} />}
        <Features {...shared} listed={inputs.image ? [] : e.features.length <= 40 ? features : listed} tall={null} />
      </div>
    </section>
  );
}

/** The step that is walked to is on the screen, whatever is below. */
function useIntoView(view: View & { lanes: boolean }): void {
  const before = useRef<number | null>(null); // a link may lead to a step
  useLayoutEffect(() => {
    if (before.current === view.at) return;
    before.current = view.at;
    if (view.at === null) return;
    const lanes = document.querySelector<HTMLElement>(".lanes");
    const lane = lanes?.querySelector<HTMLElement>(".lane.now");
    if (lanes && lane) {
      lanes.scrollTop = Math.min(lane.offsetTop, Math.max(lanes.scrollTop, lane.offsetTop + lane.offsetHeight - lanes.clientHeight));
      return;
    }
    const box = document.querySelector(`[data-step="${view.at + 1}"]`)!.getBoundingClientRect();
    const [high, low] = [box.top - 16, box.bottom - (window.innerHeight - 80)]; // above the bar
    if (high < 0 || low > 0) window.scrollBy(0, low > 0 ? Math.min(high, low) : high); // a page that this one stands in stays
  });
}
