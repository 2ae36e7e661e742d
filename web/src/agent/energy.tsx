/** Energy per meter: power now, the demand of this interval and where it is heading, energy per good part. */

import { clock, duration, measured, number } from "../shared/format";
import { byName } from "../shared/live";
import type { Live } from "../shared/live";
import { Card, Empty, Mark, Section } from "../shared/ui";
import type { Gateway, Result } from "./types";

export interface EnergyData {
  meter: string;
  kw?: number | null;
  kwh?: number | null;
  demand_kw?: number | null;
  projected_kw?: number | null;
  limit_kw?: number | null;
  good?: number | null;
  kwh_per_good?: number | null;
  estimated?: boolean;
  begin?: string;
  end?: string;
}

interface Meter {
  name: string;
  now: Result<EnergyData>;
  closed: Result<EnergyData>[];
}

/** Per meter the newest figures and the closed intervals, the newest first. */
export function meters(live: Live): Meter[] {
  const groups = new Map<string, Result<EnergyData>[]>();
  for (const result of live.all<Result<EnergyData>>("result/energy/")) {
    const name = result.data.meter ?? result.key;
    groups.set(name, [...(groups.get(name) ?? []), result]);
  }
  return [...groups.entries()].sort(([a], [b]) => byName(a, b)).map(([name, results]) => {
    results.sort((a, b) => a.at.localeCompare(b.at));
    const open = results.filter((result) => result.status === "live");
    const newest = open.at(-1) ?? results.at(-1)!;
    const closed = results.filter((result) => result.status === "final" && result.begin !== null);
    return { name, now: newest, closed: closed.sort((a, b) => b.begin!.localeCompare(a.begin!)) };
  });
}

export function Energy({ live, gateway }: { live: Live; gateway: Gateway }) {
  const all = meters(live);
  if (all.length === 0) {
    return <Empty title="No energy yet">It appears when an energy flow runs and its meter gives data.</Empty>;
  }
  return (
    <>
      <h1 class="hidden">Energy</h1>
      {all.map((meter) => <MeterView key={meter.name} meter={meter} now={live.now()} zone={gateway.time_zone} />)}
    </>
  );
}

function MeterView({ meter, now, zone }: { meter: Meter; now: number; zone: string }) {
  const { data, coverage, quality } = meter.now;
  const begin = meter.now.begin ?? data.begin;
  const end = meter.now.end ?? data.end ?? null;
  return (
    <Section title={meter.name}>
      <Card label={`Energy of ${meter.name}`} class="oee">
        <div class="figures">
          <Figure main name="Power now" value={number(data.kw, 1)} unit="kW" />
          <Figure name="Demand so far" value={number(data.demand_kw, 1)} unit="kW" />
          <Figure name="Heading for" value={number(data.projected_kw, 1)} unit="kW" />
          <Figure name="Per good part" value={perPart(data.kwh_per_good)[0]} unit={perPart(data.kwh_per_good)[1]} />
        </div>
        {begin && <Interval begin={begin} end={end} kwh={data.kwh} now={now} zone={zone} />}
        <p class="notes">
          {data.limit_kw && (data.projected_kw ?? 0) > data.limit_kw && <Mark tone="warn">Heading over {number(data.limit_kw)} kW</Mark>}
          {coverage !== null && coverage < 0.9995 && <Mark tone="warn">{number(coverage * 100, 1)} % of the interval is known</Mark>}
          {quality !== "good" && <Mark tone="warn">{quality === "bad" ? "No data now" : "Some of it is uncertain"}</Mark>}
        </p>
      </Card>
      {meter.closed.length > 0 && <Closed results={meter.closed.slice(0, 8)} now={now} zone={zone} />}
    </Section>
  );
}

function perPart(kwh: number | null | undefined): readonly [string, string] {
  if (kwh === null || kwh === undefined) return ["–", "Wh"];
  return kwh < 1 ? [measured(kwh * 1000), "Wh"] : [measured(kwh), "kWh"];
}

function Figure(props: { name: string; value: string; unit: string; main?: boolean }) {
  return (
    <div class={props.main ? "figure main" : "figure"}>
      <span class="label">{props.name}</span>
      <span class="value">{props.value}<small> {props.unit}</small></span>
    </div>
  );
}

function Interval(props: { begin: string; end: string | null; kwh: number | null | undefined; now: number; zone: string }) {
  const { begin, end, kwh, now, zone } = props;
  const from = Date.parse(begin);
  const to = end ? Date.parse(end) : 0;
  const share = to > from ? Math.min(Math.max((now - from) / (to - from), 0), 1) : null;
  return (
    <div class="time">
      {share !== null && (
        <svg class="meter" viewBox="0 0 1000 6" preserveAspectRatio="none" role="img" aria-label={`${Math.round(share * 100)} % of the interval is over`}>
          <rect class="track" width="1000" height="6" />
          <rect class="fill" width={share * 1000} height="6" />
        </svg>
      )}
      <p class="soft">
        Interval {clock(begin, zone, now, false)}{end ? ` to ${clock(end, zone, now, false)}` : ""}
        {to > now ? `, ${duration((to - now) / 1000)} left` : ""}
        {kwh !== null && kwh !== undefined ? ` · ${measured(kwh)} kWh so far` : ""}
      </p>
    </div>
  );
}

function Closed({ results, now, zone }: { results: Result<EnergyData>[]; now: number; zone: string }) {
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr><th>Interval</th><th class="num">Demand</th><th class="num">Energy</th><th class="num">Good</th><th class="num">Per part</th></tr>
        </thead>
        <tbody>
          {results.map((result) => (
            <tr key={result.key}>
              <td>{clock(result.begin, zone, now, false)}{result.data.estimated ? " (estimated)" : ""}</td>
              <td class="num">{number(result.data.demand_kw, 1)} kW</td>
              <td class="num">{number(result.data.kwh, 2)} kWh</td>
              <td class="num">{number(result.data.good)}</td>
              <td class="num">{perPart(result.data.kwh_per_good).join(" ")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
