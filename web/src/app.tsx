/* The page: what the reader has chosen, and everything that is computed from it. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { chainOf, type Example } from "./chain";
import { factorsOf, Matrices, Panel, Tiles, type Walk } from "./chainview";
import { Chooser, StepBox, Settings } from "./controls";
import { Drawing } from "./drawing";
import { backward, forward, step, type Net, type Place, type Vector } from "./engine";
import { blanks, Exercise } from "./exercise";
import { findings, why } from "./findings";
import { Images, Sliders } from "./inputs";
import type { ColourBy } from "./layout";
import { strengths } from "./layout";
import { number, probability } from "./numbers";
import { Num } from "./parts";
import type { Payload } from "./payload";
import { LECTURE, type Notation, text } from "./symbols";
import { Checked, Groups, OutputUnits, PathTable } from "./tables";

const BEAT = 1600; // milliseconds that a step of the walk is shown

interface State {
  net: Net;
  x: Vector;
  label: number;
  losses: number[];
  /** the loss to first order of the last step */
  predicted: number;
}

export function App({ payload, net }: { payload: Payload; net: Net }): JSX.Element {
  const original = useMemo<State>(
    () => ({ net, x: Float64Array.from(payload.x), label: payload.label, losses: [], predicted: NaN }), [net, payload],
  );
  const [state, setState] = useState(original);
  const [place, setPlace] = useState<Place>(payload.place);
  const [path, setPath] = useState(0);
  const [by, setBy] = useState<ColourBy>("gradient");
  const [extra, setExtra] = useState<number[]>([]);
  const [lit, setLit] = useState<string | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [playing, setPlaying] = useState(false);
  const [fused, setFused] = useState(false);
  const [predict, setPredict] = useState(false);
  const [seen, setSeen] = useState<ReadonlySet<number>>(new Set());
  const [exercise, setExercise] = useState(false);
  const [seed, setSeed] = useState(1);
  const [derived, setDerived] = useState(false);
  const [notation, setNotation] = useState<Notation>(LECTURE);
  const compact = useCompact();

  const e = useMemo<Example>(() => {
    const f = forward(state.net, state.x);
    const b = backward(state.net, f, state.label);
    const { features, classes, batch_size, facts } = payload;
    return { net: state.net, f, b, label: state.label, features, classes, batchSize: batch_size, facts };
  }, [state.net, state.x, state.label]);
  const chain = useMemo(() => chainOf(e, place, fused, path, notation), [e, place, fused, path, notation]);
  const listed = useMemo(() => {
    const strength = strengths(e, 0);
    const order = Array.from(strength.keys()).sort((i, j) => strength[j]! - strength[i]! || i - j);
    return order.slice(0, 8).sort((i, j) => i - j);
  }, [original]);
  const ink = useMemo<[number, number]>(() => {
    const values = Array.from(original.x);
    const [high, low] = [Math.max(...values), Math.min(...values)];
    return high > low ? [high, low] : [low + 1, low];
  }, [original]);
  const count = factorsOf(chain).length;
  const blank = useMemo(() => (exercise ? blanks(chain, seed) : null), [exercise, chain, seed]);

  const choose = (next: Place): void => {
    setPlace(next);
    setPath(0);
    setAt(null);
    setSeen(new Set());
    setPlaying(false);
  };
  // by what is shown when it is done, not when the key was pressed: keys can be faster than the page
  const forth = (): void => setAt((now) => (now === null ? 0 : Math.min(now + 1, count - 1)));
  const back = (): void => setAt((now) => (now === null || now === 0 ? null : now - 1));
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const box = target.closest(".scroll");
      if (box && target === box && box.scrollWidth > box.clientWidth) return; // the keys scroll it
      if (target.closest("input, select, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowRight") forth();
      else if (event.key === "ArrowLeft") back();
      else if (event.key === "Escape") setAt(null);
      else return;
      event.preventDefault();
      setPlaying(false);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [count]);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(() => {
      if (at !== null && at >= count - 1) setPlaying(false);
      else forth();
    }, at === null ? 0 : BEAT);
    return () => clearTimeout(timer);
  }, [playing, at, count]);

  const factor = at === null ? null : factorsOf(chain)[at]!;
  const group = factor && chain.groups.find((one) => one.factors.includes(factor))!;
  const walk: Walk = {
    at, lit: lit ?? factor?.place ?? null, notation, light: setLit,
    hidden: (i) => blank?.has(i) || (predict && !seen.has(i)),
    visit: (i) => {
      if (predict) setSeen(new Set([...seen, i]));
      if (i < count) setAt(i);
    },
    derive: (i) => {
      setAt(i);
      setDerived(true);
    },
  };
  // the losses told are of the example as it was
  const change = (to: Partial<State>): void => setState((now) => ({ ...now, losses: [], predicted: NaN, ...to }));
  const takeStep = (lr: number): void => {
    const taken = step(state.net, e.f, e.b, state.label, lr);
    const losses = [...(state.losses.length ? state.losses : [e.b.loss]), taken.after];
    setState({ ...state, net: taken.net, losses, predicted: taken.predicted });
  };
  const symbol = text(chain.symbol, notation);
  const asked = walk.hidden(count); // the product is the reader's to tell
  useEffect(() => void (document.title = `Why ${symbol} gets its gradient`), [symbol]);
  const found = useMemo(() => findings(e), [e]);
  return (
    <>
      <header>
        <p class="soft">Chainrule · the chain explained</p>
        <h1>Why {symbol} gets {asked ? "its gradient" : <>the gradient <span class="big"><Num value={chain.fromBackward} id="gradient" /></span></>}</h1>
        <p class="lead" id="why">{asked ? "The reason stands here when the product of the chain is known." : why(e, chain, notation)}</p>
        <p>The true class is <strong>{e.classes[e.label]}</strong>, which the network gives the probability{" "}
          <span class="num" title={String(e.f.p[e.label])}>{probability(e.f.p[e.label]!, -e.b.gradA.at(-1)![e.label]!, 5)}</span>: the loss is 𝓛 = −log {notation.y}<sub>ℓ</sub> = <Num value={e.b.loss} id="loss" />.</p>
        {found.map((finding) => <p class="finding" key={finding}>{finding}</p>)}
      </header>
      <div class="columns">
        <div class="wide">
          <section class="card" aria-labelledby="network-title">
            <h2 id="network-title">The network</h2>
            <fieldset class="tools"><legend>Edges as thick as</legend>
              {(["gradient", "weight", "activation"] as const).map((one) => (
                <label key={one}><input type="radio" name="by" value={one} checked={by === one} onChange={() => setBy(one)} />{" "}
                  {one === "gradient" ? "|gradient|" : one === "weight" ? "|weight|" : "|weight × activation|"}</label>
              ))}
            </fieldset>
            <div class="scroll" tabIndex={0} role="group" aria-label="The network, drawn">
              <Drawing {...{ e, chain, by, extra, compact, notation, choose }} lit={walk.lit} light={setLit}
                open={(layer, more) => {
                  const next = e.net.widths.map((_, k) => extra[k] ?? 0);
                  next[layer] = more ? next[layer]! + 20 : 0;
                  setExtra(next);
                }} />
            </div>
            <p class="soft"><span class="key plus-key" /> positive <span class="key minus-key" /> negative{" "}
              <span class="key halo-key" /> the weight that is explained. Click a unit or a line to explain it, a “+” to open the rest of a layer.</p>
            <Chooser {...{ e, place, choose, notation }} />
          </section>
          <section class="card" aria-labelledby="chain-title" id="chain">
            <h2 id="chain-title">The chain</h2>
            <div class="scroll" tabIndex={0} role="group" aria-label="The chain in matrices"><Matrices chain={chain} walk={walk} /></div>
            <p class="soft">To talk to a weight, first talk to the output layer, then to each hidden layer before it, and then to the weight.
              {chain.paths.count > 1 && <> The layers are wide: the product of these matrices is the sum over{" "}
                {chain.paths.count.toLocaleString("en")} paths. This one {path === 0 ? "is the strongest" : `is number ${path + 1}`}
                {chain.paths.strongest[path] && (chain.paths.cancels ? "; they cancel"
                  : <>, <Num value={100 * chain.paths.strongest[path]!.share} digits={3} /> % of the sum</>)}:</>}</p>
            <div class="tools">
              <button type="button" onClick={back} disabled={at === null} aria-label="A step back, towards the loss">◀</button>
              <button type="button" onClick={forth} disabled={at === count - 1} aria-label="A step on, towards the weight">▶</button>
              <button type="button" aria-pressed={playing} onClick={() => {
                if (!playing && (at === null || at >= count - 1)) setAt(null);
                setPlaying(!playing);
              }}>{playing ? "Pause" : "Play"}</button>
              {at !== null && <button type="button" onClick={() => { setAt(null); setPlaying(false); }}>Show all</button>}
              <label><input type="checkbox" checked={fused} onChange={() => { setFused(!fused); setAt(null); setSeen(new Set()); }} /> output layer as one factor</label>
              <label><input type="checkbox" checked={predict} onChange={() => { setPredict(!predict); setSeen(new Set()); }} /> predict first</label>
              <label><input type="checkbox" checked={exercise} onChange={() => setExercise(!exercise)} /> exercise</label>
            </div>
            <Tiles chain={chain} walk={walk} />
            {e.f.p[e.label] === 0 && !fused && (
              <p class="finding" id="broken">Here the first route breaks in float64 too: the true class's probability is 0 in float64, −1/0 is −∞,
                and −∞ · 0 has no value. The product is that of the output layer as one factor.</p>)}
            <p class="unseen" aria-live="polite" id="said">
              {factor && group ? `Step ${at! + 1} of ${count}: ${group.heading}: ∂${text(factor.above, notation)}/∂${text(factor.below, notation)}${walk.hidden(at!) ? "" : `, ${number(factor.value)}`}` : ""}
            </p>
            <Panel chain={chain} walk={walk} open={derived} setOpen={setDerived} />
            {exercise && <Exercise key={`${symbol}${seed}${fused}`} {...{ chain, seed, notation, setSeed }} />}
            <p class="soft keys">The arrow keys → and ← walk the chain from the loss to the weight and back; Escape shows all of it.</p>
          </section>
        </div>
        <aside class="side" aria-label="Change the example">
          <section class="card" aria-labelledby="input-title">
            <h2 id="input-title">The example</h2>
            {payload.image && <Images e={e} image={payload.image} ink={ink} change={(x) => change({ x })} />}
            <label class="field">the true class
              <select id="label" value={state.label} onChange={(event) => change({ label: Number(event.currentTarget.value) })}>
                {e.classes.map((name, i) => <option key={i} value={i}>{name}</option>)}
              </select>
            </label>
            <details open={!payload.image}><summary>Inputs as sliders</summary>
              <Sliders e={e} listed={listed} change={(x) => change({ x })} /></details>
          </section>
          <StepBox losses={state.losses} predicted={state.predicted} loss={e.b.loss} take={takeStep} reset={() => { setState(original); choose(payload.place); }} />
          <Settings notation={notation} setNotation={setNotation} />
        </aside>
      </div>
      {!predict && !exercise && <>
        <Checked chain={chain} />
        <PathTable {...{ e, chain }} index={path} choose={(i) => { setPath(i); setAt(null); setSeen(new Set()); }} />
        <Groups chain={chain} notation={notation} />
        <OutputUnits e={e} notation={notation} choose={(unit) => choose({ layer: e.net.weights.length, unit, input: null })} />
      </>}
    </>
  );
}

/** Whether the window is as narrow as a phone's. */
function useCompact(): boolean {
  const query = useRef(window.matchMedia("(max-width: 640px)"));
  const [compact, setCompact] = useState(query.current.matches);
  useEffect(() => {
    const changed = (): void => setCompact(query.current.matches);
    query.current.addEventListener("change", changed);
    return () => query.current.removeEventListener("change", changed);
  }, []);
  return compact;
}
