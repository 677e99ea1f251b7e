/* Two routes from the loss to the logits, seen: through the probabilities and softmax's Jacobian, and at once; and where
   the first one breaks in float32. */
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { Bars } from "./bars";
import type { Example } from "./chain";
import { largestOf, type Vector } from "./engine";
import { breaks, inFloat32, inFloat64, jacobian } from "./float32";
import { number, tight } from "./numbers";
import { Num } from "./parts";
import { Row } from "./steps";
import { cut } from "./story";
import { letterOf, Maths, type Notation, sym, Symbol, Words } from "./symbols";
import type { Slots } from "./walk";

const MOST = 10; // classes, besides the label
const FEW = 5; // classes that a small screen has room for

interface Props {
  e: Example;
  notation: Notation;
  /** the logits as they were moved; null as the network gives them */
  logits: number[] | null;
  margin: number | null;
  move(to: { logits: number[] | null } | { margin: number }): void;
}

export function Routes({ e, notation, logits: moved, margin, move }: Props): JSX.Element {
  const own = e.f.a.at(-1)!;
  const logits = moved && moved.length === own.length ? Float64Array.from(moved) : own;
  const { label } = e;
  const classes = useMemo(() => {
    const order = Array.from(e.f.p.keys()).sort((i, j) => e.f.p[j]! - e.f.p[i]! || i - j);
    return [...new Set([label, ...order.slice(0, MOST)])].slice(0, MOST + 1).sort((i, j) => i - j);
  }, [e]);
  const { p, byProbability, row, product, fused } = inFloat64(logits, label);
  const J = jacobian(logits, classes);
  const y = letterOf(sym("y"), notation);
  const slots: Slots = { units: classes.map((i) => i + 1), rest: [], shut: 0, share: 1, restShare: 0 };
  const name = (unit: number): string => `“${e.classes[unit - 1]!}”${unit - 1 === label ? ", the label" : ""}`;
  const shared = { slots, chosen: label + 1, choose: () => {}, height: 60 };
  const bars = (title: string, values: Vector, top: number, look: "gradient" | "forward" | "truth", height = 60): JSX.Element => (
    <Bars {...shared} name={title} values={values} look={look} height={height} length={(v) => Math.max(-1, Math.min(1, Number.isNaN(v) ? 0 : v / top))}
      say={(unit) => `${name(unit)}, ${number(values[unit - 1]!, 4)}`}
      labels={(unit) => (Math.abs(values[unit - 1]!) > top / 200 ? tight(values[unit - 1]!) : "")}
      tip={(unit) => <><b>{name(unit)}</b><br /><Num value={values[unit - 1]!} digits={6} /></>} />
  );
  const names = <Row name=""><div class="classes" aria-hidden="true">{classes.map((i) => <span key={i} class={i === label ? "label" : ""} title={e.classes[i]} style={{ width: `${100 / classes.length}%` }}>{`\u2068${e.classes[i]!}\u2069`}</span>)}</div></Row>;
  const folded = own.length - classes.length;
  const difference = product.reduce((m, v, i) => Math.max(m, Math.abs(v - fused[i]!)), 0);
  return (
    <div class="routes">
      <h2>Two routes from the loss to the logits, one gradient</h2>
      <p>Through the probabilities, −(1/{y}<sub>ℓ</sub>) e(ℓ) meets softmax’s Jacobian, and {y}<sub>ℓ</sub> cancels. What is left is {y} − e(ℓ).{folded > 0 && ` ${classes.length} of the ${own.length} classes are shown.`}</p>
      <div class="both">
        <section class="card" aria-labelledby="route-1"><h3 id="route-1"><span class="count">1</span>Through the probabilities</h3>
          <p class="soft">Of ∂𝓛/∂{y} only the label’s element is not 0: −1/{y}<sub>ℓ</sub> = <Num value={byProbability} digits={4} id="by-probability" />. So only row “{cut(e.classes[label]!, 20)}” of the Jacobian is read.</p>
          <Grid {...{ e, classes, J, label, byProbability, y }} />
          <Row name="row ℓ">{bars("the label's row of the Jacobian", row, Math.max(0.25, largestOf(row)), "gradient")}</Row>
          <p class="times">× <Num value={byProbability} digits={4} /> stretches it:</p>
          <Row name={<Maths><mi>∂𝓛</mi><mo>/</mo><mi>∂</mi><Symbol of={sym("a", e.net.weights.length)} notation={notation} /></Maths>} sign="=">{bars("gradient by the first route", product, 1, "gradient")}</Row>
          {names}
          <p class="soft cancels">−(1/<s>{y}<sub>ℓ</sub></s>) · <s>{y}<sub>ℓ</sub></s> (𝟙[ℓ=i] − {y}<sub>i</sub>) = −(𝟙[ℓ=i] − {y}<sub>i</sub>): the two {y}<sub>ℓ</sub> cancel, element by element.</p>
        </section>
        <div class="equal" aria-hidden="true">=</div>
        <section class="card" aria-labelledby="route-2"><h3 id="route-2"><span class="count">2</span>At once</h3>
          <p class="soft">Move a logit: both sides follow.{" "}<button type="button" id="logits-reset" disabled={moved === null} onClick={() => move({ logits: null })}>The network’s own</button></p>
          <Row name={<Maths><Symbol of={sym("a", e.net.weights.length)} notation={notation} /></Maths>}><Handles {...{ e, classes, logits }} own={own} move={(to) => move({ logits: to })} /></Row>
          <Row name={<Maths><Symbol of={sym("y")} notation={notation} /></Maths>}>{bars("probabilities of the logits", p, 1, "forward", 44)}</Row>
          <Row name="e(ℓ)" sign="−">{bars("e(ℓ)", p.map((_, i) => (i === label ? 1 : 0)), 1, "truth", 44)}</Row>
          <Row name={<Maths><Symbol of={sym("y")} notation={notation} /><mo>−</mo><mi>e</mi><mo>(</mo><mi>ℓ</mi><mo>)</mo></Maths>} sign="=">{bars("gradient by the second route", fused, 1, "gradient")}</Row>
          {names}
          <p class="soft" id="routes-agree">{Number.isNaN(difference) ? "The first route has no value here, in float64 too." : <>The same bars, within <Num value={difference} digits={2} />.</>}</p>
        </section>
      </div>
      <Margin y={y} margin={margin ?? -120} move={(to) => move({ margin: to })} />
    </div>
  );
}

