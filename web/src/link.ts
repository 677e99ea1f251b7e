/* The page's whole state as the fragment of its address: w=1,10,37&step=2&view=routes. What is as the page first shows it
   is left out. */
import { useEffect, useRef } from "preact/hooks";
import type { Place } from "./engine";
import { LECTURE, NOTATIONS, type Notation } from "./symbols";
import { same, STEPS, type Taken } from "./taken";

export const VIEWS = ["walk", "routes", "train", "tables"] as const;
export type ViewName = (typeof VIEWS)[number];
/** What an embedded page may go without, by the names in `embed=`. */
export const PARTS = ["title", "tabs", "example", "bar", "tools", "derivations"] as const;
export type Part = (typeof PARTS)[number];

const MARGIN = 130; // that the routes draw, at most

export interface Linked {
  place: Place;
  row: number | null;
  /** the step of the walk, from 0; null for all */
  at: number | null;
  view: ViewName;
  notation: Notation;
  label: number;
  /** what was changed of the example, by feature from 0, in its table's units */
  changed: [number, number][];
  /** the unit of each layer that is looked at, where it is not the walk's own */
  picked: [number, number][];
  log: boolean | null;
  /** whether the units of a layer stand by the size of their gradients */
  sort: boolean;
  predict: boolean;
  /** the exercise's seed */
  exercise: number | null;
  /** the logits of the two routes, where they were moved */
  logits: number[] | null;
  /** a training in the page, in its own words */
  train: string | null;
  /** the checkpoint that is walked, from 0 */
  checkpoint: number | null;
  /** the margin of two logits, of which float32's numbers are told; null as the page first shows it */
  margin: number | null;
  /** of folded layers, how many more bars were asked for */
  opened: [number, number][];
  /** the gradient steps, in their order */
  taken: Taken[];
  embed: Part[];
}

const numbers = (text: string | null): number[] => (text ?? "").split(/[,:]/).filter((part) => part !== "").map(Number);
const pairs = (text: string | null): [number, number][] =>
  (text ?? "").split(",").map((pair) => pair.split(":").map(Number) as [number, number]).filter((pair) => pair.length === 2 && pair.every(Number.isFinite));
/** A number in full, without the + that an address would read as a space. */
const full = (v: number): string => String(v).replace("+", "");
const written = (all: [number, number][]): string => all.map(([i, v]) => `${i + 1}:${full(v)}`).join(",");
const inRange = (value: number, from: number, to: number): boolean => Number.isInteger(value) && value >= from && value <= to;

/** The place that a text names, “1,10,37”, “b 1,10” or “a 1,10”; null where there is none such. */
export function readPlace(text: string, widths: number[]): Place | null {
  const found = /^\s*([a-z])?[^\d]*(\d+)[^\d]+(\d+)(?:[^\d]+(\d+))?\s*$/i.exec(text);
  if (!found) return null;
  const [layer, unit] = [Number(found[2]), Number(found[3])];
  const input = found[4] === undefined ? (found[1]?.toLowerCase() === "a" ? null : 0) : Number(found[4]);
  if (!inRange(layer, 1, widths.length - 1) || !inRange(unit, 1, widths[layer]!)) return null;
  return input === null || inRange(input, found[4] === undefined ? 0 : 1, widths[layer - 1]!) ? { layer, unit, input } : null;
}

export function writePlace({ layer, unit, input }: Place): string {
  return input === null ? `a=${layer},${unit}` : input === 0 ? `b=${layer},${unit}` : `w=${layer},${unit},${input}`;
}

export function write(state: Linked, first: Linked): string {
  const parts: string[] = [];
  if (state.row !== null) parts.push(`row=${state.row}`);
  const place = writePlace(state.place);
  if (place !== writePlace(first.place)) parts.push(place);
  if (state.at !== null) parts.push(`step=${state.at + 1}`);
  if (state.view !== first.view) parts.push(`view=${state.view}`);
  if (state.label !== first.label) parts.push(`label=${state.label + 1}`);
  if (state.changed.length) parts.push(`x=${written(state.changed)}`);
  if (state.picked.length) parts.push(`via=${state.picked.map((pair) => pair.join(":")).join(",")}`);
  if (state.log !== null) parts.push(`scale=${state.log ? "log" : "linear"}`);
  if (state.sort) parts.push("sort");
  const letters = Object.values(state.notation).join(",");
  if (letters !== Object.values(LECTURE).join(",")) parts.push(`letters=${encodeURIComponent(letters)}`);
  if (state.predict) parts.push("predict");
  if (state.exercise !== null) parts.push(`exercise=${state.exercise}`);
  if (state.checkpoint !== null) parts.push(`checkpoint=${state.checkpoint + 1}`);
  if (state.train) parts.push(`train=${state.train}`);
  if (state.logits) parts.push(`logits=${state.logits.map(full).join(",")}`);
  if (state.margin !== null) parts.push(`margin=${full(state.margin)}`);
  if (state.opened.length) parts.push(`open=${state.opened.map((pair) => pair.join(":")).join(",")}`);
  if (state.taken.length) parts.push(`taken=${writeTaken(state)}`);
  if (state.embed.length) parts.push(`embed=${state.embed.join(",")}`);
  return parts.length === 1 && state.row !== null ? "" : parts.join("&");
}

