/* Going through steps one by one: the keys, the bar below the page, and the legend of what is drawn. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { number } from "./numbers";
import type { Scale } from "./walk";

const BEAT = 1600; // milliseconds that a step of the walk is shown

interface Props {
  /** the step that is reached, from 0; null for all of them */
  at: number | null;
  count: number;
  /** where walking begins */
  begin: number;
  /** whether the steps are seen: then the arrow keys walk them */
  on: boolean;
  go(next: (now: number | null) => number | null): void;
  /** before a step that Play takes */
  beat(): void;
}

export interface Walking {
  at: number | null;
  count: number;
  playing: boolean;
  play(on: boolean): void;
  forth(): void;
  back(): void;
  all(): void;
}

export function useWalking({ at, count, begin, on, go, beat }: Props): Walking {
  const [playing, play] = useState(false);
  // by what is shown when it is done, not when the key was pressed: keys can be faster than the page
  const forth = (): void => go((now) => (now === null ? begin : Math.min(now + 1, count - 1)));
  const back = (): void => go((now) => (now === null || now === 0 ? null : now - 1));
  const all = (): void => go(() => null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      const box = target.closest(".scroll");
      if (box && target === box && box.scrollWidth > box.clientWidth) return; // the keys scroll it
      if (target.closest("input, select, textarea, dialog, [role=tablist]") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (!on) return;
      if (event.key === "ArrowRight") forth();
      else if (event.key === "ArrowLeft") back();
      else if (event.key === "Escape") all();
      else return;
      event.preventDefault();
      play(false);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [count, on, begin]);
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setTimeout(() => {
      beat();
      if (at !== null && at >= count - 1) play(false);
      else forth();
    }, at === null ? 0 : BEAT);
    return () => clearTimeout(timer);
  }, [playing, at, count]);
  return { at, count, playing, play, forth, back, all };
}

/** The step that is walked to is on the screen, whatever is below. */
export function useIntoView(at: number | null): void {
  const before = useRef<number | null>(null); // a link may lead to a step
  useLayoutEffect(() => {
    if (before.current === at) return;
    before.current = at;
    if (at === null) return;
    const lanes = document.querySelector<HTMLElement>(".lanes");
    const lane = lanes?.querySelector<HTMLElement>(".lane.now");
    if (lanes && lane) {
      lanes.scrollTop = Math.min(lane.offsetTop, Math.max(lanes.scrollTop, lane.offsetTop + lane.offsetHeight - lanes.clientHeight));
      return;
    }
    const box = document.querySelector(`[data-step="${at + 1}"]`)!.getBoundingClientRect();
    const [high, low] = [box.top - 16, box.bottom - (window.innerHeight - 80)]; // above the bar
    if (high < 0 || low > 0) window.scrollBy(0, low > 0 ? Math.min(high, low) : high); // a page that this one stands in stays
  });
}

/** `lanes`: one step is open at all times. */
export function Bar({ walking, lanes = false, to, children }: { walking: Walking; lanes?: boolean; to: string; children?: ComponentChildren }): JSX.Element {
  const { at, count, playing, play, forth, back, all } = walking;
  return (
    <div class="bar" role="group" aria-label="Walk">
      <button type="button" onClick={back} disabled={at === null} aria-label="A step back, towards the loss">◀</button>
      <button type="button" onClick={forth} disabled={at === count - 1} aria-label={`A step on, towards the ${to}`}>▶</button>
      <button type="button" aria-pressed={playing} onClick={() => {
        if (!playing && (at === null || at >= count - 1)) all();
        play(!playing);
      }}>{playing ? "Pause" : "Play"}</button>
      {!lanes && <button type="button" class="all" disabled={at === null} onClick={() => { all(); play(false); }}>Show all</button>}
      <span class="where">{at === null ? (lanes ? `1 of ${count}` : `${count} steps`) : `step ${at + 1} of ${count}`}</span>
      {children}
    </div>
  );
}

/** `fans`: whether lines lead into a unit. */
export function Legend({ scale, fans, sorted, told, choose }: { scale: Scale; fans: boolean; sorted: boolean; told: boolean; choose(to: { log: boolean } | { sort: boolean }): void }): JSX.Element {
  return (
    <span class="legend">
      <span><Swatch of="forward" /> forward</span>
      <span><Swatch of="fillplus" /> up: more of it, more loss</span>
      <span><Swatch of="fillminus" /> down: less loss</span>
      {told && <span class="scale">all gradients on one scale: a whole bar{fans && <>, or a line this thick <Swatch of="fillplus" wide={22} />,</>} is {scale.log ? <>10<sup>{scale.to}</sup>, none 10<sup>{scale.from}</sup></> : number(scale.top, 3)}</span>}
      {told && <button type="button" id="sort" aria-pressed={sorted} onClick={() => choose({ sort: !sorted })} title="units by the size of their gradients, or by their number">sort by |δ|</button>}
      <button type="button" id="scale" aria-pressed={scale.log} onClick={() => choose({ log: !scale.log })}>{scale.log ? "log" : "linear"}</button>
    </span>
  );
}

/** A colour of the drawings, drawn: a background is lost in forced colours. */
function Swatch({ of, wide = 12 }: { of: string; wide?: number }): JSX.Element {
  return <svg class="swatch" width={wide} height={12} aria-hidden="true"><path class={of} d={`M0 0h${wide}v12h${-wide}z`} /></svg>;
}
