/* The steps of the walk: each says a sentence of the lecture, shows its arithmetic as rows of bars, and adds up the
   numbers that lead to the weight. */
import type { ComponentChildren, JSX } from "preact";
import { Bars, Fan, foldedText } from "./bars";
import { type Example, placeSym, scaleOfBatch } from "./chain";
import type { Check } from "./checks";
import { gradientAt, largestAt, largestOf, type Place, type Vector } from "./engine";
import { number, probability, signed, tight } from "./numbers";
import { Num, Powers, Verdict } from "./parts";
import { inputValue } from "./paths";
import { cut } from "./story";
import { letterOf, Maths, type Notation, sym, Symbol, text } from "./symbols";
import {
  deltaText, headingOf, lengthOf, type Scale, type Slots, type Step, sumInto, termsInto,
} from "./walk";

/** What a step's card shares with all others, of a network of ours or of any. */
export interface Shown {
  notation: Notation;
  steps: Step[];
  /** the step that is reached, from 0; null for all of them */
  at: number | null;
  scale: Scale;
  /** how wide a row of bars is, in pixels */
  room: number;
  /** whether an exercise is on: nothing is shown before it is off */
  exam: boolean;
  sorted: boolean;
  /** whether a step's numbers are the reader's to tell */
  hidden(index: number): boolean;
  visit(index: number): void;
  derive(names: string[]): void;
}

/** All that the steps share. */
export interface View extends Shown {
  e: Example;
  place: Place;
  units: number[];
  slots: Slots[];
  narrow: boolean;
  pick(layer: number, unit: number, dragged?: boolean): void;
  choose(place: Place): void;
  more(layer: number): void;
}

const Delta = ({ k }: { k: number | null }): JSX.Element => (k === null ? <mi>δ</mi> : <msub><mi>δ</mi><mn>{k}</mn></msub>);

export function StepCard(props: {
  view: Shown; index: number; formula: ComponentChildren; words: ComponentChildren; derivations?: string[]; rows: ComponentChildren; sums: ComponentChildren; class?: string; module?: string;
}): JSX.Element {
  const { view, index, formula, words, derivations, rows, sums } = props;
  const step = view.steps[index]!;
  const later = view.at !== null && index > view.at;
  const now = view.at === index;
  return (
    <section class={`talk card ${step.kind}${later ? " later" : ""}${now ? " now" : ""} ${props.class ?? ""}`} data-step={index + 1} data-module={props.module} aria-labelledby={`step-${index}`}>
      <div class="say">
        <h2 id={`step-${index}`}><button type="button" class="count" onClick={() => view.visit(index)} aria-label={`Step ${index + 1}: ${headingOf(step)}`} aria-current={now ? "step" : undefined}>{index + 1}</button>{headingOf(step)}</h2>
        <p class="formula">{formula} {derivations && <button type="button" class="link" onClick={() => view.derive(derivations)} aria-label={`Derivation: ${headingOf(step)}`}>why?</button>}</p>
        <p class="words">{words}</p>
      </div>
      <div class="rows">{rows}</div>
      <div class="sums">{view.hidden(index) ? <Asked view={view} index={index} /> : sums}</div>
    </section>
  );
}

function Asked({ view, index }: { view: Shown; index: number }): JSX.Element {
  if (view.exam) return <p class="asked">Hidden while you exercise: fill it in below.</p>;
  return <p class="asked">Hidden until you ask.<br /><button type="button" class="ask" onClick={() => view.visit(index)}>Show step {index + 1}</button></p>;
}

