/* The chain as data: groups of factors from the loss back to a weight, each with its number along one path. */
import type { Check } from "./checks";
import { checkLayer, checkPlace, sumOverPaths } from "./checks";
import type { Backward, Forward, Net, Place, Vector } from "./engine";
import { gradientAt } from "./engine";
import { number } from "./numbers";
import type { Paths } from "./paths";
import type { Facts } from "./payload";
import { inputValue, shownPath, strongestPaths } from "./paths";
import type { Notation, Sym } from "./symbols";
import { sym, text, weightSym } from "./symbols";

/** All that is computed of an example. */
export interface Example {
  net: Net;
  f: Forward;
  b: Backward;
  label: number;
  features: string[];
  classes: string[];
  batchSize: number | null;
  facts: Facts;
}

export interface Factor {
  /** where it stands in the drawing: "loss", "softmax", "edges-2", "units-2", "weight", "mean" */
  place: string;
  above: Sym;
  below: Sym;
  value: number;
  meaning: string;
  held: string;
  derivations: string[];
  /** the factor for all units together */
  whole: { above: Sym; below: Sym; shape: number[]; name: string };
  values: Vector;
}

export interface Group {
  kind: "mean" | "output" | "hidden" | "weight";
  heading: string;
  layer: number;
  factors: Factor[];
  reached: Sym;
  gradient: Vector;
  check: Check & { element: number };
}

export interface Chain {
  place: Place;
  symbol: Sym;
  of: Sym;
  groups: Group[];
  product: number;
  fromBackward: number;
  check: Check;
  paths: Paths;
  path: number[];
  pathProduct: number;
}

export const placeSym = (p: Place): Sym =>
  p.input === null ? sym("a", p.layer, p.unit) : weightSym(p.layer, p.unit, p.input);

export const inputName = (e: Example, place: Place, notation: Notation): string =>
  place.layer === 1 ? e.features[place.input! - 1]! : text(sym("h", place.layer - 1, place.input!), notation);

export function chainOf(e: Example, place: Place, fused: boolean, index: number, notation: Notation): Chain {
  const { net, f, b, label } = e;
  const depth = net.weights.length;
  const scale = e.batchSize === null ? 1 : 1 / e.batchSize;
  const paths = strongestPaths(e, place, scale);
  const path = shownPath(net, paths, place, label, index);
  const say = (s: Sym): string => text(s, notation);
  const groups: Group[] = [];
  if (e.batchSize !== null) groups.push(meanGroup(e, scale));
  groups.push(outputGroup(e, path[path.length - 1]!, fused, scale, say));
  for (let k = depth - 1; k >= place.layer; k--) groups.push(hiddenGroup(e, k, path, place.layer, scale, say));
  if (place.input !== null) groups.push(weightGroup(e, place, scale, notation));
  // the output layer's factors as one: apart they may be ∞ and 0
  const fusedValue = b.gradA[depth - 1]![path[path.length - 1]! - 1]!;
  const pathProduct = groups.reduce(
    (product, g) => product * (g.kind === "output" ? fusedValue : g.factors.reduce((p, f) => p * f.value, 1)), 1,
  );
  return {
    place, symbol: placeSym(place), of: sym(e.batchSize === null ? "𝓛" : "J"), groups, paths, path, pathProduct,
    product: sumOverPaths(e, place, scale),
    fromBackward: gradientAt(f, b, place) * scale,
    check: checkPlace(e, place, scale),
  };
}

type Say = (s: Sym) => string;

function meanGroup(e: Example, scale: number): Group {
  const factor: Factor = {
    place: "mean", above: sym("J"), below: sym("𝓛"), value: scale, derivations: [],
    meaning: `1/N of the mean of N = ${e.batchSize} losses`, held: "the other examples' losses",
    whole: { above: sym("J"), below: sym("𝓛"), shape: [], name: "1/N" }, values: Float64Array.of(scale),
  };
  const check = { gradient: scale, difference: scale, error: 0, verdict: "good" as const, element: 1 };
  return {
    kind: "mean", heading: "the batch's mean", layer: e.net.weights.length, factors: [factor], check,
    reached: sym("𝓛"), gradient: factor.values,
  };
}

