/* The derivations that the page carries, one click away from the step that they belong to. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { type Notation, renamed } from "./symbols";

/** A derivation's title and HTML; null where the page carries none of that name. */
function kept(name: string): { title: string; html: string } | null {
  const found = document.getElementById(`derivation-${name}`);
  return found && { title: found.parentElement!.querySelector("summary")!.textContent!, html: found.innerHTML };
}

export function Derivations({ names, notation, close }: { names: string[]; notation: Notation; close(): void }): JSX.Element | null {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (names.length && !dialog.current!.open) dialog.current!.showModal();
  }, [names]);
  if (names.length === 0) return null;
  const found = names.map((name) => kept(name)).filter((one) => one !== null);
  return (
    <dialog ref={dialog} class="why" id="derivation" aria-label="Derivation" onClose={close} onClick={(event) => { if (event.target === dialog.current) dialog.current!.close(); }}>
      <button type="button" class="close" onClick={() => dialog.current!.close()}>Close</button>
      {found.length === 0 && <p>This page carries no derivation of it.</p>}
      {found.map(({ title, html }, i) => (
        <details key={title} open={i === found.length - 1 || found.length < 3}><summary>{title}</summary>
          <div dangerouslySetInnerHTML={{ __html: renamed(html, notation) }} /></details>
      ))}
    </dialog>
  );
}
