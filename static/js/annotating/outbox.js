// Answers on their way: kept on the device until the server has them, sent one after another in the order given.
//
// An entry has a key of its own, so that two tabs never write over each other's, and one tab at a time sends.

import { drop, isDurable, keep, kept, keysFrom } from "./storing.js";
import { person, post, project } from "./stage.js";

const PREFIX = `tiebreak-outbox:${person}:${project}:`;
// What was sent a moment ago: a page that the server made meanwhile may still show it as open.
const SENT = `tiebreak-sent:${person}:${project}`;
const SENT_FOR_MS = 60_000;
const RETRY_SECONDS = [2, 4, 8, 15, 30];
const TIMEOUT_MS = 20_000;
const KEEPALIVE_LIMIT = 60_000; // browsers refuse more in a request that outlives its page

let count = 0;
let inFlight = null;
let sending = false;
let tries = 0;
let timer = 0;
let heard = {};
let heldBeside = () => [];

export const listen = (handlers) => (heard = handlers);
export const tellHeld = (held) => (heldBeside = held);

export const entries = () =>
  keysFrom(PREFIX)
    .map((key) => ({ key, ...kept(key) }))
    .filter((entry) => entry.id);
export const ids = () => new Set(entries().map((entry) => entry.id));

const sentLately = () => (kept(SENT) ?? []).filter((one) => Date.now() - one.at < SENT_FOR_MS);
export const sentIds = () => new Set(sentLately().map((one) => one.id));

export const put = (entry) => {
  const order = `${String(Date.now()).padStart(15, "0")}-${String(count++).padStart(4, "0")}`;
  const key = `${PREFIX}${order}:${entry.id}`;
  if (!keep(key, entry)) heard.notDurable?.();
  return key;
};

// Take an entry back; false where it is gone or on its way.
export const takeBack = (key) => {
  if (key === inFlight || !kept(key)) return false;
  drop(key);
  return true;
};

const withLock = (work) =>
  navigator.locks ? navigator.locks.request(`${PREFIX}sending`, work) : work();

export async function send() {
  clearTimeout(timer);
  if (sending) return;
  sending = true;
  let goesOn = false;
  try {
    goesOn = await withLock(sendAll);
  } finally {
    sending = false;
  }
  if (goesOn && entries().length) send(); // put in while the lock was given back
}

async function sendAll() {
  for (let entry = entries()[0]; entry; entry = entries()[0]) {
    inFlight = entry.key;
    try {
      if (!(await deliver(entry))) return false;
    } finally {
      inFlight = null;
    }
  }
  if (tries) heard.caughtUp?.();
  tries = 0;
  return true;
}

// Send one entry; true where the next one may follow.
async function deliver(entry) {
  const fields = [...entry.fields, ["held", heldBeside(entry.id).join(",")]];
  const small = new URLSearchParams(fields).toString().length < KEEPALIVE_LIMIT;
  let response;
  let body;
  try {
    response = await post(entry.url, fields, { keepalive: small, signal: AbortSignal.timeout(TIMEOUT_MS) });
    body = await response.text();
  } catch {
    return later();
  }
  const { status } = response;
  if (response.ok) {
    keep(SENT, [...sentLately(), { id: entry.id, at: Date.now() }]);
    drop(entry.key);
    heard.taken?.(entry, body);
    return true;
  }
  if (status >= 500 || status === 429) return later();
  if (status === 401 || status === 403) {
    heard.refused?.(status);
    return false;
  }
  drop(entry.key);
  const message = messageIn(body);
  if (status === 409 || status === 404) heard.dropped?.(entry, message);
  else heard.returned?.(entry, message);
  return true;
}

const messageIn = (body) => {
  try {
    return JSON.parse(body).message ?? "";
  } catch {
    return "";
  }
};

function later() {
  const seconds = RETRY_SECONDS[Math.min(tries, RETRY_SECONDS.length - 1)];
  tries += 1;
  timer = setTimeout(send, seconds * 1000);
  heard.later?.(seconds);
  return false;
}

const again = () => {
  if (entries().length) send();
};
window.addEventListener("online", again);
window.addEventListener("focus", again);
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") again();
});
// Another tab answered, or sent what it had.
window.addEventListener("storage", (event) => {
  if (!event.key?.startsWith(PREFIX)) return;
  heard.elsewhere?.(event.key.slice(event.key.lastIndexOf(":") + 1), event.newValue !== null);
});
window.addEventListener("beforeunload", (event) => {
  if (entries().length && !isDurable()) event.preventDefault();
});
