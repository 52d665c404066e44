// Reading: tabs on a phone, scrolling together, raw text, copying, folding, lengths, differences, pictures.

import { holder, onShow, task } from "./stage.js";
import { drop, keep, kept } from "./storing.js";
import { announce, number, say, word } from "./words.js";

let linked = kept("tiebreak-scroll-together") === true;
let lengths = false;

const responses = () => [...(task()?.querySelectorAll("[data-response]") ?? [])];
const bodies = () => [...(task()?.querySelectorAll("[data-response-body]") ?? [])];

// A region that scrolls must be reachable by keyboard; one that does not scroll must not stand in the way.
const markScrollers = () => {
  for (const element of holder.querySelectorAll("[data-scroller], .markdown pre, .table-scroll, [data-sides]")) {
    const style = getComputedStyle(element);
    const scrolls =
      (/auto|scroll/.test(style.overflowY) && element.scrollHeight > element.clientHeight + 1) ||
      (/auto|scroll/.test(style.overflowX) && element.scrollWidth > element.clientWidth + 1);
    if (scrolls) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  }
  for (const response of responses()) {
    const button = response.querySelector("[data-show-all]");
    const body = response.querySelector("[data-response-body]");
    const open = response.classList.contains("response--all");
    if (button) button.hidden = !open && body.scrollHeight <= body.clientHeight + 1;
  }
};

const addButtons = (element) => {
  for (const head of element.querySelectorAll(".code__head:not([data-ready])")) {
    head.dataset.ready = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "code__copy";
    button.dataset.label = word("copy");
    button.setAttribute("aria-label", word("copy_code"));
    button.dataset.copyCode = "";
    head.append(button);
  }
  for (const place of element.querySelectorAll(".image-consent:not([data-ready])")) {
    place.dataset.ready = "";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "image-load";
    button.dataset.label = word("image_load");
    button.setAttribute("aria-label", word("image_load_from", { host: place.dataset.imageHost }));
    button.dataset.loadImage = "";
    place.append(button);
  }
};

export const showSide = (name) => {
  for (const response of responses()) response.classList.toggle("response--shown", response.dataset.response === name);
  for (const tab of task().querySelectorAll("[data-side-tab]")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.sideTab === name));
    if (tab.dataset.sideTab === name) tab.scrollIntoView?.({ block: "nearest", inline: "nearest" });
  }
  for (const chips of task().querySelectorAll("[data-chips-of]")) {
    chips.classList.toggle("chips--shown", chips.dataset.chipsOf === name);
  }
  markScrollers();
};

// One of three is shown of each response: formatted, raw, or with the words marked that differ.
const showAs = (response, view) => {
  const parts = {
    read: response.querySelector("[data-read], .response__empty"),
    raw: response.querySelector("[data-raw]"),
    diff: response.querySelector("[data-diff-of]"),
  };
  const shown = view === "diff" && !parts.diff.hasChildNodes() ? "read" : view;
  for (const [name, part] of Object.entries(parts)) if (part) part.hidden = name !== shown;
  response.dataset.view = shown;
  response.querySelector("[data-raw-toggle]").setAttribute("aria-pressed", String(shown === "raw"));
  markScrollers();
};
const isRaw = (response) => response.dataset.view === "raw";

export const toggleRaw = () => {
  const raw = responses().some((response) => !isRaw(response));
  for (const response of responses()) showAs(response, raw ? "raw" : "read");
  pressDiff(false);
};

const pressDiff = (on) => task()?.querySelector('[data-act="diff"]')?.setAttribute("aria-pressed", String(on));

async function toggleDiff(button) {
  if (button.getAttribute("aria-pressed") === "true") {
    for (const response of responses()) showAs(response, "read");
    return pressDiff(false);
  }
  const element = task();
  if (!element.querySelector("[data-diff-of]")?.hasChildNodes()) {
    try {
      const response = await fetch(button.dataset.diffUrl, { headers: { "HX-Request": "true" } });
      if (!response.ok) throw new Error(response.statusText);
      const parsed = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const template of parsed.querySelectorAll("template[data-diff]")) {
        const place = element.querySelector(`[data-diff-of="${CSS.escape(template.dataset.diff)}"]`);
        place?.replaceChildren(document.adoptNode(template.content));
      }
    } catch {
      return say(word("diff_failed"));
    }
  }
  if (element !== task()) return null;
  for (const response of responses()) showAs(response, "diff");
  return pressDiff(true);
}

const countWords = (text) => {
  if (typeof Intl.Segmenter === "undefined") return text.split(/\s+/).filter(Boolean).length;
  let count = 0;
  for (const part of new Intl.Segmenter(undefined, { granularity: "word" }).segment(text)) if (part.isWordLike) count += 1;
  return count;
};

const showLengths = () => {
  for (const response of responses()) {
    const place = response.querySelector("[data-length]");
    place.hidden = !lengths;
    if (!lengths || place.textContent) continue;
    const text = response.querySelector("[data-raw]").textContent;
    place.textContent = word("length", { words: number(countWords(text)), characters: number([...text].length) });
  }
};

export const toggleLengths = () => {
  lengths = !lengths;
  showLengths();
  if (lengths) announce(responses().map((one) => `${one.dataset.response}: ${one.querySelector("[data-length]").textContent}`).join(". "));
};

