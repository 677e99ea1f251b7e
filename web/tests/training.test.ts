/* Training in the page, step by step against what `fit` does in Python (fixture.py). */
import { describe, expect, test } from "vitest";
import { activation, type Row } from "../src/activations";
import { readRun } from "../src/train";
import { anew, batchOf, orderOf, type Plan, type Rule, scoreOf, Training } from "../src/training";
import { ticks } from "../src/curves";
import { latexText } from "../src/latex";
import fixture from "./training.json";

function near(got: ArrayLike<number>, want: number[]): void {
  const largest = Math.max(...want.map(Math.abs));
  expect(got.length).toBe(want.length);
  want.forEach((value, i) => expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(1e-9 * largest));
}

function of(one: (typeof fixture)[number]) {
  const net = {
    widths: one.widths, activation: activation(one.facts.activation as Row),
    weights: one.weights.map((w) => Float64Array.from(w)), biases: one.biases.map((b) => Float64Array.from(b)),
  };
  const rows = { x: one.rows.map((x) => Float64Array.from(x)), labels: one.labels, numbers: one.labels };
  const [layer, unit, input] = one.place as [number, number, number];
  const plan: Plan = { batch: 8, lr: one.lr, rule: one.rule as Rule, seed: 0 };
  const rules = one.rules as { momentum: number; betas: [number, number]; eps: number };
  return { net, rows, place: { layer, unit, input }, plan, rules };
}

describe.each(fixture.map((one) => ({ name: `${one.rule} ${one.widths.join("-")}`, one })))("$name", ({ one }) => {
  test("every step is fit's", () => {
    const { net, rows, place, plan, rules } = of(one);
    const training = new Training(net, rows, rows, plan, rules, place, (step) => one.steps[step]!.batch);
    for (const want of one.steps) {
      const before = scoreOf(training.net, rows)!;
      const got = training.step();
      near(got.losses, want.losses);
      near([got.loss, got.accuracy], [want.loss, want.accuracy]);
      near(got.pulls, want.pulls);
      near([got.gradient], [want.pulls.reduce((sum, v) => sum + v, 0) / want.pulls.length]);
      expect(got.held).toEqual(before);
      const parameters = training.parameters();
      want.parameters.forEach((part, n) => near(parameters[n]!, part));
    }
    expect(Array.from(net.weights[0]!)).toEqual(one.weights[0]); // the network that came is as it was
  });
});

test("a step's batch is its epoch's, each row once", () => {
  const plan: Plan = { batch: 8, lr: 1, rule: "sgd", seed: 3 };
  const epoch = [0, 1, 2].map((step) => batchOf(20, plan, step));
  expect(epoch.map((batch) => batch.length)).toEqual([8, 8, 4]);
  expect(epoch.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
  expect(orderOf(20, 3, 0)).not.toEqual(orderOf(20, 3, 1));
  expect(orderOf(20, 3, 0)).not.toEqual(orderOf(20, 4, 0));
});

test("new weights have the variance of their layer", () => {
  const { net } = of(fixture[0]!);
  const wide = { ...net, widths: [200, 300, 100], weights: [new Float64Array(60000), new Float64Array(30000)], biases: [new Float64Array(300), new Float64Array(100)] };
  const made = anew(wide, 2, 1);
  const variance = (w: Float64Array): number => w.reduce((sum, v) => sum + v * v, 0) / w.length;
  expect(variance(made.weights[0]!) / (2 / 200)).toBeCloseTo(1, 1);
  expect(variance(made.weights[1]!) / (1 / 300)).toBeCloseTo(1, 1);
  expect(made.biases.every((b) => b.every((v) => v === 0))).toBe(true);
});

test("what a link says of a run, and what it may not say", () => {
  expect(readRun("12:16:0.5:sgd:7:page", 160)).toEqual({ steps: 12, batch: 16, lr: 0.5, rule: "sgd", seed: 7, fresh: false });
  const first = { steps: 1, batch: 32, lr: 0.01, rule: "adam", seed: 1, fresh: true };
  for (const told of [null, "", "0:0:-1:constructor:-3:x", "1e9:999:Infinity:RMS:a", "%:%"]) expect(readRun(told, 160)).toEqual(first);
});

test("round numbers for an axis", () => {
  expect(ticks(-0.042, 0.011)).toEqual([-0.04, -0.02, 0]);
  expect(ticks(0, 1)).toEqual([0, 0.5, 1]);
});

test("words and numbers as LaTeX", () => {
  const known: [string, string][] = [
    ["−1.2e−05", "$-1.2\\cdot 10^{-5}$"], ["3.4e+12", "$3.4\\cdot 10^{12}$"], ["0.25", "$0.25$"], ["a_1 & 100 %", "a\\_1 \\& 100 \\%"],
    ["x\\y^2 ~", "x\\textbackslash{}y\\textasciicircum{}2 \\textasciitilde{}"], ["W₁,₂,₁₀", "$W_{1,2,10}$"], ["“cat”", "``cat''"], ["∂𝓛", "$\\partial \\mathcal{L}$"],
  ];
  for (const [words, written] of known) expect(latexText(words)).toBe(written);
});
