/* The page as it came reads in full; once its network is unpacked, this takes its place. */
import { render } from "preact";
import { App } from "./app";
import { network, type Payload } from "./payload";

async function start(): Promise<void> {
  const payload = JSON.parse(document.getElementById("network")!.textContent!) as Payload;
  const net = await network(payload);
  const root = document.getElementById("app")!;
  root.replaceChildren();
  render(<App payload={payload} net={net} />, root);
  root.dataset.live = "true";
}

start().catch((error: Error) => {
  const said = document.createElement("p");
  said.className = "finding";
  said.id = "static";
  said.textContent = `This browser cannot run the page's script, so that nothing can be changed here; all else reads in full. (${error.message})`;
  document.getElementById("app")!.prepend(said);
});
