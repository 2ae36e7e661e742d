/** Numbers, times and durations as people read them. */

const NONE = "–";

export function number(value: number | null | undefined, digits = 0): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A measured value with as many digits as say something. */
export function measured(value: number): string {
  const size = Math.abs(value);
  const digits = Number.isInteger(value) || size >= 10_000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString(undefined, { maximumFractionDigits: digits });
}

export function percent(share: number | null | undefined, digits = 0): string {
  return share === null || share === undefined ? NONE : `${number(share * 100, digits)} %`;
}

/** `0.4 s`, `12 s`, `5 min`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s < 9.95) return `${s.toLocaleString(undefined, { maximumFractionDigits: 1 })} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return both(hours, "h", minutes % 60, "min");
  const days = Math.floor(hours / 24);
  return days >= 30 ? `${number(days)} d` : both(days, "d", hours % 24, "h");
}

function both(a: number, unit: string, b: number, part: string): string {
  return b ? `${a} ${unit} ${b} ${part}` : `${a} ${unit}`;
}

/** Text with a full stop at its end. */
export function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** Like `duration`, for how long ago: whole seconds, so that it does not flicker. */
export function ago(seconds: number): string {
  return seconds < 1 ? "just now" : `${duration(seconds < 60 ? Math.floor(seconds) : seconds)} ago`;
}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${number(count / 1e3, 1)} kB`;
  return `${number(count / 1e6, 1)} MB`;
}

/** A time of day in the plant's zone; with the date where it is not today's. */
export function clock(time: string | null | undefined, zone: string, now: number, seconds = true): string {
  if (!time) return NONE;
  const moment = new Date(time);
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone };
  if (seconds) options.second = "2-digit";
  const text = moment.toLocaleTimeString(undefined, options);
  const day = (at: Date) => at.toLocaleDateString("en-CA", { timeZone: zone });
  if (day(moment) === day(new Date(now))) return text;
  return `${moment.toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: zone })} ${text}`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).replaceAll("_", " ");
}
