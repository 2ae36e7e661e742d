/** A stack light as it shall look: colour, place and words say the same. */

import type { Level, Output } from "./types";

const ORDER = ["red", "amber", "yellow", "green", "blue", "white"];
const WORDS: Record<string, string> = { on: "steady", flash: "flashing", flash_fast: "flashing fast" };

export function isLamp(output: Output): boolean {
  return Object.keys(output.elements).some((name) => ORDER.includes(name));
}

function lit(level: Level): boolean {
  return level !== "off" && level !== null && level !== false && level !== 0;
}

export function Lamp({ output }: { output: Output }) {
  const segments = ORDER.filter((name) => name in output.elements);
  const height = segments.length * 34;
  return (
    <svg class={`lamp ${output.shown}`} viewBox={`0 0 64 ${height + 26}`} role="img" aria-label={`Stack light ${output.name}: ${words(output)}`}>
      <rect class="cap" x="17" y="2" width="30" height="6" rx="3" />
      {segments.map((name, i) => {
        const level = output.elements[name]!.level;
        const state = lit(level) ? String(level === true ? "on" : level) : "off";
        return (
          <g key={name} class={`segment ${name} ${state}`}>
            <rect class="glass" x="12" y={8 + i * 34} width="40" height="31" rx="5" />
            <rect class="light" x="12" y={8 + i * 34} width="40" height="31" rx="5" />
            {state.startsWith("flash") && <path class="rays" d={`M4 ${23.5 + i * 34}h5M55 ${23.5 + i * 34}h5M4.5 ${14 + i * 34}l4.5 3M59.5 ${14 + i * 34}l-4.5 3M4.5 ${33 + i * 34}l4.5-3M59.5 ${33 + i * 34}l-4.5-3`} />}
          </g>
        );
      })}
      <rect class="cap" x="22" y={height + 8} width="20" height="10" />
      <rect class="cap" x="12" y={height + 18} width="40" height="6" rx="3" />
    </svg>
  );
}

/** `Green steady`, `Red flashing, buzzer on`, `Dark`. */
export function words(output: Output): string {
  const parts = Object.entries(output.elements)
    .filter(([, element]) => lit(element.level))
    .map(([name, element]) => (name === "buzzer" ? "buzzer on" : `${name} ${WORDS[String(element.level)] ?? String(element.level)}`));
  const text = parts.join(", ") || "dark";
  return text.charAt(0).toUpperCase() + text.slice(1);
}
