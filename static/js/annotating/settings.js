// The person's settings: they hold at once, through attributes of the page, and are kept on the server behind.

import { keyOf, setKey } from "./keys.js";
import { post } from "./stage.js";
import { announce, word } from "./words.js";

const AFTER_MS = 400;
const form = document.querySelector("[data-settings-form]");
const ATTRIBUTES = { theme: "theme", text_size: "textSize", width: "width", motion: "motion" };
let timer = 0;

const save = async () => {
  clearTimeout(timer);
  try {
    const response = await post(form.getAttribute("action"), new FormData(form));
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
  if (event.target.dataset.keyInput && !remap(event.target)) return;
  clearTimeout(timer);
  if (name === "language") {
    if (await save()) location.reload();
  } else {
    timer = setTimeout(save, AFTER_MS);
  }
});
form?.addEventListener("focusin", (event) => {
  if (event.target.dataset.keyInput) event.target.select();
});
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
