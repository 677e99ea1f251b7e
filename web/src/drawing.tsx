/* The network drawn: units to choose, weights to choose, wide layers to open. */
import type { JSX } from "preact";
import type { Chain, Example } from "./chain";
import type { Place } from "./engine";
import type { ColourBy, Drawing as Layout, Edge, Node } from "./layout";
import { layOut, lights } from "./layout";
import { full, number } from "./numbers";
import type { Notation } from "./symbols";
import { sym, text, weightSym } from "./symbols";

interface Props {
  e: Example;
  chain: Chain;
  by: ColourBy;
  extra: number[];
  compact: boolean;
  lit: string | null;
  notation: Notation;
  choose(place: Place): void;
  light(place: string | null): void;
  open(layer: number, more: boolean): void;
}

export function Drawing(props: Props): JSX.Element {
  const drawing = layOut(props.e, props.chain, props.by, props.extra, props.compact);
  const depth = props.e.net.weights.length;
  return (
    <svg viewBox={`0 0 ${drawing.width} ${drawing.height}`} width={drawing.width} height={drawing.height} role="group"
      aria-label="The network: a button for each unit that is drawn" class="network">
      {drawing.columns.map((column) => <Heading key={column.layer} {...{ column, props, depth }} />)}
      <g>{drawing.edges.map((edge) => <Weight key={`${edge.layer} ${edge.unit} ${edge.input}`} {...{ edge, props, depth }} />)}</g>
      {drawing.nodes.map((node) => <Unit key={`${node.layer} ${node.unit}`} {...{ node, props, depth, drawing }} />)}
    </svg>
  );
}

export function layerName(layer: number, depth: number): string {
  return layer === 0 ? "inputs" : layer === depth ? "output layer" : `hidden layer ${layer}`;
}

function Heading({ column, props, depth }: { column: Layout["columns"][number]; props: Props; depth: number }) {
  const { layer, x, shown, of } = column;
  const short = props.compact || depth > 5;
  const name = short ? (layer === 0 ? "x" : layer === depth ? "output" : `hidden ${layer}`) : layerName(layer, depth);
  return (
    <g>
      <text x={x} y={14} text-anchor="middle" class="heading">{name}</text>
      <text x={x} y={29} text-anchor="middle" class="soft">{shown < of ? `${shown} of ${of}` : of}</text>
      {(props.extra[layer] ?? 0) > 0 && (
        <g role="button" tabIndex={0} class="fold" aria-label={`Fold ${layerName(layer, depth)}`}
          onClick={() => props.open(layer, false)} onKeyDown={pressed(() => props.open(layer, false))}>
          <rect x={x + 26} y={19} width={32} height={14} rx={4} /><text x={x + 42} y={30} text-anchor="middle">fold</text>
        </g>
      )}
    </g>
  );
}

function Weight({ edge, props, depth }: { edge: Edge; props: Props; depth: number }): JSX.Element {
  const { layer, unit, input, x1, y1, x2, y2, value, size } = edge;
  const lit = lights(props.lit, layer, depth, false, edge.chosen);
  const place = edge.chosen && layer === props.chain.place.layer ? "weight" : `edges-${layer}`;
  const marks = `${value < 0 ? "minus" : "plus"}${edge.onPath ? " path" : ""}${edge.chosen ? " chosen" : ""}${lit ? " lit" : ""}`;
  const ends = { x1, y1, x2, y2 };
  const name = `${text(weightSym(layer, unit, input), props.notation)}: ${props.by === "activation" ? "weight × activation" : props.by} ${full(value)}`;
  return (
    <g class={`edge ${marks}`} data-weight={`${layer},${unit},${input}`}
      onClick={() => props.choose({ layer, unit, input })}
      onMouseEnter={() => props.light(place)} onMouseLeave={() => props.light(null)}>
      <title>{name}</title>
      {edge.chosen && <line {...ends} class="halo" />}
      <line {...ends} class="line" stroke-width={(0.4 + 5 * size).toFixed(2)} />
      <line {...ends} class="hit" />
    </g>
  );
}

