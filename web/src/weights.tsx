/* The last step: δ hᵀ as a map, beside the example that its rows are named by, and the title's number. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { Bars } from "./bars";
import { inputName } from "./chain";
import { checkPlace } from "./checks";
import { largestAt, largestOf } from "./engine";
import { Features, Image, Label, rawOfFeature, rawWords } from "./example";
import type { Inputs, Sample } from "./inputs";
import { HeatMap } from "./map";
import { number } from "./numbers";
import { carried, Num } from "./parts";
import { Pixels, strength } from "./pixels";
import { Result, Row, spoken, type View } from "./steps";
import { letterOf, Maths, sym, Symbol, text, weightSym } from "./symbols";
import { headingOf, mapRows } from "./walk";

const CELL = 26; // px of a row of the map that a control stands beside
const BESIDE = 24; // features at most
const TALL = 200; // px of a map that nothing stands beside

interface Props {
  view: View;
  inputs: Inputs;
  sample: Sample;
  listed: number[];
  /** whether the example may be changed here */
  editor: boolean;
  change(to: Sample): void;
  relabel(label: number): void;
}

export function WeightStep({ view, inputs, sample, listed, editor, change, relabel }: Props): JSX.Element {
  const { e, place, notation, narrow } = view;
  const index = view.steps.length - 1;
  const { layer } = place;
  const h = e.f.h[layer - 1]!;
  const first = layer === 1;
  const check = useMemo(() => {
    const found = checkPlace(e, place, e.batchSize === null ? 1 : 1 / e.batchSize);
    return found;
  }, [e, place]);
  const below = first ? sym("x") : sym("h", layer - 1);
  const beside = first && editor && !narrow && !inputs.image && h.length <= BESIDE;
  const height = beside ? CELL * h.length : narrow ? 240 : Math.max(TALL, Math.min(h.length, 20) * 10);
  const chosen = first && place.input ? place.input - 1 : -1;
  const later = view.at !== null && index > view.at;
  const now = view.at === index;
  const features = Array.from(e.features.keys());
  const shared = { e, inputs, sample, chosen, change };
  const layers = e.net.weights.length > 1 && (
    <label class="layers">layer <select id="layer" value={layer} onChange={(event) => {
      const k = Number(event.currentTarget.value);
      view.choose({ layer: k, unit: largestAt(e.b.gradA[k - 1]!) + 1, input: largestAt(e.f.h[k - 1]!) + 1 });
    }}>{e.net.weights.map((_, k) => <option key={k} value={k + 1}>{k + 1}</option>)}</select></label>
  );
  const mapped = (
    <div class="line mapline"><span class="sign" /><Heads h={h} height={height} rows={e.facts.most.rows} />
      <HeatMap {...{ e, place, height, notation }} slots={view.slots[layer]!} hidden={view.hidden(index)} choose={view.choose}
        nameOf={(input) => inputName(e, { ...place, input }, notation)} rawOf={(input) => (first && rawOfFeature(inputs, sample, input - 1) ? ` is ${rawOfFeature(inputs, sample, input - 1)}` : "")} />
      <span class="most">bias</span></div>
  );
  const beneath = <>
    {!(first && inputs.image) && <Lens view={view} height={height} nameOf={(input) => inputName(e, { ...place, input }, notation)} />}
    <Steppers view={view} />
  </>;
  return (
    <section ref={(part) => { if (part) view.hidden(index) ? carried.delete(part) : carried.set(part, { name: `gradient of the units of layer ${layer}`, values: e.b.gradA[layer - 1]! }); }} class={`talk card weight${later ? " later" : ""}${now ? " now" : ""}${beside ? " tabled" : ""}`} data-step={index + 1} aria-labelledby={`step-${index}`}>
      <div class="say">
        <h2 id={`step-${index}`}><button type="button" class="count" onClick={() => view.visit(index)} aria-label={`Step ${index + 1}: ${headingOf(view.steps[index]!)}`} aria-current={now ? "step" : undefined}>{index + 1}</button>{headingOf(view.steps[index]!)}</h2>
        <p class="formula"><Maths><msub><mo>∇</mo><Symbol of={sym("W", layer)} notation={notation} /></msub><mi>𝓛</mi><mo>=</mo><msub><mi>δ</mi><mn>{layer}</mn></msub><msup><Symbol of={below} notation={notation} /><mi>T</mi></msup></Maths>
          {" "}<button type="button" class="link" onClick={() => view.derive(["gradient_wrt_weights", "gradient_wrt_biases", "one_weight"])} aria-label={`Derivation: ${headingOf(view.steps[index]!)}`}>why?</button> {layers}</p>
        {!beside && (first && editor && !narrow ? (
          <div class="editor">
            {inputs.image ? <Image {...shared} label={<Label e={e} change={relabel} />} /> : <Label e={e} change={relabel} />}
            <Features {...shared} listed={inputs.image ? [] : listed} tall={null} />
          </div>
        ) : <p class="words">A column for each unit, a row for each of its {h.length} inputs: every cell is δ times an input. The last row, whose input is 1, holds the biases.</p>)}
        {beside && <Label e={e} change={relabel} />}
      </div>
      {beside && <div class="editor heads"><Features {...shared} listed={features} tall={CELL} /></div>}
      <div class="rows">{mapped}{beneath}</div>
      <div class="side">
        <Result view={view} index={index} check={check} raw={first && place.input ? rawWords(inputs, sample, place.input - 1) : ""} />
        {first && inputs.image && !view.hidden(index) ? <Into view={view} image={inputs.image} /> : !view.hidden(index) && <Largest view={view} />}
      </div>
    </section>
  );
}

