/* Numbers as pixels on a canvas: a heat map's cells, an image in grey, an image of gradients. */
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Colours {
  plus: number[];
  minus: number[];
  ink: number[];
}

/** The colours of the page as it now looks. */
export function useColours(): Colours {
  const read = (): Colours => {
    const style = getComputedStyle(document.documentElement);
    const [plus, minus, ink] = ["--plus", "--minus", "--ink"].map((name) => {
      const hex = style.getPropertyValue(name).trim().slice(1);
      return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
    });
    return { plus: plus!, minus: minus!, ink: ink! };
  };
  const [colours, setColours] = useState(read);
  useEffect(() => {
    const query = window.matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => setColours(read());
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return colours;
}

interface Props {
  rows: number;
  columns: number;
  /** from −1 to 1, row by row: its colour by its sign and its strength by its size */
  shade(row: number, column: number): number;
  /** what the drawing hangs on */
  of: readonly unknown[];
  colours: Colours;
  grey?: boolean;
  class?: string;
  style?: Record<string, string>;
}

export function Pixels({ rows, columns, shade, of, colours, grey, style, ...rest }: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const pen = canvas.current!.getContext("2d")!;
    const image = pen.createImageData(columns, rows);
    let at = 0;
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const value = shade(row, column);
        const colour = grey ? colours.ink : value < 0 ? colours.minus : colours.plus;
        image.data[at++] = colour[0]!;
        image.data[at++] = colour[1]!;
        image.data[at++] = colour[2]!;
        image.data[at++] = 255 * Math.min(1, Math.abs(value));
      }
    }
    pen.putImageData(image, 0, 0);
  }, [rows, columns, colours, ...of]);
  return <canvas ref={canvas} width={columns} height={rows} class={`pixels ${rest.class ?? ""}`} style={style} aria-hidden="true" />;
}

/** So pale colours are still told apart. */
export const strength = (value: number, largest: number): number => Math.sign(value) * (Math.abs(value) / (largest || 1)) ** 0.7;
