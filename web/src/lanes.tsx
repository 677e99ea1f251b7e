/* The whole gradient in a few rows, for deep networks and small screens: a lane for each step, the norm of each layer. */
import type { JSX } from "preact";
import { largestOf, norm } from "./engine";
import { number } from "./numbers";
import { Num } from "./parts";
import type { View } from "./steps";
import { Pixels, strength } from "./pixels";
import { sym, text } from "./symbols";
import { centre, deltaText, headingOf, lengthOf } from "./walk";

const LANE = 40; // px

const round = (v: number): string => String(Math.round(v * 100) / 100);

export function Lanes({ view, wide }: { view: View; wide: boolean }): JSX.Element {
  const { e, steps, at, scale } = view;
  const now = at ?? 0;
  const norms = steps.map((step) => norm(e.b.gradA[step.layer - 1]!));
  const drawn = (v: number): boolean => v > 0 && Number.isFinite(v);
  const shown = norms.slice(0, -1).filter(drawn);
  const [low, high] = [Math.floor(Math.log10(Math.min(...shown, 1))), Math.ceil(Math.log10(Math.max(...shown, 1e-300)))];
  const x = (v: number): number => 12 + (76 * (Math.log10(v) - low)) / Math.max(1, high - low);
  const onKey = (event: KeyboardEvent): void => {
    const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: steps.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    view.visit(Math.min(Math.max(next, 0), steps.length - 1));
    const lanes = (event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("button.lane");
    lanes[Math.min(Math.max(next, 0), steps.length - 1)]?.focus();
  };
  return (
    <div class={`lanes${wide ? " wide" : ""}`} role="group" aria-label="The steps, each with its gradient" onKeyDown={onKey}>
      {steps.map((step, i) => {
        const values = e.b.gradA[step.layer - 1]!;
        const slots = view.slots[step.layer]!;
        const slot = 1000 / values.length;
        const order = values.length === slots.units.length ? slots.units : Array.from(values.keys(), (n) => n + 1);
        const hidden = view.hidden(i);
        let [plus, minus] = ["", ""];
        if (!hidden && step.kind !== "weight") {
          order.forEach((unit, at) => {
            const tall = 50 * lengthOf(scale, values[unit - 1]!);
            const bar = `M${round(at * slot)} 50h${round(slot * 0.85)}v${round(-tall)}h${round(-slot * 0.85)}z`;
            if (tall < 0) minus += bar;
            else if (tall > 0) plus += bar;
          });
        }
        const of = step.kind === "weight" ? "" : hidden ? ", hidden" : `, norm ${number(norms[i]!, 2)}`;
        return (
          <button type="button" key={i} class={`lane${i === now ? " now" : ""}`} tabIndex={i === now ? 0 : -1} aria-current={i === now ? "step" : undefined}
            aria-label={`Step ${i + 1}: ${headingOf(step)}${of}`} onClick={() => view.visit(i)}>
            <span class="count">{i + 1}</span>
            <span class="what">{step.kind === "output" ? "output layer" : step.kind === "hidden" ? `hidden layer ${step.layer}` : `weights of layer ${step.layer}`}</span>
            <span class="short">{step.kind === "weight" ? `∇${text(sym("W", step.layer), view.notation)}` : deltaText(step.layer)}</span>
            {step.kind === "weight" ? (hidden ? <span class="towards">hidden</span> : <Into view={view} />) : hidden ? <span class="towards">hidden</span> : (
              <svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">
                <line x1={0} x2={1000} y1={50} y2={50} class="axis" /><path class="fillplus" d={plus} /><path class="fillminus" d={minus} />
                {values.length === slots.units.length && <rect class="here" x={1000 * centre(slots, view.units[step.layer]!) - slot / 2} y={2} width={slot} height={96} />}
              </svg>
            )}
            <span class="norm">{step.kind === "weight" || hidden ? "" : <Num value={norms[i]!} digits={2} />}</span>
          </button>
        );
      })}
      {wide && shown.length > 1 && !steps.some((_, i) => view.hidden(i)) && (
        <svg class="norms" viewBox={`0 0 100 ${LANE * steps.length}`} preserveAspectRatio="none" style={{ height: `${LANE * steps.length}px` }} role="img"
          aria-label={`The norm of each layer's gradient: ${norms.slice(0, -1).map((v) => number(v, 2)).join(", ")}`}>
          {Array.from({ length: high - low + 1 }, (_, i) => <line key={i} class="grid" x1={x(10 ** (low + i))} x2={x(10 ** (low + i))} y1={0} y2={LANE * (steps.length - 1)} />)}
          <polyline points={norms.slice(0, -1).map((v, i) => (drawn(v) ? `${x(v).toFixed(2)},${LANE * (i + 0.5)}` : "")).join(" ")} />
        </svg>
      )}
    </div>
  );
}

/** The gradients of all weights into the unit, side by side. */
function Into({ view }: { view: View }): JSX.Element {
  const { e, place } = view;
  const h = e.f.h[place.layer - 1]!;
  const own = Math.sign(e.b.gradA[place.layer - 1]![place.unit - 1]!);
  return <Pixels rows={1} columns={h.length} of={[e, place]} class="strip" shade={(_, i) => strength(own * h[i]!, largestOf(h))} />;
}
