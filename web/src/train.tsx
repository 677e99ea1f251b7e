/* Training in the page: what every step said of one weight, and the batch behind it as the pulls of its examples. */
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { placeSym } from "./chain";
import { Curve } from "./curves";
import type { Net, Place, Vector } from "./engine";
import { number, readNumber, signed } from "./numbers";
import { Num, Powers } from "./parts";
import type { Lesson } from "./payload";
import { Pulls } from "./pulls";
import { tone } from "./steps";
import { moves } from "./story";
import { type Notation, text } from "./symbols";
import { anew, type Plan, type Rows, type Rule, type Taken, Training } from "./training";

/** What the page hands over. */
export interface TrainProps {
  net: Net;
  classes: string[];
  image: [number, number] | null;
  place: Place;
  notation: Notation;
  /** what the address says of it: steps, cursor, batch, rate, rule, seed, start */
  told: string | null;
  tell(told: string): void;
  /** to walk the chain of an example, with the weights that it met */
  walk(x: Vector, label: number, net: Net): void;
  choose(): JSX.Element;
  /** an example as an image, from blank to ink */
  shade(x: Vector): (row: number, column: number) => number;
}

interface Props extends TrainProps {
  lesson: Lesson;
  seen: Rows;
  held: Rows;
}

interface Run extends Plan {
  steps: number;
  /** whether training begins with new weights, or goes on from the page's */
  fresh: boolean;
}

const RULES: Record<Rule, string> = { sgd: "SGD", momentum: "SGD with momentum", adam: "Adam" };
const SIZES = [1, 4, 8, 16, 32, 64];
const [MOST, BEAT, FRAME] = [1000, 120, 25]; // steps; milliseconds from one to the next, and of computing at a time

/** “12:32:0.01:adam:1:new”; what is not there, or out of its range, is as at first. */
export function readRun(told: string | null, most: number): Run {
  const [steps, batch, lr, rule, seed, start] = (told ?? "").split(":");
  const whole = (part: string | undefined, from: number, to: number, otherwise: number): number => {
    const value = part ? Number(part) : NaN;
    return Number.isInteger(value) && value >= from && value <= to ? value : otherwise;
  };
  const rate = Number(lr);
  return {
    steps: whole(steps, 1, MOST, 1), batch: whole(batch, 1, most, Math.min(32, most)), lr: rate > 0 && rate < Infinity ? rate : 0.01,
    rule: rule && Object.hasOwn(RULES, rule) ? (rule as Rule) : "adam", seed: whole(seed, 0, 2 ** 31, 1), fresh: start !== "page",
  };
}

const writeRun = (run: Run): string => [run.steps, run.batch, run.lr, run.rule, run.seed, run.fresh ? "new" : "page"].join(":");

/** The run as it is asked for, computed a few milliseconds at a time; all that is shown follows from what is asked. */
function useRun(props: Props, run: Run, place: Place): { taken: Taken[]; begun(): Training } {
  const { net, lesson, seen, held } = props;
  const begun = (): Training => new Training(run.fresh ? anew(net, lesson.gain, run.seed) : net, seen, held, run, lesson.rules, place);
  const key = [run.batch, run.lr, run.rule, run.seed, run.fresh, place.layer, place.unit, place.input].join();
  const training = useMemo(begun, [key, net, seen]);
  const [, redraw] = useState(0);
  useEffect(() => {
    let frame = 0;
    const go = (): void => {
      const until = performance.now() + FRAME;
      while (training.taken.length < run.steps && performance.now() < until) training.step();
      redraw((n) => n + 1);
      if (training.taken.length < run.steps) frame = requestAnimationFrame(go);
    };
    if (training.taken.length < run.steps) go();
    return () => cancelAnimationFrame(frame);
  }, [training, run.steps]);
  return { taken: training.taken.slice(0, run.steps), begun };
}