function Grid({ e, classes, J, label, byProbability, y }: { e: Example; classes: number[]; J: number[][]; label: number; byProbability: number; y: string }): JSX.Element {
  const largest = Math.max(...J.map((row) => Math.max(...row.map(Math.abs)))) || 1;
  const short = (v: number): string => (Math.abs(v) >= 0.005 ? tight(v) : "");
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="softmax's Jacobian"><table class={`jacobian${classes.length > FEW ? " many" : ""}`} id="jacobian">
      <thead><tr><th scope="col">∂𝓛/∂{y}</th><td></td>{classes.map((j) => <th scope="col" key={j} title={e.classes[j]}>{cut(e.classes[j]!, 8)}</th>)}</tr></thead>
      <tbody>{classes.map((i, at) => (
        <tr key={i} class={i === label ? "own" : ""}>
          <td class={i === label ? "minus" : "soft"}>{i === label ? number(byProbability, 4) : 0}</td><th scope="row" title={e.classes[i]}>{cut(e.classes[i]!, 8)}</th>
          {J[at]!.map((v, j) => <td key={j} data-value={String(v)} title={String(v)} style={{ background: `color-mix(in srgb, var(${v < 0 ? "--minus" : "--plus"}) ${(45 * (Math.abs(v) / largest) ** 0.7).toFixed(0)}%, transparent)` }}>{short(v)}</td>)}
        </tr>
      ))}</tbody>
    </table></div>
  );
}

function Handles({ e, classes, logits, own, move }: { e: Example; classes: number[]; logits: Vector; own: Vector; move(to: number[]): void }): JSX.Element {
  const [low, high] = useMemo(() => {
    const shown = classes.map((i) => own[i]!);
    return [Math.floor(Math.min(...shown)) - 4, Math.ceil(Math.max(...shown)) + 4];
  }, [own]);
  return (
    <div class={`handles${classes.length > FEW ? " many" : ""}`}>{classes.map((i) => (
      <label key={i} style={{ width: `${100 / classes.length}%` }}><input type="range" min={Math.min(low, logits[i]!)} max={Math.max(high, logits[i]!)} step="any" value={logits[i]} data-logit={i}
        aria-label={`logit of “${e.classes[i]!}”`} onInput={(event) => {
          const next = Array.from(logits);
          next[i] = Number(Number(event.currentTarget.value).toFixed(2));
          move(next);
        }} /><span>{number(logits[i]!, classes.length > 5 ? 2 : 3)}</span></label>
    ))}</div>
  );
}

const [LOW, HIGH, DEEP] = [-130, 40, 16]; // margins, and decades below 1, that are drawn
const px = (margin: number): number => (560 * (margin - LOW)) / (HIGH - LOW);
const py = (size: number): number => Math.min(230, (230 * -Math.log10(size)) / DEEP);

