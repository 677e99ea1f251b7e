/* The exercise: some factors are blank, and the answers are marked. The seed fixes which. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Chain } from "./chain";
import { factorsOf } from "./chainview";
import { isRight, number, readNumber, seeded } from "./numbers";
import { Num } from "./parts";
import type { Notation } from "./symbols";
import { Fraction, Maths, Words } from "./symbols";

/** Which factors are blank: about half of those that can be worked out from what is told of them, and the product,
 * which has the index after the last. A weight or an input could only be looked up. */
export function blanks(chain: Chain, seed: number): Set<number> {
  const random = seeded(seed);
  const factors = factorsOf(chain);
  const order = factors
    .map((factor, i) => ({ i, at: random(), asked: /^(loss|softmax|units)/.test(factor.place) && Number.isFinite(factor.value) }))
    .filter(({ asked }) => asked)
    .sort((p, q) => p.at - q.at);
  return new Set([factors.length, ...order.slice(0, Math.max(1, Math.round(order.length / 2))).map(({ i }) => i)]);
}

interface Props {
  chain: Chain;
  seed: number;
  notation: Notation;
  setSeed(seed: number): void;
}

export function Exercise({ chain, seed, notation, setSeed }: Props): JSX.Element {
  const [answers, setAnswers] = useState<Record<number, string>>({});
  const [marked, setMarked] = useState(false);
  const factors = factorsOf(chain);
  const blank = blanks(chain, seed);
  const rows = [
    ...factors.map((f) => ({ above: f.above, below: f.below, value: f.value, meaning: f.meaning })),
    { above: chain.of, below: chain.symbol, value: chain.pathProduct, meaning: "the product, along this path" },
  ];
  const right = [...blank].filter((i) => isRight(readNumber(answers[i] ?? ""), rows[i]!.value)).length;
  const mark = (event: Event): void => {
    event.preventDefault();
    setMarked(true);
  };
  const restart = (value: number): void => {
    setAnswers({});
    setMarked(false);
    setSeed(value);
  };
  return (
    <form class="panel exercise" onSubmit={mark}>
      <h3>Fill in what is missing</h3>
      <p class="soft">An answer counts as right to 1 %. The same seed leaves out the same factors.</p>
      <table>
        <thead><tr><th scope="col">factor</th><th scope="col" class="words">what it is</th><th scope="col">value</th><th scope="col">mark</th></tr></thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={i}>
              <th scope="row"><Maths><Fraction above={row.above} below={row.below} notation={notation} /></Maths></th>
              <td class="words"><Words of={row.meaning} /></td>
              <td>{blank.has(i)
                ? <input type="text" inputMode="decimal" aria-label={`Your answer for factor ${i + 1}`} data-answer={i}
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
      </table>
      <p class="tools">
        <button type="submit">Mark</button>
        <label>seed <input type="number" min={0} value={seed} onInput={(event) => restart(event.currentTarget.valueAsNumber || 0)} /></label>
        <button type="button" onClick={() => restart(seed + 1)}>Another</button>
        <span role="status">{marked ? `${right} of ${blank.size} right` : ""}</span>
      </p>
    </form>
  );
}
