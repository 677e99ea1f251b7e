/* The page: what the reader has chosen, and everything that is computed from it. */
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { chainOf, type Example, placeSym, scaleOfBatch } from "./chain";
import { Card, GoTo, Settings, Share, StepBox } from "./controls";
import { Derivations } from "./derivations";
import { backward, forward, gradientAt, type Net, type Place } from "./engine";
import { rawOfFeature } from "./example";
import { Exercise } from "./exercise";
import { Figures } from "./figures";
import { findings, why } from "./findings";
import { type Inputs, plainInputs, rawOf, type Sample, tableInputs, withNumber } from "./inputs";
import { type Linked, read, useFragment, type ViewName, VIEWS, write } from "./link";
import { number } from "./numbers";
import { Powers } from "./parts";
import type { OverProps } from "./over";
import type { Payload } from "./payload";
import { Routes } from "./routes";
import { tone } from "./steps";
import { story } from "./story";
import { LECTURE, type Notation, text } from "./symbols";
import { Checked, Formula, Groups, OutputUnits, PathTable } from "./tables";
import { lossesOf, STEPS, type Walked, walked } from "./taken";
import { Tour } from "./tour";
import { headingOf, wantsDecades } from "./walk";
import type { TrainProps } from "./train";
import { Bar, Legend, useWalking } from "./walking";
import { useView, Walk } from "./walkview";

const NAMES: Record<ViewName, string> = { walk: "The walk", routes: "Two routes", train: "Train", tables: "Tables and checks" };

/** What a page may have besides: it is in a script of its own, so that other pages do not carry it. */
export interface More {
  train?(props: TrainProps): JSX.Element;
  over?(props: OverProps): JSX.Element;
  /** the networks of the checkpoints */
  course?: Net[];
}

/** What the page first shows, and what it knows of its inputs. */
function useFirst(payload: Payload): { first: Linked; inputs: Inputs; sample: Sample } {
  return useMemo(() => {
    const inputs = payload.fields ? tableInputs(payload.fields, payload.image) : plainInputs(payload.x, payload.features, payload.image);
    const x = Float64Array.from(payload.x);
    const first: Linked = {
      place: payload.place, row: payload.row, at: null, view: "walk", notation: LECTURE, label: payload.label, changed: [], picked: [],
      log: null, sort: false, predict: false, exercise: null, logits: null, margin: null, opened: [], taken: [], train: null, checkpoint: null, embed: [],
    };
    return { first, inputs, sample: { x, raw: rawOf(inputs, x) } };
  }, [payload]);
}

/** The example with what a link says of it. */
function changedBy(inputs: Inputs, original: Sample, changed: [number, number][]): Sample {
  if (changed.length === 0) return original;
  const sample = { x: original.x.slice(), raw: original.raw.slice() };
  for (const [feature, raw] of changed) {
    const field = inputs.fields.find((one) => one.at === feature && one.kind !== "category");
    sample.raw[feature] = raw;
    sample.x[feature] = field ? withNumber(inputs, sample, { ...field, missing: false }, raw).x[feature]! : raw;
  }
  return sample;
}

