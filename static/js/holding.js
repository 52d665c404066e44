// Holding a pair: the lease's clock, active time, and drafts that survive a reload and a lost connection.
(() => {
  "use strict";

  const IDLE_AFTER_MS = 120_000; // reading without touching anything counts for this long
  const DRAFT_AFTER_MS = 500;
  const LOW_SECONDS = 120;

  let task = null; // {id, form, activeSeconds, deadline, leaseSeconds, renewedAt, lapsed}
  let lastActivity = Date.now();
  let draftTimer = 0;
  let sending = false;
  let changedWhileSending = false;
  let unsent = false; // something on the screen is not on the server yet

  const storageKey = (id) => `tiebreak-draft-${id}`;
  const fields = (form) => new URLSearchParams(new FormData(form));

  const keepLocally = () => {
    const data = new FormData(task.form);
    const copy = { answer: data.get("answer") ?? "", rationale: data.get("rationale") ?? "" };
    try {
      localStorage.setItem(storageKey(task.id), JSON.stringify(copy));
    } catch {
      // storage is full or off: the server's copy is the one that counts
    }
  };

  const dropLocal = (id) => {
    try {
      localStorage.removeItem(storageKey(id));
    } catch {
      // there was none
    }
  };

  // A local copy exists only while the server has not confirmed it, so it is always the newer one.
  const restoreLocal = () => {
    let copy = null;
    try {
      copy = JSON.parse(localStorage.getItem(storageKey(task.id)));
    } catch {
      copy = null; // unreadable or storage off: the server's draft is already on the page
    }
    if (!copy) return;
    task.form.elements.rationale.value = copy.rationale;
    for (const radio of task.form.elements.answer) radio.checked = radio.value === copy.answer;
    scheduleDraft();
  };

  const say = (text) => {
    const line = document.querySelector("[data-line]");
    if (line) line.textContent = text;
  };

  const post = (url, form, options = {}) =>
    fetch(url, { method: "POST", body: fields(form), headers: { "X-Requested-With": "fetch" }, ...options });

  async function sendDraft() {
    if (!task) return;
    if (sending) {
      changedWhileSending = true;
      return;
    }
    const { id, form } = task;
    sending = true;
    changedWhileSending = false;
    try {
      const response = await post(form.dataset.draftUrl, form);
      if (response.ok && !changedWhileSending) {
        dropLocal(id);
        unsent = false;
      }
    } catch {
      // offline: the local copy stays, and the next change or the browser's "online" sends it
    } finally {
      sending = false;
    }
    if (changedWhileSending && task?.id === id) scheduleDraft();
  }

  function scheduleDraft() {
    unsent = true;
    clearTimeout(draftTimer);
    draftTimer = setTimeout(sendDraft, DRAFT_AFTER_MS);
  }

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

  const showLease = () => {
    const lease = document.querySelector("[data-lease]");
    if (!lease || !task) return;
    const left = Math.max(0, Math.ceil((task.deadline - Date.now()) / 1000));
    lease.querySelector("[data-lease-clock]").textContent = left ? clock(left) : "";
    lease.querySelector("[data-lease-label]").textContent = left ? "held for you" : "time ran out";
    lease.classList.toggle("lease--low", left < Math.min(LOW_SECONDS, task.leaseSeconds / 4));
    if (!left && !task.lapsed) {
      task.lapsed = true;
      say("Your time for this pair ran out, so others may get it. You can still submit your answer.");
    }
  };

  async function renew() {
    const { id, form } = task;
    task.renewedAt = Date.now();
    let response;
    try {
      response = await post(form.dataset.renewUrl, form);
    } catch {
      return; // offline: the clock runs on, and the next activity asks again
    }
    if (task?.id !== id) return;
    if (response.ok) {
      const { seconds_left: left } = await response.json();
      task.deadline = Date.now() + left * 1000;
    } else if (response.status === 409) {
      const { message } = await response.json();
      task.lapsed = true;
      say(message);
    }
  }

  const tick = () => {
    if (!task) return;
    const active = document.visibilityState === "visible" && Date.now() - lastActivity < IDLE_AFTER_MS;
    if (active) {
      task.activeSeconds += 1;
      task.form.elements.seconds.value = task.activeSeconds;
    }
    const every = Math.min(60, task.leaseSeconds / 3) * 1000;
    if (!task.lapsed && lastActivity > task.renewedAt && Date.now() - task.renewedAt > every) renew();
    showLease();
  };

  const begin = () => {
    const holder = document.querySelector("[data-task]");
    const id = holder?.dataset.task;
    const form = holder?.querySelector("[data-answer-form]");
    if (!holder) {
      task = null;
      return;
    }
    if (task?.form === form) return;
    const lease = document.querySelector("[data-lease]");
    task = {
      id,
      form,
      activeSeconds: Number(form.elements.seconds.value) || 0,
      deadline: Date.now() + Number(lease.dataset.secondsLeft) * 1000,
      leaseSeconds: Number(lease.dataset.leaseSeconds),
      renewedAt: Date.now(),
      lapsed: false,
    };
    restoreLocal();
    showLease();
  };

  document.addEventListener("input", (event) => {
    if (!task || !task.form.contains(event.target)) return;
    keepLocally();
    scheduleDraft();
  });

  for (const kind of ["pointermove", "pointerdown", "keydown", "scroll", "touchstart"]) {
    document.addEventListener(kind, () => (lastActivity = Date.now()), { passive: true, capture: true });
  }

  // Leaving the page: what is not sent yet goes out with the page's last breath.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "hidden" || !task || !unsent) return;
    clearTimeout(draftTimer);
    post(task.form.dataset.draftUrl, task.form, { keepalive: true }).catch(() => keepLocally());
  });
  window.addEventListener("online", () => {
    if (task && unsent) scheduleDraft();
  });

  // The answer is on its way: a draft after it would be refused.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!event.target.matches("[data-answer-form]")) return;
    clearTimeout(draftTimer);
    unsent = false;
  });
  document.addEventListener("tiebreak:stored", (event) => dropLocal(event.detail));
  document.addEventListener("htmx:afterSwap", begin);
  setInterval(tick, 1000);
  begin();
})();
