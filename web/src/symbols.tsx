/* Symbols as text and as MathML, in the letters that the reader chose. */
import type { ComponentChildren, JSX } from "preact";

/** The letters of the lecture, or those that stand in for them. */
export interface Notation {
  y: string;
  a: string;
  h: string;
  W: string;
}

export const LECTURE: Notation = { y: "ŷ", a: "a", h: "h", W: "W" };
export const NOTATIONS: Record<string, Notation> = {
  "ŷ, a, h, W (the lecture)": LECTURE,
  "p, z, a, W": { y: "p", a: "z", h: "a", W: "W" },
  "ŷ, z, h, W": { y: "ŷ", a: "z", h: "h", W: "W" },
  "p, s, x, w": { y: "p", a: "s", h: "x", W: "w" },
};

export interface Sym {
  letter: keyof Notation | "𝓛" | "J" | "b" | "x";
  sub: string;
}

export const sym = (letter: Sym["letter"], ...sub: (number | string)[]): Sym => ({ letter, sub: sub.join(",") });

/** W with its layer, unit and input, apart where a number has two digits. */
export function weightSym(layer: number, unit: number, input: number): Sym {
  return { letter: "W", sub: [layer, unit, input].join(Math.max(layer, unit, input) < 10 ? "" : ",") };
}

export function letterOf(s: Sym, notation: Notation): string {
  return s.letter in notation ? notation[s.letter as keyof Notation] : s.letter;
}

const lowered = (text: string): string => text.replace(/\d/g, (d) => String.fromCharCode(0x2080 + Number(d)));

/** As text: a₁,₁₂. */
export function text(s: Sym, notation: Notation): string {
  return letterOf(s, notation) + (s.sub === "ℓ" ? "_ℓ" : lowered(s.sub));
}

function Letter({ of }: { of: string }): JSX.Element {
  const parts = of.normalize("NFD");
  if (parts.length === 2 && parts[1] === "\u0302") {
    // MathML's booleans are words, which Preact's types take for its own
    const [accent, stretchy] = [{ accent: "true" } as object, { stretchy: "false" } as object];
    return <mover {...accent}><mi>{parts[0]}</mi><mo {...stretchy}>^</mo></mover>;
  }
  return <mi>{of}</mi>;
}

export function Symbol({ of, notation }: { of: Sym; notation: Notation }): JSX.Element {
  const letter = <Letter of={letterOf(of, notation)} />;
  if (!of.sub) return letter;
  return <msub>{letter}{of.sub === "ℓ" ? <mi>ℓ</mi> : <mn>{of.sub}</mn>}</msub>;
}

/** ∂above/∂below. */
export function Fraction({ above, below, notation }: { above: Sym; below: Sym; notation: Notation }): JSX.Element {
  return (
    <mfrac>
      <mrow><mo>∂</mo><Symbol of={above} notation={notation} /></mrow>
      <mrow><mo>∂</mo><Symbol of={below} notation={notation} /></mrow>
    </mfrac>
  );
}

/** In a line, or as large as a formula of its own: block on its own line, large within one. */
export function Maths({ children, size }: { children: ComponentChildren; size?: "block" | "large" }): JSX.Element {
  const large = size === "large" ? ({ displaystyle: "true" } as object) : {};
  return <math display={size === "block" ? "block" : "inline"} {...large}><mrow>{children}</mrow></math>;
}

/** Words in which ŷ_ℓ has a subscript. */
export function Words({ of }: { of: string }): JSX.Element {
  return <>{of.split("_ℓ").map((part, i) => <>{i > 0 && <sub>ℓ</sub>}{part}</>)}</>;
}

/** A derivation's HTML in other letters; it was written in the lecture's. */
export function renamed(html: string, notation: Notation): string {
  const hat = '<mover accent="true"><mi>y</mi><mo stretchy="false">^</mo></mover>';
  const bold = (letter: string): string => {
    const code = letter.codePointAt(0)!;
    if (/^[a-z]$/.test(letter)) return String.fromCodePoint(0x1d41a + code - 0x61);
    return /^[A-Z]$/.test(letter) ? String.fromCodePoint(0x1d400 + code - 0x41) : letter;
  };
  const letters = new Map<string, string>();
  for (const key of ["a", "h", "W"] as const) {
    letters.set(`<mi>${key}</mi>`, `<mi>${notation[key]}</mi>`);
    letters.set(`<mi>${bold(key)}</mi>`, `<mi>${bold(notation[key])}</mi>`);
    letters.set(`>${key}<sub>`, `>${notation[key]}<sub>`);
    letters.set(` ${key}<sub>`, ` ${notation[key]}<sub>`);
  }
  if (notation.y !== "ŷ") {
    letters.set(hat, `<mi>${notation.y}</mi>`);
    letters.set("ŷ", notation.y);
  }
  const keys = [...letters.keys()].map((key) => key.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return html.replace(new RegExp(keys.join("|"), "g"), (found) => letters.get(found)!);
}
