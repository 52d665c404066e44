// Rows of options: one is current, digits answer it and move on to the next that has no answer.

import { showSide } from "./reading.js";
import { form, formOf, onShow, task } from "./stage.js";
import { announce, say, word } from "./words.js";

let byArrow = false; // a radio group is being walked with its own arrow keys

export const rowsOf = (element) => [...element.querySelectorAll("[data-row]")];
const rows = () => (task() ? rowsOf(task()) : []);
const answerOf = (row) => row.querySelector("input:checked");
const nameOf = (row) => row.querySelector(".row__legend").textContent.trim();
export const current = () => task()?.querySelector('[data-row][aria-current="step"]') ?? null;

const narrow = window.matchMedia("(max-width: 48rem)");

export const makeCurrent = (row, { focus = false, announced = false } = {}) => {
  const all = rows();
  for (const one of all) {
    if (one === row) one.setAttribute("aria-current", "step");
    else one.removeAttribute("aria-current");
  }
  for (const response of task().querySelectorAll("[data-response]")) {
    response.classList.toggle("response--asked", response.dataset.response === row.dataset.side);
  }
  const pager = task().querySelector("[data-row-pager]");
  pager.hidden = all.length < 2;
  const place = word("row_of", { number: all.indexOf(row) + 1, count: all.length });
  pager.querySelector("[data-row-place]").textContent = place;
  if (all.length < 2) return;
  if (row.dataset.side && narrow.matches) showSide(row.dataset.side);
  if (focus) row.focus({ preventScroll: true });
  row.scrollIntoView?.({ block: "nearest" });
  if (announced) announce(nameOf(row));
};

const nextUnanswered = (row) => {
  const all = rows();
  const from = all.indexOf(row);
  return [...all.slice(from + 1), ...all.slice(0, from)].find((one) => !answerOf(one));
};

export const move = (by) => {
  const all = rows();
  if (all.length < 2) return false;
  const next = all[Math.min(all.length - 1, Math.max(0, all.indexOf(current()) + by))];
  makeCurrent(next, { focus: true });
  return true;
};

export const choose = (input) => {
  input.checked = true;
  const row = input.closest("[data-row]");
  makeCurrent(row);
  if (rows().length < 2) input.focus({ preventScroll: true });
  input.dispatchEvent(new Event("input", { bubbles: true }));
};

// Answer the current row with its option of that number; false where it has none.
export const answerStep = (step) => {
  const option = current()?.querySelectorAll(".scale input")[step - 1];
  if (!option) return false;
  choose(option);
  // Which row comes next was decided where the choice was looked at: a choice may be taken back, or free another row.
  const now = current();
  if (now !== option.closest("[data-row]")) makeCurrent(now, { focus: true });
  return true;
};

export const answerOutside = (act) => {
  const input = task()?.querySelector(`.outside input[data-act="${act}"]`);
  if (!input) return false;
  choose(input);
  return true;
};

// What keeps the answer from going, in words, with the focus where it can be mended; '' where nothing does.
export const complaint = () => {
  const element = task();
  const all = rowsOf(element);
  const answer = formOf(element).elements.answer?.value;
  // Who cannot judge the pair has nothing to say on its parts.
  if (answer === "unsure") return "";
  const missing = all.find((row) => "required" in row.dataset && !answerOf(row));
  if (missing) {
    makeCurrent(missing, { focus: all.length > 1 });
    if (all.length > 1) return word("row_missing", { row: nameOf(missing) });
    return word("nothing_chosen", { keys: keysOf(missing) });
  }
  const decided = !["tie", "both_bad"].includes(answer);
  const marked = formOf(element).querySelector("[name=reason]:checked");
  if ("chipRequired" in formOf(element).dataset && decided && !marked) {
    openExtras();
    formOf(element).querySelector("[name=reason]").focus();
    return word("chip_missing");
  }
  const reason = formOf(element).elements.rationale;
  if ("reasonRequired" in formOf(element).dataset && reason && !reason.value.trim()) {
    openExtras();
    reason.focus();
    return word("reason_missing");
  }
  return "";
};

const keysOf = (row) => {
  const keys = [...row.querySelectorAll(".scale kbd")].map((kbd) => kbd.textContent);
  const outside = [...row.querySelectorAll(".outside kbd")].map((kbd) => kbd.textContent);
  return [`${keys[0]}–${keys.at(-1)}`, ...outside].join(", ");
};

export const openExtras = () => {
  const extras = task()?.querySelector("[data-extras]");
  if (extras) extras.open = true;
};

// The chosen side is marked in ink, and named for who cannot see it: no hue hints at right or wrong.
const mark = (element) => {
  const value = formOf(element).elements.answer?.value ?? "";
  const side = value.startsWith("first") ? "A" : value.startsWith("second") ? "B" : "";
  const best = formOf(element).elements.best?.value ?? "";
  const worst = formOf(element).elements.worst?.value ?? "";
  for (const response of element.querySelectorAll("[data-response]")) {
    const name = response.dataset.response;
    const rank = formOf(element).elements[`rank-${name}`]?.value;
    const chosen = value === "tie" || name === side || name === best;
    response.classList.toggle("response--chosen", chosen);
    response.querySelector("[data-mark]").textContent =
      value === "tie"
        ? word("mark_tie")
        : name === side
          ? word("mark_chosen")
          : name === best
            ? word("mark_best")
            : name === worst
              ? word("mark_worst")
              : rank
                ? word("mark_rank", { rank })
                : "";
  }
};

// Best and worst are two: choosing the same for both is taken back with a line.
const keepApart = (input) => {
  const { best, worst } = form().elements;
  if (!best || !worst || !["best", "worst"].includes(input.name) || best.value !== worst.value) return true;
  input.checked = false;
  say(word("same_pick", { response: input.value }));
  makeCurrent(input.closest("[data-row]"), { focus: true });
  return false;
};

// Before anything is kept of it.
document.addEventListener(
  "input",
  (event) => {
    const row = event.target.closest?.("[data-row]");
    if (!row || !form()?.contains(row)) return;
    say("");
    if (!keepApart(event.target)) return;
    mark(task());
    if (byArrow || rows().length < 2) return;
    const next = nextUnanswered(row);
    if (next) makeCurrent(next);
    else makeCurrent(row);
  },
  true,
);
document.addEventListener("focusin", (event) => {
  const row = event.target.closest?.("[data-row]");
  if (row && task()?.contains(row) && row !== current()) makeCurrent(row);
});
document.addEventListener("keydown", (event) => (byArrow = event.key.startsWith("Arrow")), true);
document.addEventListener("keyup", () => (byArrow = false), true);
document.addEventListener("click", (event) => {
  if (event.target.closest?.("[data-row-previous]")) move(-1);
  else if (event.target.closest?.("[data-row-next]")) move(1);
});

onShow((element) => {
  const all = rowsOf(element);
  makeCurrent(all.find((row) => !answerOf(row)) ?? all[0]);
  mark(element);
  const extras = element.querySelector("[data-extras]");
  const filled = extras?.querySelector(":checked") || extras?.querySelector("textarea")?.value;
  if (extras && narrow.matches && !("extrasSeen" in extras.dataset)) extras.open = Boolean(filled);
  if (extras) extras.dataset.extrasSeen = "";
});
