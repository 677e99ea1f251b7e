/* The walk: all steps one under the other, or in lanes with one of them open where a network is deep or a screen small. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Example } from "./chain";
import type { Place } from "./engine";
import { Image, Features, Label } from "./example";
import type { Inputs, Sample } from "./inputs";
import { Lanes } from "./lanes";
import { HiddenStep, outputOf, OutputStep, type View } from "./steps";
import { classSlots, scaleOf, type Scale, shownUnits, type Slots, slotsOf, stepsOf } from "./walk";
import { useIntoView } from "./walking";
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
      return classSlots(e.f.p, e.label, keep, 10 + (opened.get(k + 1) ?? 0));
    });
    kept.current = { scale: scaleOf(e, log), slots: [{ units: [], rest: [], shut: 0, share: 1, restShare: 0 }, ...slots], log, sorted };
  }
  const more = (layer: number): void => props.open(layer, Math.min(e.net.widths[layer]!, (opened.get(layer) ?? 0) + e.facts.most.bars));
  return { ...props, steps: stepsOf(depth, place), units, slots: kept.current.slots, scale: kept.current.scale, narrow: lanes, room, lanes, small, more };
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
    if (step.kind === "output") return <OutputStep key="output" view={view} of={outputOf(view)} />;
    return step.kind === "hidden" ? <HiddenStep key={step.layer} view={view} index={i} /> : <WeightStep key="weight" view={view} {...rest} />;
  });
  const elsewhere = rest.editor && (lanes || place.layer > 1);
  useIntoView(view.at);
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
