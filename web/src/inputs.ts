/* An example in its table's own units, and what becomes of a number that is drawn, slid or typed:
   see chainrule/explain/raw.py and chainrule/tables/schema.py. */
import type { Vector } from "./engine";

/** A column, and the place, from 0, of the first of the features that it becomes. */
export interface Field {
  name: string;
  kind: "number" | "boolean" | "date" | "category";
  at: number;
  mean: number;
  scale: number;
  low: number;
  high: number;
  categories: string[];
  missing: boolean;
}

/** What the page knows of its inputs: columns of a table, or plain numbers whose range is the example's magnitude. */
export interface Inputs {
  fields: Field[];
  /** whether features are rounded to float32, as a table's are */
  single: boolean;
  image: [number, number] | null;
  /** what is blank, and what is ink */
  span: [number, number];
}

const DIGITS = 8;

function rounded(value: number, up: boolean): number {
  if (value === 0) return 0;
  const unit = 10 ** Math.floor(Math.log10(Math.abs(value))) / 2;
  return Number(((up ? Math.ceil(value / unit) : Math.floor(value / unit)) * unit).toPrecision(3));
}

/** Inputs of a model that knows no table: from the magnitude of the example that it came with. */
export function plainInputs(x: number[], names: string[], image: [number, number] | null): Inputs {
  const [least, most] = [x.reduce((m, v) => Math.min(m, v), 0), x.reduce((m, v) => Math.max(m, v), 0)];
  const size = Math.max(-least, most) || 1;
  const fields = x.map((value, at): Field => {
    const own = value !== 0 && Math.abs(value) < size / 50 ? 2 * Math.abs(value) : size;
    const high = rounded(own, true);
    return {
      name: names[at]!, kind: "number", at, mean: 0, scale: 1, low: least < 0 ? -high : 0, high, categories: [],
      missing: false,
    };
  });
  return { fields, single: false, image, span: most > least ? [least, most] : [least, least + 1] };
}

/** The inputs of a model that was trained on a table. */
export function tableInputs(fields: Field[], image: [number, number] | null): Inputs {
  const numbers = fields.filter((field) => field.kind !== "category");
  const low = numbers.reduce((m, field) => Math.min(m, field.low), Infinity);
  const high = numbers.reduce((m, field) => Math.max(m, field.high), -Infinity);
  return { fields, single: true, image, span: high > low ? [low, high] : [0, 1] };
}

/** The feature of a number of a column. */
export function featureOf(field: Field, raw: number, single: boolean): number {
  if (field.scale === 0) return 0;
  const value = (raw - field.mean) / field.scale;
  return single ? Math.fround(value) : value;
}

/** The number of a column that a feature came from: the shortest, by decimals and then by digits, that becomes the same. */
function numberOf(field: Field, feature: number, single: boolean): number {
  if (field.scale === 0) return field.low;
  const value = feature * field.scale + field.mean;
  if (!single || (field.missing && feature === 0)) return value;
  const becomes = (short: number): boolean => featureOf(field, short, true) === Math.fround(feature);
  for (let digits = 0; digits < DIGITS; digits++) if (becomes(Number(value.toFixed(digits)))) return Number(value.toFixed(digits)) + 0;
  for (let digits = 1; digits <= DIGITS; digits++) if (becomes(Number(value.toPrecision(digits)))) return Number(value.toPrecision(digits));
  return value;
}

/** Each feature in its column's units; those of a category and of what is missing stay 0 or 1. */
export function rawOf({ fields, single }: Inputs, x: ArrayLike<number>): Vector {
  const raw = Float64Array.from(x);
  for (const field of fields) {
    if (field.kind !== "category") raw[field.at] = numberOf(field, x[field.at]!, single);
  }
  return raw;
}

export interface Sample {
  raw: Vector;
  x: Vector;
}

/** The example with another number of one column. */
export function withNumber({ single }: Inputs, { raw, x }: Sample, field: Field, value: number): Sample {
  const next = { raw: raw.slice(), x: x.slice() };
  next.raw[field.at] = value;
  next.x[field.at] = featureOf(field, value, single);
  if (field.missing) next.raw[field.at + 1] = next.x[field.at + 1] = 0;
  return next;
}

/** The example with one of a column's categories, with one that training never saw (−1), or with none (−2). */
export function withCategory({ raw, x }: Sample, field: Field, chosen: number): Sample {
  const next = { raw: raw.slice(), x: x.slice() };
  const count = field.categories.length;
  for (let i = 0; i < count; i++) next.raw[field.at + i] = next.x[field.at + i] = i === chosen ? 1 : 0;
  if (field.missing) next.raw[field.at + count] = next.x[field.at + count] = chosen === -2 ? 1 : 0;
  return next;
}

/** The example with a number that is missing: the mean, and the feature that says so. */
export function withoutNumber({ raw, x }: Sample, field: Field): Sample {
  const next = { raw: raw.slice(), x: x.slice() };
  next.raw[field.at] = field.mean;
  next.x[field.at] = 0;
  next.raw[field.at + 1] = next.x[field.at + 1] = 1;
  return next;
}

export const isMissing = ({ x }: Sample, field: Field): boolean =>
  field.missing && x[field.at + (field.kind === "category" ? field.categories.length : 1)] === 1;

/** The example with every pixel of an image anew. */
export function withImage({ fields, single }: Inputs, { x }: Sample, raw: Vector): Sample {
  const next = { raw, x: x.slice() };
  for (const field of fields) next.x[field.at] = featureOf(field, raw[field.at]!, single);
  return next;
}

/** What a stroke from one point to another covers of each pixel, from 0 to 1; points in pixels, the pen's radius too. */
export function stroke(
  [rows, columns]: [number, number], from: [number, number], to: [number, number], radius: number,
): [number, number][] {
  const found: [number, number][] = [];
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = dx * dx + dy * dy;
  const fine = 4;
  const near = (a: number, b: number, most: number): [number, number] => [
    Math.max(0, Math.floor(Math.min(a, b) - radius)), Math.min(most - 1, Math.floor(Math.max(a, b) + radius)),
  ];
  const [left, right] = near(from[0], to[0], columns);
  const [top, bottom] = near(from[1], to[1], rows);
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) {
      let inside = 0;
      for (let i = 0; i < fine * fine; i++) {
        const [x, y] = [column + ((i % fine) + 0.5) / fine, row + (Math.floor(i / fine) + 0.5) / fine];
        const along = length ? Math.min(1, Math.max(0, ((x - from[0]) * dx + (y - from[1]) * dy) / length)) : 0;
        if ((x - from[0] - along * dx) ** 2 + (y - from[1] - along * dy) ** 2 <= radius * radius) inside++;
      }
      if (inside) found.push([row * columns + column, inside / (fine * fine)]);
    }
  }
  return found;
}

/** As wide as a pen on paper: of a digit's height of eight pixels three quarters of one. */
export const penOf = (rows: number): number => Math.max(0.75, 0.046 * rows);

/** A column's value as it reads in the table. */
export function rawText(field: Field, raw: number): string {
  if (field.kind === "date") return new Date(Math.round(raw * 86_400) * 1000).toISOString().slice(0, 10);
  return String(Number(raw.toPrecision(DIGITS)));
}

/** The column of a feature. */
export function fieldOf({ fields }: Inputs, feature: number): Field {
  let found = fields[0]!;
  for (const field of fields) if (field.at <= feature) found = field;
  return found;
}