function outputGroup(e: Example, unit: number, fused: boolean, scale: number, say: Say): Group {
  const { net, f, b, label } = e;
  const [depth, classes] = [net.weights.length, f.p.length];
  const grad = b.gradA[depth - 1]!;
  const [i, y] = [unit - 1, say(sym("y"))];
  const ofClass = i === label ? `the true class “${e.classes[i]}”` : `class “${e.classes[i]}”`;
  const loss: Factor = {
    place: "loss", above: sym("𝓛"), below: sym("y", "ℓ"), value: b.gradP[label]!,
    meaning: `−1/${y}_ℓ: the true class “${e.classes[label]}” has the probability ${number(f.p[label]!, 6)}`,
    held: `the other probabilities: ${y} leaves the simplex`, derivations: ["loss", "gradient_wrt_probabilities"],
    whole: { above: sym("𝓛"), below: sym("y"), shape: [classes], name: `−(1/${y}_ℓ) e(ℓ)` }, values: b.gradP,
  };
  const softmax: Factor = {
    place: "softmax", above: sym("y", "ℓ"), below: sym("a", depth, unit), value: -f.p[label]! * grad[i]!,
    meaning: `${y}_ℓ (𝟙[i=ℓ] − ${y}ᵢ): softmax's Jacobian, its row of the true class, at ${ofClass} with ${number(f.p[i]!, 6)}`,
    held: "the other logits", derivations: ["softmax_jacobian"],
    whole: {
      above: sym("y"), below: sym("a", depth), shape: [classes, classes], name: `softmax's Jacobian ${y}ᵢ(𝟙[i=j] − ${y}ⱼ), its row of the true class`,
    },
    values: grad.map((g) => -f.p[label]! * g),
  };
  const both: Factor = {
    place: "softmax", above: sym("𝓛"), below: sym("a", depth, unit), value: grad[i]!,
    meaning: `${y}ᵢ − 𝟙[i=ℓ]: both factors as one, at ${ofClass} with ${number(f.p[i]!, 6)}`, held: "the other logits",
    derivations: ["gradient_wrt_logits"],
    whole: { above: sym("𝓛"), below: sym("a", depth), shape: [classes], name: `${y} − e(ℓ)` }, values: grad,
  };
  return {
    kind: "output", heading: "the output layer", layer: depth, factors: fused ? [both] : [loss, softmax],
    ...reached(e, depth, scale),
  };
}

function hiddenGroup(e: Example, k: number, path: number[], first: number, scale: number, say: Say): Group {
  const { net, f, b } = e;
  const [width, above] = [net.widths[k]!, net.widths[k + 1]!];
  const [below, unit] = [path[k - first]!, path[k - first + 1]!];
  const w = net.weights[k]!;
  const a = f.a[k - 1]![below - 1]!;
  const matrix: Factor = {
    place: `edges-${k + 1}`, above: sym("a", k + 1, unit), below: sym("h", k, below),
    value: w[(unit - 1) * width + below - 1]!,
    meaning: `the weight ${say(weightSym(k + 1, unit, below))} between them`,
    held: `the other units of ${say(sym("h", k))}`, derivations: ["gradient_wrt_hidden"],
    whole: { above: sym("a", k + 1), below: sym("h", k), shape: [above, width], name: say(sym("W", k + 1)) },
    values: w.length <= e.facts.most.whole ? w : new Float64Array(above).map((_, row) => w[row * width + below - 1]!),
  };
  const slope: Factor = {
    place: `units-${k}`, above: sym("h", k, below), below: sym("a", k, below), value: b.slopes[k - 1]![below - 1]!,
    meaning: `g′ of ${net.activation.name} at ${say(sym("a", k, below))} = ${number(a, 6)}`,
    held: `the other units of ${say(sym("a", k))}`,
    derivations: ["gradient_wrt_preactivations", `derivative_of_${net.activation.name}`],
    whole: { above: sym("h", k), below: sym("a", k), shape: [width, width], name: `g′(${say(sym("a", k))}), diagonal` },
    values: b.slopes[k - 1]!,
  };
  return {
    kind: "hidden", heading: `hidden layer ${k}`, layer: k, factors: [matrix, slope], ...reached(e, k, scale),
  };
}

function weightGroup(e: Example, place: Place, scale: number, notation: Notation): Group {
  const { f, b } = e;
  const value = inputValue(f, place);
  const name = inputName(e, place, notation);
  const below = placeSym(place);
  const factor: Factor = {
    place: "weight", above: sym("a", place.layer, place.unit), below, value,
    meaning: place.layer === 1 ? `its input, “${name}”` : `its input, ${name}`,
    held: "the inputs, the bias and the unit's other weights", derivations: ["gradient_wrt_weights", "one_weight"],
    whole: { above: sym("a", place.layer), below, shape: [], name: `its input, ${name}` }, values: Float64Array.of(value),
  };
  const check = checkPlace(e, place, scale);
  return {
    kind: "weight", heading: "the weight itself", layer: place.layer, factors: [factor], reached: below,
    gradient: Float64Array.of(gradientAt(f, b, place) * scale), check: { ...check, element: 1 },
  };
}

function reached(e: Example, layer: number, scale: number): Pick<Group, "reached" | "gradient" | "check"> {
  const gradient = e.b.gradA[layer - 1]!.map((v) => v * scale);
  return { reached: sym("a", layer), gradient, check: checkLayer(e, layer, scale) };
}
