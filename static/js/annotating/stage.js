// The task on the screen, and who wants to know when it changes.

export const holder = document.getElementById("task");
export const { person, project, signIn, home, recentUrl } = holder.dataset;

export const task = () => holder.querySelector(":scope > [data-task]");
export const formOf = (element) => element?.querySelector("[data-answer-form]") ?? null;
export const form = () => formOf(task());
export const idOf = (element) => element?.dataset.task ?? null;

const arrivals = new WeakMap();
const handlers = [];

// Call `handler` with each task that comes onto the screen, in the order in which modules asked.
export const onShow = (handler) => handlers.push(handler);

// Note when a task reached this device: its lease runs from then.
export const arrive = (element) => {
  if (!arrivals.has(element)) arrivals.set(element, Date.now());
  for (const fallback of element.querySelectorAll("noscript")) fallback.remove();
  return element;
};
export const arrivedAt = (element) => arrivals.get(element) ?? Date.now();

export const show = (element, { focus = true } = {}) => {
  holder.replaceChildren(element);
  if (element.dataset.task) {
    arrive(element);
    for (const handler of handlers) handler(element);
  }
  if (focus) element.querySelector("#prompt-title, .waiting__title")?.focus({ preventScroll: true });
};

// The token may have changed since the page was made (signed in again in another tab): the cookie has the newest.
export const token = () =>
  /(?:^|;\s*)csrftoken=([^;]+)/.exec(document.cookie)?.[1] ??
  document.querySelector("[name=csrfmiddlewaretoken]")?.value ??
  "";

export const post = (url, fields, options = {}) =>
  fetch(url, {
    method: "POST",
    body: new URLSearchParams(fields),
    // Whom the page was made for: somebody else may have signed in since, in another tab.
    headers: { "HX-Request": "true", "X-CSRFToken": token(), "X-Tiebreak-Person": encodeURIComponent(person) },
    ...options,
  });

const OURS = new Set(["csrfmiddlewaretoken", "held"]);
export const fieldsOf = (element) => [...new FormData(formOf(element))].filter(([name]) => !OURS.has(name));

// A field of a dialog that has just closed keeps the focus until the next frame: nobody writes in what is not shown.
export const isWriting = (element) =>
  Boolean(
    element?.matches?.("textarea, select, input:not([type=radio], [type=checkbox])") && element.getClientRects().length,
  );
