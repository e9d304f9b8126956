/** The server's stream of events, and what of it the pages look at: positions that change, and counters. */
import { useEffect, useRef, useState } from "preact/hooks";
import { token } from "./api.js";

/** @type {{state: string, status: object|null, lsn: number, definitions: number, rates: number[]}} */
let now = { state: "connecting", status: null, lsn: 0, definitions: 0, rates: [] };
const listeners = new Set();
let controller = null;

function change(fields) {
  now = { ...now, ...fields };
  listeners.forEach((listener) => listener(now));
}

const RATES_KEPT = 60;
let lastReceived = null;

/** Events a second, once a second: the stream is silent where nothing happens, and silence is a rate too. */
function measure() {
  if (now.status === null || now.state !== "live") return;
  const at = performance.now() / 1000;
  const previous = lastReceived;
  lastReceived = { at, events: now.status.events_received };
  const rate = previous === null ? 0 : Math.max(0, (lastReceived.events - previous.events) / (at - previous.at));
  const isIdle = rate === 0 && now.rates.length === RATES_KEPT && now.rates.every((one) => one === 0);
  if (!isIdle) change({ rates: [...now.rates, rate].slice(-RATES_KEPT) });
}

setInterval(measure, 1000);

function take(name, data) {
  if (name === "status") change({ status: data });
  if (name === "results") change({ lsn: data.applied_lsn });
  if (name === "definitions") change({ definitions: data.generation });
}

/** Blocks end with an empty line; lines that begin with a colon only keep the connection alive. */
function takeBlock(block) {
  let name = "message";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) take(name, JSON.parse(data));
}

async function read(signal) {
  const response = await fetch("/stream", {
    signal,
    cache: "no-store",
    credentials: "omit",
    headers: { Authorization: `Bearer ${token.get()}` },
  });
  if (!response.ok) return response.status;
  change({ state: "live" });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 200;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    blocks.forEach(takeBlock);
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Keeps a stream open until stopLive(). Without one (403, 503, no server) the pages ask every few seconds instead. */
export async function startLive() {
  stopLive();
  controller = new AbortController();
  const { signal } = controller;
  for (let wait = 1000; !signal.aborted; wait = Math.min(wait * 2, 15000)) {
    change({ state: "connecting" });
    const status = await read(signal).catch(() => 0);
    if (signal.aborted) return;
    if (status === 200) wait = 500;
    change({ state: status === 403 ? "polling" : "reconnecting" });
    await pause(wait);
    change({ lsn: now.lsn + 1e-6 }); // whatever was missed: ask again
  }
}

export function stopLive() {
  controller?.abort();
  controller = null;
  lastReceived = null;
}

export function useLive() {
  const [value, set] = useState(now);
  useEffect(() => {
    listeners.add(set);
    set(now);
    return () => listeners.delete(set);
  }, []);
  return value;
}

const SPACING = 1000; // milliseconds between two questions of one page at least

/**
 * Loads something, and again when `live` changes (a position of the stream), without a flicker in between.
 * @returns {{data: any, error: Error|null, loading: boolean, reload: () => void}}
 */
export function useResource(load, key, live = 0) {
  const [answer, set] = useState({ key: null, data: null, error: null });
  const [turn, setTurn] = useState(0);
  const asked = useRef({ at: 0, key: null });
  useEffect(() => {
    const abort = new AbortController();
    const isSame = asked.current.key === key;
    const wait = isSame ? Math.max(0, asked.current.at + SPACING - Date.now()) : 0;
    const timer = setTimeout(async () => {
      asked.current = { at: Date.now(), key };
      try {
        const data = await load(abort.signal);
        if (!abort.signal.aborted) set({ key, data, error: null });
      } catch (error) {
        if (!abort.signal.aborted) set((old) => ({ key, data: old.key === key ? old.data : null, error }));
      }
    }, wait);
    // A question that is under way is let through: a busy server changes faster than it answers.
    return () => {
      clearTimeout(timer);
      if (asked.current.key !== key) abort.abort();
    };
  }, [key, live, turn]);
  const isCurrent = answer.key === key;
  return {
    data: isCurrent ? answer.data : null,
    error: isCurrent ? answer.error : null,
    loading: !isCurrent,
    reload: () => setTurn((old) => old + 1),
  };
}
