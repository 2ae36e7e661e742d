/** OEE per machine: the figure, its three factors, and where the planned time went. */

import { capital, clock, duration, number, percent } from "../shared/format";
import { byName } from "../shared/live";
import type { Live } from "../shared/live";
import { Card, Empty, Mark, Section } from "../shared/ui";
import { stateWord } from "../shared/words";
import type { Gateway, Result, StopData } from "./types";

export interface OeeData {
  machine: string;
  shift?: string;
  policy?: { name: string; small_stop_s: number };
  state?: string;
  availability: number | null;
  performance: number | null;
  quality: number | null;
  oee: number | null;
  good: number | null;
  reject: number | null;
  total?: number | null;
  planned_s?: number | null;
  buckets?: Record<string, number>;
  flags?: string[];
  [bucket: `${string}_s`]: number | null | undefined;
}

interface Machine {
  name: string;
  now: Result<OeeData>;
  earlier: Result<OeeData>[];
}

const BUCKETS: readonly (readonly [string, string])[] = [
  ["run", "Running"],
  ["small_stop", "Small stops"],
  ["changeover", "Changeover"],
  ["down", "Stopped"],
  ["unknown", "Unknown"],
  ["break", "Break"],
  ["excluded", "Not planned"],
];

export function machines(live: Live): Machine[] {
  const groups = new Map<string, Result<OeeData>[]>();
  for (const result of live.all<Result<OeeData>>("result/oee/")) {
    const name = result.data.machine ?? result.key;
    groups.set(name, [...(groups.get(name) ?? []), result]);
  }
  return [...groups.entries()].sort(([a], [b]) => byName(a, b)).map(([name, results]) => {
    const [now, ...earlier] = results.sort((a, b) => (b.begin ?? b.at).localeCompare(a.begin ?? a.at));
    return { name, now: now!, earlier };
  });
}

/** Below so much known time a figure says little of its period, and is shown so. */
const LITTLE_KNOWN = 0.9;

/** Why a figure must not be taken at its face; empty where it may. */
export function doubtOf(result: Result<OeeData>): string {
  const { coverage, quality } = result;
  if (coverage !== null && coverage < LITTLE_KNOWN) return `only ${percent(coverage, 1)} of the time is known`;
  return quality === "bad" ? "no data now" : quality === "uncertain" ? "some of it is uncertain" : "";
}

export function Oee({ live, gateway }: { live: Live; gateway: Gateway }) {
  const all = machines(live);
  if (all.length === 0) {
    return <Empty title="No OEE yet">It appears when an OEE flow runs and its machine has told its state.</Empty>;
  }
  return (
    <>
      <h1 class="hidden">OEE</h1>
      {all.map((machine) => (
        <MachineOee key={machine.name} machine={machine} stops={stops(live, machine.name)} now={live.now()} zone={gateway.time_zone} />
      ))}
    </>
  );
}

const STOPS: Record<string, string> = { small_stop: "small stop", down: "stop", changeover: "changeover" };

function stops(live: Live, machine: string): Result<StopData>[] {
  const found = live.all<Result<StopData>>("result/stop/").filter((result) => result.data.machine === machine);
  return found.sort((a, b) => b.at.localeCompare(a.at)).slice(0, 6);
}

