/* Boxes beside the drawing: any weight by its numbers, a gradient step, the notation. */
import type { JSX } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import type { Example } from "./chain";
import { strongestWeight, type Place } from "./engine";
import { layerName } from "./drawing";
import { number, readNumber } from "./numbers";
import { Num } from "./parts";
import { NOTATIONS, type Notation, text, weightSym } from "./symbols";

interface ChooserProps {
  e: Example;
  place: Place;
  notation: Notation;
  choose(place: Place): void;
}

/** Any weight or unit, also those that are not drawn. */
export function Chooser({ e, place, notation, choose }: ChooserProps): JSX.Element {
  const [layer, setLayer] = useState(place.layer);
  const [unit, setUnit] = useState("");
  const [input, setInput] = useState("");
  // before the reader can type again, not after the next frame
  useLayoutEffect(() => {
    setLayer(place.layer);
    setUnit(String(place.unit));
    setInput(place.input === null ? "" : String(place.input));
  }, [place]);
  const widths = e.net.widths;
  const depth = widths.length - 1;
  const strongest = strongestWeight(e.f, e.b);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    choose({ layer, unit: Number(unit), input: Number(input) || null });
  };
  return (
    <form class="tools chooser" onSubmit={submit}>
      <label>layer <select name="layer" value={layer} onChange={(event) => setLayer(Number(event.currentTarget.value))}>
        {widths.slice(1).map((_, k) => <option key={k} value={k + 1}>{k + 1}: {layerName(k + 1, depth)}</option>)}
      </select></label>
      <label>unit <input name="unit" type="number" min={1} max={widths[layer]} required value={unit} onInput={(event) => setUnit(event.currentTarget.value)} /></label>
      <label>input <input name="input" type="number" min={1} max={widths[layer - 1]} placeholder="none"
        value={input} onInput={(event) => setInput(event.currentTarget.value)} /></label>
      <button type="submit">Explain</button>
      <button type="button" onClick={() => choose(strongest)}>
        the largest gradient: {text(weightSym(strongest.layer, strongest.unit, strongest.input!), notation)}</button>
    </form>
  );
}

interface StepProps {
  losses: number[];
  predicted: number;
  loss: number;
  take(lr: number): void;
  reset(): void;
}

export function StepBox({ losses, predicted, loss, take, reset }: StepProps): JSX.Element {
  const [lr, setLr] = useState("0.1");
  const rate = readNumber(lr);
  const [before, after] = [losses.at(-2), losses.at(-1)];
  return (
    <section class="card" aria-labelledby="step-title">
      <h2 id="step-title">One gradient step</h2>
      <p class="soft">θ ← θ − lr ∇𝓛 on this example, for all weights and biases.</p>
      <div class="tools">
        <label>lr <input type="text" inputMode="decimal" id="lr" value={lr} size={5} onInput={(event) => setLr(event.currentTarget.value)} /></label>
        <button type="button" id="take-step" disabled={!(rate > 0 && rate < Infinity && Number.isFinite(loss))} onClick={() => take(rate)}>Take a step</button>
        <button type="button" id="reset" onClick={reset}>Reset all</button>
      </div>
      <p role="status" id="step-told">{before !== undefined && after !== undefined && <>
        The loss {after < before ? "fell" : after === before ? "went" : after > before ? "rose" : "left the range of float64, going"} from{" "}
        <Num value={before} /> to <Num value={after} />; to first order it would be <Num value={predicted} />.</>}</p>
      {losses.length > 1 && <Losses losses={losses.filter(Number.isFinite)} />}
    </section>
  );
}

function Losses({ losses }: { losses: number[] }): JSX.Element {
  const high = Math.max(...losses) || 1;
  const points = losses.map((v, i) => `${(8 + (264 * i) / Math.max(1, losses.length - 1)).toFixed(1)},${(72 - (60 * v) / high).toFixed(1)}`);
  return (
    <svg viewBox="0 0 280 80" class="losses" role="img" aria-label={`The loss after each step: ${losses.map((v) => number(v, 3)).join(", ")}`}>
      <line x1={8} x2={272} y1={72} y2={72} class="axis" />
      <polyline points={points.join(" ")} class="s2" fill="none" stroke-width={2} />
      {points.map((point, i) => <circle key={i} cx={point.split(",")[0]} cy={point.split(",")[1]} r={3} class="dot" />)}
    </svg>
  );
}

export function Settings({ notation, setNotation }: { notation: Notation; setNotation(notation: Notation): void }): JSX.Element {
  const known = Object.entries(NOTATIONS).find(([, one]) => JSON.stringify(one) === JSON.stringify(notation))?.[0];
  const names = { y: "probabilities", a: "pre-activations", h: "activations", W: "weights" } as const;
  return (
    <section class="card" aria-labelledby="notation-title">
      <h2 id="notation-title">Notation</h2>
      <label class="field">letters
        <select id="notation" value={known ?? "own"} onChange={(event) => {
          const chosen = NOTATIONS[event.currentTarget.value];
          if (chosen) setNotation(chosen);
        }}>
          {Object.keys(NOTATIONS).map((name) => <option key={name} value={name}>{name}</option>)}
          {known === undefined && <option value="own">your own</option>}
        </select>
      </label>
      <details><summary>Your own letters</summary>
        {(["y", "a", "h", "W"] as const).map((key) => (
          <label class="field" key={key}>{names[key]}
            <input type="text" maxLength={2} size={3} value={notation[key]} onChange={(event) => {
              const letter = event.currentTarget.value.trim();
              if (letter) setNotation({ ...notation, [key]: letter });
            }} /></label>
        ))}
      </details>
    </section>
  );
}
