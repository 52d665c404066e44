// The annotation screen: everything above a plain form, wired together.

import "./drafting.js";
import "./timing.js";
import * as reading from "./reading.js";
import * as rows from "./rows.js";
import "./ranking.js";
import * as citing from "./citing.js";
import * as hand from "./hand.js";
import "./leasing.js";
import "./settings.js";
import { openRecent, openSkip } from "./dialogs.js";
import { onAct, onPlain } from "./keys.js";
import { form, task, token } from "./stage.js";
import { say } from "./words.js";

const DOUBLE_CLICK_MS = 500;
let submittedAt = -Infinity;

const submit = () => {
  if (!task()) return;
  const complaint = rows.complaint();
  if (complaint) {
    say(complaint);
    return;
  }
  hand.submit();
};

const toPrompt = () => document.getElementById("prompt-title")?.focus({ preventScroll: true });
const scrolls = (element) => element.tabIndex === 0 && element.matches("[data-scroller], [data-sides], pre, .table-scroll");
const isControl = (element) => Boolean(element.closest("button, a, summary, [popover]:popover-open"));

for (let step = 1; step <= 10; step += 1) onAct(`step${step}`, () => rows.answerStep(step));
onAct("both_bad", () => rows.answerOutside("both_bad"));
onAct("unsure", () => rows.answerOutside("unsure"));
onAct("rationale", () => {
  const box = form()?.elements.rationale;
  if (!box) return false;
  rows.openExtras();
  box.focus();
  return true;
});
onAct("cite", () => (form()?.querySelector("[data-spans]") ? citing.cite() : false));
onAct("undo", hand.undo);
onAct("recent", openRecent);
onAct("skip", openSkip);
onAct("raw", reading.toggleRaw);
onAct("lengths", reading.toggleLengths);

const page = (by) => (event) => !isControl(event.target) && !scrolls(event.target) && reading.scrollPage(by);
const step = (by) => (event) => !scrolls(event.target) && !isControl(event.target) && rows.move(by);
onPlain({
  submit,
  leave: toPrompt,
  Enter(event) {
    if (isControl(event.target)) return false;
    if (!event.repeat) submit();
    return true;
  },
  Backspace(event) {
    if (!event.repeat) hand.undo();
    return true;
  },
  ArrowUp: step(-1),
  ArrowDown: step(1),
  PageUp: page(-1),
  PageDown: page(1),
  letter(letter) {
    if (letter === "k") return rows.move(-1);
    return letter === "j" ? rows.move(1) : false;
  },
});

// Forms of the page may hold the token of a session that is over.
const renew = (event) => {
  const field = event.target.elements?.csrfmiddlewaretoken;
  if (field) field.value = token();
};
document.addEventListener("submit", renew, true);
document.addEventListener("htmx:configRequest", (event) => {
  if ("csrfmiddlewaretoken" in event.detail.parameters) event.detail.parameters.csrfmiddlewaretoken = token();
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-answer-form]")) return;
  event.preventDefault();
  submit();
});
// The second half of a double click may land on the next pair's button: nobody has read that pair yet.
document.addEventListener(
  "click",
  (event) => {
    if (event.target.closest?.('header [data-act="undo"]')) hand.undo();
    if (!event.target.closest?.("[data-submit]")) return;
    if (event.timeStamp - submittedAt < DOUBLE_CLICK_MS) event.preventDefault();
    else submittedAt = event.timeStamp;
  },
  true,
);

hand.begin();
document.documentElement.dataset.ready = "";
