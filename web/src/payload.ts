/* What the page carries of the network: JSON, with the weights deflated. See chainrule/explain/views/page_payload.py. */
import { activation, type Row } from "./activations";
import type { Net, Place } from "./engine";
import type { Field } from "./inputs";

/** What Python knows and the page is told: of its activation, and where each finding, check and drawing draws a line. */
export interface Facts {
  activation: Row;
  findings: Record<"wrong_label" | "learned" | "dead_share" | "saturated" | "saturated_share" | "drift" | "large"
    | "large_error" | "small_error" | "name", number>;
  differences: Record<"step" | "visible" | "tiny" | "good" | "usual", number>;
  /** the most paths, classes, numbers of a matrix, bars of a folded layer, rows of the map and terms of a sum; how many
   * times smaller than the output layer's a layer's gradients are for their bars to count decades */
  most: Record<"paths" | "classes" | "whole" | "bars" | "rows" | "terms" | "decades", number>;
}

export interface Payload {
  widths: number[];
  x: number[];
  label: number;
  features: string[];
  classes: string[];
  image: [number, number] | null;
  /** the columns of the table that the example is a row of */
  fields: Field[] | null;
  /** the row's number, and in a gallery the addresses of the list and of the rows beside it */
  row: number | null;
  links: Partial<Record<"list" | "earlier" | "later", string>>;
  batch_size: number | null;
  place: Place;
  facts: Facts;
  weights: Packed;
  /** the rows that travel, where some do */
  lesson?: Lesson;
  /** the same network at several times of its training, where they travel */
  course?: { names: string[]; weights: Packed };
}

export interface Packed {
  dtype: "float32" | "float64";
  deflated: string;
}

/** Rows to train on, their labels and numbers in a table of so many, and what a training must know besides. */
export interface Lesson {
  x: Packed;
  labels: number[];
  numbers: number[];
  of: number;
  /** every so-manieth row is held out */
  every: number;
  bytes: number;
  gain: number;
  rules: { momentum: number; betas: [number, number]; eps: number };
}

/** The bytes of all numbers stand plane by plane: the first byte of each, then the second, and so on. */
export async function unpacked({ dtype, deflated }: Packed): Promise<Float32Array | Float64Array> {
  const packed = Uint8Array.from(atob(deflated), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = dtype === "float32" ? 4 : 8;
  const count = planes.length / size;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < size; plane++) {
    for (let i = 0, at = plane * count; i < count; i++, at++) bytes[i * size + plane] = planes[at]!;
  }
  return size === 4 ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
}

/** Networks of the page's shape, one after another. */
export async function networks({ widths, facts }: Payload, weights: Packed): Promise<Net[]> {
  const values = await unpacked(weights);
  const nets: Net[] = [];
  let at = 0;
  const take = (length: number): Float64Array => Float64Array.from(values.subarray(at, (at += length)));
  while (at < values.length) {
    const net: Net = { widths, activation: activation(facts.activation), weights: [], biases: [] };
    for (let k = 1; k < widths.length; k++) {
      net.weights.push(take(widths[k]! * widths[k - 1]!));
      net.biases.push(take(widths[k]!));
    }
    nets.push(net);
  }
  return nets;
}