export function Train(props: Props): JSX.Element {
  const { classes, image, notation, lesson, seen, held, told, tell } = props;
  const place = useMemo(() => ({ ...props.place, input: props.place.input ?? 0 }), [props.place]);
  const run = readRun(told, seen.x.length);
  const { taken, begun } = useRun(props, run, place);
  const [cursor, setCursor] = useState<number | null>(null); // null: at the last step
  const [playing, setPlaying] = useState(false);
  const running = useRef(run);
  running.current = run;
  const set = (to: Partial<Run>): void => tell(writeRun({ ...running.current, ...to }));
  useEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => {
      if (running.current.steps >= MOST) setPlaying(false);
      else set({ steps: running.current.steps + 1 });
    }, BEAT);
    return () => clearInterval(timer);
  }, [playing]);
  const last = taken.length - 1;
  const at = Math.min(cursor ?? last, last);
  const now = taken[at];
  const go = (step: number): void => {
    setPlaying(false);
    setCursor(step >= last ? null : Math.max(0, step));
  };
  const restart = (to: Partial<Run>): void => {
    setCursor(null);
    set(to);
  };
  const symbol = text(placeSym(place), notation);
  if (!now) return <p class="card" role="status">Computing the first step.</p>;
  const room = Math.max(20, taken.length);
  const shared = { at, room, go };
  const share = (v: number): string => `${number(100 * v, 3)} %`;
  const counts = [now.pulls.filter((v) => v > 0).length, now.pulls.filter((v) => v < 0).length];
  const zeros = now.pulls.length - counts[0]! - counts[1]!;
  const open = (n: number): void => {
    const training = begun();
    for (let step = 0; step < at; step++) training.step();
    const row = now.batch[n]!;
    props.walk(seen.x[row]!, seen.labels[row]!, training.net);
  };
  return (
    <>
      <div class="titles">
        <p class="soft" id="travel">{lesson.numbers.length} of {lesson.of} rows travel in this page ({number(lesson.bytes / 1000, 2)} KB); {held.x.length} of them are held out.</p>
        <h1>At step {at + 1} the batch’s gradient of {symbol} is <span class={`title-number ${tone(now.gradient)}`} id="batch-gradient" data-value={String(now.gradient)} title={String(now.gradient)}><Powers value={now.gradient} digits={3} /></span></h1>
        <p class="lead">It is the mean of {now.pulls.length} gradients, one for each example: {counts[0]} positive, {counts[1]} negative{zeros > 0 && `, ${zeros} of 0`}. {moves(now.gradient, place.input ? "this weight" : "its bias").replace("a gradient step", "a plain gradient step")}</p>
      </div>
      <div class="tools run" role="group" aria-label="Training">
        <button type="button" aria-pressed={playing} onClick={() => { setCursor(null); setPlaying(!playing && run.steps < MOST); }}>{playing ? "Pause" : "▶ Play"}</button>
        <button type="button" disabled={run.steps >= MOST} onClick={() => { setPlaying(false); setCursor(null); set({ steps: run.steps + 1 }); }}>Step</button>
        <button type="button" onClick={() => { setPlaying(false); restart({ steps: 1 }); }}>Restart</button>
        <label>batch <select id="batch" value={run.batch} onChange={(event) => restart({ batch: Number(event.currentTarget.value) })}>
          {[...new Set([...SIZES.filter((n) => n < seen.x.length), run.batch, seen.x.length])].sort((a, b) => a - b).map((n) => <option key={n} value={n}>{n === seen.x.length ? `all ${n}` : n}</option>)}
        </select></label>
        <Rate key={run.lr} lr={run.lr} set={(lr) => restart({ lr })} />
        <label>optimizer <select id="rule" value={run.rule} onChange={(event) => restart({ rule: event.currentTarget.value as Rule })}>
          {Object.entries(RULES).map(([name, words]) => <option key={name} value={name}>{words}{name === "momentum" && ` ${lesson.rules.momentum}`}</option>)}
        </select></label>
        <label>from <select id="from" value={run.fresh ? "new" : "page"} onChange={(event) => restart({ fresh: event.currentTarget.value === "new" })}>
          <option value="new">new weights</option><option value="page">this page’s weights</option>
        </select></label>
        <label>seed <input type="number" id="seed" min={0} value={run.seed} onChange={(event) => restart({ seed: Math.max(0, Math.floor(event.currentTarget.valueAsNumber || 0)) })} /></label>
      </div>
      <div class="lesson">
        <section class="card" aria-label="Over the steps">
          <label class="field step-field">step <input type="range" id="cursor" min={1} max={taken.length} value={at + 1} onInput={(event) => go(event.currentTarget.valueAsNumber - 1)} aria-valuetext={`step ${at + 1} of ${taken.length}: loss ${number(now.loss, 3)}`} /> <output id="at">{at + 1} of {taken.length}</output></label>
          <Curve {...shared} name="The loss" log title={<><b>Loss</b> <span class="key batch" />this batch <Num id="train-loss" value={now.loss} digits={3} />{now.held && <> <span class="key held" />{held.x.length} rows held out <Num id="held-loss" value={now.held.loss} digits={3} /></>}</>}
            lines={[{ name: "this batch", values: taken.map((one) => one.loss), look: "batch" }, ...heldLine(taken, "loss")]} />
          <Curve {...shared} name="The accuracy" hold={[0, 1]} title={<><b>Accuracy</b> <span class="key batch" />this batch {share(now.accuracy)}{now.held && <> <span class="key held" />held out <span id="held-accuracy" data-value={String(now.held.accuracy)}>{share(now.held.accuracy)}</span></>}</>}
            lines={[{ name: "this batch", values: taken.map((one) => one.accuracy), look: "batch" }, ...heldLine(taken, "accuracy")]} />
          <Curve {...shared} name={`The weight ${symbol}`} title={<><b>The weight {symbol}</b> <Num id="train-weight" value={now.weight} digits={5} /></>}
            lines={[{ name: "weight", values: taken.map((one) => one.weight), look: "held" }]} />
          <Curve {...shared} name="Its gradient" bars hold={[0]} title={<><b>Its gradient, batch by batch</b> <span class={tone(now.gradient)}>{signed(now.gradient, 3)}</span></>}
            lines={[{ name: "gradient", values: taken.map((one) => one.gradient), look: "" }]} />
        </section>
        <Pulls {...{ now, seen, classes, image, place, notation, open }} shade={props.shade} />
      </div>
      {props.choose()}
    </>
  );
}

const heldLine = (taken: Taken[], of: "loss" | "accuracy"): { name: string; values: number[]; look: string }[] =>
  (taken[0]?.held ? [{ name: "held out", values: taken.map((one) => one.held![of]), look: "held" }] : []);

function Rate({ lr, set }: { lr: number; set(lr: number): void }): JSX.Element {
  const [typed, setTyped] = useState(String(lr));
  const value = readNumber(typed);
  const wrong = !(value > 0 && value < Infinity);
  return (
    <label>learning rate <input type="text" inputMode="decimal" id="rate" size={6} value={typed} aria-invalid={wrong} onInput={(event) => setTyped(event.currentTarget.value)}
      onChange={() => { if (!wrong && value !== lr) set(value); }} /></label>
  );
}
