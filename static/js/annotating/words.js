// Words in the person's language, and the two places where they are said: the live region and the line above the choice.

const table = JSON.parse(document.getElementById("words")?.textContent || "{}");

export const word = (name, values = {}) =>
  (table[name] ?? name).replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));

export const announce = (text) => {
  const region = document.getElementById("announcement");
  // The same words twice are only read out again if the region changed in between.
  region.textContent = region.textContent === text ? `${text}\u00a0` : text;
};

export const say = (...parts) => {
  const line = document.querySelector("#task [data-line]");
  if (line) line.replaceChildren(...parts);
  else announce(parts.map((part) => part.textContent ?? part).join(" "));
};

export const link = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text });

const language = document.documentElement.lang || "en";
export const number = (value) => {
  try {
    return new Intl.NumberFormat(language, { numberingSystem: "latn", useGrouping: "always" }).format(value);
  } catch {
    return String(value);
  }
};
