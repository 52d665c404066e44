// The preview follows the form: after a change the form is sent to the frame beside it, where nothing is stored.

const form = document.getElementById("screen-form");
const frame = document.querySelector('iframe[name="preview"]');
const line = document.querySelector("[data-preview-line]");
const AFTER_MS = 350;
const usual = line.textContent;
let timer = 0;
let place = 0;

const send = () => {
  clearTimeout(timer);
  place = frame.contentWindow?.scrollY ?? 0;
  line.textContent = "Following your changes …";
  // A form of its own: the page's one keeps its target, its checks and its focus.
  const copy = document.createElement("form");
  Object.assign(copy, { method: "post", action: form.dataset.preview, target: "preview", hidden: true });
  for (const [name, value] of new FormData(form)) {
    copy.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.body.append(copy);
  copy.submit();
  copy.remove();
};

const later = () => {
  clearTimeout(timer);
  timer = setTimeout(send, AFTER_MS);
};

form.addEventListener("input", later);
frame.addEventListener("load", () => {
  line.textContent = usual;
  frame.contentWindow?.scrollTo(0, place);
});
