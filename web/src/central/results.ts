/** A result in one line. */

import { stateWord } from "../shared/words";
import { duration, measured, number, percent } from "../shared/format";

type Data = Record<string, unknown>;

function num(data: Data, name: string): number | null {
  const value = data[name];
  return typeof value === "number" ? value : null;
}

function text(data: Data, name: string): string {
  const value = data[name];
  return typeof value === "string" ? value : "";
}

const WORDS: Record<string, (data: Data) => string> = {
  oee: (data) =>
    `${text(data, "machine")}: OEE ${percent(num(data, "oee"), 1)} (A ${percent(num(data, "availability"))}, P ${percent(num(data, "performance"))}, Q ${percent(num(data, "quality"))}), ${number(num(data, "good"))} good`,
  stop: (data) => `${text(data, "machine")} ${(text(data, "state") || text(data, "kind")).replaceAll("_", " ")} for ${duration(num(data, "duration_s"))}`,
  energy: (data) => {
    const kw = num(data, "kw");
    return `${text(data, "meter")}: ${kw === null ? "" : `${number(kw, 1)} kW now, `}${number(num(data, "kwh"), 2)} kWh, demand ${number(num(data, "demand_kw"), 1)} kW`;
  },
  andon: (data) => `${text(data, "machine")}: ${text(data, "type") ? `${text(data, "type")} call ${text(data, "state")}` : stateWord(text(data, "state")).toLowerCase()}`,
};

/** What a result says; for a stream of its own the first few plain values. */
export function inWords(stream: string, data: Data): string {
  const known = WORDS[stream];
  if (known) return known(data);
  return Object.entries(data)
    .filter(([, value]) => typeof value === "number" || typeof value === "string" || typeof value === "boolean")
    .slice(0, 4)
    .map(([name, value]) => `${name} ${typeof value === "number" ? measured(value) : String(value)}`)
    .join(", ");
}
