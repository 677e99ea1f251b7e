/* A first minute: the lecture's sentence, said over the steps that show it. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { View } from "./steps";

export function Tour({ view, end }: { view: View; end(): void }): JSX.Element {
  const [at, setAt] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const last = view.steps.length - 1;
  const said: { step: number; title: string; text: string }[] = [
    { step: 0, title: "First talk to the output layer", text: "What the network said, minus what is true: that difference is the gradient of the output layer, a bar for each class. Up means that more of it is more loss." },
    { step: Math.min(1, last), title: last > 1 ? "then to each hidden layer before it" : "no hidden layer here", text: last > 1 ? "Every unit collects its share of the blame from the layer above and passes it on where its gate is open. The layers below do the same again." : "This network has no hidden layer: the blame goes straight to the weights." },
    { step: last, title: "and then to the weight", text: "A unit's blame times a weight's input is the weight's gradient. Click a cell to choose another weight; change the example, and everything follows." },
  ];
  const now = said[at]!;
  useEffect(() => {
    view.visit(now.step);
    box.current!.focus({ preventScroll: true });
  }, [at]);
  return (
    <div class={at === 2 ? "tour above" : "tour"} role="dialog" aria-label={`A first look, ${at + 1} of 3`} ref={box} tabIndex={-1} onKeyDown={(event) => { if (event.key === "Escape") { event.stopPropagation(); end(); } }}>
      <p class="soft">{at + 1} of 3</p>
      <h2>{now.title}</h2>
      <p>{now.text}</p>
      <p class="tools">
        {at > 0 && <button type="button" onClick={() => setAt(at - 1)}>Back</button>}
        <button type="button" class="go" onClick={() => (at < 2 ? setAt(at + 1) : end())}>{at < 2 ? "Next" : "Now you"}</button>
        {at < 2 && <button type="button" class="link" onClick={end}>Skip</button>}
      </p>
    </div>
  );
}
