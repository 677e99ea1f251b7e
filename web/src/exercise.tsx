/* The exercise: what the walk computes, with some of it blank, and the answers marked. The seed fixes which. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { scaleOfBatch } from "./chain";
import { gradientAt } from "./engine";
import { isRight, number, readNumber, seeded } from "./numbers";
import { Num } from "./parts";
import { inputValue } from "./paths";
import { titleOf, type View } from "./steps";
import { letterOf, sym, text, Words } from "./symbols";
import { deltaText, sumInto } from "./walk";

interface Question {
  /** what it is, in symbols, and how it is worked out */
  name: string;
  how: string;
  value: number;
  /** whether it can be worked out from what is told, and has a value */
  asked: boolean;
  /** which number of the network it is */
  of: string;
}

export function questions({ e, place, notation, steps, units }: View): Question[] {
  const depth = e.net.weights.length;
  const y = letterOf(sym("y"), notation);
  const found: Question[] = [];
  const add = (name: string, how: string, value: number, asked: boolean, of: string): void => {
    found.push({ name, how, value, asked: asked && Number.isFinite(value), of });
  };
  const outputs = [...new Set([e.label + 1, units[depth]!])];
  for (const i of outputs) {
    const truth = i - 1 === e.label ? 1 : 0;
    add(`${y} of “${e.classes[i - 1]}”`, "what the network said", e.f.p[i - 1]!, false, `p,${i}`);
    if (truth) add(`∂𝓛/∂${y}_ℓ`, `−1/${y}_ℓ`, e.b.gradP[i - 1]!, true, `gradP,${i}`);
    add(deltaText(depth, i), `${y} of “${e.classes[i - 1]}” − ${truth}`, e.b.gradA[depth - 1]![i - 1]!, true, `delta,${depth},${i}`);
  }
  for (const { kind, layer: k } of steps) {
    if (kind !== "hidden") continue;
    const unit = units[k]!;
    const sum = sumInto(e, k, unit);
    sum.terms.forEach((term) => add(`${text(sym("W", k + 1, term.unit, unit), notation)} × ${deltaText(k + 1, term.unit)}`, "a term", term.value, false, ""));
    if (sum.more) add(`${sum.more} more terms`, "together", sum.rest, false, "");
    add(`∂𝓛/∂${text(sym("h", k, unit), notation)}`, "the sum of these", sum.total, true, `gradH,${k},${unit}`);
    add(text(sym("a", k, unit), notation), "the unit's pre-activation", e.f.a[k - 1]![unit - 1]!, false, `a,${k},${unit}`);
    add(`g′(${text(sym("a", k, unit), notation)})`, `the slope of ${e.net.activation.name} there`, sum.slope, true, `slope,${k},${unit}`);
    add(deltaText(k, unit), "the sum times the slope", sum.delta, true, `delta,${k},${unit}`);
  }
  if (place.input) add(place.layer === 1 ? text(sym("x", place.input), notation) : text(sym("h", place.layer - 1, place.input), notation), "the weight's input", inputValue(e.f, place), false, "input");
  if (e.batchSize !== null) add("1/N", "of the batch's mean", scaleOfBatch(e), false, "");
  add(`∂${e.batchSize === null ? "𝓛" : "J"}/∂${titleOf(place, notation)}`, "the product: where the walk ends", gradientAt(e.f, e.b, place) * scaleOfBatch(e), true, "product");
  return found;
}

/** Which are blank: about half of those that can be worked out, and the last. */
export function blanks(asked: Question[], seed: number): Set<number> {
  const random = seeded(seed);
  const order = asked.map((one, i) => ({ i, at: random(), asked: one.asked })).filter((one) => one.asked && one.i < asked.length - 1).sort((p, q) => p.at - q.at);
  return new Set([asked.length - 1, ...order.slice(0, Math.max(1, Math.round(order.length / 2))).map(({ i }) => i)]);
}

export function Exercise({ view, seed, link, setSeed }: { view: View; seed: number; link: string; setSeed(seed: number): void }): JSX.Element {
  const [answers, setAnswers] = useState<Record<number, string>>({});
  const [marked, setMarked] = useState(false);
  const rows = questions(view);
  const blank = blanks(rows, seed);
  const right = [...blank].filter((i) => isRight(readNumber(answers[i] ?? ""), rows[i]!.value)).length;
  const restart = (value: number): void => {
    setAnswers({});
    setMarked(false);
    setSeed(value);
  };
  return (
    <form class="exercise" onSubmit={(event) => { event.preventDefault(); setMarked(true); }}>
      <p class="soft">Fill in what is missing; to 1 % counts as right. The same seed leaves out the same numbers. The walk's own numbers are hidden meanwhile. The link leads to this exercise without the tools that would tell; it is marked in the page, and nothing is sent.</p>
      <div class="scroll" tabIndex={0} role="group" aria-label="The exercise"><table>
        <thead><tr><th scope="col">what</th><th scope="col" class="words">how</th><th scope="col">value</th><th scope="col">mark</th></tr></thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i}>
              <th scope="row"><Words of={row.name} /></th>
              <td class="words"><Words of={row.how} /></td>
              <td>{blank.has(i)
                ? <input type="text" inputMode="decimal" aria-label={`Your answer for ${row.name}`} data-answer={i} data-of={row.of}
                    value={answers[i] ?? ""} onInput={(event) => {
                      setAnswers({ ...answers, [i]: event.currentTarget.value });
                      setMarked(false);
                    }} />
                : <Num value={row.value} digits={4} />}</td>
              <td>{marked && blank.has(i) && (isRight(readNumber(answers[i] ?? ""), row.value)
                ? <span class="good">✓ right</span>
                : <span class="wrong">✗ it is {number(row.value, 4)}</span>)}</td>
            </tr>
          ))}
        </tbody>
      </table></div>
      <p class="tools">
        <button type="submit">Mark</button>
        <label>seed <input type="number" min={0} value={seed} onInput={(event) => restart(event.currentTarget.valueAsNumber || 0)} /></label>
        <button type="button" onClick={() => restart(seed + 1)}>Another</button>
        <label>link to hand out <input type="text" id="hand-out" readOnly value={link} onFocus={(event) => event.currentTarget.select()} /></label>
        <span role="status">{marked ? `${right} of ${blank.size} right` : ""}</span>
      </p>
    </form>
  );
}
