/* The activations of a hidden unit and their derivatives, by the formulas of chainrule/activations.py. */

/** What that table says of one, and the page cannot tell from g. */
export interface Row {
  name: string;
  kink: [number, number] | null;
  straight: number;
  steepest: number | null;
}

interface Formula {
  value(a: number): number;
  slope(a: number): number;
  /** g less its limit below (side −1) or above (1), to its last digit, of those that near two */
  tail?(a: number, side: number): number;
}

export type Activation = Row & Formula;

function logistic(a: number): number {
  const e = Math.exp(-Math.abs(a)); // never of a positive number: no overflow
  return a >= 0 ? 1 / (1 + e) : e / (1 + e);
}

function logisticSlope(a: number): number {
  const e = Math.exp(-Math.abs(a));
  return e / ((1 + e) * (1 + e));
}

/** 1 − erf(x), to its last digits also where it is small: 1 less the series of erf, whose terms are all positive, and
 * from 1.5 on the continued fraction. */
export function erfc(x: number): number {
  if (Number.isNaN(x)) return x;
  const size = Math.abs(x);
  if (size < 1.5) {
    let term = size;
    let sum = size;
    for (let n = 1; term > sum * 1e-18 && n < 200; n++) {
      term *= (2 * size * size) / (2 * n + 1);
      sum += term;
    }
    const erf = sum * (2 / Math.sqrt(Math.PI)) * Math.exp(-size * size);
    return x < 0 ? 1 + erf : 1 - erf;
  }
  let below = size;
  for (let n = 150; n > 0; n--) below = size + n / 2 / below;
  const tail = Math.exp(-size * size) / (Math.sqrt(Math.PI) * below);
  return x < 0 ? 2 - tail : tail;
}

const normal = (a: number): number => 0.5 * erfc(-a * Math.SQRT1_2);

function density(a: number): number {
  return Math.exp(-0.5 * a * a) / Math.sqrt(2 * Math.PI);
}

const FORMULAS: Record<string, Formula> = {
  identity: { value: (a) => a, slope: () => 1 },
  tanh: { value: Math.tanh, slope: (a) => 4 * logisticSlope(2 * a), tail: (a, side) => -2 * side * logistic(-2 * side * a) },
  logistic: { value: logistic, slope: logisticSlope, tail: (a, side) => -side * logistic(-side * a) },
  gelu: {
    value: (a) => a * normal(a),
    slope: (a) => {
      const near = Math.min(Math.max(a, -40), 40); // the density is 0 beyond
      return normal(a) + near * density(near);
    },
  },
  silu: { value: (a) => a * logistic(a), slope: (a) => logistic(a) + a * logisticSlope(a) },
  softplus: { value: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))), slope: logistic },
};

/** Two straight lines that meet at 0: relu, leaky_relu. */
const kinked = ([below, above]: [number, number]): Formula => ({
  value: (a) => (a > 0 ? above * a : a <= 0 && below === 0 ? 0 : below * a), // 0 · ∞ is not 0
  slope: (a) => (a > 0 ? above : below),
});

export const activation = (row: Row): Activation => ({ ...row, ...(FORMULAS[row.name] ?? kinked(row.kink!)) });
