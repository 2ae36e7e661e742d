/** The models of the agent's API, as edgeflow/agent/views.py defines them. */

import type { Fate, FlowState } from "../shared/words";

export interface Gateway {
  name: string;
  place: string;
  version: string;
  started: string;
  uptime_s: number;
  now: string;
  time_zone: string;
  clock: "synchronised" | "unsynchronised" | "unknown";
  andon_controls: boolean;
}

export interface Device {
  name: string;
  link: string;
  driver: string;
  address: string;
  state: "good" | "degraded" | "bad" | "connecting";
  reason: string;
  since: string | null;
  last_good: string | null;
  every_s: number | null;
  polls: number;
  failed: number;
  late: number;
  tags: number;
  bad_tags: number;
}

export interface Flow {
  name: string;
  flow: string;
  title: string;
  state: FlowState;
  reason: string;
  active: string;
  wanted: string;
  fate: Fate;
  fate_reason: string;
  ticks: number;
  last_tick: string | null;
  us_per_tick: number | null;
}

export type Level = boolean | number | string | null;

export interface HeldRequest {
  owner: string;
  pattern: Record<string, Level>;
  priority: number;
  since: string;
  until: string | null;
}

export interface Output {
  name: string;
  elements: Record<string, { level: Level; winner: string }>;
  shown: "ok" | "unknown" | "failed";
  reason: string;
  requests: HeldRequest[];
}

export interface Outbox {
  records: number;
  bytes: number;
  oldest: string | null;
  capacity_left_s: number | null;
  dropped: number;
  refused: number;
  trouble: string;
}

export interface Central {
  url: string | null;
  connected: boolean;
  enrolled: boolean;
  last_ack: string | null;
  last_error: string;
  unwell: Record<string, string>;
}

export interface Result<D> {
  stream: string;
  key: string;
  version: number;
  flow: string;
  at: string;
  begin: string | null;
  end: string | null;
  status: "live" | "provisional" | "final";
  quality: "good" | "uncertain" | "bad";
  coverage: number | null;
  data: D;
}

export interface LampData {
  machine: string;
  output: string;
  state: string;
  pattern: Record<string, Level>;
  since: string;
  /** The open call of the machine, where there is one. */
  call?: CallData | null;
}

export interface CallData {
  machine: string;
  type: string;
  state: "raised" | "acknowledged" | "resolved" | "cancelled";
  level: number;
  escalated_to: string | null;
  raised: string;
  acknowledged: string | null;
}

export interface StopData {
  machine: string;
  kind: string;
  state: string;
  reason: Level;
  duration_s: number;
}

export interface TagPlan {
  names: string[];
  types: string[];
  units: (string | null)[];
  writable: boolean[];
  about: string[];
}

export interface TagValues {
  values: Level[];
  qualities: ("good" | "uncertain" | "bad")[];
  times: (string | null)[];
  reasons: string[];
}
