/* Why a gradient is as large as it is, and what else is worth knowing: the sentences of chainrule/explain/findings.py. */
import type { Chain, Example } from "./chain";
import { inputName, placeSym } from "./chain";
import type { Place, Vector } from "./engine";
import { gradLogits, norm, softmax } from "./engine";
import { inFloat32 } from "./float32";
import { number, probability } from "./numbers";
import { inputValue } from "./paths";
import type { Notation } from "./symbols";
import { sym, text, weightSym } from "./symbols";

const rms = (v: Vector): number => norm(v) / Math.sqrt(v.length);

export function why(e: Example, chain: Chain, notation: Notation): string {
  const { b, f, net } = e;
  const place = chain.place;
  const delta = b.gradA[place.layer - 1]!;
  const own = delta[place.unit - 1]!;
  const a = text(sym("a", place.layer, place.unit), notation);
  const symbol = text(placeSym(place), notation);
  const value = inputValue(f, place);
  const { batchSize } = e;
  const gradient = own * value * (batchSize === null ? 1 : 1 / batchSize);
  const name = !place.input ? "" : inputName(e, place, notation);
  if (!Number.isFinite(gradient)) return `${symbol} has no gradient here: the numbers have left the range of float64.`;
  const strongest = chain.paths.strongest[0];
  if (value !== 0 && strongest && (chain.paths.cancels || gradient === 0)) {
    // of the true class, not of the strongest path: which of two that cancel is stronger may be rounding too
    const error = outputPart(e, place, null);
    const size = number(Math.abs(strongest.product), 3);
    return `${symbol} has the gradient 0, but for rounding: its paths are open and cancel, the largest ±${size}; ${error}.`;
  }
  if (gradient === 0) return `${symbol} has the gradient 0: ${whyNothing(e, place, value, name)}.`;
  const path = strongest?.units ?? null;
  const parts = [outputPart(e, place, path)];
  if (place.layer < net.weights.length) {
    if (path) parts.push(pathPart(e, place.layer, path, notation));
    const large = times(e, own, delta);
    if (large) parts.push(`∂𝓛/∂${a} is ${large} of its layer`);
  }
  if (place.input) {
    const large = times(e, value, f.h[place.layer - 1]!);
    if (large) parts.push(`its input is ${large} of ${place.layer === 1 ? "the inputs" : "its layer"}`);
  }
  const mean = batchSize === null ? "" : `1/${batchSize} × `;
  let split = !place.input ? "" : ` = ${mean}${number(own, 3)} (∂𝓛/∂${a}) × ${number(value, 3)} (its input, ${name})`;
  if (!place.input && mean) split = ` = ${mean}${number(own, 3)}`;
  return `${symbol} has the gradient ${number(gradient, 3)}${split}: ${parts.join("; ")}.`;
}

function whyNothing(e: Example, place: Place, value: number, name: string): string {
  if (place.layer < e.net.weights.length && e.b.slopes[place.layer - 1]![place.unit - 1] === 0) {
    return `its unit is off on this example (a = ${number(e.f.a[place.layer - 1]![place.unit - 1]!, 3)})`;
  }
  if (e.b.gradA.at(-1)!.every((v) => v === 0)) return "ŷ is e(ℓ), and there is nothing left to learn";
  const own = e.b.gradA[place.layer - 1]![place.unit - 1]!;
  if (place.layer === e.net.weights.length && own === 0) return `the network gives “${e.classes[place.unit - 1]}” the probability 0, which is right`;
  return value === 0 ? `its input, ${name}, is 0` : "no path from it to the loss is open";
}

function outputPart(e: Example, place: Place, path: number[] | null): string {
  const depth = e.net.weights.length;
  const i = place.layer === depth ? place.unit - 1 : path ? path[path.length - 1]! - 1 : e.label;
  const p = e.f.p[i]!;
  const target = i === e.label ? 1 : 0;
  const miss = Math.abs(p - target);
  const { large_error, small_error } = e.facts.findings;
  const given = probability(p, -gradLogits(e.f.a[depth - 1]!, i)[i]!, 3);
  const size = miss > large_error ? "a large error" : miss < small_error ? "a small error" : "an error";
  return (
    `the network gives ${target ? "the true class " : ""}“${e.classes[i]}” the probability ${given} where ` +
    `${target} is right, ${size} of ${number(e.b.gradA[depth - 1]![i]!, 3)}`
  );
}

function pathPart(e: Example, layer: number, walk: number[], notation: Notation): string {
  let best = { ratio: -1, value: 0, name: "" };
  for (let k = layer; k < e.net.weights.length; k++) {
    const w = e.net.weights[k]!;
    const [below, above] = [walk[k - layer]!, walk[k - layer + 1]!];
    const value = w[(above - 1) * e.net.widths[k]! + below - 1]!;
    const size = rms(w);
    const ratio = size ? Math.abs(value) / size : 0;
    if (ratio >= best.ratio) best = { ratio, value, name: text(weightSym(k + 1, above, below), notation) };
  }
  const large = best.ratio > e.facts.findings.large ? `, ${number(best.ratio, 2)} times the root mean square of its layer` : "";
  return `its strongest path back goes by ${best.name} = ${number(best.value, 3)}${large}`;
}

