/* Forward, backward and one gradient step for one example, in float64, by the formulas of chainrule/equations. */
import type { Activation } from "./activations";

export type Vector = Float64Array;

/** weights[k] is W_{k+1}, row by row: row = unit, column = its input. */
export interface Net {
  widths: number[];
  activation: Activation;
  weights: Vector[];
  biases: Vector[];
}

export interface Forward {
  /** a_1 … a_L */
  a: Vector[];
  /** h_0 = x … h_{L−1} */
  h: Vector[];
  p: Vector;
}

export interface Backward {
  loss: number;
  /** ∂𝓛/∂ŷ */
  gradP: Vector;
  /** ∂𝓛/∂a_1 … ∂𝓛/∂a_L */
  gradA: Vector[];
  /** ∂𝓛/∂x, ∂𝓛/∂h_1 … ∂𝓛/∂h_{L−1} */
  gradH: Vector[];
  /** g′(a_1) … g′(a_{L−1}) */
  slopes: Vector[];
}

/** W h + b. */
export function preactivation(weight: Vector, bias: Vector, h: Vector): Vector {
  const width = h.length;
  return bias.map((b, unit) => {
    let sum = 0;
    for (let i = 0, at = unit * width; i < width; i++, at++) sum += weight[at]! * h[i]!;
    return sum + b;
  });
}

/** Wᵀ v. */
export function transposed(weight: Vector, v: Vector, width: number): Vector {
  const out = new Float64Array(width);
  v.forEach((value, unit) => {
    for (let i = 0, at = unit * width; i < width; i++, at++) out[i]! += weight[at]! * value;
  });
  return out;
}

function exponentials(logits: Vector): Vector {
  const largest = logits.reduce((m, a) => Math.max(m, a), -Infinity);
  return logits.map((a) => Math.exp(a - largest));
}

export function softmax(logits: Vector): Vector {
  const e = exponentials(logits);
  const sum = e.reduce((s, v) => s + v, 0);
  return e.map((v) => v / sum);
}

function ofOthers(e: Vector, label: number): number {
  return e.reduce((sum, v, i) => (i === label ? sum : sum + v), 0);
}

/** −log ŷ_ℓ: log1p of the others where the label's logit is the largest, so that nothing cancels. */
export function lossOf(logits: Vector, label: number): number {
  const e = exponentials(logits);
  const others = ofOthers(e, label);
  const below = logits.reduce((m, a) => Math.max(m, a), -Infinity) - logits[label]!;
  return below === 0 ? Math.log1p(others) : below + Math.log(others + e[label]!);
}

/** ŷ − e(ℓ), with minus the sum of the others at the label, never ŷ_ℓ − 1. */
export function gradLogits(logits: Vector, label: number): Vector {
  const e = exponentials(logits);
  const others = ofOthers(e, label);
  const sum = others + e[label]!;
  return e.map((v, i) => (i === label ? -others / sum : v / sum));
}

export function forward(net: Net, x: Vector): Forward {
  const g = net.activation.value;
  const a: Vector[] = [];
  const h: Vector[] = [x];
  net.weights.forEach((w, k) => {
    a.push(preactivation(w, net.biases[k]!, h[k]!));
    if (k + 1 < net.weights.length) h.push(a[k]!.map((v) => g(v)));
  });
  return { a, h, p: softmax(a[a.length - 1]!) };
}

export function backward(net: Net, f: Forward, label: number): Backward {
  const depth = net.weights.length;
  const { slope } = net.activation;
  const slopes = f.a.slice(0, -1).map((a) => a.map((v) => slope(v)));
  const logits = f.a[depth - 1]!;
  const gradA: Vector[] = [];
  const gradH: Vector[] = [];
  gradA[depth - 1] = gradLogits(logits, label);
  for (let k = depth - 1; k >= 0; k--) {
    gradH[k] = transposed(net.weights[k]!, gradA[k]!, net.widths[k]!);
    if (k > 0) gradA[k - 1] = gradH[k]!.map((v, i) => v * slopes[k - 1]![i]!);
  }
  const gradP = f.p.map((v, i) => (i === label ? -1 / v : 0));
  return { loss: lossOf(logits, label), gradP, gradA, gradH, slopes };
}

export function norm(v: Vector): number {
  return Math.sqrt(v.reduce((sum, n) => sum + n * n, 0));
}

export interface Step {
  net: Net;
  /** 𝓛 − lr ‖∇𝓛‖², over all weights and biases */
  predicted: number;
  after: number;
}

/** θ ← θ − lr ∇𝓛; the old network is left as it is. */
export function step(net: Net, f: Forward, b: Backward, label: number, lr: number): Step {
  let squared = 0;
  const weights = net.weights.map((w, k) => {
    const d = b.gradA[k]!;
    const h = f.h[k]!;
    squared += norm(d) ** 2 * (norm(h) ** 2 + 1);
    const moved = w.slice();
    d.forEach((v, unit) => {
      const scaled = lr * v;
      for (let i = 0, at = unit * h.length; i < h.length; i++, at++) moved[at]! -= scaled * h[i]!;
    });
    return moved;
  });
  const biases = net.biases.map((bias, k) => bias.map((v, unit) => v - lr * b.gradA[k]![unit]!));
  const moved = { ...net, weights, biases };
  return { net: moved, predicted: b.loss - lr * squared, after: lossOf(forward(moved, f.h[0]!).a.at(-1)!, label) };
}

/** A weight; a unit's bias where input is 0, its pre-activation where that is null. Layer, unit and input are counted from
 * 1, as in W_111. */
export interface Place {
  layer: number;
  unit: number;
  input: number | null;
}

export function gradientAt(f: Forward, b: Backward, place: Place): number {
  const own = b.gradA[place.layer - 1]![place.unit - 1]!;
  return !place.input ? own : own * f.h[place.layer - 1]![place.input - 1]!;
}

export function largestAt(v: Vector): number {
  let best = 0;
  v.forEach((n, i) => {
    if (Math.abs(n) > Math.abs(v[best]!)) best = i;
  });
  return best;
}

/** The largest |element|. */
export function largestOf(v: Vector): number {
  return v.reduce((m, n) => Math.max(m, Math.abs(n)), 0);
}

/** The weight with the largest |gradient|: of an outer product, where both sides are largest. */
export function strongestWeight(f: Forward, b: Backward): Place {
  let best: Place | null = null;
  b.gradA.forEach((d, k) => {
    const place = { layer: k + 1, unit: largestAt(d) + 1, input: largestAt(f.h[k]!) + 1 };
    if (best === null || Math.abs(gradientAt(f, b, place)) > Math.abs(gradientAt(f, b, best))) best = place;
  });
  return best!;
}
