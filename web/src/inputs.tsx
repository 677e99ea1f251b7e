/* The input to change: an image to draw on, sliders, the label; the gradient with respect to it beside it. */
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import type { Example } from "./chain";
import { largestOf, type Vector } from "./engine";
import { full, readNumber } from "./numbers";

function Cells({ values, rows, columns }: { values: Vector; rows: number; columns: number }): JSX.Element {
  const largest = largestOf(values) || 1;
  return (
    <>
      <rect width={columns} height={rows} class="paper" />
      {Array.from(values, (v, i) => v !== 0 && (
        <rect key={i} x={i % columns} y={Math.floor(i / columns)} width={1} height={1}
          class={v < 0 ? "fillminus" : "fillplus"} opacity={(Math.abs(v) / largest).toFixed(3)} />
      ))}
    </>
  );
}

interface ImageProps {
  e: Example;
  image: [number, number];
  /** the largest and the smallest value of the example as it came: what drawing and wiping out write */
  ink: [number, number];
  change(x: Vector): void;
}

export function Images({ e, image, ink, change }: ImageProps): JSX.Element {
  const [rows, columns] = image;
  const [wipe, setWipe] = useState(false);
  const last = useRef<[number, number] | null>(null);
  const x = e.f.h[0]!;
  const draw = (event: PointerEvent): void => {
    if (event.buttons !== 1) return;
    const box = (event.currentTarget as SVGElement).getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const [before, beside] = last.current ?? [row, column];
    if (last.current && before === row && beside === column) return;
    last.current = [row, column];
    const drawn = x.slice();
    const brush = rows >= 20 ? 2 : 1;
    // a hand is faster than the events: all cells on the line from the last one
    const steps = Math.max(1, Math.abs(row - before), Math.abs(column - beside));
    for (let step = 0; step <= steps; step++) {
      const top = Math.round(before + ((row - before) * step) / steps);
      const left = Math.round(beside + ((column - beside) * step) / steps);
      for (let i = Math.max(0, top); i < Math.min(rows, top + brush); i++) {
        for (let j = Math.max(0, left); j < Math.min(columns, left + brush); j++) drawn[i * columns + j] = ink[wipe ? 1 : 0];
      }
    }
    change(drawn);
  };
  const start = (event: PointerEvent): void => {
    last.current = null;
    (event.currentTarget as SVGElement).setPointerCapture(event.pointerId);
    draw(event);
  };
  const shape = { viewBox: `0 0 ${columns} ${rows}`, class: "image", "shape-rendering": "crispEdges" };
  return (
    <div class="images">
      <figure>
        <svg {...shape} role="img" aria-label="The input as an image; it can be drawn on" id="input-image"
          style={{ touchAction: "none", cursor: "crosshair" }} onPointerDown={start} onPointerMove={draw}>
          <Cells values={x} rows={rows} columns={columns} />
        </svg>
        <figcaption>the input x</figcaption>
      </figure>
      <figure>
        <svg {...shape} role="img" aria-label="The gradient of the loss with respect to each pixel">
          <Cells values={e.b.gradH[0]!} rows={rows} columns={columns} />
        </svg>
        <figcaption>∂𝓛/∂x</figcaption>
      </figure>
      <p class="tools">
        <label><input type="radio" name="ink" checked={!wipe} onChange={() => setWipe(false)} /> draw</label>
        <label><input type="radio" name="ink" checked={wipe} onChange={() => setWipe(true)} /> wipe out</label>
        <span class="soft">on the left one; below are sliders for the keyboard</span>
      </p>
    </div>
  );
}

export function Sliders({ e, listed, change }: { e: Example; listed: number[]; change(x: Vector): void }): JSX.Element {
  const [other, setOther] = useState(0);
  const ranges = useRef(new Map<number, [number, number]>());
  const x = e.f.h[0]!;
  const rest = e.features.length > listed.length;
  const write = (index: number, value: number): void => {
    const moved = x.slice();
    moved[index] = value;
    change(moved);
  };
  /** as wide as any value was: a range that shrank with its value would run away under the hand */
  const range = (i: number): [number, number] => {
    const [low, high] = ranges.current.get(i) ?? [-3, 3];
    ranges.current.set(i, [Math.min(low, x[i]!), Math.max(high, x[i]!)]);
    return ranges.current.get(i)!;
  };
  const short = (i: number): string => String(Number(x[i]!.toPrecision(6)));
  const row = (i: number): JSX.Element => (
    <div class="slider" key={i}>
      <span class="name" id={`input-${i}`}>{e.features[i]}</span>
      <input type="range" min={range(i)[0]} max={range(i)[1]} step="any" value={x[i]}
        aria-labelledby={`input-${i}`} onInput={(event) => write(i, Number(event.currentTarget.value))} />
      <input type="text" inputMode="decimal" value={short(i)} title={full(x[i]!)}
        aria-labelledby={`input-${i}`} data-input={i}
        onChange={(event) => {
          const value = readNumber(event.currentTarget.value);
          if (Number.isFinite(value)) write(i, value);
          else event.currentTarget.value = short(i); // what is no number leaves the old one
        }} />
    </div>
  );
  return (
    <div class="sliders">
      {listed.map(row)}
      {rest && (
        <>
          <label class="field">another input
            <select id="other-input" value={other} onChange={(event) => setOther(Number(event.currentTarget.value))}>
              {e.features.map((name, i) => <option key={i} value={i}>{name}</option>)}
            </select>
          </label>
          {!listed.includes(other) && row(other)}
        </>
      )}
    </div>
  );
}
