/* The strongest paths from a weight to the loss, found without walking all of them: see chainrule/explain/paths.py. */
import type { Example } from "./chain";
import type { Backward, Forward, Net, Place, Vector } from "./engine";
import { largestAt, transposed } from "./engine";

export interface Path {
  /** the unit of each layer, from the place's own to the output layer, counted from 1 */
  units: number[];
  product: number;
  share: number;
}

export interface Paths {
  count: number;
  strongest: Path[];
  share: number;
  /** paths are open, and their sum is 0 or nothing but rounding: every share is 0 then */
  cancels: boolean;
}

interface Kept {
  product: number;
  units: number[];
}

export function inputValue(f: Forward, place: Place): number {
  return !place.input ? 1 : f.h[place.layer - 1]![place.input - 1]!;
}

/** All paths through a unit go on alike: the best of all are among the best to each unit of each layer. */
export function strongestPaths({ net, f, b, facts }: Example, place: Place, scale: number): Paths {
  const most = facts.most.paths;
  const depth = net.weights.length;
  let best = new Map<number, Kept[]>([[place.unit - 1, [{ product: inputValue(f, place), units: [place.unit] }]]]);
  let count = 1;
  for (let k = place.layer; k < depth; k++) {
    const w = net.weights[k]!;
    const slope = b.slopes[k - 1]!;
    const [width, above] = [net.widths[k]!, net.widths[k + 1]!];
    count *= above;
    const next = new Map<number, Kept[]>();
    for (let unit = 0; unit < above; unit++) {
      const kept: Kept[] = [];
      for (const [below, paths] of best) {
        const factor = slope[below]! * w[unit * width + below]!;
        if (factor === 0) continue;
        for (const path of paths) {
          insert(kept, path.product * slope[below]! * w[unit * width + below]!, path.units, unit + 1, most);
        }
      }
      if (kept.length) next.set(unit, kept);
    }
    best = next;
  }
  const ends: Kept[] = [];
  for (const [unit, paths] of best) {
    for (const path of paths) insert(ends, path.product * b.gradA[depth - 1]![unit]! * scale, path.units, null, most);
  }
  const cancels = ends.some((end) => end.product !== 0)
    && Math.abs(b.gradA[place.layer - 1]![place.unit - 1]!) <= rounding(net, b, place.layer)[place.unit - 1]!;
  const own = cancels ? 0 : b.gradA[place.layer - 1]![place.unit - 1]! * inputValue(f, place) * scale;
  const found = ends.filter((end) => end.product !== 0);
  const strongest = found.map(({ units, product }) => ({ units, product, share: own ? product / own : 0 }));
  return { count, strongest, cancels, share: strongest.reduce((sum, path) => sum + path.share, 0) };
}

/** What rounding may have left in each unit's ∂𝓛/∂a of a layer, for any order of summation: see explain/paths.py. */
function rounding(net: Net, b: Backward, layer: number): Vector {
  let left = b.gradA.at(-1)!.map((v) => 8 * Number.EPSILON * Math.abs(v));
  for (let k = net.weights.length - 1; k >= layer; k--) {
    const [w, above, width] = [net.weights[k]!.map(Math.abs), b.gradA[k]!, net.widths[k]!];
    const nothing = above.map((v, unit) => (Math.abs(v) <= left[unit]! ? 1 : 0));
    const sums = above.map((v, unit) => nothing[unit]! * left[unit]! + (above.length + 8) * Number.EPSILON * Math.abs(v));
    const squares = left.map((v, unit) => (1 - nothing[unit]!) * v * v);
    const [alike, apart] = [transposed(w, sums, width), transposed(w.map((v) => v * v), squares, width)];
    left = alike.map((v, i) => Math.abs(b.slopes[k - 1]![i]!) * (v + Math.sqrt(apart[i]!)));
  }
  return left;
}

function insert(kept: Kept[], product: number, units: number[], unit: number | null, most: number): void {
  const size = Math.abs(product);
  if (kept.length === most && size <= Math.abs(kept[most - 1]!.product)) return;
  let at = kept.length;
  while (at > 0 && Math.abs(kept[at - 1]!.product) < size) at--;
  kept.splice(at, 0, { product, units: unit === null ? units : [...units, unit] });
  kept.length = Math.min(kept.length, most);
}

/** The unit of each layer whose column of a large matrix is told: those of the strongest path, or where every product is
 * 0 of the largest weights to the label. */
export function shownPath(net: Net, paths: Paths, place: Place, label: number): number[] {
  const found = paths.strongest[0];
  if (found) return found.units;
  const units = [place.unit];
  for (let k = place.layer; k < net.weights.length; k++) {
    const width = net.widths[k]!;
    const below = units[units.length - 1]! - 1;
    const column = new Float64Array(net.widths[k + 1]!).map((_, unit) => net.weights[k]![unit * width + below]!);
    units.push((k === net.weights.length - 1 ? label : largestAt(column)) + 1);
  }
  return units;
}
