/* Where the units and weights of the drawing stand; wide layers are folded to their strongest units, as in page_drawing.py. */
import type { Chain, Example } from "./chain";
import { gradientAt } from "./engine";

export type ColourBy = "gradient" | "weight" | "activation";

export interface Node {
  layer: number;
  /** from 1; 0 for the node that stands for the rest of its layer */
  unit: number;
  x: number;
  y: number;
  value: number;
  onPath: boolean;
}

export interface Edge {
  layer: number;
  unit: number;
  input: number;
  x1: number;
  y1: number;
  x2: number;
  y2: number;
  value: number;
  size: number;
  onPath: boolean;
  chosen: boolean;
}

export interface Drawing {
  /** characters of a name that are drawn */
  long: number;
  width: number;
  height: number;
  columns: { layer: number; x: number; shown: number; of: number }[];
  nodes: Node[];
  edges: Edge[];
}

/** How much a unit matters: |∂𝓛/∂a|, of an input |x ∂𝓛/∂x|. */
export function strengths(e: Example, layer: number): Float64Array {
  if (layer > 0) return e.b.gradA[layer - 1]!.map(Math.abs);
  return e.b.gradH[0]!.map((g, i) => Math.abs(g * e.f.h[0]![i]!));
}

/** The unit of each layer that is on the chain: the weight's input, then the path. */
export function onChain(chain: Chain): Map<number, number> {
  const { layer, input } = chain.place;
  const units = new Map(chain.path.map((unit, i) => [layer + i, unit]));
  if (input !== null) units.set(layer - 1, input);
  return units;
}

function shownUnits(strength: Float64Array, most: number, needed: number | undefined): number[] {
  const order = Array.from(strength.keys()).sort((i, j) => strength[j]! - strength[i]! || i - j).slice(0, most);
  if (needed !== undefined && !order.includes(needed - 1)) order[order.length - 1] = needed - 1;
  return order.sort((i, j) => i - j).map((i) => i + 1);
}

export function layOut(e: Example, chain: Chain, by: ColourBy, extra: number[], compact: boolean): Drawing {
  const { net, f, b } = e;
  const { most } = e.facts;
  const depth = net.weights.length;
  const path = onChain(chain);
  const shown = net.widths.map((width, layer) => {
    const drawn = width <= most.few ? width : Math.min(width, most.shown + (extra[layer] ?? 0));
    return shownUnits(strengths(e, layer), drawn, path.get(layer));
  });
  const rows = shown.map((units, layer) => units.length + (units.length < net.widths[layer]! ? 1 : 0));
  const long = compact ? 9 : most.long;
  const longest = shown.at(-1)!.reduce((most, unit) => Math.max(most, Math.min(long, e.classes[unit - 1]!.length)), 0);
  const [left, top] = compact ? [88, 44] : [120, 44];
  // beside an output unit: its class's name, (ℓ) and, where there is room, its probability
  const right = (compact ? 46 : 104) + 6.6 * longest;
  const gap = compact ? Math.max(60, (342 - left - right) / depth) : Math.min(250, Math.max(84, 720 / depth));
  const height = top + Math.max(5, ...rows) * 36 + 10;
  const at = (layer: number, row: number): [number, number] => [
    left + gap * layer, top + ((height - top - 10) * (row + 0.5)) / rows[layer]!,
  ];
  const value = (layer: number, unit: number): number => {
    if (by === "activation") return layer < depth ? f.h[layer]![unit - 1]! : f.p[unit - 1]!;
    return layer === 0 ? b.gradH[0]![unit - 1]! : b.gradA[layer - 1]![unit - 1]!;
  };
  const nodes = shown.flatMap((units, layer) => {
    const found = units.map((unit, row): Node => {
      const [x, y] = at(layer, row);
      return { layer, unit, x, y, value: value(layer, unit), onPath: path.get(layer) === unit };
    });
    if (rows[layer]! > units.length) {
      const [x, y] = at(layer, units.length);
      found.push({ layer, unit: 0, x, y, value: 0, onPath: false });
    }
    return found;
  });
  const edges = shown.slice(1).flatMap((units, index) => {
    const layer = index + 1;
    const of = (unit: number, input: number): number => {
      const weight = net.weights[index]![(unit - 1) * net.widths[index]! + input - 1]!;
      if (by === "gradient") return gradientAt(f, b, { layer, unit, input });
      return by === "weight" ? weight : weight * f.h[index]![input - 1]!;
    };
    const drawn = units.flatMap((unit, row) =>
      shown[index]!.map((input, source): Edge => {
        const [[x1, y1], [x2, y2]] = [at(index, source), at(layer, row)];
        const onPath = path.get(layer) === unit && path.get(index) === input;
        const chosen = onPath && layer === chain.place.layer && chain.place.input !== null;
        return { layer, unit, input, x1, y1, x2, y2, value: of(unit, input), size: 0, onPath, chosen };
      }),
    );
    const largest = drawn.reduce((m, edge) => Math.max(m, Math.abs(edge.value)), 0) || 1;
    return drawn.map((edge) => ({ ...edge, size: Math.abs(edge.value) / largest }));
  });
  edges.sort((p, q) => Number(p.onPath) - Number(q.onPath) || p.size - q.size);
  const columns = shown.map((units, layer) => ({
    layer, x: at(layer, 0)[0], shown: units.length, of: net.widths[layer]!,
  }));
  return { long, width: left + gap * depth + right, height, columns, nodes, edges };
}

/** What of the drawing a factor's place means, as a class of its nodes or edges. */
export function lights(place: string | null, layer: number, depth: number, node: boolean, chosen: boolean): boolean {
  if (place === null) return false;
  if (place === "loss" || place === "softmax" || place === "mean") return node && layer === depth;
  if (place === "weight") return chosen;
  const [kind, at] = place.split("-");
  return kind === (node ? "units" : "edges") && Number(at) === layer;
}
