// Quoting a response in the reason: select words, press the key; each quote is a chip, and marked in the text.

import { form, onShow, task } from "./stage.js";
import { openExtras } from "./rows.js";
import { announce, say, word } from "./words.js";

const MOST_SHOWN = 60;
const floating = document.querySelector("[data-cite-here]");
const field = () => form()?.querySelector("[data-spans]") ?? null;

const quotes = () => {
  try {
    const read = JSON.parse(field().value || "[]");
    return Array.isArray(read) ? read : [];
  } catch {
    return [];
  }
};

const offsetIn = (root, node, offset) => {
  const range = document.createRange();
  range.setStart(root, 0);
  range.setEnd(node, offset);
  return range.toString().length;
};

const rangeOf = (root, start, end) => {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let passed = 0;
  let begun = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.data.length;
    if (!begun && start < passed + length) {
      range.setStart(node, start - passed);
      begun = true;
    }
    if (begun && end <= passed + length) {
      range.setEnd(node, end - passed);
      return range;
    }
    passed += length;
  }
  return null;
};

// The selection, where it lies in one response's formatted text.
const selected = () => {
  const selection = getSelection();
  if (!field() || !selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  const inside = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest("[data-read]");
  const root = inside(range.startContainer);
  if (!root || root !== inside(range.endContainer)) return null;
  const start = offsetIn(root, range.startContainer, range.startOffset);
  const end = offsetIn(root, range.endContainer, range.endOffset);
  const whole = root.textContent.slice(start, end);
  const lead = whole.length - whole.trimStart().length;
  const text = whole.trim();
  if (!text) return null;
  return { side: root.closest("[data-response]").dataset.response, start: start + lead, end: start + lead + text.length, text };
};

const write = (all) => {
  field().value = all.length ? JSON.stringify(all) : "";
  field().dispatchEvent(new Event("input", { bubbles: true }));
  draw();
};

export const cite = () => {
  const quote = selected();
  if (!quote) return say(word("quote_nothing"));
  const known = quotes();
  openExtras();
  getSelection().removeAllRanges();
  floating.hidden = true;
  if (!known.some((one) => one.side === quote.side && one.start === quote.start && one.end === quote.end)) {
    write([...known, quote]);
  }
  return announce(word("quoted", { response: quote.side }));
};

const draw = () => {
  const place = form()?.querySelector("[data-quotes]");
  if (!place) return;
  const all = quotes();
  place.hidden = !all.length;
  place.replaceChildren(
    ...all.map((quote, index) => {
      const text = quote.text.length > MOST_SHOWN ? `${quote.text.slice(0, MOST_SHOWN)}…` : quote.text;
      const made = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quote";
      button.dataset.quote = index;
      button.setAttribute("aria-label", word("quote_remove", { response: quote.side, text }));
      const side = Object.assign(document.createElement("b"), { textContent: quote.side });
      const words = Object.assign(document.createElement("q"), { textContent: text, dir: "auto" });
      const cross = Object.assign(document.createElement("span"), { textContent: "×" });
      cross.setAttribute("aria-hidden", "true");
      button.append(side, words, cross);
      made.append(button);
      return made;
    }),
  );
  if (!CSS.highlights || typeof Highlight === "undefined") return;
  const ranges = all
    .map((quote) => {
      const root = task().querySelector(`[data-response="${CSS.escape(quote.side)}"] [data-read]`);
      return root && rangeOf(root, quote.start, quote.end);
    })
    .filter(Boolean);
  CSS.highlights.set("quote", new Highlight(...ranges));
};

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-quote]");
  if (!button) return;
  const at = Number(button.dataset.quote);
  write(quotes().filter((one, index) => index !== at));
  announce(word("quote_gone"));
  const left = form().querySelectorAll("[data-quote]");
  (left[Math.min(at, left.length - 1)] ?? form().elements.rationale)?.focus();
});

// A button beside the selection, for hands that are on the mouse or on glass.
document.addEventListener("selectionchange", () => {
  const quote = selected();
  floating.hidden = !quote;
  if (!quote) return;
  const box = getSelection().getRangeAt(0).getBoundingClientRect();
  const top = box.bottom + 8 + 40 < innerHeight ? box.bottom + 8 : Math.max(8, box.top - 44);
  floating.style.top = `${Math.round(top)}px`;
  floating.style.left = `${Math.round(Math.min(Math.max(8, box.left), innerWidth - 112))}px`;
});
floating.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the selection
floating.addEventListener("click", cite);
onShow(() => {
  floating.hidden = true;
  CSS.highlights?.delete("quote");
  draw();
});
