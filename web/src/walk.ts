/* The walk by layers as data: its steps, the unit of each layer that is looked at, its sum of terms, one scale for all
   bars, and how a wide layer is folded. See chainrule/explain/views/page_walk.py. */
import type { Example } from "./chain";
import { largestAt, largestOf, type Place, type Vector } from "./engine";
import { text, sym, type Notation } from "./symbols";

export interface Step {
  kind: "output" | "hidden" | "weight";
  layer: number;
  /** of a step that is no layer of a network of ours */
  heading?: string;
}

/** From the loss to the weights of the place's layer. */
export function stepsOf(depth: number, place: Place): Step[] {
  const steps: Step[] = [{ kind: "output", layer: depth }];
  for (let layer = depth - 1; layer >= place.layer; layer--) steps.push({ kind: "hidden", layer });
  return [...steps, { kind: "weight", layer: place.layer }];
}

export function headingOf(step: Step): string {
  if (step.heading !== undefined) return step.heading;
  if (step.kind === "output") return "Talk to the output layer";
  return step.kind === "hidden" ? `then to hidden layer ${step.layer}` : "and now talk to the weights";
}

/** For each layer, counted from 1, the unit that is looked at: the place's own, then the largest term of each sum. */
export function shownUnits({ net, b }: Example, place: Place, picked: ReadonlyMap<number, number>): number[] {
  const units: number[] = [];
  units[place.layer] = place.unit;
  for (let layer = place.layer + 1; layer < net.widths.length; layer++) {
    const [below, width] = [units[layer - 1]! - 1, net.widths[layer - 1]!];
    const terms = b.gradA[layer - 1]!.map((delta, unit) => delta * net.weights[layer - 1]![unit * width + below]!);
    units[layer] = picked.get(layer) ?? largestAt(terms) + 1;
  }
  return units;
}

export interface Term {
  unit: number;
  weight: number;
  value: number;
}

/** ∂𝓛/∂h of one unit as a sum over the layer above, times its gate. */
export interface Sum {
  unit: number;
  terms: Term[];
  /** how many more terms there are, and their sum */
  more: number;
  rest: number;
  total: number;
  slope: number;
  delta: number;
}

export function termsInto({ net, b }: Example, layer: number, unit: number): Term[] {
  const width = net.widths[layer]!;
  return Array.from(b.gradA[layer]!, (delta, above) => {
    const weight = net.weights[layer]![above * width + unit - 1]!;
    return { unit: above + 1, weight, value: weight * delta };
  });
}

export function sumInto(e: Example, layer: number, unit: number): Sum {
  const all = termsInto(e, layer, unit).sort((p, q) => Math.abs(q.value) - Math.abs(p.value) || p.unit - q.unit);
  const count = all.length <= e.facts.most.terms + 1 ? all.length : e.facts.most.terms;
  return {
    unit, terms: all.slice(0, count), more: all.length - count,
    rest: all.slice(count).reduce((sum, term) => sum + term.value, 0),
    total: e.b.gradH[layer]![unit - 1]!, slope: e.b.slopes[layer - 1]![unit - 1]!, delta: e.b.gradA[layer - 1]![unit - 1]!,
  };
}

/** How long a bar is: its share of a row's height, by size or by decades. */
export interface Scale {
  log: boolean;
  top: number;
  /** of a log scale, the exponents of its ends */
  from: number;
  to: number;
}

export function wantsDecades(e: Example): boolean {
  return e.b.gradA.map(largestOf).some((size) => size > 0 && size * e.facts.most.decades < 1);
}

export function scaleOf(e: Example, log: boolean): Scale {
  const finite = (v: number): number => (Number.isFinite(v) ? v : 0);
  const sizes = [...e.b.gradA, ...e.b.gradH.slice(1)].map((v) => finite(largestOf(v)));
  const top = Math.max(1, ...sizes);
  const least = sizes.reduce((m, size) => (size > 0 ? Math.min(m, size) : m), top);
  return { log, top, from: Math.floor(Math.log10(least)) - 2, to: Math.ceil(Math.log10(top)) };
}

