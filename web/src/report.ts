/* The report's curves, read off at an epoch, and switched off one by one. Without this they read as they are drawn. */
import { number } from "./numbers";

interface Line {
  name: string;
  /** epoch, its place in the drawing, and the value */
  points: [number, number, number, number][];
}

const SVG = "http://www.w3.org/2000/svg";

function drawn(kind: string, attributes: Record<string, string | number>): SVGElement {
  const element = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

function comeAlive(figure: HTMLElement): void {
  const lines = JSON.parse(figure.dataset.chart!) as Line[];
  const svg = figure.querySelector("svg")!;
  const curves = [...svg.querySelectorAll("polyline")];
  const epochs = [...new Set(lines.flatMap((line) => line.points.map(([epoch]) => epoch)))].sort((a, b) => a - b);
  if (epochs.length === 0) return;
  const off = new Set<number>();
  const marks = drawn("g", { "aria-hidden": "true" });
  svg.append(marks);
  const reading = document.createElement("p");
  reading.className = "reading soft";
  reading.textContent = "Point at an epoch, or use the arrow keys, to read it off.";
  figure.querySelector("figcaption")!.append(reading);

  const [first, last] = [epochs[0]!, epochs.at(-1)!];
  // a slider by its keys and by what it says: its value is the epoch
  for (const [name, value] of Object.entries({
    role: "slider", tabindex: 0, "aria-label": `${svg.getAttribute("aria-label")!}: choose an epoch`,
    "aria-valuemin": first, "aria-valuemax": last, "aria-valuenow": last,
  })) svg.setAttribute(name, String(value));
  let now = last;

  function read(epoch: number): void {
    now = epoch;
    marks.replaceChildren();
    reading.replaceChildren();
    const said: string[] = [];
    lines.forEach((line, i) => {
      const point = line.points.find(([at]) => at === epoch);
      if (!point || off.has(i)) return;
      const [, x, y, value] = point;
      if (said.length === 0) marks.append(drawn("line", { x1: x, x2: x, y1: 0, y2: 240, class: "cross" }));
      marks.append(drawn("circle", { cx: x, cy: y, r: 4, class: `dot s${i % 6}` }));
      const shown = document.createElement("span");
      shown.className = "num";
      shown.title = String(value);
      shown.dataset.value = String(value);
      shown.textContent = number(value);
      reading.append(said.length ? ", " : `Epoch ${epoch}: `, `${line.name} `, shown);
      said.push(`${line.name} ${number(value)}`);
    });
    if (said.length === 0) reading.textContent = `Epoch ${epoch}`;
    svg.setAttribute("aria-valuenow", String(epoch));
    svg.setAttribute("aria-valuetext", [`epoch ${epoch}`, ...said].join(", "));
  }

  const readAt = (event: PointerEvent): void => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM()!.inverse());
    let best: [number, number] = [Infinity, now];
    for (const line of lines) {
      for (const [epoch, x] of line.points) if (Math.abs(x - at.x) < best[0]) best = [Math.abs(x - at.x), epoch];
    }
    read(best[1]);
  };
  svg.style.touchAction = "pan-y pinch-zoom"; // a finger that goes sideways reads the curve, one that goes down scrolls
  svg.addEventListener("pointermove", readAt);
  svg.addEventListener("pointerdown", readAt); // a tap moves nothing
  svg.addEventListener("keydown", (event) => {
    const place = epochs.indexOf(now);
    const page = Math.max(1, Math.round(epochs.length / 10));
    const steps: Record<string, number> = {
      ArrowRight: place + 1, ArrowUp: place + 1, ArrowLeft: place - 1, ArrowDown: place - 1,
      PageUp: place + page, PageDown: place - page, Home: 0, End: epochs.length - 1,
    };
    const next = steps[event.key];
    if (next === undefined) return;
    event.preventDefault();
    read(epochs[Math.min(Math.max(next, 0), epochs.length - 1)]!);
  });
  svg.addEventListener("focus", () => read(now));

  figure.querySelectorAll<HTMLElement>("figcaption .series").forEach((label, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "series";
    button.setAttribute("aria-pressed", "true");
    button.append(...label.childNodes);
    button.addEventListener("click", () => {
      if (!off.delete(i)) off.add(i);
      button.setAttribute("aria-pressed", String(!off.has(i)));
      curves[i]!.style.display = off.has(i) ? "none" : "";
      read(now);
    });
    label.replaceWith(button);
  });
}

document.querySelectorAll<HTMLElement>("figure[data-chart]").forEach(comeAlive);
