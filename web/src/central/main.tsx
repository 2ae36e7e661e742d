/** The first page of the central server: the gateways, what they run, and what they said last. */

import "../shared/style.css";
import { render } from "preact";
import { ago, bytes, capital, clock, duration, number, percent, plural } from "../shared/format";
import { Live, byName } from "../shared/live";
import { Card, Empty, Facts, Mark, Section, useLive } from "../shared/ui";
import type { Tone } from "../shared/ui";
import { FLOW_STATE, fateWords, streamWord } from "../shared/words";
import { inWords } from "./results";
import type { FlowReport, GatewaySummary, Storage, WireRecord } from "./types";

const live = new Live("/api/v1/live");
const MOST_RESULTS = 40;

/** How long results are kept, and how much room they take. */
function kept(): string {
  const storage = live.one<Storage>("storage");
  if (!storage) return "";
  return `Kept for ${plural(Math.round(storage.keep_days), "day")}; ${bytes(storage.bytes)} of at most ${bytes(storage.most_bytes)}`;
}

interface Came {
  key: string;
  gateway: string;
  record: WireRecord;
}

/** The records under a prefix, the newest first; their keys are `PREFIX/GATEWAY/STREAM/KEY`. */
function records(prefix: string): Came[] {
  const found: Came[] = [];
  for (const [key, value] of live.values) {
    if (key.startsWith(prefix)) found.push({ key, gateway: key.split("/")[1] ?? "", record: value as WireRecord });
  }
  return found.sort((a, b) => b.record.at.localeCompare(a.record.at));
}

function App() {
  useLive(live);
  const gateways = live.all<GatewaySummary>("gateway/");
  return (
    <>
      <header class="bar alone">
        <div class="who"><strong>EdgeFlow</strong><span class="soft">central</span></div>
        <span class="connection" role="status">
          {live.connected ? <Mark tone="good">Live</Mark> : <Mark tone="wait">{live.started ? "Reconnecting" : "Connecting"}</Mark>}
        </span>
      </header>
      {live.started && !live.connected && (
        <p class="lost" role="alert">
          <strong>No connection to the central server.</strong> What you see is {duration((Date.now() - live.heard) / 1000)} old. Trying again by itself.
        </p>
      )}
      <main id="content" class={live.connected ? "" : "stale"}>
        <h1 class="hidden">Gateways</h1>
        {!live.started && <Empty title="Waiting for the server">If this stays, see whether it runs: <code>systemctl status edgeflow-central</code></Empty>}
        {live.started && gateways.length === 0 && (
          <Empty title="No gateway yet">Make a token with <code>edgeflow central token NAME</code> and give it to the gateway; it enrols by itself.</Empty>
        )}
        {gateways.length > 0 && <Fleet gateways={gateways} />}
      </main>
    </>
  );
}

function Fleet({ gateways }: { gateways: GatewaySummary[] }) {
  const here = gateways.filter((one) => one.connected).length;
  const results = records("result/");
  return (
    <>
      <Section title="Gateways" note={`${number(here)} of ${plural(gateways.length, "gateway")} connected`}>
        <div class="grid wide">{gateways.map((one) => <GatewayCard key={one.gateway} gateway={one} />)}</div>
      </Section>
      <Section title="Latest results" note={kept()}>
        {results.length === 0 ? <p class="soft">Nothing has come in yet.</p> : <Results results={results.slice(0, MOST_RESULTS)} />}
      </Section>
    </>
  );
}

function GatewayCard({ gateway }: { gateway: GatewaySummary }) {
  const tone: Tone = gateway.connected ? "good" : "bad";
  const said = records(`live/${gateway.gateway}/`).filter(({ record }) => record.status === "live").map(({ key, record }) => [key, record, inWords(record.stream, record.data)] as const);
  return (
    <Card tone={tone} label={`Gateway ${gateway.gateway}`}>
      <div class="head">
        <h3>{gateway.gateway}</h3>
        <Mark tone={tone}>{gateway.connected ? "Connected" : "Not connected"}</Mark>
      </div>
      <Facts
        rows={[
          gateway.about.place !== "" && ["Place", gateway.about.place],
          ["Last heard of", gateway.connected ? "now" : ago((live.now() - Date.parse(gateway.last_seen)) / 1000)],
          ["Version", gateway.about.software || "–"],
          ["Results received", number(gateway.records)],
          gateway.lost > 0 && ["Lost at the gateway", number(gateway.lost)],
        ]}
      />
      {said.length > 0 && (
        <ul class="livelist">
          {said.sort(([a], [b]) => byName(a, b)).slice(0, 8).map(([key, record, text]) => (
            <li key={key}><span class="soft">{streamWord(record.stream)}</span> <span>{text}</span></li>
          ))}
        </ul>
      )}
      <ul class="flowlist" aria-label="Flows">
        {gateway.flows.map((flow) => <FlowLine key={flow.instance} flow={flow} />)}
      </ul>
      {gateway.reported_revision < gateway.revision && <p class="reason">New wishes wait for this gateway (revision {gateway.revision}, dealt with {gateway.reported_revision}).</p>}
    </Card>
  );
}

function FlowLine({ flow }: { flow: FlowReport }) {
  const [tone, word] = FLOW_STATE[flow.state];
  const fate = fateWords(flow);
  return (
    <li>
      <div class="head">
        <span><strong>{flow.instance}</strong> <span class="soft">{flow.flow} <code>{flow.active.slice(0, 8)}</code></span></span>
        <Mark tone={tone}>{word}</Mark>
      </div>
      {flow.reason && <p class="reason">{flow.reason}</p>}
      {fate && <p class="reason"><Mark tone={flow.fate === "trial" ? "wait" : "warn"}>{fate}</Mark></p>}
    </li>
  );
}

function Results({ results }: { results: Came[] }) {
  const now = live.now();
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr><th>Time <span class="soft">({zone})</span></th><th>Gateway</th><th>Result</th><th class="num">Known</th><th>State</th><th>Key</th></tr>
        </thead>
        <tbody>
          {results.map(({ key, gateway, record }) => (
            <tr key={key}>
              <td>{clock(record.at, zone, now)}</td>
              <td>{gateway}</td>
              <td><span class="soft">{streamWord(record.stream)}</span> {inWords(record.stream, record.data)}</td>
              <td class="num">{percent(record.coverage, 1)}</td>
              <td>{record.quality === "good" ? capital(record.status) : <Mark tone="warn">{capital(record.quality)}</Mark>}</td>
              <td class="soft">{record.key}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

live.open();
render(<App />, document.getElementById("app")!);
