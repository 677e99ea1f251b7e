/* Central differences in float64, link by link from the number that moves to the loss, and their verdicts:
   see chainrule/network/differences.py. */
import type { Activation } from "./activations";
import type { Example } from "./chain";
import type { Place, Vector } from "./engine";
import { gradientAt, largestAt, largestOf, norm, preactivation, softmax } from "./engine";
import { inputValue } from "./paths";
import type { Facts } from "./payload";

export type Verdict = "good" | "usual" | "kink" | "underflow" | "wrong";

export interface Check {
  gradient: number;
  difference: number;
  error: number;
  verdict: Verdict;
}

type Bands = Facts["differences"];

/** A difference, the least size to judge its error by, and how far off a kink can make it. */
interface Difference {
  value: number;
  floor: number;
  kink: number;
}

function central(function_: (move: number) => number, step: number): number {
  const near = function_(step) - function_(-step);
  const far = function_(2 * step) - function_(-2 * step);
  return (8 * near - far) / (12 * step);
}

function judge(gradient: number, found: Difference, { tiny, good, usual }: Bands): Check {
  const { value: difference, kink } = found;
  const off = Math.abs(gradient - difference);
  const size = Math.max(Math.abs(gradient), Math.abs(difference), found.floor, tiny);
  const error = Number.isFinite(gradient) && Number.isFinite(difference) ? off / size : NaN;
  let verdict: Verdict = "wrong";
  if (!Number.isFinite(difference)) verdict = "underflow";
  else if (error <= good) verdict = "good";
  else if (kink > 0 && off <= kink + usual * size) verdict = "kink";
  else if (error <= usual) verdict = "usual";
  return { gradient, difference, error, verdict };
}

/** A move ↦ g(a + move), less its limit where g is all but there, so that what is left keeps its digits. */
function besideItsLimit(a: number, { value, tail }: Activation): (move: number) => number {
  return tail && Math.abs(a) > 2 ? (move) => tail(a + move, Math.sign(a)) : (move) => value(a + move);
}

function slopeDifference(a: number, activation: Activation, { step, visible, tiny }: Bands): Difference {
  const g = besideItsLimit(a, activation);
  const size = Math.abs(a);
  const straight = size > Math.max(activation.straight, tiny);
  const h = straight ? size / 16 : step * Math.max(1, size / 100);
  const here = g(0);
  const kink = straight || activation.kink === null ? 0 : Math.abs(g(h) + g(-h) - 2 * here) / (2 * h);
  return { value: central(g, h), floor: visible * Math.abs(here) * (step / h) + tiny, kink };
}

/** Of the loss, when a_layer moves along `direction`, all before it held fixed. */
function lossDifference({ net, f, label, facts }: Example, layer: number, direction: Vector): Difference {
  const bands = facts.differences;
  const { visible, tiny } = bands;
  let moved = direction;
  let floor = new Float64Array(moved.length);
  let jump = new Float64Array(moved.length);
  let lost = moved.reduce((sum, v) => sum + Math.abs(v), 0);
  for (let k = layer; k < net.weights.length; k++) {
    const weights = net.weights[k]!;
    const links = Array.from(f.a[k - 1]!, (a) => slopeDifference(a, net.activation, bands));
    const kinks = moved.map((v, i) => (Math.abs(links[i]!.value) + links[i]!.kink) * jump[i]! + links[i]!.kink * Math.abs(v));
    jump = spread(weights, net.widths[k + 1]!, kinks, (w, v) => Math.abs(w) * v);
    const through = moved.map((v, i) => links[i]!.value * v);
    const unsure = moved.map((v, i) =>
      Math.hypot(links[i]!.value * floor[i]!, links[i]!.floor * v, visible * through[i]!));
    const largest = largestOf(unsure) || 1;
    floor = spread(weights, net.widths[k + 1]!, unsure, (w, v) => (w * (v / largest)) ** 2)
      .map((v) => largest * Math.sqrt(v) + tiny);
    moved = preactivation(weights, new Float64Array(net.widths[k + 1]!), through);
    lost += moved.reduce((sum, v) => sum + Math.abs(v), 0);
  }
  const others = softmax(f.a.at(-1)!).map((p, i) => (i === label ? 0 : p));
  const own = moved[label]!;
  const apart = moved.map((v) => v - own);
  const step = bands.step / Math.max(largestOf(apart), 1e-300);
  // 𝓛(a + move) − 𝓛(a) = log(1 + Σ_{j≠ℓ} ŷ_j (exp(move_j − move_ℓ) − 1)), which keeps its digits however small
  const loss = (h: number): number => Math.log1p(others.reduce((sum, p, i) => sum + p * Math.expm1(h * apart[i]!), 0));
  const unsure = others.map((p, i) =>
    p * Math.hypot(floor[i]!, floor[label]!, visible * Math.max(Math.abs(moved[i]!), Math.abs(own))));
  return {
    value: central(loss, step), floor: norm(unsure) + tiny * lost,
    kink: others.reduce((sum, p, i) => sum + p * (jump[i]! + jump[label]!), 0),
  };
}

/** Σ_j part(W_ij, v_j) for each unit i. */
function spread(weights: Vector, units: number, v: Vector, part: (w: number, v: number) => number): Float64Array<ArrayBuffer> {
  return new Float64Array(units).map((_, unit) => v.reduce((sum, n, j) => sum + part(weights[unit * v.length + j]!, n), 0));
}

/** The largest element of ∂𝓛/∂a of a layer, and its place, counted from 1. */
export function checkLayer(e: Example, layer: number, scale: number): Check & { element: number } {
  const grad = e.b.gradA[layer - 1]!;
  const at = largestAt(grad);
  const direction = new Float64Array(grad.length);
  direction[at] = 1;
  const found = judge(grad[at]!, lossDifference(e, layer, direction), e.facts.differences);
  return { ...scaled(found, scale), element: at + 1 };
}

export function checkPlace(e: Example, place: Place, scale: number): Check {
  const direction = new Float64Array(e.b.gradA[place.layer - 1]!.length);
  direction[place.unit - 1] = inputValue(e.f, place);
  return scaled(judge(gradientAt(e.f, e.b, place), lossDifference(e, place.layer, direction), e.facts.differences), scale);
}

function scaled(check: Check, scale: number): Check {
  return { ...check, gradient: check.gradient * scale, difference: check.difference * scale };
}

/** The gradient by the factors themselves: everything from the weight onwards, summed over all paths. */
export function sumOverPaths({ net, f, b }: Example, place: Place, scale: number): number {
  const depth = net.weights.length;
  let total: Vector = new Float64Array(net.widths[place.layer]!);
  total[place.unit - 1] = inputValue(f, place);
  for (let k = place.layer; k < depth; k++) {
    const through = total.map((v, i) => v * b.slopes[k - 1]![i]!);
    total = preactivation(net.weights[k]!, new Float64Array(net.widths[k + 1]!), through);
  }
  return total.reduce((sum, v, i) => sum + v * b.gradA[depth - 1]![i]!, 0) * scale;
}
