/* The page of one example, and of its training: rows that travel in it to train on, or checkpoints to walk through. */
import type { More } from "./app";
import { Over } from "./over";
import { type Lesson, networks, type Payload, unpacked } from "./payload";
import { start } from "./start";
import { Train } from "./train";
import type { Rows } from "./training";

async function taught(lesson: Lesson, width: number): Promise<More["train"]> {
  const values = Float64Array.from(await unpacked(lesson.x));
  const all = lesson.labels.map((label, i) => ({ x: values.subarray(i * width, (i + 1) * width), label, number: lesson.numbers[i]! }));
  const rows = (some: typeof all): Rows => ({ x: some.map((one) => one.x), labels: some.map((one) => one.label), numbers: some.map((one) => one.number) });
  const out = (i: number): boolean => (i + 1) % lesson.every === 0;
  const [seen, held] = [rows(all.filter((_, i) => !out(i))), rows(all.filter((_, i) => out(i)))];
  return (props) => <Train {...props} {...{ lesson, seen, held }} />;
}

async function walked(payload: Payload, course: NonNullable<Payload["course"]>): Promise<More> {
  const nets = await networks(payload, course.weights);
  const checkpoints = nets.map((net, i) => ({ name: course.names[i]!, net }));
  return { course: nets, over: (props) => <Over {...props} checkpoints={checkpoints} /> };
}

start(async (payload) => ({
  ...(payload.lesson ? { train: await taught(payload.lesson, payload.widths[0]!) } : {}),
  ...(payload.course ? await walked(payload, payload.course) : {}),
}));
