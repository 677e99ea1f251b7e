/* The two routes to ∂𝓛/∂a as float32 takes them, every step rounded, and as they truly are. */
import { gradLogits, softmax, type Vector } from "./engine";

const round = Math.fround;

export interface Route {
  p: Vector;
  /** −1/ŷ_ℓ */
  byProbability: number;
  /** the label's row of softmax's Jacobian */
  row: Vector;
  /** their product: the first route */
  product: Vector;
  /** ŷ − e(ℓ) as it is usually computed */
  fused: Vector;
}

/** In float32, as an ordinary implementation computes. */
export function inFloat32(logits: ArrayLike<number>, label: number): Route {
  const single = Float64Array.from(logits, round);
  const largest = single.reduce((m, v) => Math.max(m, v), -Infinity);
  const e = single.map((v) => round(Math.exp(round(v - largest))));
  const sum = e.reduce((s, v) => round(s + v), 0);
  const p = e.map((v) => round(v / sum));
  const byProbability = round(-1 / p[label]!);
  const row = p.map((v, i) => round(p[label]! * round((i === label ? 1 : 0) - v)));
  return {
    p, byProbability, row, product: row.map((v) => round(byProbability * v)),
    fused: p.map((v, i) => (i === label ? round(v - 1) : v)),
  };
}

/** In float64, ŷ − e(ℓ) without cancelling. */
export function inFloat64(logits: Vector, label: number): Route {
  const [p, fused] = [softmax(logits), gradLogits(logits, label)];
  const byProbability = -1 / p[label]!;
  const row = fused.map((g) => -p[label]! * g);
  return { p, byProbability, row, product: row.map((v) => byProbability * v), fused };
}

/** ŷ_i (𝟙[i=j] − ŷ_j), of the classes that are told, from 0; on the diagonal by the others' sum. */
export function jacobian(logits: Vector, classes: number[]): number[][] {
  const p = softmax(logits);
  return classes.map((i) => {
    const grad = gradLogits(logits, i); // −(𝟙[i=j] − ŷ_j)
    return classes.map((j) => -p[i]! * grad[j]!);
  });
}

/** Where the ways break: of margins from low to high, the runs that each gives the same word. */
export function breaks(low: number, high: number, step: number): { from: number; to: number; word: string }[] {
  const found: { from: number; to: number; word: string }[] = [];
  for (let margin = low; margin <= high; margin += step) {
    const { product, fused } = inFloat32([0, margin], 1);
    const first = product[1]!;
    const word = Number.isNaN(first) ? "NaN" : !Number.isFinite(first) ? "−∞" : fused[1] === 0 ? "0" : "";
    const last = found.at(-1);
    if (last && last.word === word) last.to = margin;
    else found.push({ from: margin, to: margin, word });
  }
  return found.filter(({ word }) => word !== "");
}
