/* What is beside the walk: any weight by its numbers, a gradient step, the notation, a link to what is seen. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { Example } from "./chain";
import { strongestWeight, type Place } from "./engine";
import { type Part, PARTS, readPlace } from "./link";
import { apart, full, number, readNumber } from "./numbers";
import { Num } from "./parts";
import { NOTATIONS, type Notation, text, weightSym } from "./symbols";

interface GoToProps {
  e: Example;
  notation: Notation;
  choose(place: Place): void;
}

/** Any weight, bias or unit, in one field. */
export function GoTo({ e, notation, choose }: GoToProps): JSX.Element {
  const [told, setTold] = useState("");
  const [wrong, setWrong] = useState("");
  const { widths } = e.net;
  const strongest = strongestWeight(e.f, e.b);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const place = readPlace(told, widths);
    const sizes = widths.slice(1).map((width, k) => `${k + 1}: ${width} × ${widths[k]}`).join(", ");
    setWrong(place ? "" : `There is no ${told || "such place"}: layer, unit, input, counted from 1 (units × inputs of layer ${sizes}).`);
    if (place) choose(place);
  };
  return (
    <form class="tools goto" onSubmit={submit}>
      <label>go to <input id="goto" type="text" value={told} placeholder="1,10,37" size={9} onInput={(event) => setTold(event.currentTarget.value)}
        aria-describedby="goto-help" aria-invalid={wrong !== ""} /></label>
      <button type="submit">Go</button>
      <button type="button" onClick={() => choose(strongest)}>the largest of all: {text(weightSym(strongest.layer, strongest.unit, strongest.input!), notation)}</button>
      <p class="soft" id="goto-help" role="status">{wrong || "layer, unit, input; or b 1,10 for a bias"}</p>
    </form>
  );
}

interface StepProps {
  losses: number[];
  predicted: number;
  loss: number;
  hidden: boolean;
  take(lr: number): void;
  reset(): void;
}

export function StepBox({ losses, predicted, loss, hidden, take, reset }: StepProps): JSX.Element {
  const [lr, setLr] = useState("0.1");
  const rate = readNumber(lr);
  const [before, after] = [losses.at(-2), losses.at(-1)];
  const [was, is] = before === undefined || after === undefined ? ["", ""] : apart(before, after);
  return (
    <Card title="One gradient step" id="step-title">
      <p class="soft">θ ← θ − lr ∇𝓛 on this example, for all weights and biases.</p>
      <div class="tools">
        <label>lr <input type="text" inputMode="decimal" id="lr" value={lr} size={5} onInput={(event) => setLr(event.currentTarget.value)} /></label>
        <button type="button" id="take-step" disabled={!(rate > 0 && rate < Infinity && Number.isFinite(loss))} onClick={() => take(rate)}>Take a step</button>
        <button type="button" id="reset" onClick={reset}>Reset all</button>
      </div>
      <p role="status" id="step-told">{before !== undefined && after !== undefined && <>
        The loss {after < before ? "fell from" : after === before ? "stayed at" : after > before ? "rose from" : "left the range of float64, going from"}{" "}
        <Num value={before} as={was} />{after !== before && <> to <Num value={after} as={is} /></>}{!hidden && <>; to first order it would be <Num value={predicted} /></>}.</>}</p>
      {losses.length > 1 && <Losses losses={losses.filter(Number.isFinite)} />}
    </Card>
  );
}

export function Card({ title, id, children }: { title: string; id: string; children: ComponentChildren }): JSX.Element {
  return <section class="card" aria-labelledby={id}><h2 id={id}>{title}</h2>{children}</section>;
}

function Losses({ losses }: { losses: number[] }): JSX.Element {
  const high = Math.max(...losses) || 1;
  const points = losses.map((v, i) => `${(8 + (264 * i) / Math.max(1, losses.length - 1)).toFixed(1)},${(72 - (60 * v) / high).toFixed(1)}`);
  return (
    <svg viewBox="0 0 280 80" class="losses" role="img" aria-label={`The loss after each step: ${losses.map((v) => number(v, 3)).join(", ")}`}>
      <line x1={8} x2={272} y1={72} y2={72} class="axis" />
      <polyline points={points.join(" ")} class="s2" fill="none" stroke-width={2} />
      {points.map((point, i) => <circle key={i} cx={point.split(",")[0]} cy={point.split(",")[1]} r={3} class="dot"><title>{full(losses[i]!)}</title></circle>)}
    </svg>
  );
}

export function Settings({ notation, setNotation }: { notation: Notation; setNotation(notation: Notation): void }): JSX.Element {
  const known = Object.entries(NOTATIONS).find(([, one]) => JSON.stringify(one) === JSON.stringify(notation))?.[0];
  const names = { y: "probabilities", a: "pre-activations", h: "activations", W: "weights" } as const;
  return (
    <Card title="Notation" id="notation-title">
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
    </Card>
  );
}

const SAID: Record<Part, string> = {
  title: "the title and its sentences", tabs: "the other views", example: "changing the example", bar: "walking and legend",
  tools: "steps, exercise, notation", derivations: "the derivations",
};

/** The address of what is seen, with or without what a teacher hides. */
export function Share({ fragment }: { fragment: string }): JSX.Element {
  const [without, setWithout] = useState<readonly Part[]>([]);
  const [copied, setCopied] = useState("");
  const here = location.href.split("#")[0]!;
  const parts = [fragment, ...(without.length ? [`embed=${without.join(",")}`] : [])].filter((part) => part !== "");
  const link = parts.length ? `${here}#${parts.join("&")}` : here;
  const copy = async (event: MouseEvent): Promise<void> => {
    const field = (event.currentTarget as HTMLElement).parentElement!.querySelector("input")!;
    field.select();
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      document.execCommand("copy"); // where a page has no clipboard of its own
    }
    setCopied("copied");
  };
  return (
    <Card title="Link to this" id="share-title">
      <p class="soft">The weight, the step, the view, the letters, the example as changed and the gradient steps taken.</p>
      <div class="tools"><input type="text" id="link" readOnly value={link} aria-label="The link" /><button type="button" id="copy-link" onClick={(event) => void copy(event)}>Copy link</button><span role="status">{copied}</span></div>
      <details><summary>To embed it, hide</summary>
        {PARTS.map((part) => <label class="field left" key={part}><input type="checkbox" checked={without.includes(part)} onChange={() => {
          setWithout(without.includes(part) ? without.filter((one) => one !== part) : [...without, part]);
          setCopied("");
        }} /> {SAID[part]}</label>)}
      </details>
    </Card>
  );
}
