/* The same as tables, for whoever would rather read: groups, checks, paths, output units. */
import type { JSX } from "preact";
import type { Chain, Example, Factor, Group } from "./chain";
import type { Vector } from "./engine";
import { number } from "./numbers";
import { Num, Verdict } from "./parts";
import type { Notation } from "./symbols";
import { Fraction, letterOf, Maths, sym, text, Words } from "./symbols";

const LISTED = 8;

/** All numbers of a vector where they are few, else the largest with their places. */
function Values({ values, columns }: { values: Vector; columns: number | null }): JSX.Element {
  if (values.length <= LISTED) {
    return <>{Array.from(values, (v, i) => <span key={i}>{i > 0 && ", "}<Num value={v} digits={4} /></span>)}</>;
  }
  const order = Array.from(values.keys()).sort((i, j) => Math.abs(values[j]!) - Math.abs(values[i]!) || i - j);
  const shown = Math.min(5, values.reduce((n, v) => n + Number(v !== 0), 0));
  return (
    <>
      {order.slice(0, shown).map((i, n) => <span key={i}>{n > 0 && ", "}<span class="soft">{columns === null ? i + 1 : `${Math.floor(i / columns) + 1},${(i % columns) + 1}`}:</span> <Num value={values[i]!} digits={4} /></span>)}
      <span class="soft">{shown > 0 && " and "}{values.length - shown} {values[order[shown]!] === 0 ? "zeros" : "smaller"}</span>
    </>
  );
}

const whole = (f: Factor): boolean => f.matrix && f.values.length === f.shape.reduce((n, side) => n * side, 1);

export function Groups({ chain, notation }: { chain: Chain; notation: Notation }): JSX.Element {
  return (
    <section aria-labelledby="groups-title">
      <h2 id="groups-title">Group by group</h2>
      {chain.groups.map((group, i) => <GroupTable key={`${group.kind}${group.layer}`} {...{ group, chain, notation, n: i + 1 }} />)}
    </section>
  );
}

function GroupTable(props: { group: Group; chain: Chain; notation: Notation; n: number }): JSX.Element {
  const { group, chain, notation, n } = props;
  const cell = (f: Factor): JSX.Element => (
    <tr key={f.name}>
      <th scope="row"><Maths><Fraction above={f.above} below={f.below} notation={notation} /></Maths></th>
      <td class="words"><Words of={f.name} /></td>
      <td>{f.shape.join(" × ") || "scalar"}</td>
      <td class="words"><Values values={f.values} columns={whole(f) ? f.shape[1]! : null} /></td>
    </tr>
  );
  return (
    <details class="card group-table" open>
      <summary><h3>{n}. {group.heading}</h3></summary>
      <div class="scroll" tabIndex={0} role="group" aria-label={`Factors of ${group.heading}`}><table>
        <thead><tr><th scope="col">factor</th><th scope="col" class="words">what it is</th><th scope="col">shape</th><th scope="col" class="words">values</th></tr></thead>
        <tbody>{group.factors.map(cell)}</tbody>
      </table></div>
      <p>Reached: <Maths><Fraction above={chain.of} below={group.reached} notation={notation} /></Maths>
        {group.gradient.length > 1 && <>, {group.gradient.length} numbers, the largest at {group.check.element}</>}:
        {" "}<Num value={group.check.gradient} digits={8} />; a finite difference gives <Num value={group.check.difference} digits={8} />
        {" "}(<Verdict {...group.check} />).</p>
    </details>
  );
}

/** The lecture's formula, a matrix or vector for each factor. */
export function Formula({ chain, notation }: { chain: Chain; notation: Notation }): JSX.Element {
  const under = ({ shape, values }: Factor): string => (shape.every((n) => n === 1) ? number(values[0]!, 4) : shape.join("×"));
  return (
    <Maths size="block">
      <Fraction above={chain.of} below={chain.symbol} notation={notation} /><mo>=</mo>
      {chain.groups.map((group, g) => <>{g > 0 && <mo>·</mo>}<munder><mrow><mo>(</mo>
        {group.factors.map((f, i) => <>{i > 0 && <mo>·</mo>}<munder><Fraction above={f.above} below={f.below} notation={notation} /><mtext>{under(f)}</mtext></munder></>)}
        <mo>)</mo></mrow><mtext>{group.heading}</mtext></munder></>)}
      <mo>=</mo><mn>{number(chain.product, 6)}</mn>
    </Maths>
  );
}

