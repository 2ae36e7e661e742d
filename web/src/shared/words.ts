/** Machine states and streams in the words of the shop floor. */

import { capital } from "./format";

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

const STREAMS: Record<string, string> = { oee: "OEE" };

export function streamWord(stream: string): string {
  return STREAMS[stream] ?? capital(stream);
}

export function stateWord(state: string): string {
  return WORDS[state] ?? capital(state);
}
