// Answering a pair: keys, submitting once, trying again when the connection is lost, and where the focus goes.
(() => {
  "use strict";

  const DOUBLE_CLICK_MS = 500;
  const RETRY_SECONDS = [2, 4, 8, 15, 30];
  let tries = 0;
  let retryTimer = 0;
  let sentTask = null;
  let clickedAt = -Infinity;

  const form = () => document.querySelector("[data-answer-form]");
  const line = (...parts) => {
    const place = document.querySelector("[data-line]");
    if (place) place.replaceChildren(...parts);
  };
  const isWriting = (element) => element.matches?.("textarea, input:not([type=radio], [type=checkbox]), select");

  const missing = (current) => {
    const data = new FormData(current);
    if (!data.get("answer")) return "Nothing is chosen yet. Choose with 1 to 7, x or c, then submit.";
    const needsReason = "reasonRequired" in current.dataset && data.get("answer") !== "unsure";
    if (needsReason && !data.get("rationale").trim()) {
      return "This project asks for a reason. Say in a sentence why you chose so, then submit.";
    }
    return "";
  };

  const press = (key) => {
    const control = [...document.querySelectorAll("[data-key]")].find(
      (element) => element.dataset.key === key && !element.closest("dialog"),
    );
    if (!control) return false;
    if (control.type === "radio") {
      control.checked = true;
      control.focus({ preventScroll: true });
      control.dispatchEvent(new Event("input", { bubbles: true }));
    } else if (control.matches("textarea")) {
      control.focus();
    } else {
      control.click();
    }
    return true;
  };

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.repeat || document.querySelector("dialog[open]")) return;
    const { target, key } = event;
    const modified = event.ctrlKey || event.metaKey;
    if (isWriting(target)) {
      if (key === "Escape") document.querySelector("#prompt-title")?.focus({ preventScroll: true });
      if (key === "Enter" && modified) {
        event.preventDefault();
        form()?.requestSubmit();
      }
      return;
    }
    if (event.altKey || modified) return;
    if (key === "Enter") {
      if (target.closest("button, a, summary")) return;
      event.preventDefault();
      form()?.requestSubmit();
    } else if (key === "w") {
      document.dispatchEvent(new CustomEvent("tiebreak:raw-both"));
    } else if (press(key)) {
      event.preventDefault();
    }
  });

  // Before htmx sends: nothing leaves without a choice, and nothing leaves twice.
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.target.matches("[data-answer-form]")) return;
    const complaint = missing(event.target);
    if (complaint) {
      event.preventDefault();
      line(complaint);
      if (new FormData(event.target).get("answer")) event.target.elements.rationale.focus();
    }
  });

  // The second half of a double click may land on the next pair's button: nobody has read that pair yet.
  document.addEventListener(
    "click",
    (event) => {
      if (!event.target.closest?.(".reason__submit")) return;
      if (event.timeStamp - clickedAt < DOUBLE_CLICK_MS) event.preventDefault();
      else clickedAt = event.timeStamp;
    },
    true,
  );

  document.addEventListener("htmx:beforeRequest", (event) => {
    clearTimeout(retryTimer);
    sentTask = document.querySelector("[data-task]")?.dataset.task ?? null;
    event.target.setAttribute("aria-busy", "true");
  });
  document.addEventListener("htmx:afterRequest", (event) => event.target.removeAttribute?.("aria-busy"));

  const tryAgain = (why) => {
    const seconds = RETRY_SECONDS[Math.min(tries, RETRY_SECONDS.length - 1)];
    tries += 1;
    line(`${why} Your answer is kept on this device; trying again in ${seconds} s.`);
    retryTimer = setTimeout(() => form()?.requestSubmit(), seconds * 1000);
  };
  const linkTo = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text });
  const isAnswer = (event) => event.detail.elt?.matches("[data-answer-form]");

  for (const kind of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(kind, (event) => {
      if (isAnswer(event)) tryAgain("The server cannot be reached.");
      else line("The server cannot be reached. The pair was not skipped; try again.");
    });
  }
  window.addEventListener("online", () => {
    if (!tries) return;
    clearTimeout(retryTimer);
    form()?.requestSubmit();
  });

  document.addEventListener("htmx:responseError", (event) => {
    const { status } = event.detail.xhr;
    if (status >= 500 && isAnswer(event)) {
      tryAgain("The server could not store the answer.");
    } else if (status === 401) {
      const address = `/sign-in/?next=${encodeURIComponent(location.pathname)}`;
      line("You were signed out. Your answer is kept on this device. ", linkTo(address, "Sign in again"));
    } else {
      line("The server did not take this. Your answer is kept on this device. ", linkTo(location.pathname, "Reload"));
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "task") return;
    const task = document.querySelector("[data-task]")?.dataset.task;
    tries = 0;
    clearTimeout(retryTimer);
    if (task && task === sentTask) return; // refused: the same pair with a line that says why
    if (sentTask) document.dispatchEvent(new CustomEvent("tiebreak:stored", { detail: sentTask }));
    document.querySelector("#prompt-title, #waiting-title")?.focus({ preventScroll: true });
  });
})();
