/** Numbers and times for people. A number that is not there is a dash, never a zero. */

const NONE = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const significant = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const integer = (value) => (isNumber(value) ? whole.format(value) : NONE);
export const short = (value) => (isNumber(value) ? compact.format(value) : NONE);
export const number = (value) => (!isNumber(value) ? NONE : Math.abs(value) >= 1000 ? whole.format(value) : significant.format(value));

/** A share as a percentage, with as many digits as its size deserves. */
export function percent(value, digits) {
  if (!isNumber(value)) return NONE;
  const size = Math.abs(value * 100);
  const places = digits ?? (size >= 99.95 ? 0 : size >= 1 || size === 0 ? 1 : 2);
  return `${(value * 100).toFixed(places)}%`;
}

export function signedPercent(value, digits) {
  if (!isNumber(value)) return NONE;
  const text = percent(Math.abs(value), digits);
  return value < 0 ? `−${text}` : `+${text}`;
}

export function pValue(value) {
  if (!isNumber(value)) return NONE;
  if (value < 0.001) return "< 0.001";
  return value > 0.999 ? "> 0.999" : value.toFixed(value < 0.1 ? 3 : 2);
}

export const range = (pair, format) => (pair && pair.every(isNumber) ? `${format(pair[0])} to ${format(pair[1])}` : NONE);

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const units = ["B", "KB", "MB", "GB", "TB"];
  const step = value > 0 ? Math.min(units.length - 1, Math.floor(Math.log(value) / Math.log(1024))) : 0;
  return `${(value / 1024 ** step).toFixed(step > 0 && value / 1024 ** step < 100 ? 1 : 0)} ${units[step]}`;
}

export function duration(seconds) {
  if (!isNumber(seconds)) return NONE;
  const days = Math.floor(seconds / 86400);
  const hours = Math.floor(seconds / 3600) % 24;
  const minutes = Math.floor(seconds / 60) % 60;
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

/** "3 min ago" */
export function ago(time) {
  if (!time) return NONE;
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  return seconds < 2 ? "just now" : `${duration(seconds)} ago`;
}

export const day = (time) =>
  time ? new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" }) : NONE;
export const moment = (time) => (time ? time.replace("T", " ").replace(/(\.\d{3})\d*Z$/, "$1").replace(/Z$/, "") + " UTC" : NONE);
export const plural = (count, word) => `${integer(count)} ${word}${count === 1 ? "" : "s"}`;
