/* The page of one example, and of what it takes to train: rows that travel in it. */
import { unpacked } from "./payload";
import { start } from "./start";
import { Train } from "./train";
import type { Rows } from "./training";

start(async ({ lesson, widths }) => {
  if (!lesson) return {};
  const values = Float64Array.from(await unpacked(lesson.x));
  const all = lesson.labels.map((label, i) => ({ x: values.subarray(i * widths[0]!, (i + 1) * widths[0]!), label, number: lesson.numbers[i]! }));
  const rows = (some: typeof all): Rows => ({ x: some.map((one) => one.x), labels: some.map((one) => one.label), numbers: some.map((one) => one.number) });
  const out = (i: number): boolean => (i + 1) % lesson.every === 0;
  const [seen, held] = [rows(all.filter((_, i) => !out(i))), rows(all.filter((_, i) => out(i)))];
  return { train: (props) => <Train {...props} {...{ lesson, seen, held }} /> };
});
