/** The flows of this gateway and how they fare. */

import { ago, number, plural } from "../shared/format";
import type { Live } from "../shared/live";
import { Card, Empty, Facts, Mark, Section } from "../shared/ui";
import { FLOW_STATE, fateWords } from "../shared/words";
import type { Flow, Gateway } from "./types";

export function Flows({ live }: { live: Live; gateway: Gateway }) {
  const flows = live.all<Flow>("flow/");
  if (flows.length === 0) {
    return <Empty title="No flow yet">Name flows in the gateway's configuration, or push one with <code>edgeflow flow push</code>.</Empty>;
  }
  return (
    <>
      <h1 class="hidden">Flows</h1>
      <Section title="Flows" note={plural(flows.length, "flow")}>
        <div class="grid">{flows.map((flow) => <FlowCard key={flow.name} flow={flow} now={live.now()} />)}</div>
      </Section>
    </>
  );
}

function FlowCard({ flow, now }: { flow: Flow; now: number }) {
  const [tone, word] = FLOW_STATE[flow.state];
  const fate = fateWords(flow);
  return (
    <Card tone={tone} label={`Flow ${flow.name}`}>
      <div class="head">
        <h3>{flow.name}</h3>
        <Mark tone={tone}>{word}</Mark>
      </div>
      {flow.title && <p class="about">{flow.title}</p>}
      {flow.reason && <p class="reason">{flow.reason}</p>}
      {fate && <p class="reason"><Mark tone={flow.fate === "trial" ? "wait" : "warn"}>{fate}</Mark></p>}
      <Facts
        rows={[
          ["Last tick", flow.last_tick ? ago((now - Date.parse(flow.last_tick)) / 1000) : "none yet"],
          ["Ticks", number(flow.ticks)],
          ["Time per tick", flow.us_per_tick === null ? "–" : `${number(flow.us_per_tick)} µs`],
        ]}
      />
      <p class="foot soft">{flow.flow} · version <code>{flow.active.slice(0, 12) || "none"}</code></p>
    </Card>
  );
}