function Unit({ node, props, depth, drawing }: { node: Node; props: Props; depth: number; drawing: Layout }) {
  const { layer, unit, x, y, value } = node;
  const { e, notation, chain } = props;
  if (unit === 0) {
    const column = drawing.columns[layer]!;
    const more = column.of - column.shown;
    const open = (): void => props.open(layer, true);
    return (
      <g class="rest" role="button" tabIndex={0} aria-label={`Open ${more} more units of ${layerName(layer, depth)}`}
        onClick={open} onKeyDown={pressed(open)}>
        <rect x={x - 26} y={y - 11} width={52} height={22} rx={11} />
        <text x={x} y={y + 4} text-anchor="middle">+ {more}</text>
      </g>
    );
  }
  const input = layer === 0;
  const chosen = !input && chain.place.input === null && chain.place.layer === layer && chain.place.unit === unit;
  const place = input ? "weight" : layer === depth ? "softmax" : `units-${layer}`;
  const lit = lights(props.lit, layer, depth, true, false) || (props.lit === "weight" && node.onPath && layer === chain.place.layer - 1);
  const symbol = input ? e.features[unit - 1]! : text(sym("a", layer, unit), notation);
  const what = input ? "input" : layer === depth ? `class “${e.classes[unit - 1]}”` : `unit ${unit} of hidden layer ${layer}`;
  const title = (say: (value: number) => string): string =>
    `${what}, ${symbol}: ${props.by === "activation" ? "value" : "gradient"} ${say(value)}` +
    (layer === depth && props.by !== "activation" ? `, probability ${say(e.f.p[unit - 1]!)}` : "");
  const choose = (): void => {
    // an input has no gradient of its own in the chain: its strongest weight is meant
    if (input) props.choose({ layer: 1, unit: chain.place.layer === 1 ? chain.place.unit : strongest(e), input: unit });
    else props.choose({ layer, unit, input: null });
  };
  const { long } = drawing;
  // isolated: a name that is written from the right would else take the number beside it along
  const cut = (name: string): string => `\u2068${name.length > long ? `${name.slice(0, long - 1)}…` : name}\u2069`;
  const tint = value < 0 ? "fillminus" : "fillplus";
  const share = Math.min(1, Math.abs(value) / largest(drawing, layer));
  return (
    <g class={`unit${node.onPath ? " path" : ""}${chosen ? " chosen" : ""}${lit ? " lit" : ""}`} role="button" tabIndex={0}
      aria-label={title(number)} aria-pressed={chosen} data-unit={`${layer},${unit}`}
      onClick={choose} onKeyDown={pressed(choose)}
      onMouseEnter={() => props.light(place)} onMouseLeave={() => props.light(null)}
      onFocus={() => props.light(place)} onBlur={() => props.light(null)}>
      <title>{title(full)}</title>
      <circle cx={x} cy={y} r={13} class="back" />
      <circle cx={x} cy={y} r={13} class={tint} opacity={(0.55 * share).toFixed(3)} />
      <circle cx={x} cy={y} r={13} class="ring" />
      {input && <text x={x - 19} y={y + 4} text-anchor="end">{cut(e.features[unit - 1]!)}</text>}
      {layer === depth && (
        <text x={x + 19} y={y + 4} class={unit - 1 === e.label ? "true" : ""}>
          {cut(e.classes[unit - 1]!)}{unit - 1 === e.label ? " (ℓ)" : ""}{!props.compact && <tspan dx={8} class="soft">{number(e.f.p[unit - 1]!, 3)}</tspan>}
        </text>
      )}
      {!input && <text x={x} y={y + 3.5} text-anchor="middle" class="inside">{unit}</text>}
    </g>
  );
}

function strongest(e: Example): number {
  const grad = e.b.gradA[0]!;
  return grad.reduce((best, v, i) => (Math.abs(v) > Math.abs(grad[best]!) ? i : best), 0) + 1;
}

function largest(drawing: Layout, layer: number): number {
  return drawing.nodes.reduce((m, n) => (n.layer === layer ? Math.max(m, Math.abs(n.value)) : m), 0) || 1;
}

/** Enter and the space bar, as a button takes them. */
function pressed(action: () => void): (event: KeyboardEvent) => void {
  return (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    action();
  };
}
