/* The page as it came reads in full; once its network is unpacked, this takes its place. */
import { render } from "preact";
import { App, type More } from "./app";
import { networks, type Payload } from "./payload";

async function started(more: (payload: Payload) => Promise<More>): Promise<void> {
  const payload = JSON.parse(document.getElementById("network")!.textContent!) as Payload;
  const row = new URLSearchParams(location.hash.slice(1)).get("row");
  if (payload.links.list && row !== null && /^\d+$/.test(row) && Number(row) !== payload.row) {
    location.replace(`/row/${row}${location.hash}`); // a link to another row of this gallery
    return;
  }
  const [net, added] = [(await networks(payload, payload.weights))[0]!, await more(payload)];
  const root = document.getElementById("app")!;
  root.replaceChildren();
  render(<App payload={payload} net={net} more={added} />, root);
  document.documentElement.style.overflowAnchor = "none"; // the page itself keeps in place what a hand is on
  root.dataset.live = "true";
}

export function start(more: (payload: Payload) => Promise<More>): void {
  started(more).catch((error: Error) => {
    const said = document.createElement("p");
    said.className = "finding";
    said.id = "static";
    said.textContent = `This browser cannot run the page's script, so that nothing can be changed here; all else reads in full. (${error.message})`;
    document.getElementById("app")!.prepend(said);
  });
}
