/* Small parts that several views share. */
import type { JSX } from "preact";
import { full, number } from "./numbers";

/** The numbers behind what is drawn, by its element, what each is of, and its place where that is no number: a figure takes
 * them away. */
export const carried = new WeakMap<Element, { name: string; values: ArrayLike<number>; each?: string; places?: string[] }>();

/** A number in a few digits, in full on hover. */
export function Num({ value, digits = 5, id, as }: { value: number; digits?: number; id?: string; as?: string }): JSX.Element {
  return <span class="num" id={id} title={full(value)} data-value={String(value)}>{as ?? number(value, digits)}</span>;
}

/** A number with its sign and power as they are written by hand: −1.397, 1.17·10⁻⁶. */
export function Powers({ value, digits = 4 }: { value: number; digits?: number }): JSX.Element {
  const [mantissa, power] = number(value, digits).replace("+", "").split("e") as [string, string?];
  const told = value > 0 ? `+${mantissa}` : mantissa;
  return <>{told}{power !== undefined && <>·10<sup>{power.replace(/^(−?)0+(?=\d)/, "$1")}</sup></>}</>;
}

export function Verdict({ error, verdict }: { error: number; verdict: string }): JSX.Element {
  return <span class={verdict}>{verdict}<span class="soft">, relative error <Num value={error} digits={2} /></span></span>;
}
