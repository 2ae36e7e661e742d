/** The models of the central server's API, as edgeflow/central/views.py and edgeflow/sync/protocol.py define them. */

import type { Fate, FlowState } from "../shared/words";

export interface FlowReport {
  instance: string;
  flow: string;
  state: FlowState;
  reason: string;
  active: string;
  wanted: string;
  fate: Fate;
  fate_reason: string;
}

export interface GatewaySummary {
  gateway: string;
  about: { name: string; place: string; software: string; started: string | null };
  connected: boolean;
  enrolled: string;
  last_seen: string;
  revision: number;
  reported_revision: number;
  flows: FlowReport[];
  records: number;
  lost: number;
}

export interface WireRecord {
  stream: string;
  key: string;
  at: string;
  from: string | null;
  to: string | null;
  quality: "good" | "uncertain" | "bad";
  coverage: number | null;
  status: "live" | "provisional" | "final";
  data: Record<string, unknown>;
}

export interface Storage {
  bytes: number;
  most_bytes: number;
  keep_days: number;
  dropped: number;
}
