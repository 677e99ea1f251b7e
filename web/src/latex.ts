/* A part of the page as LaTeX (amsmath, amssymb): its formulas, its tables, its sums, and the numbers behind its bars. */
import { carried } from "./parts";

const SIGNS: Record<string, string> = {
  "∂": "\\partial ", "𝓛": "\\mathcal{L}", δ: "\\delta ", "ŷ": "\\hat{y}", "−": "-", "×": "\\times ", "·": "\\cdot ", "ℓ": "\\ell ", "∇": "\\nabla ", "⊙": "\\odot ",
  "′": "'", "→": "\\to ", "≤": "\\le ", "∞": "\\infty ", "𝟙": "\\mathbb{1}", "ᵀ": "^T", "‖": "\\|", "÷": "\\div ", θ: "\\theta ", "←": "\\leftarrow ",
};
const LOW = "₀₁₂₃₄₅₆₇₈₉";
const special = new RegExp(`[${LOW}]+(?:,[${LOW}]+)*|${Object.keys(SIGNS).join("|")}`, "gu");
const low = (text: string): string => `_{${[...text].map((c) => (LOW.includes(c) ? LOW.indexOf(c) : c)).join("")}}`;
const marked = (text: string): string => text.replace(special, (found) => SIGNS[found] ?? low(found));
const power = (text: string): string => text.replace(/e([-−+]?)0*(\d+)$/, (_, sign: string, size: string) => `\\cdot 10^{${sign === "+" ? "" : sign && "-"}${size}}`);

/** Words, with what is not of ASCII as mathematics. */
export function latexText(text: string): string {
  const plain = text.replace(/\s+/g, " ").trim();
  if (/^[+−]?[\d.]+(e[-−+]\d+)?$/.test(plain)) return `$${power(plain).replaceAll("−", "-")}$`;
  const safe = plain.replace(/[\\{}&%$#_~^]/g, (c) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[c] ?? `\\${c}`);
  return safe.replace(new RegExp(`(?:\\b[A-Za-z])?(?:${special.source})+`, "gu"), (found) => `$${marked(found)}$`).replaceAll("$$", "").replace(/“/g, "``").replace(/”/g, "''");
}

/** MathML as LaTeX. */
export function latexMath(node: Element): string {
  const [a, b] = [0, 1].map((i) => (node.children[i] ? latexMath(node.children[i]!) : ""));
  const text = (node.textContent ?? "").trim();
  switch (node.tagName.toLowerCase()) {
    case "mi": return [...text].length > 1 ? `\\operatorname{${marked(text)}}` : marked(text);
    case "mn": return power(marked(text));
    case "mo": return text === "^" ? "" : marked(text.replace("\u2061", ""));
    case "mtext": return `\\text{${latexText(text)}}`;
    case "mfrac": return `\\frac{${a}}{${b}}`;
    case "msub": return `{${a}}_{${b}}`;
    case "msup": return `{${a}}^{${b}}`;
    case "munder": return `\\underset{${b}}{${a}}`;
    case "mover": return `\\hat{${a}}`;
    case "msubsup": return `{${a}}_{${b}}^{${latexMath(node.children[2]!)}}`;
    default: return Array.from(node.children, latexMath).join(" ");
  }
}

const tabular = (rows: string[][]): string =>
  `\\begin{tabular}{l${"r".repeat(Math.max(0, (rows[0]?.length ?? 1) - 1))}}\n${rows.map((row, i) => `  ${row.join(" & ")} \\\\${i === 0 ? " \\hline" : ""}`).join("\n")}\n\\end{tabular}\n`;

export function latexOf(part: HTMLElement, title: string): string {
  const found = [`% ${title}. Needs amsmath and amssymb.\n`];
  for (const math of part.querySelectorAll("math")) if (!math.closest("table, .name")) found.push(`\\[ ${latexMath(math)} \\]\n`);
  for (const table of part.querySelectorAll("table")) {
    found.push(tabular(Array.from(table.rows, (row) => Array.from(row.cells, (cell) => {
      const math = cell.querySelector("math");
      return math ? `$${latexMath(math)}$` : latexText(cell.innerText);
    }))));
  }
  const sums = Array.from(part.querySelectorAll(".term"), (term) => Array.from(term.children, (one) => latexText((one as HTMLElement).innerText)));
  if (sums.length) found.push(tabular([["what", "value"], ...sums]));
  const said = Array.from(part.querySelectorAll<HTMLElement>(".whose, .product, .checked, .between, .ends p, figcaption"), (one) => latexText(one.innerText));
  if (said.length) found.push(`${said.join(" \\\\\n")}\n`);
  const bars = [part, ...part.querySelectorAll("*")].map((one) => carried.get(one)).filter((one) => one !== undefined);
  const most = Math.max(0, ...bars.map(({ values }) => values.length));
  if (bars.length) {
    const of = (n: number): string[] => bars.map(({ values }) => (n < values.length ? `$${power(String(values[n]).replace(/e-?\d+$/, (e) => e))}$` : ""));
    found.push(tabular([["unit", ...bars.map(({ name }) => latexText(name))], ...Array.from({ length: most }, (_, n) => [String(n + 1), ...of(n)])]));
  }
  return found.join("\n");
}
