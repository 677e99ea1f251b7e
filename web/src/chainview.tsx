/* The chain as typeset formulas: in matrices, and along one path with each symbol over its number. */
import type { JSX } from "preact";
import type { Chain, Factor } from "./chain";
import { number } from "./numbers";
import { Num } from "./parts";
import type { Notation } from "./symbols";
import { Fraction, Maths, renamed, text, Words } from "./symbols";

export interface Walk {
  /** which factor of the chain the reader has come to, from the loss back; null for all of it */
  at: number | null;
  lit: string | null;
  /** the numbers that are hidden, by the factor's index */
  hidden(index: number): boolean;
  notation: Notation;
  light(place: string | null): void;
  visit(index: number): void;
  derive(index: number): void;
}

export const factorsOf = (chain: Chain): Factor[] => chain.groups.flatMap((group) => group.factors);

/** What stands under a factor: its number where it is one, else its shape. */
function under(factor: Factor): string {
  const { shape } = factor.whole;
  return shape.every((n) => n === 1) ? number(factor.values[0]!, 4) : shape.join("×");
}

/** The formula for whole layers: a matrix or vector for each factor. */
export function Matrices({ chain, walk }: { chain: Chain; walk: Walk }): JSX.Element {
  const { notation, hidden } = walk;
  let index = 0;
  const factors = chain.groups.map((group) => (
    <munder>
      <mrow>
        <mo>(</mo>
        {group.factors.map((factor, i) => (
          <>
            {i > 0 && <mo>·</mo>}
            <munder>
              <Fraction above={factor.whole.above} below={factor.whole.below} notation={notation} />
              <mtext>{hidden(index++) ? "?" : under(factor)}</mtext>
            </munder>
          </>
        ))}
        <mo>)</mo>
      </mrow>
      <mtext>{group.heading}</mtext>
    </munder>
  ));
  return (
    <Maths size="block">
      <Fraction above={chain.of} below={chain.symbol} notation={notation} />
      <mo>=</mo>
      {factors.map((group, i) => <>{i > 0 && <mo>·</mo>}{group}</>)}
      <mo>=</mo>
      <mn>{hidden(index) ? "?" : number(chain.product, 6)}</mn>
    </Maths>
  );
}

/** The same along one path, where every factor is a number. */
export function Tiles({ chain, walk }: { chain: Chain; walk: Walk }): JSX.Element {
  let index = 0;
  const wide = chain.paths.count > 1;
  return (
    <div class="tiles" role="group" aria-label="The factors along one path, from the loss back">
      {!wide && <div class="end"><Maths size="large"><Fraction above={chain.of} below={chain.symbol} notation={walk.notation} /></Maths></div>}
      {chain.groups.map((group, g) => {
        const first = index;
        const reached = walk.at === null || first <= walk.at;
        return (
          <div class={`group${reached ? "" : " later"}`} data-group={group.heading} key={`${group.kind}${group.layer}`}>
            <div class="factors">
              <span class="sign" aria-hidden="true">{g > 0 ? "·" : wide ? "" : "="}</span>
              <span class="bracket" aria-hidden="true">(</span>
              {group.factors.map((factor, i) => <Tile key={i} factor={factor} index={index++} first={i === 0} walk={walk} />)}
              <span class="bracket" aria-hidden="true">)</span>
            </div>
            <div class="heading">{group.heading}
              {group.factors.some((factor) => factor.derivations.some(derivation)) && (
                <button type="button" class="link" onClick={() => walk.derive(first)}
                  aria-label={`Derivation: ${group.heading}`}>derivation</button>
              )}
            </div>
          </div>
        );
      })}
      <div class={`end${walk.at === null || walk.at === index - 1 ? "" : " later"}`}>
        <span class="sign" aria-hidden="true">=</span>
        {walk.hidden(index) ? <button type="button" class="veil" onClick={() => walk.visit(index)}>?</button>
          : <Num value={chain.pathProduct} />}
      </div>
    </div>
  );
}

function Tile(props: { factor: Factor; index: number; first: boolean; walk: Walk }): JSX.Element {
  const { factor, index, first, walk } = props;
  const later = walk.at !== null && index > walk.at;
  const lit = walk.lit === factor.place || (walk.lit === "softmax" && factor.place === "loss");
  const hidden = walk.hidden(index);
  const said = hidden ? "hidden; press to see" : number(factor.value);
  const name = `∂${text(factor.above, walk.notation)}/∂${text(factor.below, walk.notation)}`;
  return (
    <>
      {!first && <span class="sign" aria-hidden="true">·</span>}
      <button type="button" class={`tile${later ? " later" : ""}${lit ? " lit" : ""}${walk.at === index ? " now" : ""}`}
        aria-pressed={walk.at === index} aria-label={`${name}: ${said}. ${factor.meaning}`} data-place={factor.place}
        onClick={() => walk.visit(index)}
        onMouseEnter={() => walk.light(factor.place)} onMouseLeave={() => walk.light(null)}
        onFocus={() => walk.light(factor.place)} onBlur={() => walk.light(null)}>
        <Maths size="large"><Fraction above={factor.above} below={factor.below} notation={walk.notation} /></Maths>
        {hidden ? <span class="veil">?</span> : <Num value={factor.value} digits={4} />}
      </button>
    </>
  );
}

/** A derivation that the page carries, as HTML; "" where it carries none. */
export function derivation(name: string): string {
  return document.getElementById(`derivation-${name}`)?.innerHTML ?? "";
}

export function Panel(props: {
  chain: Chain;
  walk: Walk;
  open: boolean;
  setOpen(open: boolean): void;
}): JSX.Element | null {
  const { chain, walk } = props;
  if (walk.at === null) return null;
  const factors = factorsOf(chain);
  const factor = factors[walk.at]!;
  const group = chain.groups.find((one) => one.factors.includes(factor))!;
  const soFar = factors.slice(0, walk.at + 1).reduce((product, one) => product * one.value, 1);
  const hidden = factors.slice(0, walk.at + 1).some((_, i) => walk.hidden(i));
  const found = group.factors.includes(factor) ? factor.derivations.filter(derivation) : [];
  return (
    <div class="panel" id="factor">
      <h3>Step {walk.at + 1} of {factors.length}: {group.heading}</h3>
      <p>
        <Maths><Fraction above={factor.above} below={factor.below} notation={walk.notation} />
          {!walk.hidden(walk.at) && <><mo>=</mo><mn>{number(factor.value)}</mn></>}</Maths>
        {" "}<Words of={factor.meaning} />. <span class="soft">Held fixed: <Words of={factor.held} />.</span>
      </p>
      {!hidden && <p>So far, along this path:{" "}
        <Maths><Fraction above={chain.of} below={factor.below} notation={walk.notation} /></Maths>
        {" "}<span class="soft">has the part</span> <Num value={soFar} /></p>}
      {found.map((name) => (
        <details key={name} open={props.open} onToggle={(event) => {
          if (event.currentTarget.open !== props.open) props.setOpen(event.currentTarget.open);
        }}>
          <summary>Derivation of {" "}<span class="soft">{name.replaceAll("_", " ")}</span></summary>
          <div dangerouslySetInnerHTML={{ __html: renamed(derivation(name), walk.notation) }} />
        </details>
      ))}
    </div>
  );
}
