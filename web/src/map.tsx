/* δ hᵀ as a heat map under the bars of δ: a column for each unit, a row for each input, and the biases last. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Tip } from "./bars";
import type { Example } from "./chain";
import { largestOf, type Place } from "./engine";
import { number } from "./numbers";
import { Num } from "./parts";
import { Pixels, strength } from "./pixels";
import { type Notation, sym, text, weightSym } from "./symbols";
import { centre, deltaText, mapRows, type Slots, strongestOf } from "./walk";

interface Props {
  e: Example;
  place: Place;
  slots: Slots;
  height: number;
  hidden: boolean;
  notation: Notation;
  /** the heights of a row where each input has one of its own beside it */
  nameOf(input: number): string;
  rawOf(input: number): string;
  choose(place: Place): void;
}

const GAP = 4; // px between the weights and the biases
const BIAS = 14; // px of the biases' row

export function HeatMap({ e, place, slots, height, hidden, notation, nameOf, rawOf, choose }: Props): JSX.Element {
  const { layer } = place;
  const [h, delta] = [e.f.h[layer - 1]!, e.b.gradA[layer - 1]!];
  const [over, setOver] = useState<[number, number] | null>(null);
  const [focused, setFocused] = useState(false);
  const rows = mapRows(h.length, height, e.facts.most.rows);
  const strongest = rows.map((inputs) => strongestOf(h, inputs));
  const each = rows[0]!.length;
  const chosenRow = place.input ? Math.floor((place.input - 1) / each) : rows.length;
  const [at, setAt] = useState<[number, number] | null>(null);
  const column = Math.max(0, slots.units.indexOf(place.unit));
  const active: [number, number] = at ?? [chosenRow, column];
  const placeAt = ([row, col]: [number, number]): Place => {
    const unit = slots.units[Math.min(col, slots.units.length - 1)]!;
    if (row >= rows.length) return { layer, unit, input: 0 };
    // of the row that holds the chosen weight, that one: what is pooled is walked by its largest
    const own = row === chosenRow && unit === place.unit && place.input;
    return { layer, unit, input: own ? place.input : strongest[row]! + 1 };
  };
  const gradient = (p: Place): number => delta[p.unit - 1]! * (p.input ? h[p.input - 1]! : 1);
  const symbol = (p: Place): string => p.input ? text(weightSym(layer, p.unit, p.input), notation) : text(sym("b", layer, p.unit), notation);
  const say = (p: Place): string => `${symbol(p)}, ${hidden ? "hidden" : number(gradient(p), 4)}${p.input ? `, from ${nameOf(p.input)}` : ", a bias"}`;
  const cellAt = (event: MouseEvent): [number, number] | null => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const col = Math.floor(((event.clientX - box.left) / box.width / slots.share) * slots.units.length);
    const y = event.clientY - box.top;
    if (col < 0 || col >= slots.units.length) return null;
    return [y > height + GAP / 2 ? rows.length : Math.min(rows.length - 1, Math.max(0, Math.floor((y / height) * rows.length))), col];
  };
  const onKey = (event: KeyboardEvent): void => {
    const [row, col] = active;
    const moved: Record<string, [number, number]> = {
      ArrowUp: [row - 1, col], ArrowDown: [row + 1, col], ArrowLeft: [row, col - 1], ArrowRight: [row, col + 1],
      Home: largestCell(), End: [rows.length, slots.units.length - 1],
    };
    const next = moved[event.key];
    if (event.key === "Enter" || event.key === " ") choose(placeAt(active));
    else if (next) setAt([Math.min(Math.max(next[0], 0), rows.length), Math.min(Math.max(next[1], 0), slots.units.length - 1)]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const largestCell = (): [number, number] => {
    const best = (sizes: number[]): number => sizes.reduce((m, v, i) => (v > sizes[m]! ? i : m), 0);
    return [best(strongest.map((i) => Math.abs(h[i]!))), best(slots.units.map((unit) => Math.abs(delta[unit - 1]!)))];
  };
  const told = over ?? (focused ? active : null);
  const largest = largestOf(delta) * Math.max(1, largestOf(h));
  const columns = slots.units.map((unit) => delta[unit - 1]!);
  const wide = (100 * slots.share) / slots.units.length;
  const tall = height / rows.length;
  const box = ([row, col]: [number, number]): Record<string, string> => ({
    left: `${wide * col}%`, width: `${wide}%`,
    top: row >= rows.length ? `${height + GAP}px` : `${tall * row}px`, height: `${row >= rows.length ? BIAS : tall}px`,
  });
  const share = { width: `${100 * slots.share}%` };
  const target = placeAt(active);
  return (
    <div class="plot map" style={{ height: `${height + GAP + BIAS}px` }} data-row="weights">
      <div class="cells" role="grid" tabIndex={0} aria-label={`gradients of layer ${layer}'s weights: ${slots.units.length} of ${delta.length} units across, ${h.length} inputs and the bias down`}
        aria-activedescendant="map-cell" aria-rowcount={rows.length + 1} aria-colcount={slots.units.length}
        onKeyDown={onKey} onFocus={() => setFocused(true)} onBlur={() => { setFocused(false); setAt(null); }}
        onPointerMove={(event) => { if (event.pointerType !== "touch") setOver(cellAt(event)); }} onPointerLeave={() => setOver(null)}
        onClick={(event) => {
          const cell = cellAt(event);
          if (cell) { choose(placeAt(cell)); setAt(null); }
        }}>
        {hidden ? <span class="hollow" aria-hidden="true">hidden</span> : <>
          <Pixels class="whole" rows={rows.length} columns={columns.length} of={[e, slots]} style={{ ...share, height: `${height}px` }}
            shade={(row, column) => strength(h[strongest[row]!]! * columns[column]!, largest)} />
          <Pixels class="bias" rows={1} columns={columns.length} of={[e, slots]} style={{ ...share, top: `${height + GAP}px`, height: `${BIAS}px` }}
            shade={(_, column) => strength(columns[column]!, largest)} />
        </>}
        <div role="row" aria-rowindex={active[0] + 1}>
          <div role="gridcell" id="map-cell" aria-colindex={active[1] + 1} aria-selected={sameCell(active, [chosenRow, column])}
            class={`cell${focused ? " active" : ""}`} style={box(active)} aria-label={say(target)} />
        </div>
        {slots.units.includes(place.unit) && <i class="cell chosen" style={box([chosenRow, column])} aria-hidden="true" />}
        {told && <><i class="cross across" style={{ top: `calc(${box(told).top} + ${box(told).height} / 2)` }} /><i class="cross down" style={{ left: `${wide * (told[1] + 0.5)}%` }} /></>}
      </div>
      {told && <CellTip {...{ told: placeAt(told), rows: rows.length, row: told[0], each, gradient, symbol, hidden, rawOf, nameOf, slots }}
        own={delta[placeAt(told).unit - 1]!} value={placeAt(told).input ? h[placeAt(told).input! - 1]! : 1} layer={layer} />}
    </div>
  );
}

const sameCell = (p: [number, number], q: [number, number]): boolean => p[0] === q[0] && p[1] === q[1];

function CellTip(props: {
  told: Place; rows: number; row: number; each: number; own: number; value: number; layer: number; hidden: boolean; slots: Slots;
  gradient(p: Place): number; symbol(p: Place): string; nameOf(i: number): string; rawOf(i: number): string;
}): JSX.Element {
  const { told, rows, row, each, own, value, layer, hidden, gradient, symbol } = props;
  return (
    <Tip at={centre(props.slots, told.unit)} top={Math.min(0.6, row / (rows + 1))}>
      <b>{symbol(told)}</b>{hidden ? ": hidden" : <>: <Num value={own} digits={3} /> × <Num value={value} digits={3} /> = <Num value={gradient(told)} digits={4} /></>}<br />
      {told.input ? <>{props.nameOf(told.input)}{props.rawOf(told.input)}</> : `the bias: its input is 1, so ${deltaText(layer, told.unit)} itself`}
      {told.input && each > 1 ? `, the largest of ${each} inputs` : ""}<br /><span>click to choose</span>
    </Tip>
  );
}
