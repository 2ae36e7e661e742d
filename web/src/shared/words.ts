/** Machine states and streams in the words of the shop floor. */

import { capital } from "./format";
import type { Tone } from "./ui";

const WORDS: Record<string, string> = {
  execute: "Running",
  running: "Running",
  stopped: "Stopped",
  idle: "Idle",
  held: "Held",
  suspended: "Waiting",
  aborted: "Fault",
  complete: "Complete",
  changeover: "Changeover",
  excluded: "Not planned",
  unknown: "Unknown",
};

export type FlowState = "running" | "quarantined" | "stopped" | "unknown";
export type Fate = "" | "trial" | "accepted" | "refused" | "rolled_back";

/** How the active version of a flow does. */
export const FLOW_STATE: Record<FlowState, readonly [Tone, string]> = {
  running: ["good", "Running"],
  quarantined: ["bad", "Stopped after a fault"],
  stopped: ["bad", "Not running"],
  unknown: ["warn", "No such instance"],
};

/** What became of the version that was wished for last; nothing to say where it is the active one. */
export function fateWords(flow: { wanted: string; fate: Fate; fate_reason: string; active: string }): string {
  const wanted = flow.wanted.slice(0, 8);
  const goesOn = flow.active ? `; ${flow.active.slice(0, 8)} goes on` : "";
  switch (flow.fate) {
    case "trial":
      return `Version ${wanted} is on trial`;
    case "refused":
      return `The wanted version ${wanted} was refused${goesOn}: ${flow.fate_reason}`;
    case "rolled_back":
      return `The wanted version ${wanted} was rolled back${goesOn}: ${flow.fate_reason}`;
    default:
      return "";
  }
}

const STREAMS: Record<string, string> = { oee: "OEE" };

export function streamWord(stream: string): string {
  return STREAMS[stream] ?? capital(stream);
}

export function stateWord(state: string): string {
  return WORDS[state] ?? capital(state);
}