/** The weights of the inputs that share a row of the map, singly. */
function Lens({ view, height, nameOf }: { view: View; height: number; nameOf(input: number): string }): JSX.Element | null {
  const { e, place, notation, choose } = view;
  const [h, own] = [e.f.h[place.layer - 1]!, e.b.gradA[place.layer - 1]![place.unit - 1]!];
  const rows = mapRows(h.length, height, e.facts.most.rows);
  const inputs = place.input ? rows[Math.floor((place.input - 1) / rows[0]!.length)]! : rows.at(-1)!;
  if (rows[0]!.length === 1) return null;
  const values = Float64Array.from(inputs, (i) => own * h[i]!);
  const [from, top] = [inputs[0]!, Math.abs(own) * largestOf(h)];
  const hidden = view.hidden(view.steps.length - 1);
  const name = (i: number): string => text(weightSym(place.layer, place.unit, from + i), notation);
  return (
    <Row name={`${from + 1} to ${from + inputs.length}`}><Bars name="the chosen row of the map, singly" each="input" values={values} look="gradient" height={40} hidden={hidden}
      slots={{ units: inputs.map((_, i) => i + 1), rest: [], shut: 0, share: 1, restShare: 0 }} chosen={place.input ? place.input - from : 0} length={(v) => (top > 0 ? v / top : 0)}
      say={(i) => `${name(i)}, ${spoken(values[i - 1]!)}, from ${nameOf(from + i)}`} choose={(i) => choose({ ...place, input: from + i })}
      tip={(i) => <><b>{name(i)}</b>, from {nameOf(from + i)}<br />{hidden ? "what is asked is hidden" : <><Num value={own} digits={3} /> × <Num value={h[from + i - 1]!} digits={3} /> = <Num value={values[i - 1]!} digits={4} /></>}</>} /></Row>
  );
}

/** To the weight beside the chosen one, where a cell is too small for a finger. */
function Steppers({ view }: { view: View }): JSX.Element {
  const { e, place, choose } = view;
  const [units, inputs] = [view.slots[place.layer]!.units, e.net.widths[place.layer - 1]!];
  const column = units.indexOf(place.unit);
  const row = place.input || inputs + 1; // the biases are the last
  const to = (unit: number | undefined, at: number, words: string, name: string): JSX.Element => (
    <button type="button" disabled={unit === undefined || at < 1 || at > inputs + 1} onClick={() => choose({ layer: place.layer, unit: unit!, input: at > inputs ? 0 : at })} aria-label={name}>{words}</button>
  );
  return (
    <div class="steppers" role="group" aria-label="To the weight beside this one">
      {to(units[column - 1], row, "◀", "The unit before")}{to(units[column + 1], row, "▶", "The unit after")} unit {place.unit}
      <span class="gap" />{to(place.unit, row - 1, "▲", "The input before")}{to(place.unit, row + 1, "▼", "The input after")} {place.input ? `input ${place.input}` : "bias"}
    </div>
  );
}

