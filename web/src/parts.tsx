/* Small parts that several views share. */
import type { JSX } from "preact";
import { full, number } from "./numbers";

/** A number in a few digits, in full on hover. */
export function Num({ value, digits = 5, id }: { value: number; digits?: number; id?: string }): JSX.Element {
  return <span class="num" id={id} title={full(value)} data-value={String(value)}>{number(value, digits)}</span>;
}

export function Verdict({ error, verdict }: { error: number; verdict: string }): JSX.Element {
  return <span class={verdict}>{verdict}<span class="soft">, relative error <Num value={error} digits={2} /></span></span>;
}
