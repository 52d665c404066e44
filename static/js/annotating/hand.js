// The pairs in hand: the next is shown at once, answers go out behind it, the last ones can be taken back.

import { forget, putBack } from "./drafting.js";
import * as outbox from "./outbox.js";
import { arrive, fieldsOf, formOf, holder, home, idOf, recentUrl, show, signIn, task } from "./stage.js";
import { announce, link, number, say, word } from "./words.js";

const MOST_PAST = 10;
const hand = []; // elements, in the order they are shown
const past = []; // {id, key, kind, element}, the newest last
const finished = new Set(); // ids that were answered or passed on from this page
let waiting = null; // what the server said where it had nothing more
let line = ""; // said when the next task is shown

export const inHand = () => [...hand];

const has = (id) => idOf(task()) === id || hand.some((element) => idOf(element) === id);

// Status -----------------------------------------------------------------------------------------------------------

const status = document.getElementById("task-status");
const outboxLine = document.querySelector("[data-outbox-line]");

const showProgress = () => {
  const place = status.querySelector("[data-progress]");
  const unsent = outbox.entries();
  status.dataset.unsent = unsent.length;
  if (!place) return;
  const given = unsent.filter((entry) => entry.kind === "answer" && !entry.revises).length;
  const done = Number(place.dataset.done) + given;
  const total = Math.max(Number(place.dataset.total), done);
  place.querySelector("progress").value = done;
  place.querySelector("[data-progress-text]").textContent =
    word("progress", { done: number(done), total: number(total) }) + ("more" in place.dataset ? "+" : "");
};

const progressWords = () => {
  const place = status.querySelector("[data-progress]");
  return { done: number(Number(place?.dataset.done ?? 0)), total: number(Number(place?.dataset.total ?? 0)) };
};

const tell = (...parts) => {
  outboxLine.replaceChildren(...parts);
  outboxLine.hidden = !parts.length;
};

const undoButton = document.querySelector('[data-act="undo"]');
const showUndo = () => {
  const none = !past.length && !Number(status.querySelector("[data-progress]")?.dataset.done);
  undoButton.disabled = none;
};

// Showing ----------------------------------------------------------------------------------------------------------

const pending = () => {
  const section = document.createElement("section");
  section.className = "waiting";
  const title = document.createElement("h2");
  title.className = "waiting__title waiting__title--small";
  title.tabIndex = -1;
  title.textContent = word(navigator.onLine ? "fetching" : "fetching_offline");
  section.append(title);
  return section;
};

const showNext = () => {
  const next = hand.shift();
  if (next) {
    show(next);
    if (line) say(line);
    line = "";
    return true;
  }
  if (waiting && !outbox.entries().length) show(waiting);
  else show(pending());
  return false;
};

const take = (parsed) => {
  const known = outbox.ids();
  for (const template of parsed.querySelectorAll("template[data-task-ahead]")) {
    const element = template.content.querySelector("[data-task]");
    template.remove();
    if (!element || has(idOf(element)) || known.has(idOf(element)) || finished.has(idOf(element))) continue;
    hand.push(arrive(document.adoptNode(element)));
  }
};

const receive = (html) => {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  take(parsed);
  const progress = parsed.querySelector("template[data-status]");
  if (progress) status.replaceChildren(document.adoptNode(progress.content));
  const news = parsed.querySelector("template[data-notice]")?.content;
  if (news) {
    const now = news.querySelector("[data-guidelines-now]").childNodes;
    document.querySelector("#guidelines [data-guidelines-text]")?.replaceChildren(...now);
    const notice = news.firstElementChild;
    document.getElementById("guidelines-notice").replaceWith(document.adoptNode(notice));
    window.htmx?.process(notice);
  }
  const suggestion = parsed.querySelector("template[data-suggestion]")?.content;
  if (suggestion) document.dispatchEvent(new CustomEvent("tiebreak:suggestion", { detail: document.adoptNode(suggestion) }));
  const wait = parsed.querySelector("template[data-waiting]")?.content.firstElementChild;
  waiting = wait ? document.adoptNode(wait) : null;
};

