/* A batch's gradient of one weight as what each of its examples says: sorted bars, then laid end to end, and their mean. */
import type { JSX } from "preact";
import { placeSym } from "./chain";
import { largestOf, type Place, type Vector } from "./engine";
import { number, signed } from "./numbers";
import { Num } from "./parts";
import { Pixels } from "./pixels";
import { tone } from "./steps";
import { cut } from "./story";
import { type Notation, sym, text } from "./symbols";
import type { Rows, Taken } from "./training";
import { deltaText } from "./walk";

interface Props {
  now: Taken;
  seen: Rows;
  classes: string[];
  image: [number, number] | null;
  place: Place;
  notation: Notation;
  /** to walk the chain of the batch's example of this place */
  open(n: number): void;
  shade(x: Vector): (row: number, column: number) => number;
}

export function Pulls({ now, seen, classes, image, place, notation, open, shade }: Props): JSX.Element {
  const { pulls, batch } = now;
  const order = pulls.map((_, n) => n).sort((a, b) => pulls[b]! - pulls[a]! || a - b);
  const shown = order.filter((n) => pulls[n] !== 0);
  const largest = largestOf(Float64Array.from(pulls)) || 1;
  const symbol = text(placeSym(place), notation);
  const input = !place.input ? "" : ` × ${text(place.layer === 1 ? sym("x", place.input) : sym("h", place.layer - 1, place.input), notation)}`;
  const mean = `${50 + (50 * now.gradient) / largest}%`;
  return (
    <section class="card" aria-labelledby="pulls-title">
      <h2 id="pulls-title">One batch: {pulls.length} pulls and their mean</h2>
      <p class="soft">∂𝓛/∂{symbol} of each example = {deltaText(place.layer, place.unit)}{input}. Choose one to walk its chain. The dashed line is the mean, {signed(now.gradient, 3)}.</p>
      <div class="scroll" tabIndex={0} role="group" aria-label="The pulls, sorted"><table class="pulls">
        <thead><tr><th scope="col">row</th><th scope="col">label</th><th scope="col">loss</th><th scope="col" class="taken">taken for</th><th scope="col" class="pull">gradient</th><th scope="col">number</th></tr></thead>
        <tbody>{shown.map((n) => {
          const [row, pull] = [batch[n]!, pulls[n]!];
          const label = seen.labels[row]!;
          return (
            <tr key={row} data-row-number={seen.numbers[row]}>
              <th scope="row"><button type="button" class="link" onClick={() => open(n)} aria-label={`Row ${seen.numbers[row]}: walk its chain`}>{image && <Pixels rows={image[0]} columns={image[1]} grey of={[row]} class="thumb" shade={shade(seen.x[row]!)} />}{seen.numbers[row]}</button></th>
              <td title={classes[label]}>{cut(classes[label]!, 12)}</td><td><Num value={now.losses[n]!} digits={3} /></td>
              <td class="soft taken" title={classes[now.guesses[n]!]}>{now.guesses[n] === label ? "" : cut(classes[now.guesses[n]!]!, 12)}</td>
              <td class="pull"><i class="mean" style={{ left: mean }} /><i class={pull < 0 ? "down" : "up"} style={{ left: `${50 + Math.min(0, (50 * pull) / largest)}%`, width: `${(50 * Math.abs(pull)) / largest}%` }} /></td>
              <td><span class={`num ${tone(pull)}`} data-pull={String(pull)} data-value={String(pull)} title={String(pull)}>{signed(pull, 3)}</span></td>
            </tr>
          );
        })}</tbody>
      </table></div>
      {shown.length < pulls.length && <p class="soft">{pulls.length - shown.length} more: 0, since unit {place.unit} or its input is 0 there.</p>}
      <EndToEnd pulls={order.map((n) => pulls[n]!)} largest={largest} gradient={now.gradient} />
    </section>
  );
}

/** The same pulls one after another on both sides of 0, then their sum, and the sum by their number. */
function EndToEnd({ pulls, largest, gradient }: { pulls: number[]; largest: number; gradient: number }): JSX.Element {
  const up = pulls.reduce((sum, v) => sum + Math.max(0, v), 0);
  const down = pulls.reduce((sum, v) => sum + Math.min(0, v), 0);
  const total = pulls.reduce((sum, v) => sum + v, 0);
  const most = Math.max(up, -down) || 1;
  const x = (v: number): number => 500 + (480 * v) / most;
  const bar = (from: number, to: number, y: number): string => `M${x(from).toFixed(1)} ${y}H${x(to).toFixed(1)}V${y + 30}H${x(from).toFixed(1)}z`;
  let [right, left, plus, minus] = [0, 0, "", ""];
  for (const pull of pulls) {
    if (pull > 0) plus += bar(right, (right += pull), 4);
    else if (pull < 0) minus += bar(left, (left += pull), 4);
  }
  const ratio = most / largest;
  return (
    <div class="ends">
      <h3>Laid end to end{ratio > 1.05 && <span class="soft"> at 1/{number(ratio, 2)} of the scale above</span>}</h3>
      <p class="between"><span class="minus"><Num value={down} digits={3} /></span> <span class="plus">+<Num value={up} digits={3} /></span></p>
      <svg viewBox="0 0 1000 80" preserveAspectRatio="none" role="img" aria-label={`The negative pulls sum to ${number(down, 3)}, the positive to ${number(up, 3)}, all to ${number(total, 3)}`}>
        <path class="fillplus parts" d={plus} /><path class="fillminus parts" d={minus} />
        <path class={total < 0 ? "fillminus" : "fillplus"} d={bar(0, total, 44)} /><line class="axis" x1={500} x2={500} y1={0} y2={80} />
      </svg>
      <p>the sum <Num id="pull-sum" value={total} digits={4} />, ÷ {pulls.length} = <strong class={tone(gradient)}><Num id="pull-mean" value={gradient} digits={4} /></strong>, their mean</p>
    </div>
  );
}
