// Keys: which act a key means for this person, and letting it happen.

import { isWriting, task } from "./stage.js";

export const keyOf = JSON.parse(document.getElementById("keys")?.textContent || "{}");
const acts = new Map();

// Say what an act does; one without a say clicks its control.
export const onAct = (act, run) => acts.set(act, run);

// Keyboards without Latin letters, and those whose digits want Shift, say which key it was by its place.
const byPlace = (event) => {
  if (/[^\x00-\x7f]/.test(event.key)) {
    if (event.code === "Slash" && event.shiftKey) return "?";
    if (event.code === "Comma" && !event.shiftKey) return ",";
  }
  if (event.shiftKey) return "";
  const found = /^(?:Key([A-Z])|Digit(\d))$/.exec(event.code ?? "");
  return found ? (found[1] ?? found[2]).toLowerCase() : "";
};

const actFor = (key) => {
  if (!key) return null;
  const wanted = key.toLowerCase();
  return Object.keys(keyOf).find((act) => keyOf[act]?.toLowerCase() === wanted) ?? null;
};

const actOf = (event) => {
  // A key with a name has no act; one key of an Arabic keyboard writes two letters.
  if (event.key.length > 1 && /^[\x00-\x7f]+$/.test(event.key)) return null;
  const known = actFor(event.key);
  if (known || /^[a-z]$/i.test(event.key)) return known;
  return actFor(byPlace(event));
};

const letterOf = (event) => (/^[a-z]$/i.test(event.key) ? event.key : byPlace(event)).toLowerCase();

const run = (act) => {
  if (acts.has(act)) return acts.get(act)() !== false;
  const inTask = task()?.querySelector(`[data-act="${act}"]`);
  const control = inTask ?? document.querySelector(`header [data-act="${act}"]`);
  if (!control || control.disabled) return false;
  control.click();
  return true;
};

const redraw = () => {
  for (const kbd of document.querySelectorAll("[data-key-of]")) {
    const key = keyOf[kbd.dataset.keyOf];
    if (!key) continue;
    kbd.textContent = key;
    // A number is its own key, unless the person chose another for it.
    if (kbd.closest(".scale--short")) kbd.hidden = kbd.parentElement.querySelector("b")?.textContent === key;
  }
};
export const setKey = (act, key) => {
  keyOf[act] = key;
  redraw();
};
export const drawKeys = redraw;

let plain = {};
// Keys that are the same for everybody: {Enter: event => handled, …}
export const onPlain = (handlers) => (plain = handlers);

document.addEventListener("keydown", (event) => {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  const { target, key } = event;
  if (isWriting(target)) {
    if (key === "Escape") plain.leave?.();
    else if (key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
      event.preventDefault();
      plain.submit?.();
    }
    return;
  }
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (plain[key]?.(event)) {
    event.preventDefault();
    return;
  }
  if (event.repeat) return;
  const act = actOf(event);
  if (act ? run(act) : plain.letter?.(letterOf(event))) event.preventDefault();
});
