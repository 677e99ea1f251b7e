/* Everything that the page computes, against what Python gives for the same networks (fixture.py). */
import { describe, expect, test } from "vitest";
import { activation, erfc, type Row } from "../src/activations";
import { chainOf } from "../src/chain";
import { backward, forward, step, strongestWeight, type Net } from "../src/engine";
import { findings, why } from "../src/findings";
import { number } from "../src/numbers";
import type { Facts } from "../src/payload";
import { story } from "../src/story";
import { LECTURE } from "../src/symbols";
import cancelling from "./cancelling.json";
import fixture from "./fixture.json";

type Case = (typeof fixture)[number];
type Given = Omit<(typeof cancelling)[number], "chains">;

function near(got: ArrayLike<number>, want: ArrayLike<unknown>, relative = 1e-12): void {
  const numbers = Array.from(want, Number);
  const largest = Math.max(...numbers.filter(Number.isFinite).map(Math.abs), 0);
  expect(got.length).toBe(numbers.length);
  numbers.forEach((value, i) => {
    if (Number.isFinite(value)) expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(relative * (largest || 1e-300));
    else expect(got[i]).toBe(value);
  });
}

function example(one: Given | Case) {
  const net: Net = {
    widths: one.widths, activation: activation(one.facts.activation as Row),
    weights: one.weights.map((w) => Float64Array.from(w)), biases: one.biases.map((b) => Float64Array.from(b)),
  };
  const f = forward(net, Float64Array.from(one.x));
  const b = backward(net, f, one.label);
  return { net, f, b, label: one.label, features: one.features, classes: one.classes, batchSize: one.batchSize, facts: one.facts as Facts };
}

describe.each(fixture.map((one, index) => ({ index, name: `${one.facts.activation.name} ${one.widths.join("-")}`, one })))(
  "$index: $name",
  ({ one }) => {
    const e = example(one);

    test("forward and backward", () => {
      near(e.f.p, one.p);
      expect(Math.abs(e.b.loss - one.loss)).toBeLessThanOrEqual(1e-12 * one.loss);
      near(e.b.gradP, one.gradP);
      one.gradA.forEach((grad, k) => near(e.b.gradA[k]!, grad));
      one.gradH.forEach((grad, k) => near(e.b.gradH[k]!, grad));
      expect(Object.values(strongestWeight(e.f, e.b))).toEqual(one.strongest);
    });

    test("a gradient step", () => {
      const taken = step(e.net, e.f, e.b, one.label, 0.1);
      expect(taken.predicted).toBeCloseTo(Number(one.step.predicted_loss), 11);
      expect(taken.after).toBeCloseTo(Number(one.step.true_loss), 11);
      expect(e.net.weights[0]![0]).toBe(one.weights[0]![0]); // the old network is as it was
    });

    test("chains, their paths, checks and reasons", () => {
      for (const want of one.chains) {
        const [layer, unit, input] = want.place as [number, number, number | null];
        const chain = chainOf(e, { layer, unit, input }, LECTURE);
        near([chain.product, chain.fromBackward], [want.product, want.product]);
        expect(chain.check.verdict).toBe(want.verdict);
        // a difference of losses of size 1 is right to about 1e-12
        expect(Math.abs(chain.check.difference - want.difference)).toBeLessThanOrEqual(
          1e-7 * Math.abs(want.difference) + 1e-11,
        );
        expect(chain.groups.map((g) => [g.heading, g.check.verdict, g.check.element])).toEqual(
          want.groups.map((g) => g.slice(0, 3)),
        );
        expect(chain.paths.strongest.map((p) => p.units)).toEqual(want.paths.map((p) => p[0]));
        near(chain.paths.strongest.map((p) => p.product), want.paths.map((p) => p[1]));
        expect(chain.paths.count).toBe(want.count);
        expect(chain.paths.cancels).toBe(false);
        near([chain.paths.share], [want.share]);
        expect(why(e, chain, LECTURE)).toBe(want.why);
        expect(story(e, chain.place, "", LECTURE)).toBe(want.story);
      }
    });

    test("findings", () => expect(findings(e)).toEqual(one.findings));
  },
);

test("open paths that cancel, whatever rounding leaves of their sum", () => {
  for (const one of cancelling) {
    const e = example(one);
    for (const want of one.chains) {
      const [layer, unit, input] = want.place as [number, number, number | null];
      const chain = chainOf(e, { layer, unit, input }, LECTURE);
      expect(chain.paths.cancels).toBe(true);
      expect([chain.paths.share, ...chain.paths.strongest.map((path) => path.share)].every((share) => share === 0)).toBe(true);
      expect(why(e, chain, LECTURE)).toBe(want.why);
    }
  }
});

test("erfc where its two formulas meet, and in its tail", () => {
  // mpmath.erfc in 40 digits
  const known: [number, number][] = [[-1, 1.8427007929497148], [0.5, 0.4795001221869535], [1.4999, 0.03390674833770473], [1.5001, 0.033882962279582506], [2.9, 4.109787809945886e-05], [6, 2.1519736712498913e-17], [12, 1.3562611692059042e-64], [-4, 1.999999984582742]];
  for (const [x, value] of known) near([erfc(x)], [value], 1e-14);
  expect([erfc(0), erfc(30), erfc(-30)]).toEqual([1, 0, 2]);
});

test("a number halfway between two is written as Python writes it", () => {
  // format(value, f".{digits}g") of Python 3.11
  const known: [number, number, string][] = [
    [0.3125, 3, "0.312"], [0.1875, 3, "0.188"], [-0.5625, 3, "−0.562"], [2.5, 1, "2"], [3.5, 1, "4"], [1.5e-5, 1, "2e−05"],
    [0.15, 1, "0.1"], [0.35, 1, "0.3"], [1234.5, 4, "1234"], [12345, 4, "1.234e+04"], [5e-324, 3, "4.94e−324"],
  ];
  for (const [value, digits, text] of known) expect(number(value, digits)).toBe(text);
});
