/** The live feed: the newest value per key, over a WebSocket that comes back by itself. */

interface Frame {
  kind: "all" | "more" | "new";
  now: string;
  set: Record<string, unknown>;
}

/** A server that says nothing for this long is lost: it tells the time twice a second. */
const SILENCE_MS = 6000;
const LONGEST_PAUSE_MS = 5000;

export class Live {
  /** What the server said last, by key. Kept when the connection is lost, so that it can be shown with its age. */
  values = new Map<string, unknown>();
  connected = false;
  /** Whether anything was ever received. */
  started = false;
  /** When the last frame came, by this device's clock. */
  heard = 0;
  private offset = 0;
  private socket: WebSocket | null = null;
  private pause = 500;
  private watch = 0;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly path: string) {}

  open(): void {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`);
    this.socket = socket;
    this.listen();
    socket.onmessage = (event: MessageEvent<string>) => {
      this.take(JSON.parse(event.data) as Frame);
      this.listen();
    };
    socket.onclose = () => this.lost(socket);
  }

  /** The server's time now, in milliseconds. */
  now(): number {
    return Date.now() + this.offset;
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** All values whose key begins so, in the order of their names. */
  all<T>(prefix: string): T[] {
    const keys = [...this.values.keys()].filter((key) => key.startsWith(prefix));
    return keys.sort(byName).map((key) => this.values.get(key) as T);
  }

  one<T>(key: string): T | undefined {
    return this.values.get(key) as T | undefined;
  }

  private take(frame: Frame): void {
    if (frame.kind === "all") this.values = new Map();
    for (const [key, value] of Object.entries(frame.set)) {
      if (value === null) this.values.delete(key);
      else this.values.set(key, value);
    }
    this.heard = Date.now();
    this.offset = Date.parse(frame.now) - this.heard;
    this.connected = true;
    this.started = true;
    this.pause = 500;
    this.tell();
  }

  /** Waits for the next frame. A socket whose peer is gone takes long to close: go on without it. */
  private listen(): void {
    clearTimeout(this.watch);
    const socket = this.socket;
    this.watch = window.setTimeout(() => {
      socket?.close();
      if (socket) this.lost(socket);
    }, SILENCE_MS);
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket) return;
    this.socket = null;
    clearTimeout(this.watch);
    this.connected = false;
    this.tell();
    window.setTimeout(() => this.open(), this.pause * (0.75 + Math.random() / 2));
    this.pause = Math.min(this.pause * 1.6, LONGEST_PAUSE_MS);
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}

const collator = new Intl.Collator(undefined, { numeric: true });

export function byName(a: string, b: string): number {
  return collator.compare(a, b);
}