export function Row({ name, sign, most, children }: { name: ComponentChildren; sign?: string; most?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  return <div class="line"><span class="sign" aria-hidden="true">{sign}</span><span class="name">{name}</span>{children}<span class="most">{most}</span></div>;
}

/** A line of a sum: what is added, and its number. */
export function Line({ name, value, digits = 3, mark = "" }: { name: ComponentChildren; value: number; digits?: number; mark?: string }): JSX.Element {
  return <div class={`term ${mark}`}><span class="what">{name}</span><span class={`num ${tone(value)}`} title={String(value)} data-value={String(value)}>{number(value, digits)}</span></div>;
}

/** What an output layer says of an example, and which of its units are drawn and chosen. */
export interface Output {
  /** its layer's number, where it is one of a network of ours */
  depth: number | null;
  p: Vector;
  grad: Vector;
  loss: number;
  label: number;
  classes: string[];
  slots: Slots;
  chosen: number;
  pick(unit: number): void;
  more(): void;
}

export function outputOf(view: View): Output {
  const { e } = view;
  const depth = e.net.weights.length;
  return {
    depth, p: e.f.p, grad: e.b.gradA[depth - 1]!, loss: e.b.loss, label: e.label, classes: e.classes, slots: view.slots[depth]!, chosen: view.units[depth]!,
    pick: (unit) => view.pick(depth, unit), more: () => view.more(depth),
  };
}

export function OutputStep({ view, of: e }: { view: Shown; of: Output }): JSX.Element {
  const { notation, scale } = view;
  const { depth, p, grad, slots, chosen } = e;
  const hidden = view.hidden(0);
  const a = depth === null ? sym("a") : sym("a", depth);
  const y = letterOf(sym("y"), notation);
  const truth = p.map((_, i) => (i === e.label ? 1 : 0));
  const guess = largestAt(p);
  const wide = (view.room * slots.share) / slots.units.length; // px of a bar, with what is beside it
  const of = (i: number): string => probability(p[i]!, others(e, i), 3);
  const name = (unit: number): string => `“${e.classes[unit - 1]!}”${unit - 1 === e.label ? ", the label" : ""}`;
  const tip = (unit: number): ComponentChildren => (
    <><b>{cut(e.classes[unit - 1]!, 60)}</b>{unit - 1 === e.label && " (ℓ, the label)"}<br />
      {y} = <Num value={p[unit - 1]!} digits={4} />{hidden ? ": what is asked is hidden" : <>, − <Num value={truth[unit - 1]!} /> = <Num value={grad[unit - 1]!} digits={4} /></>}</>
  );
  const shared = { slots, chosen, tip, choose: e.pick, height: 30 };
  const order = Array.from(grad.keys()).sort((i, j) => Math.abs(grad[j]!) - Math.abs(grad[i]!) || i - j);
  const shown = order.slice(0, Math.min(3, order.length));
  const rest = order.slice(shown.length).reduce((sum, i) => sum + grad[i]!, 0);
  const length = (v: number): number => lengthOf(scale, v);
  const label = (v: number, sign: boolean): string => (wide < 24 || Math.abs(v) < (wide < 50 ? 0.05 : 0.001) ? "" : wide < 72 ? tight(v) : sign ? signed(v, 3) : number(v, 3));
  return (
    <StepCard view={view} index={0} derivations={["loss", "gradient_wrt_probabilities", "softmax_jacobian", "gradient_wrt_logits"]}
      formula={<Maths><Delta k={depth} /><mo>=</mo><msub><mo>∇</mo><Symbol of={a} notation={notation} /></msub><mi>𝓛</mi><mo>=</mo><Symbol of={sym("y")} notation={notation} /><mo>−</mo><mi>e</mi><mo>(</mo><mi>ℓ</mi><mo>)</mo></Maths>}
      words={<>The network said “{cut(e.classes[guess]!, 24)}” with {of(guess)}; the label says “{cut(e.classes[e.label]!, 24)}”. What it said minus what is true is the gradient.</>}
      rows={<>
        <Row name={<Maths><Symbol of={sym("y")} notation={notation} /></Maths>}>
          <Bars {...shared} name="probabilities" values={p} look="forward" length={length} say={(unit) => `${name(unit)}, ${number(p[unit - 1]!, 4)}`} labels={(unit) => label(p[unit - 1]!, false)} />
        </Row>
        <Row name={<Maths><mi>e</mi><mo>(</mo><mi>ℓ</mi><mo>)</mo></Maths>} sign="−" most="1 at ℓ">
          <Bars {...shared} name="the true class" values={truth} look="truth" length={length} say={(unit) => `${name(unit)}, ${truth[unit - 1]!}`} labels={(unit) => (wide > 12 && unit - 1 === e.label ? "1" : "")} />
        </Row>
        <Row name={<Maths><Delta k={depth} /></Maths>} sign="=">
          <Bars {...shared} name="gradient of the output layer" values={grad} look="gradient" length={length} height={60} hidden={hidden}
            say={(unit) => `${name(unit)}, ${spoken(grad[unit - 1]!)}`} labels={(unit) => label(grad[unit - 1]!, true)} more={e.more} />
        </Row>
        <Row name=""><div class="classes" aria-hidden="true">{slots.units.map((unit) => (
          <span key={unit} class={unit - 1 === e.label ? "label" : ""} title={e.classes[unit - 1]} style={{ width: `${(100 * slots.share) / slots.units.length}%` }}>{slots.units.length <= 40 ? `\u2068${e.classes[unit - 1]!}\u2069${unit - 1 === e.label ? " ℓ" : ""}` : ""}</span>))}</div></Row>
      </>}
      sums={<>
        {shown.map((i) => <Line key={i} name={<>{deltaText(depth, i + 1)} <span class="soft" title={e.classes[i]}>{cut(e.classes[i]!, 22)}</span></>} value={grad[i]!} />)}
        {order.length > shown.length && <Line mark="soft" name={`${order.length - shown.length} more`} value={rest} />}
        <div class="term total"><span class="what">they sum to</span><span class="num">0</span></div>
        <div class="term soft"><span class="what">the loss 𝓛 = −log {y}<sub>ℓ</sub></span><Num value={e.loss} digits={4} id="loss" /></div>
      </>} />
  );
}

/** The sum of the others at a class: what is left to 1. */
function others({ p, grad, label }: Output, i: number): number {
  return i === label ? -grad[i]! : p.reduce((sum, v, j) => (j === i ? sum : sum + v), 0);
}

export const spoken = (v: number): string => (v > 0 ? `plus ${number(v, 3)}` : number(v, 3).replace("−", "minus "));

export function HiddenStep({ view, index }: { view: View; index: number }): JSX.Element {
  const { e, notation, scale, place } = view;
  const k = view.steps[index]!.layer;
  const [grad, through, slope, h] = [e.b.gradA[k - 1]!, e.b.gradH[k]!, e.b.slopes[k - 1]!, e.f.h[k]!];
  const [slots, unit, hidden] = [view.slots[k]!, view.units[k]!, view.hidden(index)];
  const { activation } = e.net;
  const gates = activation.kink?.[0] === 0;
  const [largest, steepest] = [largestOf(h) || 1, activation.steepest ?? (largestOf(slope) || 1)];
  const open = slope.reduce((n, v) => n + Number(v !== 0), 0);
  const above = view.units.length - 1 === k + 1 ? "outputs" : `units of layer ${k + 1}`;
  const sum = sumInto(e, k, unit);
  const own = k === place.layer;
  const W = (j: number): string => text(sym("W", k + 1, j, unit), notation);
  const tip = (i: number): ComponentChildren => (
    <><b>unit {i}</b> of hidden layer {k}<br />{text(sym("h", k, i), notation)} = <Num value={h[i - 1]!} digits={3} />, from {text(sym("a", k, i), notation)} = <Num value={e.f.a[k - 1]![i - 1]!} digits={3} />
      <br />{hidden ? "what is asked is hidden" : <>Σ W δ = <Num value={through[i - 1]!} digits={4} />, × g′ = <Num value={slope[i - 1]!} digits={3} />: <b><Num value={grad[i - 1]!} digits={4} /></b></>}</>
  );
  const gate = (i: number): string => (gates ? (slope[i - 1] === 0 ? ", gate shut" : ", gate open") : `, slope ${number(slope[i - 1]!, 2)}`);
  const shared = { slots, chosen: unit, tip, choose: (i: number) => view.pick(k, i) };
  const length = (v: number): number => lengthOf(scale, v);
  return (
    <StepCard view={view} index={index} class={view.narrow ? "" : "fanned"} derivations={["gradient_wrt_hidden", "gradient_wrt_preactivations", `derivative_of_${activation.name}`]}
      formula={<Maths><Delta k={k} /><mo>=</mo><mrow><mo>(</mo><msubsup><mi>{notation.W}</mi><mn>{k + 1}</mn><mi>T</mi></msubsup><Delta k={k + 1} /><mo>)</mo></mrow><mo>⊙</mo><mi>g</mi><mo>′</mo><mo>(</mo><Symbol of={sym("a", k)} notation={notation} /><mo>)</mo></Maths>}
      words={<>{gates ? <>Each unit collects the blame of all {e.net.widths[k + 1]} {above}; it passes where the unit fired: {open} of {grad.length}.</>
        : <>Each unit collects the blame of all {e.net.widths[k + 1]} {above}; the slope of {activation.name} lets part of it through.</>}{slots.units.length < grad.length && <> {slots.units.length} bars; {foldedText(grad, slots, hidden)}</>}</>}
      rows={<>
        {!view.narrow && <div class="line fanline"><span class="sign" /><span class="name" /><Fan above={view.slots[k + 1]!} below={slots} unit={unit} terms={termsInto(e, k, unit)} length={length} hidden={hidden} /><span class="most" /></div>}
        <Row name={<Maths><Symbol of={sym("h", k)} notation={notation} /></Maths>} most={`≤ ${number(largest, 2)}`}>
          <Bars {...shared} name={`output of hidden layer ${k}`} values={h} look="forward" height={20} length={(v) => Math.abs(v) / largest} say={(i) => `unit ${i}, ${number(h[i - 1]!, 3)}`} /></Row>
        <Row name={<Maths><msubsup><mi>{notation.W}</mi><mn>{k + 1}</mn><mi>T</mi></msubsup><Delta k={k + 1} /></Maths>}>
          <Bars {...shared} name={`blame of hidden layer ${k}`} values={through} look="gradient" height={46} length={length} hidden={hidden} pale={(i) => gates && slope[i - 1] === 0}
            say={(i) => `unit ${i}, ${spoken(through[i - 1]!)}`} /></Row>
        <Row name={<Maths><mi>g</mi><mo>′</mo><mo>(</mo><Symbol of={sym("a", k)} notation={notation} /><mo>)</mo></Maths>} sign="⊙" most={gates ? "0 or 1" : `≤ ${number(steepest, 2)}`}>
          <Bars {...shared} name={`slope of hidden layer ${k}`} values={slope} look={gates ? "gates" : "forward"} height={gates ? 10 : 20} length={(v) => Math.min(1, Math.abs(v) / steepest)} hidden={hidden} say={(i) => `unit ${i}${gate(i)}`} /></Row>
        <Row name={<Maths><Delta k={k} /></Maths>} sign="=" most={`${grad.length}`}>
          <Bars {...shared} name={`gradient of hidden layer ${k}`} values={grad} look="gradient" height={46} length={length} hidden={hidden}
            say={(i) => `unit ${i}, ${spoken(grad[i - 1]!)}${gate(i)}`} more={() => view.more(k)} /></Row>
        <div class="line knobline"><span class="sign" /><span class="name" />{/* a finger is wider than a bar: what it drags is not */}
          <label class="knob" style={{ width: `${100 * slots.share}%` }}><input type="range" style={{ "--slot": `${100 / slots.units.length}%` }} min={0} max={slots.units.length - 1} value={slots.units.indexOf(unit)} aria-valuetext={`unit ${unit}`}
            onInput={(event) => view.pick(k, slots.units[Number(event.currentTarget.value)]!, true)} /> unit {unit}: drag to another</label><span class="most" /></div>
      </>}
      sums={<>
        <p class="whose">{own ? "Your unit" : "One of them"}: unit {unit} of layer {k}</p>
        {sum.terms.map((term) => <Line key={term.unit} name={`${W(term.unit)} × ${deltaText(k + 1, term.unit)}`} value={term.value} />)}
        {sum.more > 0 && <Line mark="soft" name={`${sum.more} more`} value={sum.rest} />}
        <Line mark="total" name="sum" value={sum.total} />
        <div class="term"><span class="what">× g′({text(sym("a", k, unit), notation)})</span><Num value={sum.slope} digits={3} /></div>
        <Line mark="result" name={`= ${deltaText(k, unit)}`} value={sum.delta} />
      </>} />
  );
}

/** The colour of a gradient, by its sign. */
export const tone = (v: number): string => (v < 0 ? "minus" : v > 0 ? "plus" : "");

/** Where the walk ends: at the title's number. */
export function Result({ view, index, check, raw }: { view: View; index: number; check: Check; raw: string }): JSX.Element {
  const { e, place, notation } = view;
  const own = e.b.gradA[place.layer - 1]![place.unit - 1]!;
  const value = inputValue(e.f, place);
  const product = gradientAt(e.f, e.b, place) * scaleOfBatch(e);
  const input = !place.input ? "1" : text(place.layer === 1 ? sym("x", place.input) : sym("h", place.layer - 1, place.input), notation);
  return (
    <div class="sums">{view.hidden(index) ? <Asked view={view} index={index} /> : <>
      <p class="whose">{place.input ? "Your weight" : "Your bias"}: {e.batchSize !== null && "1/N × "}{deltaText(place.layer, place.unit)} × {input}</p>
      <p class="product"><span>{e.batchSize !== null && `1/${e.batchSize} × `}<Num value={own} digits={4} /> × <Num value={value} digits={4} /> =</span> <strong class={tone(product)} id="product" data-value={String(product)} title={String(product)}><Powers value={product} /></strong></p>
      {raw && <p class="soft raw">{raw}</p>}
      <p class="checked">by a finite difference <Num value={check.difference} digits={4} id="difference" />: <Verdict {...check} /></p>
    </>}</div>
  );
}

/** The symbol of the place, and its gradient's. */
export const titleOf = (place: Place, notation: Notation): string => text(placeSym(place), notation);