export const foldPrompt = () => {
  const prompt = task()?.querySelector("[data-prompt]");
  if (!prompt) return;
  const folded = prompt.classList.toggle("prompt--folded");
  const button = prompt.querySelector('[data-act="prompt"]');
  button.setAttribute("aria-expanded", String(!folded));
  button.querySelector("[data-fold-label]").textContent = word(folded ? "open" : "fold");
  markScrollers();
};

const showLinked = () => {
  task()?.querySelector('[data-act="link"]')?.setAttribute("aria-pressed", String(linked));
};

// A page up or down of the responses, for hands that stay on the keyboard.
export const scrollPage = (by) => {
  const many = task()?.querySelector(".sides--many");
  const all = many ? [many] : bodies();
  for (const body of all) body.scrollBy({ top: by * body.clientHeight * 0.85, behavior: "instant" });
  return all.length > 0;
};

const selectText = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
};

const copy = async (button, source) => {
  let outcome = word("copied");
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without HTTPS or permission a page may not write the clipboard; a selection is one key away from it.
    selectText(source);
    outcome = word("selected");
  }
  button.dataset.copied = outcome;
  announce(outcome);
  setTimeout(() => delete button.dataset.copied, 1500);
};

// A picture is fetched from wherever the model's text points to, so only when its reader asks, who sees the host's name.
const loadImage = (place) => {
  const image = new Image();
  image.referrerPolicy = "no-referrer";
  image.alt = place.dataset.imageAlt ?? "";
  image.className = "image";
  image.src = place.dataset.imageSrc;
  image.addEventListener("load", markScrollers);
  place.replaceWith(image);
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button");
  if (!button || !task()) return;
  const response = button.closest("[data-response]");
  if (button.dataset.sideTab) showSide(button.dataset.sideTab);
  else if ("rawToggle" in button.dataset) showAs(response, isRaw(response) ? "read" : "raw");
  else if ("copy" in button.dataset) copy(button, response.querySelector("[data-raw]"));
  else if ("copyCode" in button.dataset) copy(button, button.closest(".code").querySelector("code"));
  else if ("loadImage" in button.dataset) loadImage(button.closest(".image-consent"));
  else if ("showAll" in button.dataset) {
    const all = response.classList.toggle("response--all");
    button.setAttribute("aria-expanded", String(all));
    button.textContent = word(all ? "show_less" : "show_all");
    markScrollers();
  } else if (button.dataset.act === "prompt") foldPrompt();
  else if (button.dataset.act === "diff") toggleDiff(button);
  else if (button.dataset.act === "link") {
    linked = !linked;
    if (linked) keep("tiebreak-scroll-together", true);
    else drop("tiebreak-scroll-together");
    showLinked();
  }
});

// Both sides move by the same share of their length. A scroll that we made ourselves is not passed back.
const echoes = new Set();
document.addEventListener(
  "scroll",
  (event) => {
    const body = event.target;
    if (!linked || !(body instanceof Element) || !body.matches("[data-response-body]")) return;
    if (echoes.delete(body)) return;
    const room = body.scrollHeight - body.clientHeight;
    if (room <= 0) return;
    for (const other of bodies()) {
      const otherRoom = other.scrollHeight - other.clientHeight;
      const target = Math.round((body.scrollTop / room) * otherRoom);
      if (other === body || otherRoom <= 0 || Math.abs(other.scrollTop - target) < 1) continue;
      echoes.add(other);
      other.scrollTop = target;
    }
  },
  true,
);

// A sideways swipe over the text changes sides, unless the finger is on something that scrolls sideways itself.
let touch = null;
document.addEventListener(
  "touchstart",
  (event) => {
    const inside = event.target.closest("[data-response-body]");
    const sideways = event.target.closest("pre, .table-scroll, .formula");
    touch = inside && !sideways ? event.changedTouches[0] : null;
  },
  { passive: true },
);
document.addEventListener(
  "touchend",
  (event) => {
    if (!touch || !task()) return;
    const end = event.changedTouches[0];
    const across = end.clientX - touch.clientX;
    const along = Math.abs(end.clientY - touch.clientY);
    touch = null;
    if (Math.abs(across) <= 64 || Math.abs(across) <= 2 * along || !getSelection().isCollapsed) return;
    const names = responses().map((response) => response.dataset.response);
    const shown = names.indexOf(task().querySelector(".response--shown")?.dataset.response);
    const forward = (across < 0) === (document.documentElement.dir !== "rtl");
    const next = names[shown + (forward ? 1 : -1)];
    if (next) showSide(next);
  },
  { passive: true },
);

window.addEventListener("resize", markScrollers);
document.addEventListener("toggle", markScrollers, true);
const narrow = window.matchMedia("(max-width: 48rem)");
onShow((element) => {
  const context = element.querySelector("[data-context]");
  if (context && narrow.matches && !("seen" in context.dataset)) context.open = false;
  if (context) context.dataset.seen = "";
  // Where the prompt is longer than its place, its newest turn is what is read first.
  const body = element.querySelector(".prompt__body");
  const newest = element.querySelector("[data-newest]");
  if (body.scrollHeight > body.clientHeight) body.scrollTop = newest.offsetTop - body.offsetTop;
  addButtons(element);
  showLinked();
  showLengths();
  showSide(element.querySelector(".response--shown")?.dataset.response ?? "A");
});
