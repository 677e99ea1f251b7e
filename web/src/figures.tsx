/* Any drawing, formula or table of the page as a file of its own. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Card } from "./controls";
import { figureOf, pngOf, svgOf } from "./figure";
import { latexOf } from "./latex";

/** The parts of the page that have a heading, but for the tools. */
const parts = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>("#app section[aria-labelledby], #app .curve")].filter((part) => !part.closest(".toolbox"));

function titleOf(part: HTMLElement): string {
  const heading = document.getElementById(part.getAttribute("aria-labelledby") ?? "") ?? part.querySelector("b");
  return (heading?.textContent ?? "").replace(/^\d+/, "");
}

function save(data: Blob | string, title: string, suffix: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([data]));
  link.download = `${title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase()}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function Figures(): JSX.Element {
  const [titles, setTitles] = useState<string[]>([]);
  const [at, setAt] = useState(0);
  useEffect(() => {
    const now = parts().map(titleOf);
    if (now.join() !== titles.join()) setTitles(now);
  });
  const take = (made: (part: HTMLElement, title: string) => Promise<Blob> | string, suffix: string): void => {
    const part = parts()[Math.min(at, titles.length - 1)]!;
    const title = titleOf(part);
    void Promise.resolve(made(part, title)).then((data) => save(data, title, suffix));
  };
  return (
    <Card title="Take a figure away" id="figures-title">
      <p class="soft">As it stands, in light colours, with its numbers.</p>
      <div class="tools">
        <select id="figure" aria-label="Which" value={Math.min(at, titles.length - 1)} onChange={(event) => setAt(Number(event.currentTarget.value))}>{titles.map((title, i) => <option key={i} value={i}>{title}</option>)}</select>
        <button type="button" onClick={() => take((part, title) => svgOf(figureOf(part, title)), "svg")}>SVG</button>
        <button type="button" onClick={() => take((part, title) => pngOf(figureOf(part, title)), "png")}>PNG</button>
        <button type="button" onClick={() => take(latexOf, "tex")}>LaTeX</button>
      </div>
    </Card>
  );
}