/** From −1 to 1. */
export function lengthOf({ log, top, from, to }: Scale, value: number): number {
  if (value === 0 || Number.isNaN(value)) return 0;
  const size = Math.abs(value);
  const share = log ? (Math.log10(size) - from) / (to - from) : size / top;
  return Math.sign(value) * Math.min(1, Math.max(0, share));
}

/** Which units of a layer have a bar of their own, and what becomes of the others. */
export interface Slots {
  units: number[];
  /** those that are folded, largest first, and the number of those whose gradient is 0 */
  rest: number[];
  shut: number;
  /** the bars' share of the width, and the folded units' */
  share: number;
  restShare: number;
}

const NARROWEST = 2.5; // px of a bar

export function slotsOf(delta: Vector, room: number, opened: number, keep: number, most: number, sorted = false): Slots {
  const all = Array.from(delta.keys(), (i) => i + 1);
  const bySize = (p: number, q: number): number => Math.abs(delta[q - 1]!) - Math.abs(delta[p - 1]!) || p - q;
  if (all.length * NARROWEST <= Math.max(room, 345) || all.length <= most) {
    return { units: sorted ? all.sort(bySize) : all, rest: [], shut: 0, share: 1, restShare: 0 };
  }
  const order = all.sort(bySize);
  const units = order.slice(0, most + opened);
  if (!units.includes(keep)) units[units.length - 1] = keep;
  const left = order.filter((unit) => !units.includes(unit));
  const rest = left.filter((unit) => delta[unit - 1] !== 0);
  if (left.length === 0) return { units, rest, shut: 0, share: 1, restShare: 0 };
  const [share, restShare] = rest.length === 0 ? [0.85, 0] : rest.length === left.length ? [0.75, 0.25] : [0.68, 0.2];
  return { units, rest, shut: left.length - rest.length, share, restShare };
}

/** Of many classes the label, the most probable and the one that is looked at, in their order; the rest folded. */
export function classSlots(p: Vector, label: number, keep: number, count: number): Slots {
  const order = Array.from(p.keys(), (i) => i + 1).sort((i, j) => p[j - 1]! - p[i - 1]! || i - j);
  const chosen = new Set([label + 1, keep, ...order.slice(0, count)]);
  const rest = order.filter((unit) => !chosen.has(unit));
  const folded = rest.length > 0;
  return { units: [...chosen].sort((i, j) => i - j), rest, shut: 0, share: folded ? 0.8 : 1, restShare: folded ? 0.2 : 0 };
}

/** Where a unit stands, from 0 to 1; in the middle of the folded ones where it is one of them. */
export function centre(slots: Slots, unit: number): number {
  const place = slots.units.indexOf(unit);
  if (place >= 0) return (slots.share * (place + 0.5)) / slots.units.length;
  const folded = slots.rest.indexOf(unit);
  return folded >= 0 ? slots.share + (slots.restShare * (folded + 0.5)) / slots.rest.length : (slots.share + slots.restShare + 1) / 2;
}

/** The rows of a map so many pixels high: the inputs, from 0, that each stands for. */
export function mapRows(count: number, height: number, most: number): number[][] {
  return pooled(count, Math.min(most, Math.max(8, Math.floor(height / 2))));
}

function pooled(count: number, most: number): number[][] {
  const each = Math.ceil(count / most);
  return Array.from({ length: Math.ceil(count / each) }, (_, row) =>
    Array.from({ length: Math.min(each, count - row * each) }, (_, i) => row * each + i));
}

/** The input, from 0, with the largest |h| of a row of the map. */
export function strongestOf(h: Vector, inputs: number[]): number {
  return inputs.reduce((best, i) => (Math.abs(h[i]!) > Math.abs(h[best]!) ? i : best), inputs[0]!);
}

/** δ with its layer, where it has a number, and unit if one is told. */
export const deltaText = (layer: number | null, unit?: number): string =>
  text(sym("a", ...[layer, unit].filter((n) => n !== null && n !== undefined)), DELTA);
const DELTA: Notation = { y: "ŷ", a: "δ", h: "h", W: "W" };
