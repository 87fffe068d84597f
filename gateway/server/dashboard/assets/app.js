// What every page needs. Whatever comes from the gateway is put into text nodes and attributes that carry no script:
// nothing here reads HTML from a text.

/** An element with attributes and children; strings become text nodes. */
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children.filter((child) => child != null && child !== false));
  return made;
}

const notes = document.getElementById("notes");

/** Tells what became of something, for a while, in a corner. */
export function note(text, kind = "plain") {
  const close = h("button", { type: "button", class: "quiet tiny", "aria-label": "Close" }, "×");
  const made = h("div", { class: `toast ${kind}` }, h("span", {}, text), close);
  close.addEventListener("click", () => made.remove());
  notes.append(made);
  while (notes.children.length > 4) notes.firstChild.remove();
  setTimeout(() => made.remove(), kind === "bad" ? 30000 : 12000);
}

/** Asks the gateway, and answers its JSON; the error is the sentence that it gave. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", credentials: "same-origin", ...options });
  } catch {
    throw new Error("The gateway can't be reached.");
  }
  const json = await answer.json().catch(() => null);
  if (answer.status === 401) {
    location.reload();
    throw new Error("The session is over: log in again.");
  }
  if (!answer.ok) throw new Error(json?.detail ?? `The gateway answered ${answer.status}.`);
  return json;
}

/** Runs something that a button asks for; meanwhile it can't be pressed again. */
export async function busy(button, work) {
  if (button.getAttribute("aria-busy")) return;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    note(error.message, "bad");
  } finally {
    button.removeAttribute("aria-busy");
  }
}

/** Deliveries that were sent again from here, and what to say once they were handled: by "event endpoint". */
export const watched = new Map();

/** Says that something changed, so that the page is read anew. */
export const changed = () => document.dispatchEvent(new Event("hookweir:changed"));

// Times.

const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

function age(time, now) {
  const seconds = Math.round((time - now) / 1000);
  if (Math.abs(seconds) < 2) return "just now";
  const [size, unit] = units.find(([size]) => Math.abs(seconds) >= size) ?? units[3];
  return relative.format(Math.trunc(seconds / size), unit);
}

/** Shows times as ages, with the whole time beside them. */
export function dress(root) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time")) {
    const time = Date.parse(element.dateTime);
    if (Number.isNaN(time)) continue;
    const text = age(time, now);
    if (element.textContent !== text) element.textContent = text;
    element.title = `${element.dateTime}\n${new Date(time).toLocaleString()} here`;
  }
}

dress(document);
setInterval(() => dress(document), 5000);

// Theme.

const root = document.documentElement;
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
document.getElementById("theme").addEventListener("click", () => {
  const now = root.dataset.theme ?? (systemIsDark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // It holds for this page then.
  }
});

// Buttons.

const OUTCOMES = { retry: "failed", unknown: "no answer" };

function attemptView(attempt) {
  const answer = attempt.answer;
  return h("div", {},
    h("p", {}, `${OUTCOMES[attempt.outcome] ?? attempt.outcome} after ${attempt.duration_ms} ms`, answer?.status ? `, HTTP ${answer.status}` : ""),
    attempt.reason && h("p", { class: "reason" }, attempt.reason),
    answer?.body && h("pre", { class: "answer", tabindex: "0" }, answer.body));
}

/** The log lines of plugin calls. */
export function calls(plugins) {
  return plugins.map((call) => h("div", { class: "call" },
    h("p", { class: "sub" }, `${call.role} ${call.plugin}, ${call.micros} µs`),
    call.log && h("pre", { class: "log", tabindex: "0" }, call.log)));
}

async function test(button) {
  const place = document.getElementById("tested");
  const probe = await ask(button.dataset.test);
  const arrived = probe.attempt?.outcome === "delivered";
  place.replaceChildren(h("div", { class: `callout ${arrived ? "good" : "bad"}` },
    h("p", {}, h("strong", {}, "Test: "), probe.result === "sent" ? `a sample ${probe.type} was sent` : probe.result),
    probe.reason && h("p", { class: "reason" }, probe.reason),
    probe.attempt && attemptView(probe.attempt),
    ...calls(probe.attempt?.plugins ?? [])));
}

async function post(button) {
  const { post, body, watch, done } = button.dataset;
  if (watch) watched.set(watch, done);
  try {
    await ask(post, body ? { body } : undefined);
  } catch (error) {
    watched.delete(watch);
    throw error;
  }
  note(done ?? "Done");
  changed();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.post) busy(button, () => post(button));
  else if (button.dataset.test) busy(button, () => test(button));
  else if (button.dataset.copy) busy(button, () => copy(button));
  else if (button.dataset.back !== undefined) history.back();
});

// Recovery: counted first, sent then.

const recovery = document.getElementById("recovery");
if (recovery) {
  const [count, now, since] = [document.getElementById("recover-count"), document.getElementById("recover-now"), recovery.elements.since];
  since.value = new Date(Date.now() - 86400000).toISOString().slice(0, 16);
  const request = (dry_run) => ask(recovery.dataset.recover, { body: JSON.stringify({ since: `${since.value}:00Z`, dry_run }) });
  recovery.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(event.submitter ?? recovery, async () => {
      const { deliveries } = await request(true);
      count.textContent = `${deliveries} ${deliveries === 1 ? "delivery" : "deliveries"} would be sent again.`;
      now.hidden = deliveries === 0;
    });
  });
  now.addEventListener("click", () => busy(now, async () => {
    const { deliveries } = await request(false);
    count.textContent = `${deliveries} ${deliveries === 1 ? "delivery is" : "deliveries are"} sent again.`;
    now.hidden = true;
    changed();
  }));
}

// Login.

const login = document.getElementById("login");
login?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wrong = document.getElementById("wrong");
  wrong.hidden = true;
  const answer = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(login)), redirect: "manual" });
  if (answer.type === "opaqueredirect") location.reload();
  else {
    const problem = await answer.json().catch(() => null);
    // Of an unknown key the page has its own words.
    if (answer.status !== 401 && problem?.detail) wrong.textContent = `${problem.detail}.`;
    wrong.hidden = false;
    login.elements.token.select();
  }
});