export function App({ payload, net, more }: { payload: Payload; net: Net; more: More }): JSX.Element {
  const { first, inputs, sample: original } = useFirst(payload);
  const start = useMemo(() => read(location.hash.slice(1), first, payload.widths), [first]);
  const [state, setState] = useState(start);
  const [sample, setSample] = useState(() => changedBy(inputs, original, start.changed));
  const [seen, setSeen] = useState<ReadonlySet<number>>(new Set());
  const { held, hold, letGo } = useHand();
  const [shown, setShown] = useState<string[]>([]);
  const [touring, setTouring] = useState(false);
  const quiet = useRef(false);
  const { place, at, notation, label } = state;
  const viewName = state.view === "train" && !more.train ? "walk" : state.view;
  const has = (part: Linked["embed"][number]): boolean => !state.embed.includes(part);

  const last = useRef<Walked | null>(null);
  const [met, setMet] = useState<Net | null>(null); // the weights that an example of a batch met in training
  const begun = more.course?.[state.checkpoint ?? -1] ?? met ?? net;
  const weights = useMemo(() => (last.current = walked(begun, state.taken, last.current, (changed) => changedBy(inputs, original, changed).x)), [begun, state.taken]);
  const e = useMemo<Example>(() => {
    const f = forward(weights.net, sample.x);
    const b = backward(weights.net, f, label);
    const { features, classes, batch_size, facts } = payload;
    return { net: weights.net, f, b, label, features, classes, batchSize: batch_size, facts };
  }, [weights.net, sample, label]);
  const listed = useMemo(() => {
    const size = e.b.gradH[0]!.map((g, i) => Math.abs(g * e.f.h[0]![i]!));
    return Array.from(size.keys()).sort((i, j) => size[j]! - size[i]! || i - j).slice(0, 8).sort((i, j) => i - j);
  }, [original]);

  const set = (to: Partial<Linked>): void => setState((now) => ({ ...now, ...to }));
  const choose = (to: Place): void => {
    set({ place: to, picked: [], ...(state.at !== null ? { at: Math.min(state.at, payload.widths.length - to.layer) } : {}) });
    setSeen(new Set());
    walking.play(false);
  };
  const exam = state.exercise !== null;
  const hidden = (index: number): boolean => exam || (state.predict && !seen.has(index));
  const log = state.log ?? wantsDecades(e);
  const view = useView({
    e, place, notation, at, picked: useMemo(() => new Map(state.picked), [state.picked]), log, held, exam, hidden,
    sorted: state.sort && !exam && !state.predict, // by what is asked, the order would tell it
    visit: (index) => {
      if (state.predict) setSeen(new Set([...seen, index]));
      set({ at: index });
    },
    pick: (layer, unit, dragged) => {
      if (dragged) quiet.current = true;
      if (layer === place.layer) choose({ ...place, unit });
      else if (layer > place.layer) set({ picked: [...state.picked.filter(([k]) => k < layer), [layer, unit]] });
    },
    choose,
    opened: useMemo(() => new Map(state.opened), [state.opened]),
    open: (layer, more) => set({ opened: [...state.opened.filter(([k]) => k !== layer), [layer, more]] }),
    derive: setShown,
  });
  const count = view.steps.length;
  const begin = view.lanes ? 1 : 0;
  const walking = useWalking({
    at, count, begin, on: viewName === "walk", go: (next) => setState((now) => ({ ...now, at: next(now.at) })), beat: () => { quiet.current = true; },
  });
  const change = (to: Sample): void => {
    quiet.current = true;
    const changed: [number, number][] = [];
    to.raw.forEach((raw, i) => { if (raw !== original.raw[i]) changed.push([i, raw]); });
    setSample(to);
    set({ changed });
  };
  const relabel = (to: number): void => set({ label: to });
  const losses = useMemo(() => lossesOf(weights, state), [weights, label, state.changed]);
  const takeStep = (lr: number): void => set({ taken: [...state.taken, { lr, label, changed: state.changed }] });
  const reset = (): void => {
    setState({ ...first, embed: state.embed, notation, view: viewName });
    setMet(null);
    setSample(original);
    setSeen(new Set());
  };
  const fragment = write({ ...state, embed: [] }, first);
  useFragment(write(state, first), quiet, (told) => {
    const next = read(told, first, payload.widths);
    setState(next);
    setSample(changedBy(inputs, original, next.changed));
    walking.play(false);
  });

  const symbol = text(placeSym(place), notation);
  const reason = useMemo(() => why(e, chainOf(e, place, notation), notation), [e, place, notation]);
  const found = useMemo(() => findings(e), [e]);
  const asked = hidden(count - 1); // the product is the reader's to tell
  useEffect(() => void (document.title = `Why ${symbol} gets its gradient`), [symbol]);
  const now = at === null ? null : view.steps[at]!;
  const raw = place.layer === 1 && place.input ? rawOfFeature(inputs, sample, place.input - 1) : "";
  const product = gradientAt(e.f, e.b, place) * scaleOfBatch(e);
  const own = e.b.gradA[place.layer - 1]![place.unit - 1]!;
  const legend = <Legend scale={view.scale} fans={!view.lanes} sorted={view.sorted} told={!exam && !state.predict} choose={set} />;
  return (
    <div onPointerDownCapture={hold} onPointerUpCapture={letGo} onPointerCancelCapture={letGo}>
      <Head payload={payload} has={(part) => has(part) && (part !== "title" || viewName !== "train")} tabs={<Tabs view={viewName} views={VIEWS.filter((name) => name !== "train" || more.train)} choose={(to) => set({ view: to })} />} tour={() => { set({ view: "walk", at: null }); setTouring(true); }}>
        <h1>Why {symbol} gets {asked ? "its gradient" : <>the gradient <span class={`title-number ${tone(product)}`} id="gradient" data-value={String(product)} title={String(product)}><Powers value={product} /></span></>}</h1>
        <p class="lead" id="story">{asked ? "The reason stands here when you have found it." : Number.isFinite(product) ? story(e, place, raw, notation) : "There is no gradient here: the numbers have left the range of float64."}</p>
      </Head>
      {has("bar") && viewName === "walk" && (
        <Bar walking={walking} to="weight" lanes={view.lanes}>{!view.small && legend}</Bar>
      )}
      <p class="unseen" aria-live="polite" id="said">{now ? `Step ${at! + 1} of ${count}: ${headingOf(now)}${hidden(at!) ? "" : `, ${now.kind === "weight" ? `the gradient is ${number(product, 4)}` : `unit ${view.units[now.layer]} has ${number(e.b.gradA[now.layer - 1]![view.units[now.layer]! - 1]!, 4)}`}`}` : ""}</p>
      {viewName === "walk" && <>
        {more.over?.({
          x: sample.x, label, place, notation, hidden: asked, at: more.course![state.checkpoint ?? -1] ? state.checkpoint : null,
          go: (checkpoint) => {
            quiet.current = true;
            setMet(null);
            set({ checkpoint, taken: [] });
          },
        })}
        <Walk {...{ view, inputs, sample, listed, change, relabel }} editor={has("example")} legend={legend} />
        {!view.steps.some((_, i) => hidden(i)) && <p class="reason" id="why">{reason}</p>}
        {!exam && !state.predict && found.map((finding) => <p class="finding" key={finding}>{finding}</p>)}
      </>}
      {viewName === "routes" && (exam || state.predict) && <p class="card">The routes are hidden while you predict or exercise.</p>}
      {viewName === "routes" && !exam && !state.predict && <Routes e={e} notation={notation} logits={state.logits} margin={state.margin} move={(to) => { quiet.current = true; set(to); }} />}
      {viewName === "train" && (exam || state.predict) && <p class="card">Training is hidden while you predict or exercise: it may hold the same row.</p>}
      {viewName === "train" && !exam && !state.predict && more.train!({
        net, place, notation, classes: payload.classes, image: payload.image, told: state.train, tell: (train) => { quiet.current = true; set({ train }); },
        walk: (x, to, trained) => {
          change({ x, raw: rawOf(inputs, x) });
          setMet(trained);
          set({ checkpoint: null, taken: [], label: to, view: "walk", at: null, picked: [] });
        },
        shade: (x) => {
          const [raw, [blank, ink], columns] = [rawOf(inputs, x), inputs.span, payload.image?.[1] ?? 1];
          return (r, c) => (raw[r * columns + c]! - blank) / (ink - blank);
        },
        choose: () => <div class="toolbox"><Card title="Another weight" id="weight-title"><GoTo {...{ e, notation, choose }} /></Card><Figures /></div>,
      })}
      {viewName === "tables" && (exam || state.predict ? <p class="card">The tables are hidden while you predict or exercise.</p> : <Tables e={e} place={place} notation={notation} />)}
      {exam && <Card title="Exercise" id="exercise-title"><Exercise key={`${symbol}${own}`} view={view} seed={state.exercise!} link={`${location.href.split("#")[0]}#${fragment}&embed=tabs,tools,derivations`} setSeed={(seed) => { quiet.current = true; set({ exercise: seed }); }} /></Card>}
      {has("tools") && viewName !== "train" && (
        <div class="toolbox">
          <Card title="Another weight" id="goto-title"><GoTo {...{ e, notation, choose }} /></Card>
          <StepBox losses={losses} predicted={weights.predicted} loss={state.taken.length < STEPS ? e.b.loss : NaN} hidden={asked} take={takeStep} reset={reset} />
          <Card title="Find it yourself" id="find-title">
            <label class="field left"><input type="checkbox" checked={state.predict} onChange={() => { set({ predict: !state.predict, at: null }); setSeen(new Set()); }} /> predict first: each step's numbers stay hidden until you ask</label>
            <label class="field left"><input type="checkbox" checked={exam} onChange={() => set({ exercise: exam ? null : 1 })} /> exercise: fill in what is missing</label>
          </Card>
          <Figures />
          <Settings notation={notation} setNotation={(to: Notation) => set({ notation: to })} />
          <Share fragment={fragment} />
        </div>
      )}
      <Derivations names={shown} notation={notation} close={() => setShown([])} />
      {touring && <Tour view={view} end={() => { setTouring(false); set({ at: null }); }} />}
      {!has("derivations") && <style>{".derivations-kept, footer { display: none; }"}</style>}
    </div>
  );
}