/** The inputs as bars lying beside their rows. */
function Heads({ h, height, rows }: { h: Float64Array; height: number; rows: number }): JSX.Element {
  const count = Math.min(h.length, rows, Math.max(8, Math.floor(height / 2)));
  const each = Math.ceil(h.length / count);
  const size = largestOf(h);
  const largest = size > 0 && Number.isFinite(size) ? size : 1;
  let d = "";
  for (let row = 0; row * each < h.length; row++) {
    const value = h.subarray(row * each, (row + 1) * each).reduce((m, v) => (Number.isFinite(v) && Math.abs(v) > Math.abs(m) ? v : m), 0);
    const high = 100 / Math.ceil(h.length / each);
    d += `M50 ${(row * high).toFixed(2)}h${(48 * (value / largest)).toFixed(2)}v${(high * 0.85).toFixed(2)}h${(-48 * (value / largest)).toFixed(2)}z`;
  }
  return (
    <svg class="heads" ref={(drawn) => { if (drawn) carried.set(drawn, { name: "inputs", values: h }); }} viewBox="0 0 100 100" preserveAspectRatio="none" style={{ height: `${height}px` }} role="img" aria-label="the inputs of the rows, as bars">
      <line x1={50} x2={50} y1={0} y2={100} class="axis" /><path class="forward" d={d} />
    </svg>
  );
}

/** All weights into the chosen unit, as an image to choose from. */
function Into({ view, image: [rows, columns] }: { view: View; image: [number, number] }): JSX.Element {
  const { e, place, choose } = view;
  const x = e.f.h[0]!;
  const own = e.b.gradA[0]![place.unit - 1]!;
  const largest = largestOf(x);
  const at = place.input ? place.input - 1 : -1;
  return (
    <div class="into drawn-into"><p class="soft">All weights into unit {place.unit}; click one.</p>
      <div class="paper" style={{ aspectRatio: `${columns} / ${rows}` }} onClick={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        const [column, row] = [Math.floor(((event.clientX - box.left) / box.width) * columns), Math.floor(((event.clientY - box.top) / box.height) * rows)];
        choose({ layer: 1, unit: place.unit, input: Math.min(rows - 1, row) * columns + Math.min(columns - 1, column) + 1 });
      }}>
        <Pixels rows={rows} columns={columns} of={[e, place]} shade={(row, column) => strength(Math.sign(own) * x[row * columns + column]!, largest)} />
        {at >= 0 && <i class="cell chosen" style={{ left: `${(100 * (at % columns)) / columns}%`, top: `${(100 * Math.floor(at / columns)) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%` }} />}
      </div>
    </div>
  );
}

/** The largest gradients into the chosen unit. */
function Largest({ view }: { view: View }): JSX.Element {
  const { e, place, choose, notation } = view;
  const [h, own] = [e.f.h[place.layer - 1]!, e.b.gradA[place.layer - 1]![place.unit - 1]!];
  const order = Array.from(h.keys()).sort((i, j) => Math.abs(h[j]!) - Math.abs(h[i]!) || i - j).slice(0, 4);
  return (
    <div class="into"><p class="soft">Into unit {place.unit}, the largest first</p>
      {order.map((i) => (
        <button type="button" key={i} class="term" aria-pressed={place.input === i + 1} onClick={() => choose({ ...place, input: i + 1 })}
          aria-label={`${text(weightSym(place.layer, place.unit, i + 1), notation)}, ${number(own * h[i]!, 3)}`}>
          <span class="what">{place.layer === 1 ? e.features[i] : `${letterOf(sym("h"), notation)} of unit ${i + 1}`}</span><Num value={own * h[i]!} digits={3} /></button>
      ))}
    </div>
  );
}
