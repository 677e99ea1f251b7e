/* What happened, in words: the sentences of `story` in chainrule/explain/findings.py. */
import { type Example, inputName } from "./chain";
import { gradLogits, largestAt, type Place } from "./engine";
import { number, probability } from "./numbers";
import { inputValue } from "./paths";
import type { Notation } from "./symbols";

/** Of a name as many characters as the story has room for. */
export const cut = (name: string, most: number): string => {
  const letters = [...name];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : name;
};

/** `raw` is the weight's input as it reads in the table, "" where it is no number of one. */
export function story(e: Example, place: Place, raw: string, notation: Notation): string {
  const { f, b, label, classes } = e;
  const most = e.facts.findings.name;
  const guess = largestAt(f.p);
  const given = probability(f.p[guess]!, -gradLogits(f.a.at(-1)!, guess)[guess]!, 3);
  const taken = guess === label ? "known as such" : `taken for “${cut(classes[guess]!, most)}”`;
  const own = b.gradA[place.layer - 1]![place.unit - 1]!;
  const pushes = own > 0 ? `pushes the loss up (+${number(own, 3)})` : `pulls the loss down (${number(own, 3)})`;
  const part = `unit ${place.unit} ${own ? pushes : "has no part in the loss (0)"}`;
  const value = inputValue(f, place);
  let [middle, what] = [`Its ${part}: that is the gradient`, "its bias"];
  if (place.input) {
    const told = raw === "" ? number(value, 4) : `${raw}, standardised ${number(value, 4)}`;
    middle = `Its input ${cut(inputName(e, place, notation), most)} is ${told}, and ${part}: the gradient is their product`;
    what = "this weight";
  }
  return `This “${cut(classes[label]!, most)}” is ${taken}, with ${given} (loss ${number(b.loss, 4)}). ${middle}. ${moves(own * value, what)}`;
}

export function moves(gradient: number, what: string): string {
  if (Number.isNaN(gradient)) return "";
  if (gradient === 0) return `It is 0, so a gradient step leaves ${what} as it is.`;
  return gradient > 0 ? `It is positive, so a gradient step lowers ${what}.` : `It is negative, so a gradient step raises ${what}.`;
}

