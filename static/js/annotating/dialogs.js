// Dialogs: help with the keys that hold now, passing on, the last answers.

import { change, pass } from "./hand.js";
import { drawKeys } from "./keys.js";
import { current } from "./rows.js";
import { isWriting, post, recentUrl, task } from "./stage.js";
import { say, word } from "./words.js";

const dialog = (id) => document.getElementById(id);

export const open = (id) => {
  const wanted = dialog(id);
  if (!wanted || wanted.open) return false;
  document.getElementById("tools")?.hidePopover?.();
  if (id === "help") listSteps();
  drawKeys();
  wanted.showModal();
  return true;
};

// What the digits do now: the row that is current, and its options.
const listSteps = () => {
  const place = dialog("help").querySelector("[data-help-row]");
  const row = current();
  place.hidden = !row;
  if (!row) return;
  place.querySelector("[data-help-question]").textContent = row.querySelector("legend").textContent.trim();
  place.querySelector("[data-help-steps]").replaceChildren(
    ...[...row.querySelectorAll(".scale input")].flatMap((input) => {
      const label = input.closest("label");
      const term = document.createElement("dt");
      const key = label.querySelector("kbd").cloneNode(true);
      key.hidden = false;
      term.append(key);
      const what = document.createElement("dd");
      what.textContent = input.getAttribute("aria-label") ?? label.querySelector(".choice__text").textContent;
      return [term, what];
    }),
  );
};

export const openSkip = () => {
  if (!task() || "revises" in task().dataset) return false;
  const form = dialog("skip").querySelector("[data-skip-form]");
  form.reset();
  return open("skip");
};

export async function openRecent() {
  let html;
  try {
    const response = await fetch(recentUrl, { headers: { "HX-Request": "true" } });
    if (!response.ok) throw new Error(response.statusText);
    html = await response.text();
  } catch {
    return say(word("cannot_show"));
  }
  const parsed = new DOMParser().parseFromString(html, "text/html");
  dialog("recent").querySelector("[data-recent-body]").replaceChildren(...parsed.body.childNodes);
  return open("recent");
}

document.addEventListener("click", (event) => {
  const target = event.target;
  if (target instanceof HTMLDialogElement) return target.close(); // beside the open dialog
  const opener = target.closest?.("[data-opens]");
  if (opener) return open(opener.dataset.opens);
  if (target.closest?.('[data-act="skip"]')) return openSkip();
  if (target.closest?.('header [data-act="recent"]')) {
    event.preventDefault();
    return openRecent();
  }
  const changed = target.closest?.("dialog [data-change]");
  if (changed) {
    event.preventDefault();
    changed.closest("dialog").close();
    return change(changed.getAttribute("href"));
  }
  return null;
});

// A judge's answer, after one's own: kept or changed, the next pair waits behind the dialog.
// One after the other, and none over words that are being written: its button would take the next key.
const suggestions = [];
const showSuggestion = () => {
  if (!suggestions.length || document.querySelector("dialog[open]") || isWriting(document.activeElement)) return;
  dialog("suggestion").querySelector("[data-suggestion-body]").replaceChildren(suggestions.shift());
  open("suggestion");
};
document.addEventListener("tiebreak:suggestion", (event) => {
  suggestions.push(event.detail);
  showSuggestion();
});
document.addEventListener("focusout", () => setTimeout(showSuggestion));
document.addEventListener("close", () => setTimeout(showSuggestion), true);
dialog("suggestion")?.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-suggestion-form]")) return;
  event.preventDefault();
  post(event.target.action, []).catch(() => say(word("cannot_show")));
  dialog("suggestion").close();
});

dialog("skip")?.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-skip-form]")) return;
  event.preventDefault();
  const fields = [...new FormData(event.target)];
  dialog("skip").close();
  pass(fields);
});