function times({ facts }: Example, value: number, layer: Vector): string {
  const size = rms(layer);
  if (size === 0 || Math.abs(value) <= facts.findings.large * size) return "";
  const largest = layer.every((v) => Math.abs(v) <= Math.abs(value)) ? " and the largest" : "";
  return `${number(Math.abs(value) / size, 2)} times the root mean square${largest}`;
}

/** Probable wrong label, learned, dead or saturated units, gradients that vanish or explode, float32's failures. */
export function findings(e: Example): string[] {
  const out = e.f.a.findIndex((a) => a.some((v) => !Number.isFinite(v)));
  if (out >= 0) {
    return [
      `The numbers have left the range of float64 in layer ${out + 1}, and there is no gradient to explain. Reset all ` +
        "brings the example and the weights back.",
    ];
  }
  return [...ofLabel(e), ...ofUnits(e), ...ofDrift(e), ...ofFloat32(e)];
}

function ofLabel({ f, label, classes, b, facts }: Example): string[] {
  const p = softmax(f.a.at(-1)!);
  let other = label === 0 && p.length > 1 ? 1 : 0;
  p.forEach((v, i) => {
    if (i !== label && v > p[other]!) other = i;
  });
  if (other !== label && p[other]! > facts.findings.wrong_label) {
    const likely = probability(p[other]!, -gradLogits(f.a.at(-1)!, other)[other]!, 4);
    return [
      `The label may be wrong: the network gives “${classes[other]}” the probability ${likely} and ` +
        `the label “${classes[label]}” ${number(p[label]!, 3)}.`,
    ];
  }
  if (p[label]! > facts.findings.learned) {
    return [
      `There is little left to learn here: the label “${classes[label]}” has the probability ` +
        `${probability(p[label]!, -b.gradA.at(-1)![label]!, 6)}, and ‖ŷ − e(ℓ)‖ is ${number(norm(b.gradA.at(-1)!), 3)}.`,
    ];
  }
  return [];
}

function ofUnits({ net, b, facts }: Example): string[] {
  const { kink, steepest } = net.activation;
  const bands = facts.findings;
  const least = bands.saturated * (steepest ?? 0);
  return b.slopes.flatMap((slopes, index) => {
    const [k, width] = [index + 1, slopes.length];
    const dead = slopes.filter((s) => s === 0).length;
    if (kink?.[0] === 0 && dead >= bands.dead_share * width) {
      const closed = dead === width ? " No gradient passes to the layers before it." : "";
      return [`${dead} of the ${width} ReLUs of hidden layer ${k} are dead on this example (a ≤ 0).${closed}`];
    }
    const flat = slopes.filter((s) => s < least).length;
    if (least && flat >= bands.saturated_share * width) {
      return [
        `${flat} of the ${width} units of hidden layer ${k} are saturated: g′ is below ${number(least, 6)} and lets ` +
          "almost no gradient through.",
      ];
    }
    return [];
  });
}

function ofDrift({ b, facts }: Example): string[] {
  const norms = b.gradA.map(norm);
  const [first, last] = [norms[0]!, norms.at(-1)!];
  const ratio = first / last;
  const { drift } = facts.findings;
  if (norms.length < 2 || last === 0 || (ratio >= 1 / drift && ratio <= drift)) return [];
  return [
    `The gradient ${ratio < 1 ? "shrinks" : "grows"} on its way back: ‖∂𝓛/∂a‖ is ${number(last, 3)} at the output ` +
      `layer and ${number(first, 3)} at layer 1, ${number(ratio, 3)} times as much.`,
  ];
}

/** Where the ordinary ways to ∂𝓛/∂a break in float32, with the numbers that float32 gives. */
function ofFloat32({ f, label }: Example): string[] {
  const logits = f.a.at(-1)!;
  const exact = gradLogits(logits, label)[label]!;
  const { p, byProbability, row, product, fused } = inFloat32(logits, label);
  const ell = p[label]!;
  const found: string[] = [];
  if (product.some((v) => !Number.isFinite(v))) {
    found.push(
      `Through the probabilities, float32 breaks: the label's ŷ is ${number(ell, 3)}, −1/ŷ is ` +
        `${number(byProbability, 3)}, and times its row of the Jacobian, ${number(row[label]!, 3)} at the label, that is ` +
        `${number(product[label]!, 3)}. Nobody computes it so: ŷ − e(ℓ), both factors as one, is ${number(exact, 6)} at ` +
        "the label.",
    );
  }
  if (fused[label] === 0 && exact !== 0) {
    found.push(
      "In float32 an ordinary implementation rounds this example's gradient at the label to zero: softmax is 1, and " +
        `1 − 1 = 0, where −(1 − ŷ) is ${number(exact, 6)}.`,
    );
  }
  return found;
}