/** Steps as “0.1*3;0.5~2~7:1.5”: three at 0.1 on the example that the link shows, then one on another class and input. */
function writeTaken(state: Linked): string {
  const runs: { one: Taken; times: number }[] = [];
  for (const one of state.taken) {
    const last = runs.at(-1);
    if (last && last.one.lr === one.lr && same(last.one, one)) last.times++;
    else runs.push({ one, times: 1 });
  }
  return runs.map(({ one, times }) => `${full(one.lr)}${times > 1 ? `*${times}` : ""}${same(one, state) ? "" : `~${one.label + 1}~${written(one.changed)}`}`).join(";");
}

function readTaken(text: string, state: Linked, widths: number[]): Taken[] {
  const taken: Taken[] = [];
  for (const run of text.split(";")) {
    const [rate = "", label, changed] = run.split("~");
    const [lr = NaN, times = 1] = rate.split("*").map(Number);
    const on = label === undefined ? state.label : Number(label) - 1;
    if (!(lr > 0 && lr < Infinity) || !inRange(times, 1, STEPS - taken.length) || !inRange(on, 0, widths.at(-1)! - 1)) return [];
    const one: Taken = { lr, label: on, changed: label === undefined ? state.changed : changes(changed ?? "", widths) };
    for (let i = 0; i < times; i++) taken.push(one);
  }
  return taken;
}

const changes = (text: string | null, widths: number[]): [number, number][] =>
  pairs(text).filter(([i]) => inRange(i, 1, widths[0]!)).map(([i, v]) => [i - 1, v]);

/** What a fragment says; what it does not, or says of what is not there, is as the page first shows it. */
export function read(fragment: string, first: Linked, widths: number[]): Linked {
  const told = new URLSearchParams(fragment);
  const state: Linked = { ...first, changed: [], picked: [], opened: [], taken: [] };
  for (const kind of ["w", "b", "a"]) {
    const place = told.has(kind) ? readPlace(`${kind} ${told.get(kind)}`, widths) : null;
    if (place && writePlace(place).startsWith(kind)) state.place = place;
  }
  const step = Number(told.get("step"));
  const most = widths.length + 1 - state.place.layer;
  if (inRange(step, 1, most)) state.at = step - 1;
  const view = VIEWS.find((name) => name === told.get("view"));
  if (view) state.view = view;
  const label = Number(told.get("label"));
  if (inRange(label, 1, widths.at(-1)!)) state.label = label - 1;
  state.changed = changes(told.get("x"), widths);
  state.picked = pairs(told.get("via")).filter(([k, unit]) => inRange(k, 1, widths.length - 1) && inRange(unit, 1, widths[k]!));
  if (told.has("scale")) state.log = told.get("scale") === "log";
  state.sort = told.has("sort");
  const letters = (told.get("letters") ?? "").split(",");
  if (letters.length === 4 && letters.every((letter) => [...letter.normalize("NFC")].length >= 1 && letter.length <= 2)) {
    const [y, a, h, W] = letters as [string, string, string, string];
    const made = { y, a, h, W };
    state.notation = Object.values(NOTATIONS).find((one) => JSON.stringify(one) === JSON.stringify(made)) ?? made;
  }
  state.predict = told.has("predict");
  const seed = told.has("exercise") ? Number(told.get("exercise")) : NaN;
  state.exercise = Number.isFinite(seed) ? seed : null;
  const logits = numbers(told.get("logits"));
  state.logits = logits.length > 1 && logits.every(Number.isFinite) ? logits : null;
  state.train = told.get("train");
  const checkpoint = Number(told.get("checkpoint"));
  if (inRange(checkpoint, 1, Infinity)) state.checkpoint = checkpoint - 1;
  const margin = told.has("margin") ? Number(told.get("margin")) : NaN;
  if (Math.abs(margin) <= MARGIN) state.margin = margin;
  state.opened = pairs(told.get("open")).filter(([k, more]) => inRange(k, 1, widths.length - 1) && inRange(more, 1, widths[k]!));
  if (told.has("taken")) state.taken = readTaken(told.get("taken")!, state, widths);
  if (told.has("embed")) {
    const named = PARTS.filter((part) => told.get("embed")!.split(",").includes(part));
    state.embed = named.length ? named : ["tabs", "example", "tools", "derivations"];
  }
  return state;
}

/** Keeps the fragment: a choice is a step that Back undoes, a change under the hand is not. */
export function useFragment(text: string, quiet: { current: boolean }, followed: (fragment: string) => void): void {
  const written = useRef(location.hash.slice(1));
  useEffect(() => {
    const follow = (): void => {
      written.current = location.hash.slice(1);
      followed(written.current);
    };
    window.addEventListener("popstate", follow);
    return () => window.removeEventListener("popstate", follow);
  });
  useEffect(() => {
    if (text === written.current) return undefined;
    const put = (): void => {
      written.current = text;
      try {
        history[quiet.current ? "replaceState" : "pushState"](null, "", `#${text}`);
      } catch {
        // a page within another, without an address of its own: it goes without
      }
      quiet.current = false;
    };
    if (!quiet.current) {
      put();
      return undefined;
    }
    const timer = setTimeout(put, 300); // a browser stops listening to hundreds of them
    return () => clearTimeout(timer);
  }, [text]);
}
