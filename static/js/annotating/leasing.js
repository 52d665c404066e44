// Leases: the clock of the task on the screen, and asking for more time while somebody works.

import { inHand } from "./hand.js";
import { arrivedAt, onShow, post, task } from "./stage.js";
import { lastActive } from "./timing.js";
import { say, word } from "./words.js";

const LOW_SECONDS = 120;
const leases = new WeakMap(); // element: {deadline, seconds, askedAt, lapsed}
const place = document.querySelector("[data-lease]");

const leaseOf = (element) => {
  if (!leases.has(element)) {
    const left = Number(element.dataset.secondsLeft) * 1000;
    leases.set(element, {
      deadline: arrivedAt(element) + left,
      seconds: Number(element.dataset.leaseSeconds) || 0,
      askedAt: arrivedAt(element),
      lapsed: false,
    });
  }
  return leases.get(element);
};

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

const showClock = () => {
  const element = task();
  place.hidden = !element || "revises" in element.dataset || !leaseOf(element).seconds;
  if (place.hidden) return;
  const lease = leaseOf(element);
  const left = Math.max(0, Math.ceil((lease.deadline - Date.now()) / 1000));
  place.querySelector("[data-lease-clock]").textContent = left ? clock(left) : "";
  place.querySelector("[data-lease-label]").textContent = word(left ? "held" : "lapsed");
  place.classList.toggle("lease--low", left < Math.min(LOW_SECONDS, lease.seconds / 4));
  if (!left && !lease.lapsed) {
    lease.lapsed = true;
    say(word("lapsed_line"));
  }
};

async function renew(element) {
  const lease = leaseOf(element);
  lease.askedAt = Date.now();
  let response;
  try {
    response = await post(element.dataset.renewUrl, []);
  } catch {
    return; // offline: the clock runs on, and the next activity asks again
  }
  if (response.ok) {
    const { seconds_left: left } = await response.json();
    // The server holds those ahead for as long again.
    for (const held of [element, ...inHand()]) {
      Object.assign(leaseOf(held), { deadline: Date.now() + left * 1000, askedAt: Date.now(), lapsed: false });
    }
  } else if (response.status === 409 || response.status === 404) {
    lease.lapsed = true;
    const { message } = await response.json().catch(() => ({}));
    if (element === task()) say(message ?? word("lapsed_line"));
  }
}

const isActive = () => document.visibilityState === "visible" && navigator.onLine;

const tick = () => {
  showClock();
  const element = task();
  if (!element || !isActive()) return;
  const lease = leaseOf(element);
  const every = Math.min(60, lease.seconds / 3) * 1000;
  const due = lastActive() > lease.askedAt && Date.now() - lease.askedAt > every;
  if (!("revises" in element.dataset) && !lease.lapsed && due) renew(element);
};

onShow((element) => {
  showClock();
  const lease = leaseOf(element);
  const late = lease.deadline - Date.now() < (lease.seconds * 1000) / 4;
  if (lease.seconds && late && !("revises" in element.dataset) && navigator.onLine) renew(element);
});
setInterval(tick, 1000);
