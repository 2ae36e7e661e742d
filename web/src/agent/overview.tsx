/** The first page: what is wrong and since when, then every device, then what stands behind them. */

import { ago, bytes, clock, duration, number, percent, plural, sentence } from "../shared/format";
import type { Live } from "../shared/live";
import { Card, Facts, Mark, Section, Shape } from "../shared/ui";
import type { Tone } from "../shared/ui";
import { Lamp, isLamp, words } from "./lamp";
import { fateWords, stateWord } from "../shared/words";
import { doubtOf, machines } from "./oee";
import { meters } from "./energy";
import { openCalls } from "./andon";
import type { Central, Device, Flow, Gateway, LampData, Outbox, Output, Result } from "./types";

const DEVICE: Record<Device["state"], readonly [Tone, string]> = {
  good: ["good", "Good"],
  degraded: ["warn", "Partly"],
  bad: ["bad", "No data"],
  connecting: ["wait", "Connecting"],
};

/** States in which a machine stands because something broke; PackML's, and plain words. */
const FAULT = new Set(["aborted", "aborting", "fault", "error", "down"]);

interface Trouble {
  tone: Tone;
  what: string;
  why: string;
  href?: string;
}

export function Overview({ live, gateway }: { live: Live; gateway: Gateway }) {
  const devices = live.all<Device>("device/");
  const outbox = live.one<Outbox>("outbox");
  const central = live.one<Central>("central");
  return (
    <>
      <Verdict troubles={troubles(live, gateway)} devices={devices.length} />
      <Section title="Devices" note={plural(devices.length, "device")}>
        <div class="grid">
          {worstFirst(devices).map((device) => <DeviceCard key={device.name} device={device} live={live} gateway={gateway} />)}
        </div>
        {devices.length === 0 && <p class="soft">No device is configured yet.</p>}
      </Section>
      <Section title="Production">
        <div class="grid small"><Glance live={live} /></div>
      </Section>
      <Section title="Behind the scenes">
        <div class="grid wide">
          {outbox && central && <Uplink outbox={outbox} central={central} live={live} gateway={gateway} />}
          <Card label="This gateway">
            <h3>This gateway</h3>
            <Facts
              rows={[
                ["Version", gateway.version],
                ["Running for", duration(gateway.uptime_s)],
                ["Started", clock(gateway.started, gateway.time_zone, live.now())],
                ["Its time", `${clock(gateway.now, gateway.time_zone, live.now())} (${gateway.time_zone})`],
                gateway.clock !== "unknown" && ["Clock", gateway.clock],
                ["Flows", flowSummary(live.all<Flow>("flow/"))],
              ]}
            />
          </Card>
        </div>
      </Section>
    </>
  );
}

const WEIGHT: Record<Device["state"], number> = { bad: 0, degraded: 1, connecting: 2, good: 3 };

function worstFirst(devices: Device[]): Device[] {
  return devices.sort((a, b) => WEIGHT[a.state] - WEIGHT[b.state]);
}

function Verdict({ troubles, devices }: { troubles: Trouble[]; devices: number }) {
  if (troubles.length === 0) {
    return (
      <div class="verdict good">
        <Shape tone="good" />
        <div>
          <h1>All is well</h1>
          <p>{devices === 1 ? "The device gives" : `All ${number(devices)} devices give`} data and every flow runs.</p>
        </div>
      </div>
    );
  }
  const worst: Tone = troubles.some((one) => one.tone === "bad") ? "bad" : "warn";
  return (
    <div class={`verdict ${worst}`}>
      <Shape tone={worst} />
      <div>
        <h1>{troubles.length === 1 ? troubles[0]!.what : `${number(troubles.length)} things need attention`}</h1>
        {troubles.length === 1 ? (
          <p>{troubles[0]!.why} <More trouble={troubles[0]!} /></p>
        ) : (
          <ul>
            {troubles.map((one) => (
              <li key={one.what}>
                <Shape tone={one.tone} />
                <span><strong>{one.what}.</strong> {one.why} <More trouble={one} /></span>
              </li>
            ))}
          </ul>
        )}
      </div>
    </div>
  );
}

