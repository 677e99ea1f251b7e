/* Gradient steps as they were taken, each at its rate on its example, so that a link can take them again. */
import { backward, forward, type Net, step, type Vector } from "./engine";

/** An example by its class, from 0, and by what was changed of it, as a link has it. */
export interface Shown {
  label: number;
  changed: [number, number][];
}

export interface Taken extends Shown {
  lr: number;
}

export interface Walked {
  /** where the steps begin, the steps, and where they end */
  base: Net;
  taken: readonly Taken[];
  net: Net;
  /** the loss of each step's example before it and after it */
  before: number[];
  after: number[];
  /** the loss to first order of the last step */
  predicted: number;
}

export const STEPS = 1000; // at most, that a link may ask for

export const same = (p: Shown, q: Shown): boolean =>
  p.label === q.label && p.changed.length === q.changed.length
  && p.changed.every(([i, v], at) => q.changed[at]![0] === i && q.changed[at]![1] === v);

/** The network after the steps; those that `known` has taken are not taken again. */
export function walked(net: Net, taken: readonly Taken[], known: Walked | null, inputOf: (changed: [number, number][]) => Vector): Walked {
  const goesOn = known !== null && known.base === net && known.taken.length <= taken.length
    && known.taken.every((one, i) => one.lr === taken[i]!.lr && same(one, taken[i]!));
  const from: Walked = goesOn ? known : { base: net, taken: [], net, before: [], after: [], predicted: NaN };
  let { net: now, predicted } = from;
  const [before, after] = [from.before.slice(), from.after.slice()];
  for (const one of taken.slice(from.taken.length)) {
    const f = forward(now, inputOf(one.changed));
    const b = backward(now, f, one.label);
    const next = step(now, f, b, one.label, one.lr);
    [now, predicted] = [next.net, next.predicted];
    before.push(b.loss);
    after.push(next.after);
  }
  return { base: net, taken, net: now, before, after, predicted };
}

/** The losses of the steps last taken on this very example, from before the first of them on. */
export function lossesOf({ taken, before, after }: Walked, shown: Shown): number[] {
  let from = taken.length;
  while (from > 0 && same(taken[from - 1]!, shown)) from--;
  return from === taken.length ? [] : [before[from]!, ...after.slice(from)];
}
