/* The chain as data: groups of factors from the loss back to a weight, as matrices and vectors, each checked. */
import type { Check } from "./checks";
import { checkLayer, checkPlace, sumOverPaths } from "./checks";
import type { Backward, Forward, Net, Place, Vector } from "./engine";
import { gradientAt } from "./engine";
import { inputValue, type Paths, shownPath, strongestPaths } from "./paths";
import type { Facts } from "./payload";
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

/** A factor for all units of its layer together. */
export interface Factor {
  above: Sym;
  below: Sym;
  name: string;
  shape: number[];
  /** all its numbers; of a large matrix one row or column, of a diagonal one its diagonal */
  values: Vector;
  matrix: boolean;
  derivations: string[];
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
}

export const scaleOfBatch = (e: Example): number => (e.batchSize === null ? 1 : 1 / e.batchSize);

export function placeSym(p: Place): Sym {
  if (p.input === null) return sym("a", p.layer, p.unit);
  return p.input === 0 ? sym("b", p.layer, p.unit) : weightSym(p.layer, p.unit, p.input);
}

export function inputName(e: Example, place: Place, notation: Notation): string {
  if (!place.input) return "1";
  return place.layer === 1 ? e.features[place.input - 1]! : text(sym("h", place.layer - 1, place.input), notation);
}

export function chainOf(e: Example, place: Place, notation: Notation): Chain {
  const { net, f, b, label } = e;
  const scale = scaleOfBatch(e);
  const paths = strongestPaths(e, place, scale);
  const path = shownPath(net, paths, place, label);
  const say = (s: Sym): string => text(s, notation);
  const groups: Group[] = [];
  if (e.batchSize !== null) groups.push(meanGroup(e, scale));
  groups.push(outputGroup(e, scale, say));
  for (let k = net.weights.length - 1; k >= place.layer; k--) groups.push(hiddenGroup(e, k, path[k - place.layer]!, scale, say));
  if (place.input) groups.push(weightGroup(e, place, scale, notation));
  return {
    place, symbol: placeSym(place), of: sym(e.batchSize === null ? "𝓛" : "J"), groups, paths,
    product: sumOverPaths(e, place, scale), fromBackward: gradientAt(f, b, place) * scale, check: checkPlace(e, place, scale),
  };
}

type Say = (s: Sym) => string;

function meanGroup(e: Example, scale: number): Group {
  const values = Float64Array.of(scale);
  const factor: Factor = {
    above: sym("J"), below: sym("𝓛"), name: `1/N of the mean of N = ${e.batchSize} losses`, shape: [], values, matrix: false, derivations: [],
  };
  const check = { gradient: scale, difference: scale, error: 0, verdict: "good" as const, element: 1 };
  return { kind: "mean", heading: "the batch's mean", layer: e.net.weights.length, factors: [factor], check, reached: sym("𝓛"), gradient: values };
}

function outputGroup(e: Example, scale: number, say: Say): Group {
  const { net, f, b, label } = e;
  const [depth, classes, y] = [net.weights.length, f.p.length, say(sym("y"))];
  const loss: Factor = {
    above: sym("𝓛"), below: sym("y"), name: `−(1/${y}_ℓ) e(ℓ)`, shape: [classes], values: b.gradP, matrix: false,
    derivations: ["loss", "gradient_wrt_probabilities"],
  };
  const softmax: Factor = {
    above: sym("y"), below: sym("a", depth), name: `softmax's Jacobian ${y}ᵢ(𝟙[i=j] − ${y}ⱼ), its row of the true class`,
    shape: [classes, classes], values: b.gradA[depth - 1]!.map((g) => -f.p[label]! * g), matrix: true,
    derivations: ["softmax_jacobian", "gradient_wrt_logits"],
  };
  return { kind: "output", heading: "the output layer", layer: depth, factors: [loss, softmax], ...reached(e, depth, scale) };
}

function hiddenGroup(e: Example, k: number, unit: number, scale: number, say: Say): Group {
  const { net, b } = e;
  const [width, above, w] = [net.widths[k]!, net.widths[k + 1]!, net.weights[k]!];
  const whole = w.length <= e.facts.most.whole;
  const matrix: Factor = {
    above: sym("a", k + 1), below: sym("h", k), name: say(sym("W", k + 1)) + (whole ? "" : `, its column ${unit}`), shape: [above, width],
    values: whole ? w : new Float64Array(above).map((_, row) => w[row * width + unit - 1]!), matrix: true,
    derivations: ["gradient_wrt_hidden"],
  };
  const slope: Factor = {
    above: sym("h", k), below: sym("a", k), name: `g′(${say(sym("a", k))}), diagonal`, shape: [width, width], values: b.slopes[k - 1]!,
    matrix: false, derivations: ["gradient_wrt_preactivations", `derivative_of_${net.activation.name}`],
  };
  return { kind: "hidden", heading: `hidden layer ${k}`, layer: k, factors: [matrix, slope], ...reached(e, k, scale) };
}

function weightGroup(e: Example, place: Place, scale: number, notation: Notation): Group {
  const below = placeSym(place);
  const factor: Factor = {
    above: sym("a", place.layer), below, name: `its input, ${inputName(e, place, notation)}`, shape: [],
    values: Float64Array.of(inputValue(e.f, place)), matrix: false,
    derivations: ["gradient_wrt_weights", "gradient_wrt_biases", "one_weight"],
  };
  const gradient = Float64Array.of(gradientAt(e.f, e.b, place) * scale);
  const check = { ...checkPlace(e, place, scale), element: 1 };
  return { kind: "weight", heading: "the weight itself", layer: place.layer, factors: [factor], reached: below, gradient, check };
}

function reached(e: Example, layer: number, scale: number): Pick<Group, "reached" | "gradient" | "check"> {
  const gradient = e.b.gradA[layer - 1]!.map((v) => v * scale);
  return { reached: sym("a", layer), gradient, check: checkLayer(e, layer, scale) };
}
