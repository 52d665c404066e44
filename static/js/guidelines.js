// Searching the guidelines: passages without the words step aside, the words are marked. Without this file a browser's own find does it.
(() => {
  "use strict";

  const HIGHLIGHT = "guidelines-search";

  // Case and accents do not count. One folded character for each original one, so that places stay the same.
  const fold = (text) =>
    Array.from(text.toLowerCase(), (character) =>
      (character.normalize("NFD").replace(/\p{M}/gu, "") || character).padEnd(character.length, "\u0000").slice(0, character.length),
    ).join("");

  const isHeading = (element) => /^H[1-6]$/.test(element.tagName);

  // Each passage with the headings it stands under.
  const passagesOf = (text) => {
    const above = [];
    return [...text.children].map((element) => {
      if (isHeading(element)) {
        while (above.length && above.at(-1).tagName >= element.tagName) above.pop();
        above.push(element);
        return { element, headings: above.slice(0, -1) };
      }
      return { element, headings: [...above] };
    });
  };

  // The places of the words, across the elements that a passage is made of.
  const rangesIn = (element, words) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const nodes = [];
    let whole = "";
    while (walker.nextNode()) {
      nodes.push({ node: walker.currentNode, start: whole.length });
      whole += walker.currentNode.data;
    }
    const folded = fold(whole);
    if (folded.length !== whole.length) return [];
    const place = (offset) => {
      const { node, start } = nodes.findLast((one) => one.start <= offset);
      return [node, offset - start];
    };
    const ranges = [];
    for (let at = folded.indexOf(words); at >= 0; at = folded.indexOf(words, at + words.length)) {
      const range = new Range();
      range.setStart(...place(at));
      const [node, offset] = place(at + words.length - 1);
      range.setEnd(node, offset + 1);
      ranges.push(range);
    }
    return ranges;
  };

  const search = (holder) => {
    const text = holder.querySelector("[data-guidelines-text]");
    const words = fold(holder.querySelector("[data-guidelines-input]").value.trim());
    const found = holder.querySelector("[data-guidelines-found]");
    const passages = passagesOf(text);
    const shown = new Set();
    const ranges = [];
    let hits = 0;
    for (const { element, headings } of passages) {
      if (words && !fold(element.textContent).includes(words)) continue;
      hits += 1;
      shown.add(element);
      for (const heading of headings) shown.add(heading);
      if (words) ranges.push(...rangesIn(element, words));
    }
    // A heading that was found brings what stands under it.
    if (words) {
      for (const { element, headings } of passages) {
        if (headings.some((heading) => fold(heading.textContent).includes(words))) shown.add(element);
      }
    }
    for (const { element } of passages) element.hidden = words !== "" && hits > 0 && !shown.has(element);
    if (!words) found.textContent = "";
    else found.textContent = hits ? holder.dataset.found.replace("{n}", String(hits)) : holder.dataset.none;
    if (globalThis.CSS?.highlights) CSS.highlights.set(HIGHLIGHT, new Highlight(...ranges));
  };

  const begin = () => {
    for (const box of document.querySelectorAll("[data-guidelines-search]")) box.hidden = false;
  };

  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-guidelines-input]")) return;
    search(event.target.closest("[data-guidelines]"));
  });
  // Escape empties the box first; in a drawer it closes only when there is nothing to empty.
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (key !== "Escape" || !target.matches?.("[data-guidelines-input]") || !target.value) return;
    event.preventDefault();
    target.value = "";
    search(target.closest("[data-guidelines]"));
  });
  // The text is another one now: what was searched for is searched again.
  document.addEventListener("htmx:afterSettle", () => {
    begin();
    for (const input of document.querySelectorAll("[data-guidelines-input]")) {
      if (input.value) search(input.closest("[data-guidelines]"));
    }
  });
  begin();
})();
