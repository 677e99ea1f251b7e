/* A part of the page as LaTeX (amsmath, amssymb): its formulas, its tables, its sums, and the numbers behind its bars. */
import { carried } from "./parts";

const SIGNS: Record<string, string> = {
  "∂": "\\partial ", "𝓛": "\\mathcal{L}", "ŷ": "\\hat{y}", "−": "-", "×": "\\times ", "·": "\\cdot ", "ℓ": "\\ell ", "∇": "\\nabla ", "⊙": "\\odot ", "‖": "\\|", "÷": "\\div ",
  "′": "'", "→": "\\to ", "←": "\\leftarrow ", "↦": "\\mapsto ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "±": "\\pm ", "√": "\\surd ", "∈": "\\in ", "∞": "\\infty ",
  "𝟙": "\\mathbb{1}", "ᵀ": "^T", "✓": "\\checkmark ", "✗": "\\times ", "<": "<", ">": ">", "|": "|", "°": "^\\circ ", "µ": "\\mu ",
  ...Object.fromEntries("α alpha β beta γ gamma δ delta ε varepsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho σ sigma ς varsigma τ tau υ upsilon φ varphi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega"
    .split(" ").map((one, i, all) => [one, `\\${all[i + 1]} `]).filter((_, i) => i % 2 === 0)),
};
const [LOW, LOWERED] = ["₀₁₂₃₄₅₆₇₈₉ᵢⱼₙ", "0123456789ijn"];
const [HIGH, RAISED] = ["⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"];
const [SUB, SUP, END] = ["\uE000", "\uE001", "\uE002"]; // around what is lowered or raised in the page
const special = new RegExp(`[${LOW}]+(?:,[${LOW}]+)*|[${HIGH}]+|[${SUB}${SUP}][^${END}]*${END}|${Object.keys(SIGNS).map((sign) => (sign === "|" ? "\\|" : sign)).join("|")}`, "gu");
const PUNCTUATION: Record<string, string> = { "“": "``", "”": "''", "‘": "`", "’": "'", "…": "\\ldots{}", "–": "--", "—": "---" };
const plainly = (text: string, from: string, to: string): string => [...text].map((c) => (from.includes(c) ? to[from.indexOf(c)]! : c)).join("");

function marked(text: string): string {
  return text.replace(special, (found) => {
    if (SIGNS[found] !== undefined) return SIGNS[found];
    if (found.endsWith(END)) return `${found.startsWith(SUB) ? "_" : "^"}{${marked(found.slice(1, -1))}}`;
    return HIGH.includes(found[0]!) ? `^{${plainly(found, HIGH, RAISED)}}` : `_{${plainly(found, LOW, LOWERED)}}`;
  });
}
const power = (text: string): string => text.replace(/e([-−+]?)0*(\d+)$/, (_, sign: string, size: string) => `\\cdot 10^{${sign === "+" ? "" : sign && "-"}${size}}`).replace("Infinity", "\\infty ");

/** Words, with what is not of ASCII as mathematics. */
export function latexText(text: string): string {
  const plain = text.replace(/\s+/g, " ").trim();
  if (/^[+−]?[\d.]+(e[-−+]\d+)?$/.test(plain)) return `$${power(plain).replaceAll("−", "-")}$`;
  const safe = plain.replace(/[\\{}&%$#_~^]/g, (c) => ({ "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" })[c] ?? `\\${c}`);
  return safe.replace(new RegExp(`(?:\\b[A-Za-z])?(?:${special.source})+`, "gu"), (found) => `$${marked(found)}$`).replaceAll("$$", "").replace(/[“”‘’…–—]/g, (c) => PUNCTUATION[c]!);
}

/** What is seen of an element's words, as LaTeX: formulas and lowered letters within them too. */
function latexOfWords(node: Element): string {
  const formulas: string[] = [];
  const seen = (one: Node): string => {
    if (one instanceof Text) return one.data;
    if (!(one instanceof Element) || !one.checkVisibility() || one.matches("button, .unseen")) return "";
    if (one.tagName.toLowerCase() === "math") return ` \uE003${String.fromCharCode(0xe100 + formulas.push(latexMath(one)) - 1)} `;
    const all = Array.from(one.childNodes, seen).join("");
    if (one.tagName === "SUB" || one.tagName === "SUP") return `${one.tagName === "SUB" ? SUB : SUP}${all}${END}`;
    return getComputedStyle(one).display.startsWith("inline") ? all : ` ${all} `;
  };
  return latexText(seen(node)).replace(/\uE003(.)/gu, (_, at: string) => `$${formulas[at.charCodeAt(0) - 0xe100]!}$`);
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

const PAGE = 40; // rows of a table that a sheet of paper has room for

function tabular([head, ...rows]: string[][]): string {
  const line = (row: string[]): string => `  ${row.join(" & ")} \\\\`;
  const sheets = Array.from({ length: Math.max(1, Math.ceil(rows.length / PAGE)) }, (_, i) => rows.slice(i * PAGE, (i + 1) * PAGE));
  return sheets.map((some) => `\\begin{tabular}{l${"r".repeat(Math.max(0, head!.length - 1))}}\n${[`${line(head!)} \\hline`, ...some.map(line)].join("\n")}\n\\end{tabular}\n`).join("\n");
}

/** What a file needs beside amsmath and amssymb, for the letters of other languages. */
function needed(text: string): string {
  if (/[^\x00-\u017F„‚‹›]/u.test(text)) return "; for its letters XeLaTeX or LuaLaTeX, and a font that has them";
  return /[^\x00-\x7F]/u.test(text) ? "; for its letters \\usepackage[T1]{fontenc}" : "";
}

export function latexOf(part: HTMLElement, title: string): string {
  const found: string[] = [];
  for (const math of part.querySelectorAll("math")) if (!math.closest("table, .name, p:not(.formula)")) found.push(`\\[ ${latexMath(math)} \\]\n`);
  for (const table of part.querySelectorAll("table")) found.push(tabular(Array.from(table.rows, (row) => Array.from(row.cells, latexOfWords))));
  const sums = Array.from(part.querySelectorAll(".term"), (term) => Array.from(term.children, latexOfWords));
  if (sums.length) found.push(tabular([["what", "value"], ...sums]));
  const cards = Array.from(part.querySelectorAll(".big"), (big) => [latexOfWords(big.parentElement!.querySelector("h3")!), latexOfWords(big)]);
  if (cards.length) found.push(tabular([["what", "value"], ...cards]));
  const said = Array.from(part.querySelectorAll(".whose, .checked, .between, .ends p, figcaption, p:has([data-value], math):not(.formula, .words, .whose, .checked, .between, .ends p)"), latexOfWords);
  if (said.length) found.push(`${said.join(" \\\\\n")}\n`);
  const bars = [part, ...part.querySelectorAll("*")].map((one) => carried.get(one)).filter((one) => one !== undefined);
  if (bars.length) {
    const of = (n: number): string[] => bars.map(({ values }) => (n < values.length ? `$${power(String(values[n]))}$` : ""));
    const { each = "unit", places } = bars[0]!;
    const most = Math.max(...bars.map(({ values }) => values.length));
    found.push(tabular([[each, ...bars.map(({ name }) => latexText(name))], ...Array.from({ length: most }, (_, n) => [places ? latexText(places[n] ?? "") : String(n + 1), ...of(n)])]));
  }
  const text = found.join("\n");
  return `% ${latexText(title)}. Needs amsmath and amssymb${needed(text)}.\n\n${text}`;
}
