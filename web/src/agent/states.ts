/** Machine states in the words of the shop floor. */

import { capital } from "../shared/format";

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

export function stateWord(state: string): string {
  return WORDS[state] ?? capital(state);
}
