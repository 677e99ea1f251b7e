/* The page of any PyTorch classifier: the walk's output layer, then each submodule's gradient as bars that are pointed at
   and walked to. */
import { render } from "preact";
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { Bars, foldedText } from "./bars";
import { Settings } from "./controls";
import { Derivations } from "./derivations";
import { largestAt, type Vector } from "./engine";
import { Figures } from "./figures";
import { number } from "./numbers";
import { Num } from "./parts";
import { Line, type Output, OutputStep, Row, type Shown, spoken, StepCard } from "./steps";
import { LECTURE } from "./symbols";
import { classSlots, headingOf, lengthOf, type Scale, slotsOf, type Step } from "./walk";
import { Bar, Legend, useIntoView, useWalking } from "./walking";
import { NARROW, useMedia } from "./walkview";

interface Part {
  name: string;
  heading: string;
  words: string;
  /** how many elements its output has, and its gradient's norm and that of its own parameters' gradient */
  count: number;
  norm: number;
  parameters: number | null;
  /** the largest elements, in their order, and where each stands */
  values: number[];
  places: string[];
  isInput: boolean;
}

/** What the page carries. See chainrule/explain/views/page_modules.py. */
interface Payload {
  title: string;
  story: string;
  output: { p: number[]; grad: number[]; loss: number; label: number; classes: string[] };
  parts: Part[];
  findings: string[];
  scale: Scale;
  most: Record<"classes" | "bars" | "terms", number>;
}

function PartStep({ view, index, part, opened, open }: { view: Shown; index: number; part: Part; opened: number; open(): void }): JSX.Element {
  const values = useMemo(() => Float64Array.from(part.values), [part]);
  const order = useMemo(() => Array.from(values.keys()).sort((i, j) => Math.abs(values[j]!) - Math.abs(values[i]!) || i - j), [values]);
  const [chosen, choose] = useState(largestAt(values) + 1);
  const slots = slotsOf(values, view.room, opened, chosen, BARS, view.sorted);
  const at = (unit: number): string => part.places[unit - 1]!;
  const folded = slots.units.length < values.length;
  const shown = order.slice(0, TERMS);
  const own = chosen - 1;
  return (
    <StepCard view={view} index={index} module={part.name} formula=""
      words={<>{part.words}{values.length < part.count && `; the ${values.length} largest of ${part.count} elements are in this page`}{folded && <>. {slots.units.length} bars; {foldedText(values, slots)}</>}</>}
      rows={values.length > 0 && <Row name={`∂𝓛/∂${part.isInput ? "x" : "out"}`} most={String(part.count)}>
        <Bars name={`gradient at ${part.name}`} each="element" places={part.places} values={values} slots={slots} length={(v) => lengthOf(view.scale, v)} look="gradient" height={46} chosen={chosen}
          say={(unit) => `${at(unit)}, ${spoken(values[unit - 1]!)}`} tip={(unit) => <>{at(unit)} <Num value={values[unit - 1]!} digits={4} /></>} choose={choose} more={open} />
      </Row>}
      sums={<>
        {shown.map((i) => <Line key={i} name={part.places[i]} value={values[i]!} />)}
        {!shown.includes(own) && values.length > 0 && <Line key={own} name={part.places[own]} value={values[own]!} mark="result" />}
        <div class="term total"><span class="what">norm</span><span class="norm"><Num value={part.norm} digits={4} /></span></div>
        {part.parameters !== null && <div class="term"><span class="what">norm of its parameters’ gradient</span><Num value={part.parameters} digits={4} /></div>}
      </>} />
  );
}

const payload = JSON.parse(document.getElementById("parts")!.textContent!) as Payload;
const { bars: BARS, terms: TERMS, classes: CLASSES } = payload.most;
const STEPS: Step[] = [{ kind: "output", layer: 0 }, ...payload.parts.map(({ heading }) => ({ kind: "hidden" as const, layer: 0, heading }))];
const [P, GRAD]: Vector[] = [Float64Array.from(payload.output.p), Float64Array.from(payload.output.grad)];

function Modules(): JSX.Element {
  const { output, parts, findings, title, story } = payload;
  const [at, go] = useState<number | null>(null);
  const [{ log, sort }, look] = useState({ log: payload.scale.log, sort: false });
  const [notation, setNotation] = useState(LECTURE);
  const [derived, derive] = useState<string[]>([]);
  const [chosen, pick] = useState(largestAt(GRAD!) + 1);
  const [opened, open] = useState<number[]>([]);
  const more = (index: number): void => open(Object.assign([...opened], { [index]: (opened[index] ?? 0) + BARS }));
  const small = useMedia(`(max-width: ${NARROW - 1}px)`);
  const room = window.innerWidth - (small ? 200 : 680);
  const walking = useWalking({ at, count: STEPS.length, begin: 0, on: true, go, beat: () => {} });
  useIntoView(at);
  const view: Shown = {
    notation, at, room, steps: STEPS, scale: { ...payload.scale, log }, exam: false, sorted: sort, hidden: () => false, visit: go, derive,
  };
  const few = output.classes.length <= CLASSES;
  const of: Output = {
    ...output, depth: null, p: P!, grad: GRAD!, chosen, pick, more: () => more(0),
    slots: few ? slotsOf(GRAD!, room, 0, chosen, CLASSES) : classSlots(P!, output.label, chosen, 10 + (opened[0] ?? 0)),
  };
  const legend = <Legend scale={view.scale} fans={false} sorted={sort} told choose={(to) => look({ log, sort, ...to })} />;
  return (
    <div>
      <header class="top"><p class="crumbs soft">Chainrule · {parts.length} places</p><div class="titles"><h1>{title}</h1><p class="lead" id="story">{story}</p></div></header>
      <p class="unseen" aria-live="polite" id="said">{at !== null && `Step ${at + 1} of ${STEPS.length}: ${headingOf(STEPS[at]!)}${at > 0 ? `, norm ${number(parts[at - 1]!.norm, 3)}` : ""}`}</p>
      <div class="stack">
        <OutputStep view={view} of={of} />
        {parts.map((part, i) => <PartStep key={part.name} view={view} index={i + 1} part={part} opened={opened[i + 1] ?? 0} open={() => more(i + 1)} />)}
      </div>
      {small && legend}
      {findings.map((finding) => <p class="finding" key={finding}>{finding}</p>)}
      <div class="toolbox"><Figures /><Settings notation={notation} setNotation={setNotation} /></div>
      <Bar walking={walking} to="input">{!small && legend}</Bar>
      <Derivations names={derived} notation={notation} close={() => derive([])} />
    </div>
  );
}

const root = document.getElementById("app")!;
root.replaceChildren();
render(<Modules />, root);
root.dataset.live = "true";
