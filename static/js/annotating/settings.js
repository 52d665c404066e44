// The person's settings: they hold at once, through attributes of the page, and are kept on the server behind.

import { keyOf, setKey } from "./keys.js";
import { post } from "./stage.js";
import { announce, word } from "./words.js";

const AFTER_MS = 400;
const form = document.querySelector("[data-settings-form]");
const ATTRIBUTES = { theme: "theme", text_size: "textSize", width: "width", motion: "motion" };
const changed = new Set();
let timer = 0;

const save = async () => {
  clearTimeout(timer);
  try {
    // A key that was left alone is not sent: it stays the project's, whatever the project makes of it.
    // The form's own token may be of a session that is over; `post` sends the newest.
    const fields = [...new FormData(form)].filter(
      ([name]) => name !== "csrfmiddlewaretoken" && (!name.startsWith("key-") || changed.has(name)),
    );
    const response = await post(form.getAttribute("action"), fields);
    if (!response.ok) throw new Error(response.statusText);
    announce(word("settings_saved"));
    return true;
  } catch {
    announce(word("settings_unsaved"));
    return false;
  }
};

const nameOf = (act) => form.querySelector(`label[for="key-${act}"]`)?.textContent ?? keyOf[act];

const remap = (input) => {
  const act = input.dataset.keyInput;
  const key = input.value.trim();
  const line = form.querySelector("[data-key-line]");
  const taken = Object.keys(keyOf).find((other) => other !== act && keyOf[other]?.toLowerCase() === key.toLowerCase());
  line.textContent = key && taken ? word("key_taken", { key, act: nameOf(taken) }) : "";
  if (key && taken) {
    input.value = keyOf[act];
    input.select();
    return false;
  }
  if (key) setKey(act, key);
  return true;
};

form?.addEventListener("input", async (event) => {
  const { name, value } = event.target;
  if (name in ATTRIBUTES) document.documentElement.dataset[ATTRIBUTES[name]] = value;
  if (event.target.dataset.keyInput) {
    if (!remap(event.target)) return;
    changed.add(name);
  }
  clearTimeout(timer);
  if (name === "language") {
    if (await save()) location.reload();
  } else {
    timer = setTimeout(save, AFTER_MS);
  }
});
// An act without a key gets the project's again, which the server knows.
form?.addEventListener("change", async (event) => {
  if (event.target.dataset.keyInput && !event.target.value.trim() && (await save())) location.reload();
});
form?.addEventListener("focusin", (event) => {
  if (event.target.dataset.keyInput) event.target.select();
});
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