/** Whether a hand is on the example; what it is on stays where it is, whatever becomes of the words above it. */
function useHand(): { held: boolean; hold(event: PointerEvent): void; letGo(): void } {
  const [held, setHeld] = useState(false);
  const under = useRef<{ element: Element; top: number } | null>(null);
  useLayoutEffect(() => {
    if (!under.current) return;
    const moved = under.current.element.getBoundingClientRect().top - under.current.top;
    if (Math.abs(moved) >= 0.5) window.scrollBy(0, moved);
  });
  return {
    held,
    hold: (event) => {
      const element = (event.target as HTMLElement).closest(".editor, .handles");
      if (!element) return;
      under.current = { element, top: element.getBoundingClientRect().top };
      setHeld(true);
    },
    letGo: () => {
      setHeld(false);
      setTimeout(() => (under.current = null), 50); // what is refitted now is not to move it either
    },
  };
}

function Head(props: { payload: Payload; has(part: Linked["embed"][number]): boolean; tabs: JSX.Element; tour(): void; children: ComponentChildren }): JSX.Element {
  const { payload, has, tabs, tour, children } = props;
  const { links, row } = payload;
  const to = (href: string | undefined, words: string, name: string): JSX.Element | null => (href ? <a href={href} aria-label={name}>{words}</a> : null);
  return (
    <header class="top">
      <p class="crumbs soft">Chainrule{row !== null && <> · row {row}</>} {to(links.earlier, "‹", "The row with the next larger loss")} {to(links.list, "all rows", "All rows")} {to(links.later, "›", "The row with the next smaller loss")}
        {has("tabs") && <button type="button" class="link" onClick={tour}>A first look: three steps</button>}</p>
      {has("tabs") && tabs}
      {has("title") && <div class="titles">{children}</div>}
    </header>
  );
}

