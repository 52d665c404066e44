// Reading a pair: tabs on a phone, scrolling together, raw text, copying, folding the prompt, dialogs.
(() => {
  "use strict";

  const root = document.documentElement;
  root.classList.add("js");

  const remembered = (name) => {
    try {
      return localStorage.getItem(`tiebreak-${name}`) === "true";
    } catch {
      return false; // storage is off in this browser: the setting lives as long as the page
    }
  };
  const remember = (name, value) => {
    try {
      localStorage.setItem(`tiebreak-${name}`, String(value));
    } catch {
      // as above: nothing is lost but the memory of a setting
    }
  };

  let linked = remembered("scroll-together");

  const bodies = () => [...document.querySelectorAll("[data-response-body]")];

  // A region that scrolls must be reachable by keyboard; one that does not scroll must not stand in the way.
  const markScrollers = () => {
    for (const element of document.querySelectorAll("[data-scroller], .markdown pre, .table-scroll")) {
      const scrolls =
        element.scrollHeight > element.clientHeight + 1 || element.scrollWidth > element.clientWidth + 1;
      if (scrolls) element.tabIndex = 0;
      else element.removeAttribute("tabindex");
    }
  };

  const showLinked = () => {
    document.querySelector("[data-scroll-link]")?.setAttribute("aria-pressed", String(linked));
  };

  const addCodeCopies = () => {
    for (const head of document.querySelectorAll(".code__head:not([data-ready])")) {
      head.dataset.ready = "";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "code__copy";
      button.textContent = "Copy";
      button.dataset.copyCode = "";
      head.append(button);
    }
  };

  const begin = () => {
    addCodeCopies();
    showLinked();
    markScrollers();
  };

  const showSide = (name) => {
    const sides = document.querySelector("[data-sides]");
    if (!sides) return;
    sides.dataset.side = name;
    for (const tab of sides.querySelectorAll("[data-side-tab]")) {
      tab.setAttribute("aria-pressed", String(tab.dataset.sideTab === name));
    }
  };

  const setRaw = (response, raw) => {
    response.querySelector("[data-raw-toggle]").setAttribute("aria-pressed", String(raw));
    response.querySelector("[data-raw]").hidden = !raw;
    const read = response.querySelector(".response__read, .response__empty");
    if (read) read.hidden = raw;
    markScrollers();
  };

  const toggleRawBoth = () => {
    const responses = [...document.querySelectorAll("[data-response]")];
    const raw = responses.some((response) => response.querySelector("[data-raw]").hidden);
    for (const response of responses) setRaw(response, raw);
  };

  const foldPrompt = (button) => {
    const prompt = button.closest("[data-prompt]");
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    button.querySelector("[data-fold-label]").textContent = open ? "Fold" : "Open";
    prompt.classList.toggle("prompt--folded", !open);
    markScrollers();
  };

  const selectText = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };

  const copy = async (button, source) => {
    let outcome = "Copied";
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // Without HTTPS or permission a page may not write the clipboard; a selection is one key away from it.
      selectText(source);
      outcome = "Selected: press Ctrl C";
    }
    button.dataset.copied = outcome;
    document.getElementById("announcement").textContent = outcome;
    setTimeout(() => delete button.dataset.copied, 1500);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const response = button.closest("[data-response]");
    if (button.dataset.opens) document.getElementById(button.dataset.opens)?.showModal();
    else if (button.dataset.sideTab) showSide(button.dataset.sideTab);
    else if ("rawToggle" in button.dataset) setRaw(response, response.querySelector("[data-raw]").hidden);
    else if ("copy" in button.dataset) copy(button, response.querySelector("[data-raw]"));
    else if ("copyCode" in button.dataset) copy(button, button.closest(".code").querySelector("code"));
    else if ("promptFold" in button.dataset) foldPrompt(button);
    else if ("scrollLink" in button.dataset) {
      linked = !linked;
      remember("scroll-together", linked);
      showLinked();
    }
  });

  // A click beside an open dialog closes it.
  document.addEventListener("click", (event) => {
    if (event.target instanceof HTMLDialogElement) event.target.close();
  });

  // Both sides move by the same share of their length. A scroll that we made ourselves is not passed back.
  let echo = null;
  document.addEventListener(
    "scroll",
    (event) => {
      const body = event.target;
      if (!linked || !(body instanceof Element) || !body.matches("[data-response-body]")) return;
      if (echo === body) {
        echo = null;
        return;
      }
      const other = bodies().find((candidate) => candidate !== body);
      const room = body.scrollHeight - body.clientHeight;
      const otherRoom = other.scrollHeight - other.clientHeight;
      if (room <= 0 || otherRoom <= 0) return;
      const target = Math.round((body.scrollTop / room) * otherRoom);
      if (Math.abs(other.scrollTop - target) < 1) return;
      echo = other;
      other.scrollTop = target;
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
      if (!touch) return;
      const end = event.changedTouches[0];
      const across = end.clientX - touch.clientX;
      if (Math.abs(across) > 64 && Math.abs(across) > 2 * Math.abs(end.clientY - touch.clientY)) {
        showSide(across < 0 ? "B" : "A");
      }
      touch = null;
    },
    { passive: true },
  );

  window.addEventListener("resize", markScrollers);
  document.addEventListener("toggle", markScrollers, true);
  document.addEventListener("tiebreak:raw-both", toggleRawBoth);
  document.addEventListener("htmx:afterSettle", begin);
  begin();
})();
