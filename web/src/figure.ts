/* A part of the page as a figure of its own: what is drawn and written in it, at its places and in light colours, as SVG or
   PNG with its numbers inside, or as LaTeX. */
import { carried } from "./parts";

type Paint = { fill: string; stroke: string; width: number; dash: string; opacity: number };
type Item = Paint & ({ d: string; at: DOMMatrix } | { text: string; x: number; y: number; font: string; css: string } | { image: HTMLCanvasElement; box: [number, number, number, number] });

export interface Figure {
  title: string;
  width: number;
  height: number;
  items: Item[];
  /** every row of bars by its name, and every number that stands in the part */
  numbers: Record<string, number[]>;
  /** where the numbers of a row stand, where that is no number */
  places: Record<string, string[]>;
}

const SKIPPED = "button:not(.count), input, select, output, .tip, .unseen, .pens, .where";
const MARGIN = 12;
const NAMES = ["--ink", "--soft", "--paper", "--card", "--line", "--plus", "--minus", "--accent", "--forward", "--truth", "--good", "--wrong"];

/** The page's light colours, wherever the reader is. */
function light(): Map<string, string> {
  for (const rule of document.styleSheets[0]!.cssRules) {
    if (rule instanceof CSSStyleRule && rule.selectorText === ":root") return new Map(NAMES.map((name) => [name, rule.style.getPropertyValue(name).trim()]));
  }
  return new Map();
}

const rgb = (hex: string): number[] => {
  const long = hex.length === 4 ? [...hex.slice(1)].map((c) => c + c).join("") : hex.slice(1);
  return [0, 2, 4].map((i) => parseInt(long.slice(i, i + 2), 16));
};

/** A heat map or image in the light colours: of each pixel's colours that the dark page has, its twin. */
function relit(canvas: HTMLCanvasElement, twins: [number[], number[]][]): HTMLCanvasElement {
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const pen = copy.getContext("2d")!;
  pen.drawImage(canvas, 0, 0);
  const image = pen.getImageData(0, 0, copy.width, copy.height);
  const far = (a: number[], i: number): number => a.reduce((sum, v, c) => sum + (v - image.data[i + c]!) ** 2, 0);
  for (let i = 0; i < image.data.length; i += 4) {
    if (image.data[i + 3]) image.data.set(twins.reduce((best, one) => (far(one[0], i) < far(best[0], i) ? one : best))[1], i);
  }
  pen.putImageData(image, 0, 0);
  return copy;
}

const clear = (colour: string): boolean => colour === "none" || colour === "transparent" || /, 0\)$/.test(colour);

/** What is shape of an SVG, as a path. */
function shapeOf(e: Element): string {
  const n = (name: string): number => Number(e.getAttribute(name) ?? 0);
  if (e.tagName === "path") return e.getAttribute("d") ?? "";
  if (e.tagName === "line") return `M${n("x1")} ${n("y1")}L${n("x2")} ${n("y2")}`;
  if (e.tagName === "polyline") return `M${(e.getAttribute("points") ?? "").split(" ").join("L")}`;
  if (e.tagName === "circle") return `M${n("cx") - n("r")} ${n("cy")}a${n("r")} ${n("r")} 0 1 0 ${2 * n("r")} 0a${n("r")} ${n("r")} 0 1 0 ${-2 * n("r")} 0z`;
  return e.tagName === "rect" && !/%/.test(e.getAttribute("width") ?? "") ? `M${n("x")} ${n("y")}h${n("width")}v${n("height")}h${-n("width")}z` : "";
}

/** What stands in a part of the page, in its light colours. */
export function figureOf(part: HTMLElement, title: string): Figure {
  const colours = light();
  const before = part.style.cssText;
  const was = getComputedStyle(part);
  const twins = ["--plus", "--minus", "--ink"].map((name): [number[], number[]] => [rgb(was.getPropertyValue(name).trim()), rgb(colours.get(name)!)]);
  colours.forEach((colour, name) => part.style.setProperty(name, colour));
  part.style.color = "var(--ink)";
  try {
    return scanned(part, title, twins);
  } finally {
    part.style.cssText = before;
  }
}