function Tabs({ view, views, choose }: { view: ViewName; views: ViewName[]; choose(to: ViewName): void }): JSX.Element {
  const onKey = (event: KeyboardEvent): void => {
    const turn = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!turn) return;
    event.preventDefault();
    const next = (views.indexOf(view) + turn + views.length) % views.length;
    choose(views[next]!);
    (event.currentTarget as HTMLElement).querySelectorAll("button")[next]!.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" onKeyDown={onKey}>
      {views.map((name) => <button type="button" key={name} role="tab" aria-selected={view === name} tabIndex={view === name ? 0 : -1} onClick={() => choose(name)}>{NAMES[name]}</button>)}
    </div>
  );
}

function Tables({ e, place, notation }: { e: Example; place: Place; notation: Notation }): JSX.Element {
  const chain = useMemo(() => chainOf(e, place, notation), [e, place, notation]);
  return (
    <>
      <section class="card" aria-labelledby="formula-title"><h2 id="formula-title">The chain in matrices</h2>
        <div class="scroll" tabIndex={0} role="group" aria-label="The chain in matrices"><Formula chain={chain} notation={notation} /></div></section>
      <Checked chain={chain} />
      <PathTable e={e} chain={chain} />
      <Groups chain={chain} notation={notation} />
      <OutputUnits e={e} notation={notation} />
    </>
  );
}

