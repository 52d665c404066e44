// The running order of a ranking: what the digits said, and the same by handles, buttons and ties.

import { form, onShow, task } from "./stage.js";
import { makeCurrent } from "./rows.js";
import { announce, say, word } from "./words.js";

const list = () => task()?.querySelector("[data-standing]") ?? null;
const letters = () => [...task().querySelectorAll("[data-response]")].map((one) => one.dataset.response);
const rankOf = (letter) => Number(form().elements[`rank-${letter}`].value) || 0;
const allowsTies = () => "rankTies" in task().dataset;

// The letters by rank, best first, those that tie together; and those without a rank.
const order = () => {
  const groups = new Map();
  for (const letter of letters()) {
    const rank = rankOf(letter);
    if (rank) groups.set(rank, [...(groups.get(rank) ?? []), letter]);
  }
  return [...groups.keys()].sort((one, other) => one - other).map((rank) => groups.get(rank));
};
const unranked = () => letters().filter((letter) => !rankOf(letter));

const setRank = (letter, rank) => {
  const row = task().querySelector(`[data-row="rank-${letter}"]`);
  for (const input of row.querySelectorAll("input")) input.checked = Number(input.value) === rank;
};

const write = (groups, moved) => {
  const placed = groups.filter((group) => group.length);
  placed.forEach((group, index) => group.forEach((letter) => setRank(letter, index + 1)));
  const input = task().querySelector(`[data-row="rank-${moved}"] input:checked`);
  input?.dispatchEvent(new Event("input", { bubbles: true }));
  draw();
  if (input) announce(word("ranked", { response: moved, rank: input.value }));
};

const shift = (letter, by) => {
  const groups = order();
  const at = groups.findIndex((group) => group.includes(letter));
  if (at < 0) return write(by < 0 ? [...groups, [letter]] : groups, letter);
  const alone = groups[at].length === 1;
  const rest = groups.map((group) => group.filter((one) => one !== letter));
  const to = by < 0 ? (alone ? at - 1 : at) : at + 1 + (alone ? 1 : 0);
  if (to < 0 || to > rest.length) return null;
  rest.splice(to, 0, [letter]);
  return write(rest, letter);
};

const tieAbove = (letter) => {
  const groups = order();
  const at = groups.findIndex((group) => group.includes(letter));
  const rest = groups.map((group) => group.filter((one) => one !== letter));
  if (groups[at].length > 1) rest.splice(at + 1, 0, [letter]);
  else if (at > 0) rest[at - 1].push(letter);
  else return null;
  return write(rest, letter);
};

const button = (act, letter, text, name, pressed) => {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button button--quiet standing__button";
  made.dataset.standingAct = act;
  made.dataset.letter = letter;
  made.textContent = text;
  made.setAttribute("aria-label", name);
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
  return made;
};

const itemFor = (letter, rank, place) => {
  const made = document.createElement("li");
  made.className = "standing__item";
  made.dataset.letter = letter;
  const handle = document.createElement("span");
  handle.className = "standing__handle";
  handle.dataset.handle = letter;
  handle.setAttribute("aria-hidden", "true");
  handle.textContent = "⠿";
  const number = Object.assign(document.createElement("span"), { className: "standing__rank num" });
  number.textContent = rank || "–";
  const name = Object.assign(document.createElement("b"), { className: "standing__name", textContent: letter });
  made.append(handle, number, name);
  if (rank && allowsTies() && place.above) {
    made.append(button("tie", letter, "=", word("tie_above", { response: letter }), place.tied));
  }
  made.append(button("up", letter, "↑", word("move_up", { response: letter })));
  if (rank) made.append(button("down", letter, "↓", word("move_down", { response: letter })));
  return made;
};

const draw = () => {
  const place = list();
  if (!place) return;
  const focused = document.activeElement?.dataset?.standingAct;
  const focusedLetter = document.activeElement?.dataset?.letter;
  const items = [];
  order().forEach((group, index) =>
    group.forEach((letter, within) => {
      items.push(itemFor(letter, rankOf(letter), { above: index > 0 || within > 0, tied: within > 0 }));
    }),
  );
  const loose = unranked();
  if (loose.length) {
    const note = Object.assign(document.createElement("li"), { className: "standing__note" });
    note.textContent = word("unranked");
    items.push(note, ...loose.map((letter) => itemFor(letter, 0, {})));
  }
  place.replaceChildren(...items);
  const words = task().querySelector("[data-standing-words]");
  words.textContent = order().map((group) => group.join(" = ")).join(" > ");
  if (focused) {
    const again = `[data-standing-act="${focused}"][data-letter="${focusedLetter}"]`;
    const other = `[data-standing-act][data-letter="${focusedLetter}"]`;
    (place.querySelector(again) ?? place.querySelector(other))?.focus();
  }
};

// A rank that two may not share goes to whoever got it last.
document.addEventListener(
  "input",
  (event) => {
    if (!list() || !event.target.name?.startsWith("rank-")) return;
    if (!allowsTies() && event.target.checked) {
      const letter = event.target.name.slice(5);
      const other = letters().find((one) => one !== letter && rankOf(one) === Number(event.target.value));
      if (other) {
        setRank(other, 0);
        say(word("rank_taken", { rank: event.target.value, response: other }));
        makeCurrent(task().querySelector(`[data-row="rank-${other}"]`));
      }
    }
    draw();
  },
  true,
);
document.addEventListener("click", (event) => {
  const control = event.target.closest?.("[data-standing-act]");
  if (!control) return;
  const { standingAct: act, letter } = control.dataset;
  if (act === "tie") tieAbove(letter);
  else shift(letter, act === "up" ? -1 : 1);
});

// Dragging: the item follows the pointer through the list, and its new place counts where it is let go.
let dragged = null;
document.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest?.("[data-handle]");
  if (!handle) return;
  event.preventDefault();
  dragged = handle.closest("li");
  dragged.classList.add("standing__item--dragged");
  try {
    handle.setPointerCapture(event.pointerId);
  } catch {
    // the pointer is gone already
  }
});
document.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const others = [...list().querySelectorAll(".standing__item, .standing__note")].filter((one) => one !== dragged);
  const before = others.find((one) => {
    const box = one.getBoundingClientRect();
    return event.clientY < box.top + box.height / 2;
  });
  if (before) before.before(dragged);
  else list().append(dragged);
});
const letGo = () => {
  if (!dragged) return;
  const letter = dragged.dataset.letter;
  const above = [];
  for (const one of list().children) {
    if (one.classList.contains("standing__note")) break;
    above.push(one.dataset.letter);
  }
  dragged = null;
  const tied = new Map(order().flatMap((group) => group.map((one) => [one, group])));
  if (!above.includes(letter)) {
    setRank(letter, 0);
    return draw();
  }
  // Those that tied and still stand together go on doing so.
  const groups = [];
  for (const one of above) {
    const last = groups.at(-1);
    if (one !== letter && last && last[0] !== letter && tied.get(one)?.includes(last[0])) last.push(one);
    else groups.push([one]);
  }
  return write(groups, letter);
};
document.addEventListener("pointerup", letGo);
document.addEventListener("pointercancel", () => {
  dragged = null;
  draw();
});

const narrow = window.matchMedia("(max-width: 48rem)");
onShow((element) => {
  const place = element.querySelector("[data-standing-holder]");
  if (place && !("seen" in place.dataset)) place.open = !narrow.matches;
  if (place) place.dataset.seen = "";
  draw();
});
