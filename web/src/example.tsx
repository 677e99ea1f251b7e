/* The example to change, in the units that it came in: an image to draw on, a table's row to fill in, the true class. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Example } from "./chain";
import {
  type Field, fieldOf, type Inputs, isMissing, penOf, rawText, type Sample, stroke, withCategory, withImage, withNumber, withoutNumber,
} from "./inputs";
import { full, number, readNumber } from "./numbers";
import { Pixels } from "./pixels";

interface Props {
  e: Example;
  inputs: Inputs;
  sample: Sample;
  /** the feature, from 0, of the weight that is explained; −1 where it has none */
  chosen: number;
  change(to: Sample): void;
}

export function Image({ inputs, sample, chosen, change, label }: Props & { label: JSX.Element }): JSX.Element {
  const [rows, columns] = inputs.image!;
  const [low, high] = inputs.span;
  const [wipe, setWipe] = useState(false);
  const last = useRef<[number, number] | null>(null);
  const { raw } = sample;
  const draw = (event: PointerEvent): void => {
    if (event.buttons !== 1) return;
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const to: [number, number] = [((event.clientX - box.left) / box.width) * columns, ((event.clientY - box.top) / box.height) * rows];
    const drawn = raw.slice();
    for (const [i, part] of stroke([rows, columns], last.current ?? to, to, penOf(rows))) {
      drawn[i] = wipe ? Math.min(drawn[i]!, high - part * (high - low)) : Math.max(drawn[i]!, low + Math.round(part * 16) / 16 * (high - low));
    }
    last.current = to;
    change(withImage(inputs, sample, drawn));
  };
  const start = (event: PointerEvent): void => {
    last.current = null;
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    draw(event);
  };
  const mark = chosen < 0 ? null : {
    left: `${(100 * (chosen % columns)) / columns}%`, top: `${(100 * Math.floor(chosen / columns)) / rows}%`, width: `${100 / columns}%`, height: `${100 / rows}%`,
  };
  return (
    <div class="drawn">
      <div class="paper" id="input-image" role="img" aria-label="The input as an image; it can be drawn on" style={{ aspectRatio: `${columns} / ${rows}` }}
        onPointerDown={start} onPointerMove={draw} data-raw={Array.from(raw, (v) => Number(v.toPrecision(8))).join(" ")}>
        <Pixels rows={rows} columns={columns} grey of={[raw]}
          shade={(row, column) => Math.min(1, Math.max(0, (raw[row * columns + column]! - low) / (high - low)))} />
        {mark && <i class="cell chosen" style={mark} aria-hidden="true" />}
      </div>
      <div class="pens">
        <span class="soft">draw here</span>
        {label}
        <label><input type="checkbox" checked={wipe} onChange={() => setWipe(!wipe)} /> wipe out</label>
        <button type="button" id="clear" onClick={() => change(withImage(inputs, sample, new Float64Array(raw.length).fill(low)))}>Clear</button>
      </div>
    </div>
  );
}

export function Label({ e, change }: { e: Example; change(label: number): void }): JSX.Element {
  return (
    <label class="field">true class
      <select id="label" value={e.label} onChange={(event) => change(Number(event.currentTarget.value))}>
        {e.classes.map((name, i) => <option key={i} value={i}>{name}</option>)}
      </select>
    </label>
  );
}

/** A value that a slider stands for, in steps that fit its range. */
function stepped(value: number, low: number, high: number): number {
  const step = 10 ** Math.floor(Math.log10((high - low) / 150 || 1));
  return Math.min(high, Math.max(low, Number((Math.round(value / step) * step).toPrecision(8))));
}