// Leaving ----------------------------------------------------------------------------------------------------------

const leave = (kind, url, fields) => {
  const element = task();
  const id = idOf(element);
  const revises = "revises" in element.dataset;
  forget(element);
  const key = outbox.put({ id, kind, url, fields, revises });
  finished.add(id);
  past.push({ id, key, kind, element, revises });
  if (past.length > MOST_PAST) past.shift();
  delete element.dataset.revises;
  if (showNext()) announce(word("next"));
  showProgress();
  showUndo();
  outbox.send();
};

export const submit = () => {
  const element = task();
  leave("answer", formOf(element).getAttribute("action"), fieldsOf(element));
};

export const pass = (fields) => leave("skip", task().dataset.skipUrl, fields);

// Taking back ------------------------------------------------------------------------------------------------------

const setAside = () => {
  const element = task();
  if (element) hand.unshift(element);
};

const markRevising = (element) => {
  element.dataset.revises = "";
  const input = formOf(element).elements.revises ?? document.createElement("input");
  Object.assign(input, { type: "hidden", name: "revises", value: "1" });
  formOf(element).append(input);
  if (element.querySelector("[data-keep-answer]")) return;
  const banner = document.createElement("div");
  banner.className = "revising";
  banner.setAttribute("role", "note");
  const button = Object.assign(document.createElement("a"), { href: home, className: "button button--small" });
  button.dataset.keepAnswer = "";
  button.textContent = word("keep_answer");
  banner.append(Object.assign(document.createElement("span"), { textContent: word("changing") }), button);
  element.prepend(banner);
};

const unmark = (element) => {
  delete element.dataset.revises;
  formOf(element).elements.revises?.remove();
  element.querySelector(".revising")?.remove();
};

const revise = (element) => {
  markRevising(element);
  setAside();
  show(element);
  announce(word("changing"));
};

export async function undo() {
  const last = past.pop();
  showUndo();
  if (!last) return undoEarlier();
  if (outbox.takeBack(last.key)) {
    finished.delete(last.id);
    if (last.revises) markRevising(last.element);
    else unmark(last.element);
    setAside();
    show(last.element);
    announce(word("undone"));
    showProgress();
  } else if (last.kind === "skip") {
    say(word("skip_is_final"));
  } else {
    revise(last.element);
  }
  return null;
}

// After a reload nothing is remembered here: the newest answer that may still be changed is asked for.
async function undoEarlier() {
  try {
    const response = await fetch(recentUrl, { headers: { "HX-Request": "true" } });
    const list = new DOMParser().parseFromString(await response.text(), "text/html");
    const newest = list.querySelector("[data-change]");
    if (newest) await change(newest.getAttribute("href"));
    else say(word("nothing_to_undo"));
  } catch {
    say(word("cannot_show"));
  }
}

export async function change(url) {
  let parsed;
  try {
    const response = await fetch(url, { headers: { "HX-Request": "true" } });
    if (!response.ok) return say(word("dropped", { message: word("not_yours") }));
    parsed = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return say(word("cannot_show"));
  }
  const template = parsed.querySelector("template[data-task-ahead]");
  const found = (template?.content ?? parsed).querySelector("[data-task]");
  if (!found || idOf(found) === idOf(task())) return null;
  const element = document.adoptNode(found);
  const index = hand.findIndex((one) => idOf(one) === idOf(element));
  if (index >= 0) hand.splice(index, 1);
  if ("revises" in element.dataset) revise(element);
  else {
    setAside();
    show(element);
  }
  return null;
}

export const keepAnswer = () => {
  forget(task());
  unmark(task());
  if (!hand.length) location.assign(home);
  else showNext();
};

// What becomes of what was sent ------------------------------------------------------------------------------------

const forgetPast = (entry) => {
  const index = past.findIndex((one) => one.key === entry.key);
  return index < 0 ? null : past.splice(index, 1)[0];
};