/** Two logits, 0 and the true class's: what float32 makes of both routes, from far below to far above. */
function Margin({ y, margin, move }: { y: string; margin: number; move(to: number): void }): JSX.Element {
  const [curves, zones] = useMemo(() => {
    const path = (size: (at: number) => number): string => {
      let [d, pen] = ["", "M"];
      for (let at = LOW; at <= HIGH; at += 0.5) {
        const value = Math.abs(size(at));
        if (value > 0 && Number.isFinite(value)) [d, pen] = [`${d}${pen}${px(at).toFixed(1)} ${py(value).toFixed(1)}`, "L"];
        else pen = "M";
      }
      return d;
    };
    return [{
      exact: path((at) => inFloat64(Float64Array.of(0, at), 1).fused[1]!), usual: path((at) => inFloat32([0, at], 1).fused[1]!),
      first: path((at) => inFloat32([0, at], 1).product[1]!),
    }, breaks(LOW, HIGH, 0.25)];
  }, []);
  const [single, exact] = [inFloat32([0, margin], 1), inFloat64(Float64Array.of(0, margin), 1)];
  const kept = Math.fround(exact.fused[1]!);
  const rows: [string, number, number, string][] = [
    [`${y}_ℓ`, exact.p[1]!, single.p[1]!, "p"], [`−1/${y}_ℓ`, exact.byProbability, single.byProbability, "by"], ["J at ℓ, ℓ", exact.row[1]!, single.row[1]!, "row"],
    ["route 1, their product", exact.fused[1]!, single.product[1]!, "first"], [`${y}_ℓ − 1, as usual`, exact.fused[1]!, single.fused[1]!, "usual"],
    ["Chainrule: −(the others)", exact.fused[1]!, kept, "kept"],
  ];
  const broken = (v: number, truth: number): boolean => !(Math.abs(v - truth) <= 0.01 * Math.abs(truth));
  const said: Record<string, string> = { "NaN": "−∞ × 0", "−∞": `1/${y} overflows`, "0": "1 − 1" };
  return (
    <section class="card margin" aria-labelledby="route-3"><h3 id="route-3"><span class="count">3</span>The first route breaks, in the float32 that networks train in</h3>
      <div class="halves">
        <div>
          <p class="soft">Two logits, 0 and the true class’s. Far below 0, {y}<sub>ℓ</sub> underflows to 0: −1/0 is −∞, and −∞ × 0 is not a number. Far above, 1 − {y}<sub>ℓ</sub> rounds to 0 and learning stops.</p>
          <svg viewBox="-60 -12 636 282" role="img" aria-label={`The size of the gradient by the margin: ${zones.map((z) => `${z.word} from ${z.from} to ${z.to}`).join(", ")}`}>
            {zones.map((z) => <g key={z.word}><rect class="zone" x={px(z.from)} y={-4} width={px(z.to) - px(z.from)} height={238} />
              <text class="broken" x={(px(z.from) + px(z.to)) / 2} y={z.word === "0" ? 26 : 30} text-anchor="middle">{z.word}</text><text class="soft" x={(px(z.from) + px(z.to)) / 2} y={z.word === "NaN" ? 48 : z.word === "0" ? 44 : 64} text-anchor="middle">{said[z.word]}</text></g>)}
            {[0, 4, 8, 12, 16].map((n) => <g key={n}><line class="grid" x1={0} x2={560} y1={py(10 ** -n)} y2={py(10 ** -n)} /><text x={-6} y={py(10 ** -n) + 4} text-anchor="end">{n === 0 ? "1" : `1e−${String(n).padStart(2, "0")}`}</text></g>)}
            <path class="exact" d={curves.exact} /><path class="first" d={curves.first} /><path class="usual" d={curves.usual} />
            <line class="at" x1={px(margin)} x2={px(margin)} y1={-6} y2={236} />
            {[-120, -90, -60, -30, 0, 17, 40].map((n) => <text key={n} x={px(n)} y={252} text-anchor="middle">{number(n)}</text>)}
          </svg>
          <label class="field margin-field">margin <input type="range" id="margin" min={LOW} max={HIGH} step={0.5} value={margin} onInput={(event) => move(Number(event.currentTarget.value))} /> <output>{number(margin)}</output></label>
          <p class="soft keys"><i class="exact" /> true, and Chainrule’s <i class="first" /> route 1 in float32 <i class="usual" /> {y} − 1 in float32</p>
        </div>
        <div class="scroll" tabIndex={0} role="group" aria-label="Both routes in float32"><table id="float32"><thead><tr><th scope="col">logits 0 and {number(margin)}</th><th scope="col">true value</th><th scope="col">float32</th></tr></thead>
          <tbody>{rows.map(([name, truth, value, key]) => <tr key={key} data-of={key}><th scope="row"><Words of={name} /></th><td><Num value={truth} digits={4} /></td><td class={broken(value, truth) ? "wrong" : "good"}><Num value={value} digits={4} /></td></tr>)}</tbody></table></div>
      </div>
    </section>
  );
}
