/* Numbers as pixels on a canvas: a heat map's cells, an image in grey, an image of gradients. */
import type { JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

interface Look {
  plus: number[];
  minus: number[];
  ink: number[];
  /** whether colours may be lost, as in print, so that what is below 0 is hatched */
  hatched: boolean;
}

const LOSSY = "print, (forced-colors: active)";
const painters = new Set<() => void>();
let look: Look | null = null;
let watching = false;

/** The page as it now looks, or is about to. */
function looked(printed = false): Look {
  if (look === null) {
    const style = getComputedStyle(document.documentElement);
    const [plus, minus, ink] = ["--plus", "--minus", "--ink"].map((name) => {
      const hex = style.getPropertyValue(name).trim().slice(1);
      return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
    });
    look = { plus: plus!, minus: minus!, ink: ink!, hatched: printed || window.matchMedia(LOSSY).matches };
  }
  return look;
}

/** On any change all that is drawn is drawn anew, and at once: a printer does not wait. */
function watch(): void {
  if (watching) return;
  watching = true;
  const anew = (printed: boolean): void => {
    look = null;
    looked(printed);
    for (const paint of painters) paint();
  };
  for (const query of ["(prefers-color-scheme: dark)", LOSSY]) window.matchMedia(query).addEventListener("change", () => anew(false));
  window.addEventListener("beforeprint", () => anew(true));
  window.addEventListener("afterprint", () => anew(false));
}

interface Props {
  rows: number;
  columns: number;
  /** from −1 to 1, row by row: its colour by its sign and its strength by its size */
  shade(row: number, column: number): number;
  /** what the drawing hangs on */
  of: readonly unknown[];
  grey?: boolean;
  class?: string;
  style?: Record<string, string>;
}

/** A pixel for each number; the canvas is stretched to its place. */
function plain(canvas: HTMLCanvasElement, { rows, columns, shade, grey }: Props): void {
  const { plus, minus, ink } = looked();
  canvas.style.imageRendering = "";
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const pen = canvas.getContext("2d")!;
  const image = pen.createImageData(columns, rows);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = shade(row, column);
      const colour = grey ? ink : value < 0 ? minus : plus;
      image.data[at++] = colour[0]!;
      image.data[at++] = colour[1]!;
      image.data[at++] = colour[2]!;
      image.data[at++] = 255 * Math.min(1, Math.abs(value));
    }
  }
  pen.putImageData(image, 0, 0);
}

const HATCH = 4; // px of the screen from line to line

/** The same with lines across what is below 0, at twice the size that it has on the screen. */
function hatched(canvas: HTMLCanvasElement, { rows, columns, shade }: Props): void {
  const { plus, minus, ink } = looked();
  canvas.style.imageRendering = "auto"; // so no line is lost
  [canvas.width, canvas.height] = [2 * (canvas.clientWidth || columns), 2 * (canvas.clientHeight || rows)];
  const pen = canvas.getContext("2d")!;
  const [wide, high] = [canvas.width / columns, canvas.height / rows];
  const below = new Path2D();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = shade(row, column);
      const [left, top] = [Math.round(column * wide), Math.round(row * high)];
      const cell = [left, top, Math.round((column + 1) * wide) - left, Math.round((row + 1) * high) - top] as const;
      pen.fillStyle = `rgb(${(value < 0 ? minus : plus).join(" ")} / ${Math.min(1, Math.abs(value))})`;
      if (value) pen.fillRect(...cell);
      if (value < 0) below.rect(...cell);
    }
  }
  pen.clip(below);
  pen.lineWidth = 1.5;
  pen.strokeStyle = `rgb(${ink.join(" ")})`;
  for (let at = -canvas.height; at < canvas.width; at += 2 * HATCH) {
    pen.moveTo(at, canvas.height);
    pen.lineTo(at + canvas.height, 0);
  }
  pen.stroke();
}

export function Pixels(props: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const paint = (): void => (looked().hatched && !props.grey ? hatched : plain)(canvas.current!, props);
    watch();
    paint();
    painters.add(paint);
    return () => void painters.delete(paint);
  }, [props.rows, props.columns, ...props.of]);
  return <canvas ref={canvas} class={`pixels ${props.class ?? ""}`} style={props.style} aria-hidden="true" />;
}

/** So pale colours are still told apart. */
export const strength = (value: number, largest: number): number => Math.sign(value) * (Math.abs(value) / (largest || 1)) ** 0.7;
