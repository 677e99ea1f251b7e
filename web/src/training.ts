/* Training on the rows that travel in the page, in float64: one step after another, as chainrule.training.fit takes them
   (chainrule/training/optimizers.py), with what each example of a batch says about one weight. */
import { backward, forward, gradientAt, largestAt, lossOf, type Net, type Place, type Vector } from "./engine";
import { seeded } from "./numbers";

/** The examples of a run: those that are trained on, and those that are only looked at. */
export interface Rows {
  x: Vector[];
  labels: number[];
  /** what the table calls them */
  numbers: number[];
}

/** What the optimizers know besides the learning rate, as chainrule.training's do. */
export interface Rules {
  momentum: number;
  betas: [number, number];
  eps: number;
}

export type Rule = "sgd" | "momentum" | "adam";

export interface Plan {
  batch: number;
  lr: number;
  rule: Rule;
  seed: number;
}

/** One step: what its batch said before it was taken. */
export interface Taken {
  /** the examples, by their place in the rows */
  batch: number[];
  losses: number[];
  guesses: number[];
  /** each example's own gradient of the weight, and their mean */
  pulls: number[];
  gradient: number;
  weight: number;
  loss: number;
  accuracy: number;
  held: Score | null;
}

export interface Score {
  loss: number;
  accuracy: number;
}

const mean = (values: number[]): number => values.reduce((sum, v) => sum + v, 0) / values.length;

export function scoreOf(net: Net, { x, labels }: Rows): Score | null {
  if (x.length === 0) return null;
  const found = x.map((one) => forward(net, one));
  return {
    loss: mean(found.map((f, i) => lossOf(f.a.at(-1)!, labels[i]!))),
    accuracy: mean(found.map((f, i) => Number(largestAt(f.p) === labels[i]))),
  };
}

/** The order of an epoch's rows, which its number and the seed fix. */
export function orderOf(count: number, seed: number, epoch: number): number[] {
  const random = seeded(seed * 7919 + epoch);
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** The batch of a step, counted from 0; an epoch's last may be smaller. */
export function batchOf(count: number, { batch, seed }: Plan, step: number): number[] {
  const each = Math.ceil(count / batch);
  const at = (step % each) * batch;
  return orderOf(count, seed, Math.floor(step / each)).slice(at, at + batch);
}

/** New weights of the same shape: normal with variance gain/inputs, the output layer's 1/inputs, and biases of 0. */
export function anew(net: Net, gain: number, seed: number): Net {
  const random = seeded(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const weights = net.weights.map((w, k) => {
    const size = Math.sqrt((k + 1 < net.weights.length ? gain : 1) / net.widths[k]!);
    return w.map(() => size * normal());
  });
  return { ...net, weights, biases: net.biases.map((b) => new Float64Array(b.length)) };
}

export const valueAt = (net: Net, { layer, unit, input }: Place): number =>
  input ? net.weights[layer - 1]![(unit - 1) * net.widths[layer - 1]! + input - 1]! : net.biases[layer - 1]![unit - 1]!;

/** A run: its network as it now is, and the optimizer's buffers. */
export class Training {
  readonly net: Net;
  readonly taken: Taken[] = [];
  private readonly gradients: Vector[];
  private readonly first: Vector[];
  private readonly second: Vector[];

  constructor(
    net: Net, private readonly rows: Rows, private readonly held: Rows, private readonly plan: Plan, private readonly rules: Rules,
    private readonly place: Place, private readonly batches = (step: number): number[] => batchOf(rows.x.length, plan, step),
  ) {
    this.net = { ...net, weights: net.weights.map((w) => w.slice()), biases: net.biases.map((b) => b.slice()) };
    const zeros = (): Vector[] => this.parameters().map((part) => new Float64Array(part.length));
    [this.gradients, this.first, this.second] = [zeros(), zeros(), zeros()];
  }

  /** W₁ … W_L, b₁ … b_L. */
  parameters(): Vector[] {
    return [...this.net.weights, ...this.net.biases];
  }

  step(): Taken {
    const batch = this.batches(this.taken.length);
    const { net, rows, place } = this;
    const depth = net.weights.length;
    const told: Taken = {
      batch, losses: [], guesses: [], pulls: [], gradient: 0, weight: valueAt(net, place), loss: 0, accuracy: 0, held: scoreOf(net, this.held),
    };
    this.gradients.forEach((part) => part.fill(0));
    for (const row of batch) {
      const label = rows.labels[row]!;
      const f = forward(net, rows.x[row]!);
      const b = backward(net, f, label);
      told.losses.push(b.loss);
      told.guesses.push(largestAt(f.p));
      told.pulls.push(gradientAt(f, b, place));
      for (let k = 0; k < depth; k++) {
        const [grad, bias, h] = [this.gradients[k]!, this.gradients[depth + k]!, f.h[k]!];
        b.gradA[k]!.forEach((delta, unit) => {
          bias[unit]! += delta;
          if (delta !== 0) for (let i = 0, at = unit * h.length; i < h.length; i++, at++) grad[at]! += delta * h[i]!;
        });
      }
    }
    this.gradients.forEach((part) => part.forEach((v, i) => (part[i] = v / batch.length)));
    told.gradient = mean(told.pulls);
    told.loss = mean(told.losses);
    told.accuracy = mean(told.guesses.map((guess, i) => Number(guess === rows.labels[batch[i]!])));
    this.taken.push(told);
    this.parameters().forEach((part, n) => this.update(part, this.gradients[n]!, this.first[n]!, this.second[n]!));
    return told;
  }

  private update(theta: Vector, gradient: Vector, first: Vector, second: Vector): void {
    const { lr, rule } = this.plan;
    const { momentum, betas: [beta1, beta2], eps } = this.rules;
    const t = this.taken.length;
    if (rule !== "adam") {
      const keep = rule === "momentum" ? momentum : 0;
      theta.forEach((v, i) => (theta[i] = v - lr * (first[i] = keep * first[i]! + gradient[i]!)));
      return;
    }
    const [bias1, bias2] = [1 - beta1 ** t, 1 - beta2 ** t];
    gradient.forEach((g, i) => {
      first[i] = beta1 * first[i]! + (1 - beta1) * g;
      second[i] = beta2 * second[i]! + (1 - beta2) * g * g;
      theta[i]! -= (lr * (first[i]! / bias1)) / (Math.sqrt(second[i]! / bias2) + eps);
    });
  }
}
