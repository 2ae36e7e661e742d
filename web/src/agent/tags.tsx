/** Every tag with its newest value, how good it is and how old; writable ones can be set by hand. */

import { useMemo, useRef, useState } from "preact/hooks";
import { ago, measured, number, plural } from "../shared/format";
import { byName } from "../shared/live";
import type { Live } from "../shared/live";
import { Ask } from "../shared/token";
import type { Wish } from "../shared/token";
import { Empty, Mark } from "../shared/ui";
import type { Tone } from "../shared/ui";
import type { Gateway, Level, TagPlan, TagValues } from "./types";

const PAGE = 100;
const QUALITY: Record<string, readonly [Tone, string]> = {
  good: ["good", "Good"],
  uncertain: ["warn", "Uncertain"],
  bad: ["bad", "Bad"],
};

interface Row {
  name: string;
  type: string;
  unit: string | null;
  writable: boolean;
  about: string;
  value: Level;
  quality: string;
  time: string | null;
  reason: string;
}

function rows(live: Live): Row[] {
  const found: Row[] = [];
  const keys = [...live.values.keys()].filter((key) => key.startsWith("plan/")).sort(byName);
  for (const key of keys) {
    const plan = live.one<TagPlan>(key)!;
    const now = live.one<TagValues>(`tags/${key.slice(5)}`);
    plan.names.forEach((name, i) =>
      found.push({
        name,
        type: plan.types[i] ?? "",
        unit: plan.units[i] ?? null,
        writable: plan.writable[i] ?? false,
        about: plan.about[i] ?? "",
        value: now?.values[i] ?? null,
        quality: now?.qualities[i] ?? "bad",
        time: now?.times[i] ?? null,
        reason: now?.reasons[i] ?? "",
      }),
    );
  }
  return found;
}

export function Tags({ live }: { live: Live; gateway: Gateway }) {
  const [filter, setFilter] = useState("");
  const [troubled, setTroubled] = useState(false);
  const [shown, setShown] = useState(PAGE);
  const [wish, setWish] = useState<Wish | null>(null);
  const all = rows(live);
  const words = useMemo(() => filter.toLowerCase().split(/\s+/).filter(Boolean), [filter]);
  const matches = all.filter((row) => (!troubled || row.quality !== "good") && words.every((word) => row.name.toLowerCase().includes(word)));
  if (all.length === 0) return <Empty title="No tag yet">Tags are declared with their device in the gateway's configuration.</Empty>;
  const now = live.now();
  return (
    <>
      <h1 class="hidden">Tags</h1>
      <div class="tools">
        <label class="search">
          <span class="hidden">Filter by name</span>
          <input type="search" placeholder="Filter, for example press good" value={filter} onInput={(event) => { setFilter(event.currentTarget.value); setShown(PAGE); }} />
        </label>
        <label class="check">
          <input type="checkbox" checked={troubled} onChange={(event) => setTroubled(event.currentTarget.checked)} />
          <span>Only what is not good</span>
        </label>
        <span class="soft" role="status">{matches.length === all.length ? plural(all.length, "tag") : `${number(matches.length)} of ${plural(all.length, "tag")}`}</span>
      </div>
      <table class="tags">
        <thead>
          <tr><th>Tag</th><th class="num value">Value <span class="unit">Unit</span></th><th>Quality</th><th class="num">Age</th><th><span class="hidden">Set</span></th></tr>
        </thead>
        <tbody>
          {matches.slice(0, shown).map((row) => <TagRow key={row.name} row={row} now={now} onSet={() => setWish(setting(row))} />)}
        </tbody>
      </table>
      {matches.length === 0 && <p class="soft center">Nothing matches.</p>}
      {matches.length > shown && <p class="center"><button class="plain" onClick={() => setShown(shown + 5 * PAGE)}>Show more</button></p>}
      {wish && <Ask wish={wish} onClose={() => setWish(null)} />}
    </>
  );
}

function TagRow({ row, now, onSet }: { row: Row; now: number; onSet: () => void }) {
  const [tone, word] = QUALITY[row.quality] ?? QUALITY["bad"]!;
  const [device, ...rest] = row.name.split("/");
  return (
    <tr class={row.quality}>
      <td class="name"><span class="soft">{device}/</span>{rest.join("/")}{row.about && <span class="why">{row.about}</span>}</td>
      <td class="num value">{shownValue(row.value)} <span class="unit">{row.unit ?? ""}</span></td>
      <td class="quality"><Mark tone={tone}>{word}</Mark>{row.reason && <span class="why">{row.reason}</span>}</td>
      <td class="num age">{row.time ? ago((now - Date.parse(row.time)) / 1000) : "never"}</td>
      <td class="set">{row.writable && <button class="plain small" aria-label={`Set ${row.name}`} onClick={onSet}>Set …</button>}</td>
    </tr>
  );
}

function shownValue(value: Level): string {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "true" : "false";
  return typeof value === "number" ? measured(value) : value;
}

function setting(row: Row): Wish {
  const given = { value: row.value === null ? "" : String(row.value), lease: "10 min", reason: "" };
  const form = <SettingForm row={row} given={given} />;
  const path = `/api/v1/tags/${row.name.split("/").map(encodeURIComponent).join("/")}`;
  return { title: `Set ${row.name}`, confirm: "Write", path, body: () => ({ ...given, value: typed(row.type, given.value) }), form };
}

function typed(type: string, text: string): Level {
  if (type === "boolean") return text === "true";
  if (type === "integer" || type === "number") return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
  return text;
}

function SettingForm({ row, given }: { row: Row; given: { value: string; lease: string; reason: string } }) {
  const kept = useRef(given).current;
  return (
    <>
      <label>
        <span>Value{row.unit ? ` in ${row.unit}` : ""}</span>
        {row.type === "boolean" ? (
          <select onChange={(event) => { kept.value = event.currentTarget.value; }}>
            <option value="true" selected={kept.value === "true"}>true</option>
            <option value="false" selected={kept.value !== "true"}>false</option>
          </select>
        ) : (
          <input required inputMode={row.type === "text" ? "text" : "decimal"} defaultValue={kept.value} onInput={(event) => { kept.value = event.currentTarget.value; }} />
        )}
      </label>
      <label>
        <span>For how long</span>
        <select onChange={(event) => { kept.lease = event.currentTarget.value; }}>
          {["1 min", "10 min", "1 h", "8 h"].map((lease) => <option key={lease} selected={lease === kept.lease}>{lease}</option>)}
        </select>
        <small>Until then it goes before what the flows want.</small>
      </label>
      <label>
        <span>Why</span>
        <input required maxLength={200} onInput={(event) => { kept.reason = event.currentTarget.value; }} />
      </label>
    </>
  );
}
