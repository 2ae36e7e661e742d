/** The local pages of one gateway. */

import "../shared/style.css";
import { render } from "preact";
import type { JSX } from "preact";
import { duration } from "../shared/format";
import { Live } from "../shared/live";
import { Mark, useLive, usePath } from "../shared/ui";
import { Andon } from "./andon";
import { Energy } from "./energy";
import { Flows } from "./flows";
import { Oee } from "./oee";
import { Overview } from "./overview";
import { Tags } from "./tags";
import type { Gateway } from "./types";

const live = new Live("/api/v1/live");

interface View {
  path: string;
  name: string;
  icon: string;
  page: (props: { live: Live; gateway: Gateway }) => JSX.Element;
}

const VIEWS: View[] = [
  { path: "/", name: "Status", icon: "M3 10.5 10 4l7 6.5V17h-4.6v-4H7.6v4H3Z", page: Overview },
  { path: "/andon", name: "Andon", icon: "M7 2h6v4.4H7ZM7 7.6h6v4.4H7ZM7 13.2h6V17h2v1.5H5V17h2Z", page: Andon },
  { path: "/oee", name: "OEE", icon: "M10 2a8 8 0 1 0 8 8h-3a5 5 0 1 1-5-5Zm1.5 0v6.5H18A8 8 0 0 0 11.5 2Z", page: Oee },
  { path: "/energy", name: "Energy", icon: "M11.5 1.5 4 11.500h4.800L8 18.500l8-10.500h-5Z", page: Energy },
  { path: "/tags", name: "Tags", icon: "M3 4h14v2.500H3Zm0 4.800h14v2.400H3ZM3 13.500h14V16H3Z", page: Tags },
  { path: "/flows", name: "Flows", icon: "M2 3h6v5H6v2.500h5V9h7v6h-7v-2.500H4V8H2Z", page: Flows },
];

const PATHS = VIEWS.map((view) => view.path);

function App() {
  useLive(live);
  const path = usePath(PATHS);
  const view = VIEWS.find((one) => one.path === path) ?? VIEWS[0]!;
  const gateway = live.one<Gateway>("gateway");
  document.title = gateway ? `${view.name} · ${gateway.name}` : "EdgeFlow";
  return (
    <>
      <a class="skip" href="#content">Skip to the content</a>
      <header class="bar">
        <div class="who">
          <strong>{gateway?.name ?? "EdgeFlow"}</strong>
          {gateway?.place && <span class="soft">{gateway.place}</span>}
        </div>
        <Connection />
      </header>
      <nav class="tabs" aria-label="Pages">
        {VIEWS.map((one) => (
          <a key={one.path} href={one.path} aria-current={one === view ? "page" : undefined}>
            <svg viewBox="0 0 20 20" aria-hidden="true"><path d={one.icon} /></svg>
            <span>{one.name}</span>
          </a>
        ))}
      </nav>
      {live.started && !live.connected && (
        <p class="lost" role="alert">
          <strong>No connection to the agent.</strong> What you see is {duration((Date.now() - live.heard) / 1000)} old.
          Trying again by itself.
        </p>
      )}
      <main id="content" class={live.connected ? "" : "stale"} tabIndex={-1}>
        {gateway ? <view.page live={live} gateway={gateway} /> : <Waiting />}
      </main>
    </>
  );
}

function Connection() {
  return (
    <span class="connection" role="status">
      {live.connected ? <Mark tone="good">Live</Mark> : <Mark tone="wait">{live.started ? "Reconnecting" : "Connecting"}</Mark>}
    </span>
  );
}

function Waiting() {
  return (
    <div class="empty">
      <h2>Waiting for the agent</h2>
      <p>If this stays, see whether the agent runs: <code>systemctl status edgeflow</code></p>
    </div>
  );
}

live.open();
render(<App />, document.getElementById("app")!);
