// What is kept on this device. Where the browser keeps nothing (full, or switched off), it is kept while the page lives.

const memory = new Map();
let durable = true;

export const isDurable = () => durable || memory.size === 0;

export const keep = (key, value) => {
  const text = JSON.stringify(value);
  try {
    localStorage.setItem(key, text);
    memory.delete(key);
    return true;
  } catch {
    durable = false;
    memory.set(key, text);
    return false;
  }
};

export const kept = (key) => {
  try {
    return JSON.parse(memory.get(key) ?? localStorage.getItem(key));
  } catch {
    return null; // unreadable, or storage is off
  }
};

export const drop = (key) => {
  memory.delete(key);
  try {
    localStorage.removeItem(key);
  } catch {
    // there was none
  }
};

export const keysFrom = (prefix) => {
  const keys = new Set(memory.keys());
  try {
    for (const key of Object.keys(localStorage)) keys.add(key);
  } catch {
    // storage is off: memory holds all there is
  }
  return [...keys].filter((key) => key.startsWith(prefix)).sort();
};
