// Practice by keys: a digit chooses, Enter checks the answer or goes on.
(() => {
  "use strict";

  document.documentElement.classList.add("js");

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.isComposing || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
    if (target.matches("textarea, select, input:not([type=radio])")) return;
    const form = document.querySelector("[data-practice]");
    if (key === "Enter") {
      if (target.closest("a, button, summary")) return;
      event.preventDefault();
      if (form) form.requestSubmit();
      else document.querySelector("[data-goes-on]")?.click();
      return;
    }
    const choice = [...(form?.querySelectorAll("[data-key]") ?? [])].find((one) => one.dataset.key === key);
    if (!choice) return;
    event.preventDefault();
    choice.checked = true;
    choice.focus({ preventScroll: true });
  });
})();
