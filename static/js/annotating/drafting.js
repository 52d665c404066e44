// Drafts: every change is kept on the device at once and on the server within a second; a reload loses nothing.

import { drop, keep, kept } from "./storing.js";
import { fieldsOf, formOf, idOf, onShow, person, post, task } from "./stage.js";

const AFTER_MS = 500;
const NOT_RESTORED = new Set(["csrfmiddlewaretoken", "revises", "asks"]);
let timer = 0;
let waitsFor = null; // the task whose newest state is not on the server yet

const keyFor = (id) => `tiebreak-draft:${person}:${id}`;
const keyOf = (element) => keyFor(idOf(element));

// Keep an answer that was not taken as the draft that it was, for whenever its pair is shown again.
export const putBack = (id, fields) => keep(keyFor(id), fields);

const restore = (element) => {
  // A copy exists only while the server has not confirmed it, so it is always the newer one.
  const fields = kept(keyOf(element));
  if (!Array.isArray(fields)) return;
  const values = Map.groupBy ? Map.groupBy(fields, ([name]) => name) : groupByName(fields);
  const { elements } = formOf(element);
  // Of a draft made for other questions only what was written: its numbers may stand for something else by now.
  const madeFor = values.get("asks")?.[0]?.[1];
  const fits = !madeFor || madeFor === elements.asks?.value;
  for (const control of elements) {
    if (!control.name || NOT_RESTORED.has(control.name)) continue;
    if (!fits && control.type !== "textarea" && control.type !== "hidden") continue;
    const given = (values.get(control.name) ?? []).map(([, value]) => value);
    if (control.type === "radio" || control.type === "checkbox") control.checked = given.includes(control.value);
    else if (given.length) control.value = given[0];
  }
  schedule(element);
};

const groupByName = (fields) => {
  const groups = new Map();
  for (const field of fields) groups.set(field[0], [...(groups.get(field[0]) ?? []), field]);
  return groups;
};

const send = async (element, options = {}) => {
  const fields = fieldsOf(element);
  keep(keyOf(element), fields);
  try {
    const response = await post(element.dataset.draftUrl, fields, options);
    // Unless something was changed meanwhile: then the copy is newer than what the server has.
    if (response.ok && JSON.stringify(kept(keyOf(element))) === JSON.stringify(fields)) drop(keyOf(element));
  } catch {
    // offline: the copy stays, and the next change or the browser's "online" sends it
  }
};

const flush = (options) => {
  clearTimeout(timer);
  const element = waitsFor;
  waitsFor = null;
  // A change of a given answer is no draft of the server's: its copy stays on the device until it is submitted.
  if (element && !("revises" in element.dataset)) send(element, options);
};

const schedule = (element) => {
  if (waitsFor && waitsFor !== element) flush();
  waitsFor = element;
  clearTimeout(timer);
  timer = setTimeout(flush, AFTER_MS);
};

export const changed = (element = task()) => {
  if (!element) return;
  keep(keyOf(element), fieldsOf(element));
  schedule(element);
};

document.addEventListener("input", (event) => {
  if (formOf(task())?.contains(event.target)) changed();
});
// The answer is on its way, and a draft after it would be refused; or the answer stays as it was given.
export const forget = (element) => {
  if (waitsFor === element) waitsFor = null;
  clearTimeout(timer);
  drop(keyOf(element));
};
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") flush({ keepalive: true });
});
window.addEventListener("online", () => {
  const element = task();
  if (element && kept(keyOf(element))) schedule(element);
});
onShow(restore);