// What was said stays to be read, where there is nothing else to show.
const stopped = (said) => {
  const section = pending();
  section.querySelector("h2").textContent = said;
  section.append(link(home, word("reload")));
  return section;
};

const goOnIfEmpty = () => {
  if (task()) return;
  if (hand.length) {
    showNext();
    announce(word("next"));
  } else if (!outbox.entries().length) {
    if (waiting) showNext();
    else location.assign(home);
  }
};

outbox.tellHeld((id) => [
  ...new Set([idOf(task()), ...hand.map(idOf), ...outbox.ids()].filter((one) => one && one !== id)),
]);

outbox.listen({
  taken(entry, html) {
    receive(html);
    showProgress();
    showUndo();
    if (!outbox.entries().length && outboxLine.hidden === false) tell();
    goOnIfEmpty();
    const saved = word(entry.kind === "skip" ? "passed_on" : "saved", progressWords());
    announce(task() ? `${saved} ${word("next")}` : saved);
  },
  later(seconds) {
    const count = number(outbox.entries().length);
    tell(navigator.onLine ? word("retrying", { count, seconds }) : word("offline", { count }));
    showProgress();
    if (!task()) show(pending());
  },
  caughtUp() {
    tell();
    announce(word("back_online"));
  },
  refused(code) {
    if (code === 401) tell(`${word("signed_out")} `, link(`${signIn}?next=${encodeURIComponent(home)}`, word("sign_in")));
    else tell(`${word("refused")} `, link(home, word("reload")));
    showProgress();
  },
  dropped(entry, message) {
    finished.delete(entry.id);
    // It was never given: there is nothing of it to change.
    forgetPast(entry);
    const said = word("dropped", { message: message || word("not_yours") });
    if (task()) say(said);
    else line = said;
    tell(said);
    showProgress();
    showUndo();
    if (task() || hand.length || waiting || outbox.entries().length) goOnIfEmpty();
    else show(stopped(said));
  },
  returned(entry, message) {
    finished.delete(entry.id);
    const element = forgetPast(entry)?.element;
    const said = word("not_taken", { message });
    if (entry.kind === "answer") putBack(entry.id, entry.fields);
    if (element) {
      if (entry.revises) markRevising(element);
      hand.unshift(element);
      line = message;
    } else {
      // Sent by an earlier page: its pair is fetched again.
      change(entry.url.replace(/(submit|skip)\/$/, "")).then(() => say(message));
    }
    if (task()) say(said);
    showProgress();
    goOnIfEmpty();
  },
  notDurable() {
    tell(word("storage_full"));
  },
  elsewhere(id, given) {
    showProgress();
    if (!outbox.entries().length) tell();
    if (!given) return goOnIfEmpty();
    const index = hand.findIndex((element) => idOf(element) === id);
    if (index >= 0) hand.splice(index, 1);
    if (idOf(task()) !== id || "revises" in task().dataset) return null;
    showNext();
    say(word("answered_elsewhere"));
    return null;
  },
});

// Beginning --------------------------------------------------------------------------------------------------------

export const begin = () => {
  const first = task();
  const waits = outbox.ids();
  const sent = outbox.sentIds();
  for (const id of sent) finished.add(id);
  take(document);
  if (!first) waiting = holder.firstElementChild;
  const isAnswered = first && !("revises" in first.dataset) && (waits.has(idOf(first)) || sent.has(idOf(first)));
  if (first && !isAnswered) show(first, { focus: false });
  else if (first || hand.length) showNext();
  if (isAnswered && sent.has(idOf(first))) {
    // The server made this page before it had the answer that it has now.
    const place = status.querySelector("[data-progress]");
    place.dataset.done = Number(place.dataset.done) + 1;
    if (!waits.size) goOnIfEmpty();
  }
  showProgress();
  showUndo();
  if (waits.size) outbox.send();
};

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-keep-answer]")) return;
  event.preventDefault();
  keepAnswer();
});
