/** The Andon board: readable from twenty metres, with the calls and the buttons that answer them. */

import { useState } from "preact/hooks";
import { ago, capital, clock, duration, sentence } from "../shared/format";
import type { Live } from "../shared/live";
import { Ask } from "../shared/token";
import type { Wish } from "../shared/token";
import { Empty, Mark } from "../shared/ui";
import type { Tone } from "../shared/ui";
import { Lamp, isLamp, words } from "./lamp";
import { stateWord } from "../shared/words";
import type { CallData, Device, Gateway, HeldRequest, LampData, Output, Result } from "./types";

type Send = (title: string, confirm: string, instance: string, action: string) => void;

/** The calls that are not settled, the oldest first. */
export function openCalls(live: Live): Result<CallData>[] {
  const own = live.all<Result<CallData>>("result/andon/").filter((result) => isOpen(result.data));
  // A light tells of its machine's call too, also after a restart, when the call itself has nothing new to say.
  const told = lamps(live)
    .filter(({ data }) => data.call && isOpen(data.call) && !own.some((one) => one.data.machine === data.machine))
    .map((lamp) => ({ ...lamp, key: `${lamp.key}/call`, data: lamp.data.call! }));
  return [...own, ...told].sort((a, b) => a.data.raised.localeCompare(b.data.raised));
}

function isOpen(call: CallData): boolean {
  return call.state === "raised" || call.state === "acknowledged";
}

function lamps(live: Live): Result<LampData>[] {
  return live.all<Result<LampData>>("result/andon/").filter((result) => typeof result.data.output === "string");
}

export function Andon({ live, gateway }: { live: Live; gateway: Gateway }) {
  const [wish, setWish] = useState<Wish | null>(null);
  const outputs = live.all<Output>("output/");
  const reports = lamps(live);
  const calls = openCalls(live);
  const send: Send = (title, confirm, instance, action) =>
    setWish({ title, confirm, path: `/api/v1/andon/${encodeURIComponent(instance)}/${action}`, body: () => ({}) });
  if (outputs.length === 0) {
    return <Empty title="No output yet">An output is declared in the gateway's configuration; a flow then drives it.</Empty>;
  }
  return (
    <>
      <h1 class="hidden">Andon</h1>
      <div class="board">
        {outputs.map((output) => {
          const report = reports.find((one) => one.data.output === output.name);
          const machine = report?.data.machine ?? output.name;
          const own = calls.filter((call) => call.data.machine === machine);
          return <Post key={output.name} {...{ output, report, machine, calls: own, live, gateway, send }} />;
        })}
      </div>
      {wish && <Ask wish={wish} onClose={() => setWish(null)} />}
    </>
  );
}

interface PostProps {
  output: Output;
  report: Result<LampData> | undefined;
  machine: string;
  calls: Result<CallData>[];
  live: Live;
  gateway: Gateway;
  send: Send;
}

function Post({ output, report, machine, calls, live, gateway, send }: PostProps) {
  const now = live.now();
  const instance = calls[0]?.flow ?? report?.flow;
  return (
    <article class="post" aria-label={`Andon of ${machine}`}>
      {isLamp(output) ? <Lamp output={output} /> : <p class="setpoint">{String(output.elements["value"]?.level ?? "–")}</p>}
      <div class="story">
        <h2>{machine}</h2>
        {report && <p class={`state ${report.data.state}`}>{stateWord(report.data.state)}</p>}
        {report?.data.state === "unknown" && <Why device={live.one<Device>(`device/${machine}`)} />}
        <p class="soft">
          {isLamp(output) ? words(output) : "Set value"}
          {report?.data.since && <>, since {clock(report.data.since, gateway.time_zone, now, false)} ({duration((now - Date.parse(report.data.since)) / 1000)})</>}
        </p>
        <Shown output={output} />
        {calls.map((call) => <Call key={call.key} call={call} now={now} send={send} enabled={gateway.andon_controls} />)}
        {calls.length === 0 && gateway.andon_controls && instance && (
          <button class="plain" onClick={() => send(`Call maintenance to ${machine}?`, "Call", instance, "raise")}>Call maintenance</button>
        )}
        <Requests output={output} gateway={gateway} now={now} />
      </div>
    </article>
  );
}

function Why({ device }: { device: Device | undefined }) {
  if (!device || device.state === "good") return null;
  return <p><Mark tone="bad">{device.name} gives no data</Mark>{device.reason && <span> {sentence(device.reason)}</span>}</p>;
}

function Shown({ output }: { output: Output }) {
  if (output.shown === "ok") return null;
  const tone: Tone = output.shown === "failed" ? "bad" : "wait";
  return (
    <p class="shown">
      <Mark tone={tone}>{output.shown === "failed" ? "The light does not follow" : "Not confirmed by the light"}</Mark>
      {output.reason && <span> {output.reason}</span>}
    </p>
  );
}

function Call({ call, now, send, enabled }: { call: Result<CallData>; now: number; send: Send; enabled: boolean }) {
  const { machine, type, state, raised, escalated_to } = call.data;
  const waiting = state === "raised";
  return (
    <div class={`call ${state}`} role="group" aria-label={`Call of ${machine}`}>
      <p>
        <Mark tone={waiting ? "warn" : "wait"}>
          {capital(type)} called {ago((now - Date.parse(raised)) / 1000)}
        </Mark>
      </p>
      <p class="soft">
        {waiting ? "Nobody has acknowledged yet" : "Acknowledged: somebody is coming"}
        {escalated_to ? `; ${escalated_to} was told` : ""}.
      </p>
      {enabled && (
        <div class="actions">
          {waiting && (
            <button onClick={() => send(`Acknowledge the call of ${machine}?`, "Acknowledge", call.flow, "acknowledge")}>Acknowledge</button>
          )}
          <button class={waiting ? "plain" : ""} onClick={() => send(`Is the matter at ${machine} settled?`, "Settled", call.flow, "resolve")}>Settled</button>
        </div>
      )}
    </div>
  );
}

function Requests({ output, gateway, now }: { output: Output; gateway: Gateway; now: number }) {
  if (output.requests.length === 0) return null;
  const winners = new Set(Object.values(output.elements).map((element) => element.winner));
  return (
    <details>
      <summary>Who wants what</summary>
      <ul class="requests">
        {output.requests.map((request) => (
          <li key={`${request.owner}${request.since}`}>
            <strong>{request.owner}</strong> {winners.has(request.owner) ? "wins" : "waits"} with priority {request.priority}: {wanted(request)}
            <span class="soft">, since {clock(request.since, gateway.time_zone, now)}{request.until ? `, until ${clock(request.until, gateway.time_zone, now)}` : ""}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}

function wanted(request: HeldRequest): string {
  return Object.entries(request.pattern).map(([name, level]) => `${name} ${String(level)}`).join(", ") || "nothing lit";
}