function scanned(part: HTMLElement, title: string, twins: [number[], number[]][]): Figure {
  const all = part.getBoundingClientRect();
  const items: Item[] = [];
  const numbers: Figure["numbers"] = {};
  const places: Figure["places"] = {};
  const measure = document.createElement("canvas").getContext("2d")!;
  const [left, top] = [all.left - MARGIN, all.top - MARGIN];
  const plain = { stroke: "none", width: 0, dash: "", fill: "none" };
  const here = (x: number, y: number): DOMMatrix => new DOMMatrix([1, 0, 0, 1, x - left, y - top]);
  const box = (r: DOMRect, to: Partial<Paint>, opacity: number): void => {
    if (r.width && r.height) items.push({ ...plain, ...to, opacity, d: `M0 0h${r.width}v${r.height}h${-r.width}z`, at: here(r.left, r.top) });
  };
  const visit = (node: Node, over: number): void => {
    if (node instanceof Text) return write(node, over);
    if (!(node instanceof Element) || node.matches(SKIPPED) || !node.checkVisibility()) return;
    const style = getComputedStyle(node);
    const opacity = over * Number(style.opacity);
    const kept = carried.get(node);
    if (kept) numbers[kept.name] = Array.from(kept.values);
    if (kept?.places) places[kept.name] = kept.places;
    const value = node.getAttribute("data-value");
    if (value !== null && value !== "") (numbers.shown ??= []).push(Number(value));
    if (node instanceof HTMLCanvasElement) {
      if (node.width && node.height) {
        const r = node.getBoundingClientRect();
        items.push({ ...plain, opacity, image: relit(node, twins), box: [r.left - left, r.top - top, r.width, r.height] });
      }
    } else if (node instanceof SVGGraphicsElement && node.tagName !== "svg") {
      const d = shapeOf(node);
      const at = node.getScreenCTM();
      if (d && at && !(clear(style.fill) && clear(style.stroke))) {
        const still = style.vectorEffect === "non-scaling-stroke" ? 1 : Math.sqrt(Math.abs(at.a * at.d - at.b * at.c));
        items.push({ fill: style.fill, stroke: style.stroke, width: parseFloat(style.strokeWidth) * still, dash: style.strokeDasharray.replace("none", ""), opacity: opacity * Number(style.fillOpacity), d, at: here(0, 0).multiply(at) });
      }
    } else if (node instanceof HTMLElement) {
      const r = node.getBoundingClientRect();
      if (node !== part && !clear(style.backgroundColor)) box(r, { fill: style.backgroundColor }, opacity);
      if (style.outlineStyle === "solid" && node !== document.activeElement) box(r, { stroke: style.outlineColor, width: parseFloat(style.outlineWidth) }, opacity);
      const under = parseFloat(style.borderBottomWidth);
      const around = under > 0 && style.borderBottomStyle === "solid" && style.borderTopWidth === style.borderBottomWidth && style.borderLeftWidth === style.borderTopWidth;
      if (node !== part && around) {
        const round = Math.min(r.height / 2, style.borderTopLeftRadius.endsWith("%") ? r.height / 2 : parseFloat(style.borderTopLeftRadius));
        const [arc, w, h] = [(x: number, y: number): string => `a${round} ${round} 0 0 1 ${x} ${y}`, r.width - 2 * round, r.height - 2 * round];
        items.push({ ...plain, stroke: style.borderBottomColor, width: under, opacity, at: here(r.left, r.top), d: `M${round} 0h${w}${arc(round, round)}v${h}${arc(-round, round)}h${-w}${arc(-round, -round)}v${-h}${arc(round, -round)}z` });
      } else if (node !== part && under > 0 && style.borderBottomStyle !== "none") items.push({ ...plain, stroke: style.borderBottomColor, width: under, opacity, d: `M0 0h${r.width}`, at: here(r.left, r.bottom) });
    } else if (node.tagName.toLowerCase() === "mfrac") {
      const [over_, under] = [node.children[0]!.getBoundingClientRect(), node.children[1]!.getBoundingClientRect()];
      const r = node.getBoundingClientRect();
      items.push({ ...plain, stroke: style.color, width: 1, opacity, d: `M0 0h${r.width}`, at: here(r.left, (over_.bottom + under.top) / 2) });
    }
    node.childNodes.forEach((child) => visit(child, opacity));
  };
  const write = (node: Text, opacity: number): void => {
    const parent = node.parentElement!;
    const style = getComputedStyle(parent);
    const slant = parent.tagName.toLowerCase() === "mi" && [...node.data.trim()].length === 1 ? "italic" : style.fontStyle;
    const font = `${slant} ${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    measure.font = font;
    const size = measure.measureText("x");
    const share = size.fontBoundingBoxAscent / (size.fontBoundingBoxAscent + size.fontBoundingBoxDescent);
    let line: (Item & { text: string; y: number }) | null = null;
    for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(node, index);
      range.setEnd(node, index + word.length);
      const r = range.getBoundingClientRect();
      if (!r.width) continue;
      const y = r.top + r.height * share - top;
      if (line && Math.abs(line.y - y) < 1) line.text += ` ${word}`;
      else {
        const fill = parent instanceof SVGElement ? style.fill : style.color;
        items.push((line = { ...plain, fill, opacity, text: word, x: r.left - left, y, font, css: `font-style:${slant};font-weight:${style.fontWeight};font-size:${style.fontSize};font-family:${style.fontFamily.replaceAll('"', "'")}` }));
      }
    }
  };
  visit(part, 1);
  return { title, width: Math.ceil(all.width + 2 * MARGIN), height: Math.ceil(all.height + 2 * MARGIN), items, numbers, places };
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const told = ({ title, numbers, places }: Figure): string => JSON.stringify({ title, numbers, ...(Object.keys(places).length ? { places } : {}) });

export function svgOf(figure: Figure): string {
  const round = (v: number): number => Math.round(v * 100) / 100;
  const drawn = figure.items.map((item) => {
    const look = `fill="${item.fill}"${item.stroke === "none" ? "" : ` stroke="${item.stroke}" stroke-width="${round(item.width)}"`}${item.dash ? ` stroke-dasharray="${item.dash}"` : ""}${item.opacity < 1 ? ` opacity="${round(item.opacity)}"` : ""}`;
    if ("text" in item) return `<text x="${round(item.x)}" y="${round(item.y)}" style="${item.css}" ${look}>${escaped(item.text)}</text>`;
    if ("d" in item) return `<path d="${item.d}" transform="matrix(${[item.at.a, item.at.b, item.at.c, item.at.d, item.at.e, item.at.f].map((v) => Number(v.toFixed(5)))})" vector-effect="non-scaling-stroke" ${look}/>`;
    const [x, y, width, height] = item.box.map(round);
    return `<image x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="none" style="image-rendering:pixelated" href="${item.image.toDataURL()}"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${figure.width} ${figure.height}" width="${figure.width}" height="${figure.height}"><title>${escaped(figure.title)}</title><metadata>${escaped(told(figure))}</metadata><rect width="100%" height="100%" fill="#fff"/>${drawn.join("")}</svg>\n`;
}

const TWICE = 2; // pixels of a PNG to one of the page

export async function pngOf(figure: Figure): Promise<Blob> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [TWICE * figure.width, TWICE * figure.height];
  const pen = canvas.getContext("2d")!;
  pen.scale(TWICE, TWICE);
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, figure.width, figure.height);
  pen.imageSmoothingEnabled = false;
  for (const item of figure.items) {
    pen.globalAlpha = item.opacity;
    pen.fillStyle = item.fill;
    if ("text" in item) {
      pen.font = item.font;
      pen.fillText(item.text, item.x, item.y);
    } else if ("image" in item) pen.drawImage(item.image, ...item.box);
    else {
      const path = new Path2D();
      path.addPath(new Path2D(item.d), item.at);
      if (!clear(item.fill)) pen.fill(path);
      if (clear(item.stroke)) continue;
      pen.strokeStyle = item.stroke;
      pen.lineWidth = item.width;
      pen.setLineDash(item.dash ? item.dash.split(/[ ,]+/).map(parseFloat) : []);
      pen.stroke(path);
    }
  }
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
  const bytes = new Uint8Array(await blob!.arrayBuffer());
  const end = bytes.length - 12; // IEND, the last chunk
  return new Blob([bytes.subarray(0, end), chunk("iTXt", `Description\0\0\0\0\0${told(figure)}`), bytes.subarray(end)], { type: "image/png" });
}

/** A chunk of a PNG: its length, name, data and checksum. */
function chunk(name: string, text: string): Uint8Array<ArrayBuffer> {
  const data = new TextEncoder().encode(name + text);
  const found = new Uint8Array(data.length + 8);
  const view = new DataView(found.buffer);
  view.setUint32(0, data.length - 4);
  found.set(data, 4);
  let sum = -1;
  for (const byte of data) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  view.setInt32(data.length + 4, ~sum);
  return found;
}