function More({ trouble }: { trouble: Trouble }) {
  return trouble.href ? <a href={trouble.href}>Have a look</a> : null;
}

function troubles(live: Live, gateway: Gateway): Trouble[] {
  const found: Trouble[] = [];
  for (const device of live.all<Device>("device/")) {
    if (device.state === "bad") found.push({ tone: "bad", what: `${device.name} gives no data`, why: device.reason });
    if (device.state === "degraded") {
      found.push({ tone: "warn", what: `${device.name}: ${plural(device.bad_tags, "tag")} not good`, why: device.reason });
    }
  }
  for (const flow of live.all<Flow>("flow/")) {
    if (flow.state === "quarantined") found.push({ tone: "bad", what: `Flow ${flow.name} was stopped`, why: flow.reason, href: "/flows" });
    if (flow.state === "stopped") found.push({ tone: "bad", what: `Flow ${flow.name} does not run`, why: sentence(flow.reason), href: "/flows" });
    if (flow.state === "running" && (flow.fate === "refused" || flow.fate === "rolled_back")) {
      found.push({ tone: "warn", what: `A pushed version of ${flow.name} does not run`, why: sentence(fateWords(flow)), href: "/flows" });
    }
  }
  for (const { name, now } of machines(live)) {
    if (now.data.state && FAULT.has(now.data.state)) {
      found.push({ tone: "bad", what: `${name} is in fault`, why: "The machine says so itself.", href: "/andon" });
    }
  }
  for (const lamp of live.all<Result<LampData>>("result/andon/")) {
    const known = machines(live).some(({ name, now }) => name === lamp.data.machine && now.data.state);
    if (!known && typeof lamp.data.output === "string" && FAULT.has(lamp.data.state)) {
      found.push({ tone: "bad", what: `${lamp.data.machine} is in fault`, why: "Its light says so.", href: "/andon" });
    }
  }
  for (const output of live.all<Output>("output/")) {
    if (output.shown === "failed") found.push({ tone: "bad", what: `Output ${output.name} does not follow`, why: output.reason });
  }
  for (const call of openCalls(live)) {
    if (call.data.state === "raised") {
      found.push({ tone: "warn", what: `${call.data.machine} calls ${call.data.type}`, why: "Nobody has acknowledged yet.", href: "/andon" });
    }
  }
  const central = live.one<Central>("central");
  if (central?.url && !central.connected) {
    const left = live.one<Outbox>("outbox")?.capacity_left_s;
    const why = `${sentence(central.last_error || "It does not answer")} The plant goes on${left ? `; results are kept here for another ${duration(left)}` : "; results are kept here"}.`;
    found.push({ tone: "warn", what: "The central server is out of reach", why });
  }
  for (const [part, why] of central?.connected ? Object.entries(central.unwell) : []) {
    found.push({ tone: "warn", what: `The central server is there, but the ${part} fail`, why: sentence(why) });
  }
  const refused = live.one<Outbox>("outbox")?.refused ?? 0;
  if (refused) {
    const why = "They are kept here, the others go on. /api/v1/outbox/refused shows why, and sends them again.";
    found.push({ tone: "warn", what: `The central server refuses ${plural(refused, "result")}`, why });
  }
  const trouble = live.one<Outbox>("outbox")?.trouble;
  if (trouble) {
    const why = `${sentence(trouble)} Results are kept in memory until the disk takes them; a restart now would lose them.`;
    found.push({ tone: "bad", what: "Nothing can be saved", why });
  }
  const dropped = live.one<Outbox>("outbox")?.dropped ?? 0;
  if (dropped) found.push({ tone: "bad", what: `${plural(dropped, "result")} lost`, why: "The queue for the central server was full." });
  if (gateway.clock === "unsynchronised") {
    found.push({ tone: "warn", what: "The clock is not synchronised", why: "Times may be wrong; check the time server of this gateway." });
  }
  return found.sort((a, b) => Number(a.tone !== "bad") - Number(b.tone !== "bad"));
}

