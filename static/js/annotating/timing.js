// Active time: seconds with the page in view and somebody there; reading until the first act of answering, then deciding.

import { formOf, onShow, task } from "./stage.js";

const IDLE_AFTER_MS = 120_000; // reading without touching anything counts for this long
let activeAt = Date.now();
let spent = null; // {seconds, reading, deciding, began}

export const lastActive = () => activeAt;

const write = () => {
  const { elements } = formOf(task());
  elements.seconds.value = spent.seconds;
  elements.reading_seconds.value = spent.reading;
  elements.deciding_seconds.value = spent.deciding;
};

onShow((element) => {
  const { elements } = formOf(element);
  const read = (name) => Number(elements[name]?.value) || 0;
  spent = { seconds: read("seconds"), reading: read("reading_seconds"), deciding: read("deciding_seconds") };
  spent.began = spent.deciding > 0;
});

setInterval(() => {
  if (!task() || !spent) return;
  if (document.visibilityState !== "visible" || Date.now() - activeAt > IDLE_AFTER_MS) return;
  spent.seconds += 1;
  spent[spent.began ? "deciding" : "reading"] += 1;
  write();
}, 1000);

document.addEventListener("input", (event) => {
  if (spent && formOf(task())?.contains(event.target)) spent.began = true;
});
for (const kind of ["pointermove", "pointerdown", "keydown", "scroll", "touchstart"]) {
  document.addEventListener(kind, () => (activeAt = Date.now()), { passive: true, capture: true });
}
