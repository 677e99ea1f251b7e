/* A layer as a row of bars: pointed at and walked through one by one, though drawn as a few paths. */
import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import type { Vector } from "./engine";
import { largestAt } from "./engine";
import { carried } from "./parts";
import { centre, type Slots } from "./walk";

const [WIDE, HIGH] = [1000, 100]; // of the drawing; it is stretched to its place

interface Props {
  /** what a row is, for whoever does not see it: “gradient of hidden layer 1” */
  name: string;
  /** what a bar is, where it is no unit */
  each?: string;
  /** where each stands, where that is more than a number */
  places?: string[];
  values: Vector;
  slots: Slots;
  /** from −1 to 1 (signed) or from 0 to 1: the length of a value's bar */
  length(value: number): number;
  look: "gradient" | "forward" | "truth" | "gates";
  /** which bars are pale: those whose gate is shut */
  pale?(unit: number): boolean;
  height: number;
  chosen: number;
  hidden?: boolean;
  /** what is said of a unit, and what its tip adds */
  say(unit: number): string;
  tip(unit: number): ComponentChildren;
  choose(unit: number): void;
  more?(): void;
  labels?(unit: number): string;
  children?: ComponentChildren;
}

const round = (v: number): string => String(Math.round(v * 100) / 100);

/** The paths of a row: of what is above, below, and pale. */
function paths({ values, slots, length, look, pale }: Props): Record<string, string> {
  const found: Record<string, string> = {};
  const signed = look === "gradient";
  const base = signed ? HIGH / 2 : HIGH;
  const draw = (unit: number, x: number, width: number): void => {
    const value = values[unit - 1]!;
    const share = look === "gates" ? 1 : length(value);
    const tall = share * (signed ? HIGH / 2 : HIGH);
    const kind = look === "gates" ? (value === 0 ? "shut" : "open") : look === "gradient" ? (tall < 0 ? "fillminus" : "fillplus") : look;
    const key = pale?.(unit) ? `${kind} pale` : kind;
    if (tall !== 0 && Number.isFinite(tall)) found[key] = `${found[key] ?? ""}M${round(x)} ${base}h${round(width)}v${round(-tall)}h${round(-width)}z`;
  };
  const slot = (WIDE * slots.share) / Math.max(1, slots.units.length);
  const gap = Math.min(slot * 0.18, 20);
  slots.units.forEach((unit, i) => draw(unit, i * slot + gap / 2, slot - gap));
  if (slots.rest.length && look !== "gates") {
    const thin = (WIDE * slots.restShare) / slots.rest.length;
    slots.rest.forEach((unit, i) => draw(unit, WIDE * slots.share + i * thin, thin));
  }
  return found;
}