function DeviceCard({ device, live, gateway }: { device: Device; live: Live; gateway: Gateway }) {
  const [tone, word] = DEVICE[device.state];
  const now = live.now();
  return (
    <Card tone={tone} label={`Device ${device.name}`}>
      <div class="head">
        <h3>{device.name}</h3>
        <Mark tone={tone}>{word}</Mark>
      </div>
      {device.reason && <p class="reason">{device.reason}</p>}
      <Facts
        rows={[
          ["Last data", device.last_good ? ago((now - Date.parse(device.last_good)) / 1000) : "never"],
          device.state !== "good" && device.since !== null && ["Since", clock(device.since, gateway.time_zone, now)],
          ["Tags", device.bad_tags ? `${number(device.tags)}, ${number(device.bad_tags)} not good` : number(device.tags)],
          ["Read", device.every_s === null ? "pushes by itself" : `every ${duration(device.every_s)}`],
          device.failed + device.late > 0 && ["Failed", failures(device)],
        ]}
      />
      <p class="foot soft">{device.driver}{device.address ? ` · ${device.address}` : ` · ${device.link}`}</p>
    </Card>
  );
}

function failures(device: Device): string {
  const share = device.polls ? ` of ${number(device.polls)}` : "";
  return `${number(device.failed)}${share}${device.late ? `, ${number(device.late)} late` : ""}`;
}

function Glance({ live }: { live: Live }) {
  return (
    <>
      {machines(live).map(({ name, now }) => (
        <Card key={name} class="glance" href="/oee">
          <span class="soft">OEE · {name}</span>
          <span class={doubtOf(now) ? "big doubtful" : "big"}>{percent(now.data.oee, 1)}</span>
          {doubtOf(now) && <span class="doubt">{doubtOf(now)}</span>}
          <span class="soft">{now.data.state ? stateWord(now.data.state) : `${number(now.data.good)} good`}</span>
        </Card>
      ))}
      {meters(live).map((meter) => (
        <Card key={meter.name} class="glance" href="/energy">
          <span class="soft">Power · {meter.name}</span>
          <span class="big">{number(meter.now.data.kw, 1)}<small> kW</small></span>
          <span class="soft">{number(meter.now.data.demand_kw, 1)} kW demand</span>
        </Card>
      ))}
      {live.all<Output>("output/").filter(isLamp).map((output) => (
        <Card key={output.name} class="glance lampcard" href="/andon">
          <Lamp output={output} />
          <span><strong>{output.name}</strong><br /><span class="soft">{words(output)}</span></span>
        </Card>
      ))}
    </>
  );
}

function Uplink(props: { outbox: Outbox; central: Central; live: Live; gateway: Gateway }) {
  const { outbox, central, live } = props;
  const tone: Tone = !central.url ? "none" : central.connected ? "good" : "warn";
  const word = !central.url ? "Not configured" : central.connected ? "Connected" : "Out of reach";
  const since = (time: string | null) => (time ? ago((live.now() - Date.parse(time)) / 1000) : "never");
  return (
    <Card tone={tone} label="Central server">
      <div class="head">
        <h3>Central server</h3>
        <Mark tone={tone}>{word}</Mark>
      </div>
      {central.url && !central.connected && central.last_error && <p class="reason">{central.last_error}</p>}
      <Facts
        rows={[
          central.url !== null && ["Last confirmed", since(central.last_ack)],
          central.url !== null && !central.enrolled && ["Enrolled", "not yet"],
          ["Waiting", outbox.records ? `${plural(outbox.records, "result")}, ${bytes(outbox.bytes)}` : "nothing"],
          outbox.oldest !== null && ["Oldest", since(outbox.oldest)],
          ["Room without it", outbox.capacity_left_s === null ? "not known yet" : duration(outbox.capacity_left_s)],
          outbox.dropped > 0 && ["Lost", plural(outbox.dropped, "result")],
        ]}
      />
      {central.url && <p class="foot soft">{central.url}</p>}
    </Card>
  );
}

function flowSummary(flows: Flow[]): string {
  const running = flows.filter((flow) => flow.state === "running").length;
  return running === flows.length ? `${number(running)} running` : `${number(running)} of ${number(flows.length)} running`;
}
