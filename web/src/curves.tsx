/* Numbers over the steps of a training, as lines or bars, with the cursor's step marked. */
import type { JSX } from "preact";
import { number } from "./numbers";
import { carried } from "./parts";

const [WIDE, HIGH] = [1000, 100];

interface Props {
  title: JSX.Element | string;
  /** what it is, for whoever does not see it */
  name: string;
  lines: { name: string; values: number[]; look: string }[];
  /** the step of the cursor, from 0, and how many there is room for */
  at: number;
  room: number;
  log?: boolean;
  bars?: boolean;
  /** what an axis must hold */
  hold?: number[];
  /** what is counted along it */
  unit?: string;
  go(step: number): void;
}

/** Round numbers from low to high: the multiples of the least of 1, 2, 5, 10 … that are at most four. */
export function ticks(low: number, high: number): number[] {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [1, 2, 5, 10].map((m) => m * power).find((one) => (high - low) / one <= 4)!;
  const from = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - from + 1) }, (_, i) => (from + i) * step);
}

/** Powers of ten, or where there are few of them, numbers between. */
function decades(low: number, high: number): number[] {
  const every = Math.max(1, Math.ceil((high - low) / 5));
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i).filter((power) => power % every === 0);
  const digits = high - low < 1 ? [1, 1.5, 2, 3, 5, 7] : high - low < 3 ? [1, 3] : [1];
  return powers.flatMap((power) => digits.map((digit) => digit * 10 ** power)).filter((v) => Math.log10(v) >= low && Math.log10(v) <= high);
}

const round = (v: number): string => String(Math.round(v * 10) / 10);

export function Curve({ title, name, lines, at, room, log = false, bars = false, hold = [], unit = "step", go }: Props): JSX.Element {
  const fits = (v: number): boolean => Number.isFinite(v) && (!log || v > 0);
  const scale = log ? Math.log10 : (v: number): number => v;
  const shown = [...lines.flatMap((line) => line.values), ...hold].filter(fits).map(scale);
  let [low, high] = [Math.min(...shown), Math.max(...shown)];
  if (shown.length === 0) [low, high] = [0, 1];
  const spare = high - low > 1e-12 ? (high - low) / 12 : Math.max(Math.abs(high) / 10, 1e-12);
  [low, high] = [low - (hold.includes(low) && !bars ? 0 : spare), high + (hold.includes(high) && !bars ? 0 : spare)];
  const x = (step: number): number => (WIDE * (step + 0.5)) / room;
  const y = (v: number): number => HIGH - (HIGH * (scale(v) - low)) / (high - low);
  const marks = log
    ? decades(low, high)
    : ticks(low, high);
  const told = lines.map((line) => `${line.name}: ${line.values.length ? number(line.values[at] ?? NaN, 3) : "none yet"}`).join(", ");
  return (
    <figure class="curve" ref={(part) => lines.forEach((line, i) => { if (part) carried.set(part.querySelectorAll("polyline, path")[i] ?? part, { ...line, each: unit }); })}>
      <figcaption>{title}</figcaption>
      <div class="axes" role="img" aria-label={`${name}, by ${unit}; at ${unit} ${at + 1} ${told}`} onClick={(event) => {
        const box = event.currentTarget.getBoundingClientRect();
        go(Math.floor(((event.clientX - box.left) / box.width) * room));
      }}>
        <svg viewBox={`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" aria-hidden="true">
          {marks.map((v) => <line key={v} class="grid" x1={0} x2={WIDE} y1={round(y(v))} y2={round(y(v))} />)}
          {bars && <line class="axis" x1={0} x2={WIDE} y1={round(y(0))} y2={round(y(0))} />}
          {lines.map(({ name: which, values, look }) => (bars
            ? ["fillplus", "fillminus"].map((kind) => <path key={kind} class={kind} d={values.map((v, i) => ((kind === "fillplus") === v > 0 && v !== 0 && fits(v)
              ? `M${round(x(i) - (0.4 * WIDE) / room)} ${round(y(0))}h${round((0.8 * WIDE) / room)}V${round(y(v))}h${round((-0.8 * WIDE) / room)}z` : "")).join("")} />)
            : <polyline key={which} class={look} points={values.map((v, i) => (fits(v) ? `${round(x(i))},${round(y(v))}` : "")).filter(Boolean).join(" ")} />))}
          <line class="cursor" x1={round(x(at))} x2={round(x(at))} y1={0} y2={HIGH} />
        </svg>
        {marks.map((v) => <span key={v} class="tick" style={{ top: `${y(v)}%` }}>{number(v, 3)}</span>)}
      </div>
    </figure>
  );
}