export function Bars(props: Props): JSX.Element {
  const { name, values, slots, look, height, chosen, hidden, say, choose, labels } = props;
  const [over, setOver] = useState<number | null>(null);
  const [focused, setFocused] = useState(false);
  const [at, setAt] = useState<number | null>(null);
  const active = slots.units.includes(at ?? chosen) ? (at ?? chosen) : slots.units[0]!;
  const told = over ?? (focused ? active : null);
  const id = `bars-${name.replace(/[^\w]+/g, "-")}`;
  const unitAt = (event: MouseEvent): number | null => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width / slots.share) * slots.units.length);
    return slots.units[place] ?? null;
  };
  const onKey = (event: KeyboardEvent): void => {
    const place = slots.units.indexOf(active);
    const next: Record<string, number> = {
      ArrowRight: place + 1, ArrowLeft: place - 1, End: slots.units.length - 1,
      Home: largestAt(Float64Array.from(slots.units, (unit) => values[unit - 1]!)),
    };
    if (event.key === "Enter" || event.key === " ") choose(active);
    else if (event.key in next) setAt(slots.units[Math.min(Math.max(next[event.key]!, 0), slots.units.length - 1)]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const drawn = hidden ? {} : paths(props);
  const options = [...new Set([active, ...(slots.units.includes(chosen) ? [chosen] : [])])];
  const wide = (100 * slots.share) / slots.units.length;
  const largest = largestAt(values) + 1;
  const summary = hidden ? "hidden until you ask" : `largest ${say(largest)}`;
  const folded = slots.rest.length + slots.shut;
  return (
    <div class={`plot ${look}`} style={{ height: `${height}px` }} data-row={name} ref={(plot) => { if (plot) hidden ? carried.delete(plot) : carried.set(plot, { name, values, each: props.each, places: props.places }); }}>
      <div class="bars" role="listbox" tabIndex={0} aria-orientation="horizontal" aria-activedescendant={`${id}-${active}`}
        aria-label={`${name}, ${values.length} ${props.each ?? "unit"}s, ${summary}`}
        onKeyDown={onKey} onFocus={() => setFocused(true)} onBlur={() => { setFocused(false); setAt(null); }}
        onPointerDown={(event) => { if (event.pointerType === "touch") setOver(unitAt(event)); }}
        onPointerMove={(event) => setOver(unitAt(event))} onPointerLeave={() => setOver(null)} onPointerCancel={() => setOver(null)}
        onPointerUp={(event) => {
          const unit = unitAt(event); // a finger is wider than a bar: it goes across them, and chooses the one it leaves
          if (event.pointerType === "touch" && unit !== null) choose(unit);
        }}
        onClick={(event) => {
          const unit = unitAt(event);
          if (unit !== null) { choose(unit); setAt(unit); }
        }}>
        <svg viewBox={`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" aria-hidden="true">
          {Object.entries(drawn).map(([kind, d]) => <path key={kind} class={kind} d={d} />)}
          {look !== "gates" && <line class="axis" x1={0} x2={WIDE} y1={look === "gradient" ? HIGH / 2 : HIGH - 0.5} y2={look === "gradient" ? HIGH / 2 : HIGH - 0.5} />}
        </svg>
        {options.map((unit) => (
          <div key={unit} id={`${id}-${unit}`} role="option" aria-selected={unit === chosen} class={`option${unit === active && focused ? " active" : ""}`}
            style={{ left: `${100 * centre(slots, unit) - wide / 2}%`, width: `${wide}%` }}
            aria-label={hidden ? `unit ${unit}, hidden` : say(unit)} />
        ))}
        {hidden && <span class="hollow" aria-hidden="true">{look !== "gates" && height > 14 && "hidden"}</span>}
      </div>
      {!hidden && labels && slots.units.map((unit) => {
        const text = labels(unit);
        if (!text) return null;
        const value = values[unit - 1]!;
        const tall = props.length(value) * (look === "gradient" ? 50 : 100);
        // above what goes up, below what goes down, and inside where there is no room beside it
        const from = look === "gradient" ? 50 + tall : tall;
        const inside = Math.abs(tall) > (look === "gradient" ? 26 : 55);
        const minus = look === "gradient" && value < 0;
        const bottom = `calc(${from}% ${minus === inside ? "+" : "-"} ${minus === inside ? "2px" : "18px"})`;
        return <span key={unit} aria-hidden="true" class={`value${inside ? " inside" : minus ? " minus" : " plus"}`} style={{ left: `${100 * centre(slots, unit)}%`, bottom }}>{text}</span>;
      })}
      {folded > 0 && props.more && (
        <button type="button" class="folded" style={{ left: `${100 * slots.share}%` }} onClick={props.more} title={foldedText(values, slots, hidden)}>
          + {folded} more</button>
      )}
      {told !== null && <Tip at={centre(slots, told)}>{props.tip(told)}</Tip>}
      {props.children}
    </div>
  );
}

/** “211 more: 53 % of Σ|δ|, none above 0.034”. */
export function foldedText(values: Vector, slots: Slots, hidden?: boolean): string {
  const count = slots.rest.length + slots.shut;
  if (hidden) return `${count} more units`;
  const sum = (units: number[]): number => units.reduce((s, unit) => s + Math.abs(values[unit - 1]!), 0);
  const all = values.reduce((s, v) => s + Math.abs(v), 0);
  const most = slots.rest.reduce((m, unit) => Math.max(m, Math.abs(values[unit - 1]!)), 0);
  return `${count} more: ${((100 * sum(slots.rest)) / (all || 1)).toFixed(0)} % of the sum of sizes, none above ${most.toPrecision(2)}; ` +
    `${slots.shut} of them 0. Click for the next.`;
}

/** What stands beside a bar or cell that is pointed at. */
export function Tip({ at, children, top }: { at: number; children: ComponentChildren; top?: number }): JSX.Element {
  const side = at > 0.5 ? { right: `calc(${100 * (1 - at)}% + 12px)` } : { left: `calc(${100 * at}% + 12px)` };
  return <div class="tip" aria-hidden="true" style={{ ...side, ...(top === undefined ? {} : { top: `${100 * top}%` }) }}>{children}</div>;
}

interface FanProps {
  above: Slots;
  below: Slots;
  unit: number;
  terms: { unit: number; value: number }[];
  /** as of a bar: its share of the whole */
  length(value: number): number;
  hidden: boolean;
}

const THICK = 12; // px of a line that stands for a whole bar

/** Lines only where a sum happens: into one unit, each as thick as its term is large, on the scale of the bars. */
export function Fan({ above, below, unit, terms, length, hidden }: FanProps): JSX.Element {
  const largest = terms.reduce((m, term) => Math.max(m, Math.abs(term.value)), 0);
  const to = round(WIDE * centre(below, unit));
  const drawn = hidden ? [] : terms.filter(({ value }) => Math.abs(value) > largest / 50).reverse();
  return (
    <svg class="fan" viewBox={`0 0 ${WIDE} 24`} preserveAspectRatio="none" aria-hidden="true">
      {drawn.map((term) => {
        const from = round(WIDE * centre(above, term.unit));
        return <path key={term.unit} class={term.value < 0 ? "minus" : "plus"} d={`M${from} 0C${from} 16 ${to} 8 ${to} 24`}
          style={{ strokeWidth: `${THICK * Math.abs(length(term.value))}px` }} />;
      })}
    </svg>
  );
}