function Stops({ results, now, zone }: { results: Result<StopData>[]; now: number; zone: string }) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr><th>Latest stops</th><th>State</th><th>Reason</th><th>Counted as</th><th class="num">Length</th></tr>
        </thead>
        <tbody>
          {results.map(({ key, begin, data }) => (
            <tr key={key}>
              <td>{clock(begin, zone, now)}</td>
              <td>{stateWord(data.state)}</td>
              <td>{data.reason === null || data.reason === 0 ? "–" : String(data.reason)}</td>
              <td>{STOPS[data.kind] ?? data.kind}</td>
              <td class="num">{duration(data.duration_s)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function MachineOee({ machine, stops, now, zone }: { machine: Machine; stops: Result<StopData>[]; now: number; zone: string }) {
  const { data, begin, end, coverage, status, quality } = machine.now;
  const parts = buckets(data);
  const doubt = doubtOf(machine.now);
  return (
    <Section title={machine.name} note={data.state ? stateWord(data.state) : status === "final" ? "" : "No data"}>
      <Card label={`OEE of ${machine.name}`} class="oee">
        <div class="figures">
          <div class={doubt ? "figure main doubtful" : "figure main"}>
            <span class="label">OEE</span>
            <span class="value">{percent(data.oee, 1)}</span>
            {doubt && <span class="doubt">{doubt}</span>}
            <span class="soft">{shiftText(data, begin, end, status, zone, now)}</span>
          </div>
          <Factor name="Availability" share={data.availability} />
          <Factor name="Performance" share={data.performance} />
          <Factor name="Quality" share={data.quality} />
        </div>
        <TimeBar parts={parts} machine={machine.name} />
        <div class="counts">
          <Count name="Good" value={data.good} />
          <Count name="Reject" value={data.reject} />
          <Count name="Total" value={data.total ?? (data.good ?? 0) + (data.reject ?? 0)} />
        </div>
        <p class="notes">
          {coverage !== null && coverage < 0.9995 && <Mark tone="warn">{percent(coverage, 1)} of the time is known</Mark>}
          {coverage !== null && coverage >= 0.9995 && <Mark tone="good">All of the time is known</Mark>}
          {quality !== "good" && <Mark tone="warn">{quality === "bad" ? "No data now" : "Some of it is uncertain"}</Mark>}
          {data.flags?.map((flag) => <Mark key={flag} tone="warn">{capital(flag)}</Mark>)}
          {data.policy && <span class="soft">Stops under {duration(data.policy.small_stop_s)} count as small stops (policy {data.policy.name})</span>}
        </p>
      </Card>
      {stops.length > 0 && <Stops results={stops} now={now} zone={zone} />}
      {machine.earlier.length > 0 && <Earlier results={machine.earlier.slice(0, 6)} now={now} zone={zone} />}
    </Section>
  );
}

function shiftText(data: OeeData, begin: string | null, end: string | null, status: string, zone: string, now: number): string {
  const period = begin ? `${clock(begin, zone, now, false)} to ${end ? clock(end, zone, now, false) : "now"}` : "";
  const words = [data.shift ?? "", period, status === "final" ? "" : "so far"];
  return words.filter(Boolean).join(", ");
}

function Factor({ name, share }: { name: string; share: number | null }) {
  const width = Math.min(Math.max(share ?? 0, 0), 1) * 100;
  return (
    <div class="figure">
      <span class="label">{name}</span>
      <span class="value">{percent(share, 1)}</span>
      <svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" width="100" height="6" />
        <rect class="fill" width={width} height="6" />
      </svg>
    </div>
  );
}

function Count({ name, value }: { name: string; value: number | null }) {
  return (
    <div>
      <span class="label">{name}</span>
      <span class="value">{number(value)}</span>
    </div>
  );
}

function buckets(data: OeeData): { key: string; name: string; seconds: number }[] {
  return BUCKETS.map(([key, name]) => ({
    key,
    name,
    seconds: data.buckets?.[key] ?? data[`${key}_s`] ?? 0,
  })).filter((part) => part.seconds > 0);
}

function TimeBar({ parts, machine }: { parts: { key: string; name: string; seconds: number }[]; machine: string }) {
  const total = parts.reduce((sum, part) => sum + part.seconds, 0);
  if (total === 0) return null;
  let at = 0;
  const label = parts.map((part) => `${part.name} ${duration(part.seconds)}`).join(", ");
  return (
    <div class="time">
      <svg class="timebar" viewBox="0 0 1000 28" preserveAspectRatio="none" role="img" aria-label={`Time of ${machine}: ${label}`}>
        <defs>
          <pattern id="unknown" width="12" height="12" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect class="hatch-back" width="12" height="12" />
            <rect class="hatch" width="5" height="12" />
          </pattern>
        </defs>
        {parts.map((part) => {
          const width = (part.seconds / total) * 1000;
          at += width;
          return <rect key={part.key} class={`bucket ${part.key}`} x={at - width} width={Math.max(width - 2, 1)} height="28" />;
        })}
      </svg>
      <ul class="legend">
        {parts.map((part) => (
          <li key={part.key}>
            <svg viewBox="0 0 12 12" aria-hidden="true"><rect class={`bucket ${part.key}`} width="12" height="12" rx="3" /></svg>
            {part.name} <strong>{duration(part.seconds)}</strong>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Earlier({ results, now, zone }: { results: Result<OeeData>[]; now: number; zone: string }) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr><th>Earlier</th><th class="num">OEE</th><th class="num">A</th><th class="num">P</th><th class="num">Q</th><th class="num">Good</th><th class="num">Reject</th></tr>
        </thead>
        <tbody>
          {results.map((result) => (
            <tr key={result.key}>
              <td>{[result.data.shift, clock(result.begin, zone, now, false)].filter(Boolean).join(" ")}</td>
              <td class="num"><strong>{percent(result.data.oee, 1)}</strong></td>
              <td class="num">{percent(result.data.availability, 1)}</td>
              <td class="num">{percent(result.data.performance, 1)}</td>
              <td class="num">{percent(result.data.quality, 1)}</td>
              <td class="num">{number(result.data.good)}</td>
              <td class="num">{number(result.data.reject)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