export function Checked({ chain }: { chain: Chain }): JSX.Element {
  const { check } = chain;
  return (
    <section aria-labelledby="checked-title">
      <h2 id="checked-title">Checked three ways</h2>
      <div class="row">
        <div class="card"><h3>The factors, over all paths</h3><div class="big"><Num id="factors" value={chain.product} digits={12} /></div></div>
        <div class="card"><h3>Backpropagation</h3><div class="big"><Num id="backward" value={chain.fromBackward} digits={12} /></div></div>
        <div class="card"><h3>Finite difference (float64)</h3><div class="big"><Num id="differences" value={check.difference} digits={12} /></div>
          <Verdict {...check} /></div>
      </div>
      <p class="soft">The difference is central and of fourth order; all that comes before is held fixed. A kink is a place
        where a ReLU changes its sign within the steps: there is no derivative to compare with.</p>
    </section>
  );
}

export function PathTable({ e, chain }: { e: Example; chain: Chain }): JSX.Element | null {
  const { paths } = chain;
  if (paths.count === 1 || paths.strongest.length === 0) return null;
  const depth = e.net.weights.length;
  return (
    <section aria-labelledby="paths-title">
      <h2 id="paths-title">The strongest paths</h2>
      <div class="card scroll" tabIndex={0} role="group" aria-labelledby="paths-title"><table id="paths">
        <thead><tr><th scope="col">units, layer by layer, to the loss</th><th scope="col">product of factors</th><th scope="col">share of the sum</th></tr></thead>
        <tbody>{paths.strongest.map((path, i) => (
          <tr key={i}>
            <td>{path.units.map((unit, at) => (chain.place.layer + at === depth ? `“${e.classes[unit - 1]}”` : unit)).join(" → ")}</td>
            <td><Num value={path.product} /></td>
            <td>{paths.cancels ? "they cancel" : <><Num value={100 * path.share} digits={3} /> %</>}</td>
          </tr>
        ))}</tbody>
      </table></div>
      {paths.cancels ? <p class="soft">All {paths.count.toLocaleString("en")} paths together are 0, or nothing but rounding.</p>
        : <p class="soft">Together <Num value={100 * paths.share} digits={3} /> % of the sum over {paths.count.toLocaleString("en")} paths. Paths that cancel make
          shares above 100 % or below 0.</p>}
    </section>
  );
}

export function OutputUnits({ e, notation }: { e: Example; notation: Notation }): JSX.Element {
  const depth = e.net.weights.length;
  const grad = e.b.gradA[depth - 1]!;
  const logits = e.f.a[depth - 1]!;
  const y = letterOf(sym("y"), notation);
  const a = text(sym("a", depth), notation);
  const order = Array.from(e.f.p.keys());
  const most = e.facts.most.classes;
  if (order.length > most) order.sort((i, j) => Number(j === e.label) - Number(i === e.label) || e.f.p[j]! - e.f.p[i]!);
  return (
    <section aria-labelledby="units-title">
      <h2 id="units-title">The output units</h2>
      <div class="card scroll" tabIndex={0} role="group" aria-labelledby="units-title"><table id="output-units">
        <thead><tr><th scope="col">class</th><th scope="col">logit {a}</th><th scope="col">{y}</th><th scope="col">∂𝓛/∂{y}</th><th scope="col">∂𝓛/∂{a} = −(𝟙[ℓ=i] − {y})</th></tr></thead>
        <tbody>{order.slice(0, most).map((i) => (
          <tr key={i} class={i === e.label ? "label" : ""}>
            <th scope="row">{e.classes[i]}{i === e.label && " (ℓ)"}</th>
            <td><Num value={logits[i]!} /></td><td><Num value={e.f.p[i]!} /></td><td><Num value={e.b.gradP[i]!} /></td><td><Num value={grad[i]!} /></td>
          </tr>
        ))}</tbody>
      </table>
      {order.length > most && <p class="soft">… and {order.length - most} more classes, less probable</p>}
      </div>
      <p class="soft">Two routes lead to the last column: through the probabilities, −(1/{y}<sub>ℓ</sub>) e(ℓ) times softmax's Jacobian,
        and fused, {y} − e(ℓ). The numbers are computed by the second, with −(1 − {y}<sub>ℓ</sub>) as minus the sum of the other
        probabilities: the first divides by {y}<sub>ℓ</sub>, which may underflow to 0. For ∂𝓛/∂{y} the other probabilities are held
        fixed: {y} leaves the simplex.</p>
    </section>
  );
}
