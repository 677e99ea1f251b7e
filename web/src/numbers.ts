/* Numbers as the rest of Chainrule writes them: a few digits, a real minus sign, exponents as in e−05. */

export function number(value: number, digits = 5): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  value = evened(value, digits);
  const [mantissa, power] = value.toExponential(digits - 1).split("e") as [string, string];
  const exponent = Number(power);
  const trim = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  let text: string;
  if (exponent < -4 || exponent >= digits) {
    const size = String(Math.abs(exponent)).padStart(2, "0");
    text = `${trim(mantissa)}e${exponent < 0 ? "-" : "+"}${size}`;
  } else {
    text = trim(value.toFixed(Math.max(0, digits - 1 - exponent)));
  }
  return text.replaceAll("-", "−");
}

/** A number that lies halfway between two of so many digits, as the even one of them: so Python rounds, and toFixed not. */
function evened(value: number, digits: number): number {
  const [mantissa, power] = value.toExponential(100).split("e") as [string, string];
  const figures = mantissa.replace(/[-.]/g, "");
  if (!/^50*$/.test(figures.slice(digits)) || Number(figures[digits - 1]) % 2 === 1) return value;
  return Number(`${value < 0 ? "-" : ""}${figures.slice(0, digits)}e${Number(power) - digits + 1}`);
}

/** A number to its last digit, for whoever hovers. */
export function full(value: number): string {
  return String(value).replace("Infinity", "∞").replaceAll("-", "−");
}

/** A probability, by what is left to 1 where it would else read as 1. */
export function probability(p: number, rest: number, digits: number): string {
  const text = number(p, digits);
  return text === "1" && rest > 0 ? `1\u00a0−\u00a0${number(rest, digits)}` : text;
}

/** What a person types: a comma, a minus sign or a power of ten are all right; NaN where it is no number. */
export function readNumber(text: string): number {
  const plain = text.trim().replaceAll("−", "-").replace(",", ".");
  return plain === "" ? NaN : Number(plain);
}

/** Whether an answer is right to 1 % of the value; where that is 0, only 0 is. */
export function isRight(answer: number, value: number): boolean {
  return Math.abs(answer - value) <= 0.01 * Math.abs(value);
}

/** Numbers in [0, 1) that a seed fixes: a linear congruential generator of 32 bits. */
export function seeded(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < 8; i++) next();
  return next;
}

/** With a plus sign too. */
export const signed = (value: number, digits = 5): string => (value > 0 ? "+" : "") + number(value, digits);

/** Two numbers in as few digits, five at least, as tell them apart. */
export function apart(one: number, other: number): [string, string] {
  for (let digits = 5; digits < 17; digits++) {
    const texts: [string, string] = [number(one, digits), number(other, digits)];
    if (texts[0] !== texts[1]) return texts;
  }
  return [full(one), full(other)];
}

/** Two digits and no 0 before the point, where there is little room. */
export const tight = (value: number): string => number(value, 2).replace(/^(−?)0\./, "$1.");
