/* The walk through training: a slider over the checkpoints, and what each says of this example. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { placeSym } from "./chain";
import { Curve } from "./curves";
import { backward, forward, gradientAt, type Net, norm, type Place, type Vector } from "./engine";
import { number } from "./numbers";
import { Num } from "./parts";
import { type Notation, sym, text } from "./symbols";
import { deltaText } from "./walk";

export interface Checkpoint {
  name: string;
  net: Net;
}

/** What the page hands over. */
export interface OverProps {
  x: Vector;
  label: number;
  place: Place;
  notation: Notation;
  /** whether numbers are the reader's to tell */
  hidden: boolean;
  /** the checkpoint that is walked, from 0; null for the page's own weights */
  at: number | null;
  go(at: number | null): void;
}

export function Over({ checkpoints, x, label, place, notation, hidden, at, go }: OverProps & { checkpoints: Checkpoint[] }): JSX.Element {
  const found = useMemo(() => checkpoints.map(({ net }) => {
    const f = forward(net, x);
    const b = backward(net, f, label);
    return { loss: b.loss, gradient: gradientAt(f, b, place), norms: b.gradA.map(norm) };
  }), [checkpoints, x, label, place]);
  const last = checkpoints.length - 1;
  const shown = at ?? last;
  const move = (to: number): void => {
    const next = Math.min(Math.max(to, 0), last);
    go(next);
  };
  const now = found[shown]!;
  const symbol = text(placeSym(place), notation);
  const layers = found[0]!.norms.map((_, k) => ({ name: deltaText(k + 1), values: found.map((one) => one.norms[k]!), look: `s${k % 6}` }));
  return (
    <section class="card over" aria-labelledby="over-title">
      <div>
        <h2 id="over-title">Through training</h2>
        <label class="step-field"><span class="unseen">checkpoint</span><input type="range" id="checkpoint" min={1} max={last + 1} value={shown + 1} onInput={(event) => move(event.currentTarget.valueAsNumber - 1)}
          aria-valuetext={`${checkpoints[shown]!.name}${hidden ? "" : `: loss ${number(now.loss, 3)}`}`} /><output id="checkpoint-name">{at === null ? "the page’s weights" : checkpoints[at]!.name}</output></label>
        {!hidden && at !== null && <p>The loss is <Num id="checkpoint-loss" value={now.loss} digits={4} />, the gradient of {symbol} <Num id="checkpoint-gradient" value={now.gradient} digits={4} />.</p>}
        {at !== null && <button type="button" onClick={() => go(null)}>Back to the page’s weights</button>}
      </div>
      {!hidden && <Curve title={<><b>Norm of each layer’s gradient</b> {layers.map((line, k) => <span key={line.name}><i class={`key k${k % 6}`} />{text(sym("a", k + 1), { ...notation, a: "δ" })} <Num value={now.norms[k]!} digits={3} /></span>)}</>}
        name="Norm of each layer's gradient" unit="checkpoint" lines={layers} at={shown} room={last + 1} log go={move} />}
    </section>
  );
}