/** One feature in its table's units: a slider and a number, a date, a choice among categories, or “not known”. */
function Feature({ inputs, sample, change, feature, ranges }: Props & { feature: number; ranges: Map<string, [number, number]> }): JSX.Element {
  const field = fieldOf(inputs, feature);
  const id = `feature-${feature}`;
  const x = <span class="x" title={full(sample.x[feature]!)}>{number(sample.x[feature]!, 3)}</span>;
  const within = feature - field.at;
  const name = (text: string): JSX.Element => <span class="what" id={id} title={text}>{text}</span>;
  if (field.missing && within === (field.kind === "category" ? field.categories.length : 1)) {
    const gone = isMissing(sample, field);
    return <>{name(`${field.name} not known`)}<input type="checkbox" aria-labelledby={id} checked={gone} onChange={() => {
      if (!gone) change(field.kind === "category" ? withCategory(sample, field, -2) : withoutNumber(sample, field));
      else change(field.kind === "category" ? withCategory(sample, field, 0) : withNumber(inputs, sample, field, field.mean));
    }} /><span />{x}</>;
  }
  if (field.kind === "category") {
    return <>{name(within === 0 ? field.name : "")}<label class="choice"><input type="radio" name={`of-${field.at}`} checked={sample.x[feature] === 1}
      aria-label={`${field.name}: ${field.categories[within]!}`} onChange={() => change(withCategory(sample, field, within))} /> <span title={field.categories[within]}>{field.categories[within]}</span></label>{x}</>;
  }
  const raw = sample.raw[feature]!;
  if (field.kind === "boolean") {
    return <>{name(field.name)}<label class="choice"><input type="checkbox" checked={raw !== 0} aria-labelledby={id} onChange={() => change(withNumber(inputs, sample, field, raw === 0 ? 1 : 0))} /> {raw ? "yes" : "no"}</label>{x}</>;
  }
  // as wide as any value was: a range that shrank with its value would run away under the hand
  const [from, to] = ranges.get(field.name + field.at) ?? [field.low, field.high > field.low ? field.high : field.low + 1];
  const [low, high] = [Math.min(from, raw), Math.max(to, raw)];
  ranges.set(field.name + field.at, [low, high]);
  const read = (text: string): number => (field.kind === "date" ? Date.parse(text) / 86_400_000 : readNumber(text));
  return <>
    {name(field.name)}
    <input type="range" min={low} max={high} step="any" value={raw} aria-labelledby={id} disabled={field.scale === 0}
      onInput={(event) => change(withNumber(inputs, sample, field, stepped(Number(event.currentTarget.value), low, high)))} />
    <input type="text" inputMode={field.kind === "date" ? "text" : "decimal"} placeholder={field.kind === "date" ? "2024-05-31" : undefined} value={rawText(field, raw)} aria-labelledby={id} data-input={feature} disabled={field.scale === 0}
      title={field.scale === 0 ? "always the same in training" : field.kind === "date" ? "" : full(raw)}
      onChange={(event) => {
        const value = read(event.currentTarget.value);
        if (Number.isFinite(value)) change(withNumber(inputs, sample, field, value));
        else event.currentTarget.value = rawText(field, raw); // what is no number leaves the old one
      }} />
    {x}
  </>;
}

interface FeaturesProps extends Props {
  /** those that are listed; the others can be chosen below */
  listed: number[];
  /** where each stands beside its row of the map: that row's height */
  tall: number | null;
}

export function Features({ listed, tall, ...props }: FeaturesProps): JSX.Element {
  const { e, inputs, chosen } = props;
  const [other, setOther] = useState<number | null>(null);
  const ranges = useRef(new Map<string, [number, number]>());
  const shown = [...listed];
  if (chosen >= 0 && !shown.includes(chosen)) shown.push(chosen);
  if (other !== null && !shown.includes(other)) shown.push(other);
  return (
    <div class={`features${tall === null ? "" : " beside"}${inputs.single ? "" : " plain"}`} style={tall === null ? {} : { gridAutoRows: `${tall}px` }}>
      {shown.map((feature) => {
        const kind = fieldOf(inputs, feature).kind;
        return <div key={feature} class={`feature ${kind}${feature === chosen ? " chosen" : ""}`}><Feature {...props} feature={feature} ranges={ranges.current} /></div>;
      })}
      {listed.length < e.features.length && !inputs.image && (
        <label class="field">another input
          <select id="other-input" value={other ?? ""} onChange={(event) => setOther(Number(event.currentTarget.value))}>
            <option value="" disabled>choose …</option>
            {e.features.map((text, i) => <option key={i} value={i}>{text}</option>)}
          </select>
        </label>
      )}
    </div>
  );
}

/** “pixel_4_4 is 0 (mean 10.3)”, of what a table holds; what the number is without one is said already. */
export function rawWords(inputs: Inputs, sample: Sample, feature: number): string {
  const field: Field = fieldOf(inputs, feature);
  if (!inputs.single || field.kind === "category" || field.at !== feature) return "";
  const gone = isMissing(sample, field) ? "not known: taken as the mean, " : "";
  return `${field.name} is ${gone}${rawText(field, sample.raw[feature]!)} (mean ${rawText(field, Number(field.mean.toPrecision(3)))})`;
}

/** A weight's input as it reads in its table; "" where it is no number of one. */
export function rawOfFeature(inputs: Inputs, sample: Sample, feature: number): string {
  const field = fieldOf(inputs, feature);
  if (!inputs.single || field.kind === "category" || field.at !== feature) return "";
  return field.kind === "date" ? rawText(field, sample.raw[feature]!) : number(sample.raw[feature]!, 8);
}
