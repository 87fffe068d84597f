// Dry runs, uploads, and trying a chain on a pasted event.

import { ask, busy, calls, changed, h, note } from "./app.js";
import { diff, pretty } from "./compare.js";

// A plugin's page.

const upload = document.getElementById("upload");

function component() {
  return upload.querySelector("input[type=file]").files[0] ?? null;
}

/** What an event came to, as text that two can be compared by. */
function text(result) {
  switch (result.verdict) {
    case "send": {
      const headers = result.headers.map(([name, value]) => `${name}: ${value}\n`).join("");
      return `${result.content_type}\n${headers}\n${pretty(result.data ?? result.data_base64 ?? "")}`;
    }
    case "drop":
      return `dropped by ${result.plugin}\n${result.reason}`;
    case "fail":
      return `failed in ${result.plugin}: ${result.kind}\n${result.reason}`;
    default:
      return `would wait\n${result.reason}`;
  }
}

const VERDICTS = { send: "send", drop: "drop", fail: "fail", wait: "wait" };

function entry(item, open) {
  const [before, after] = [VERDICTS[item.before.verdict], VERDICTS[item.after.verdict]];
  const path = `/t/${upload.dataset.tenant}/events/${encodeURIComponent(item.event)}`;
  return h("details", open ? { open: "" } : {},
    h("summary", {},
      h("strong", {}, item.type), item.endpoint ? ` to ${item.endpoint} ` : " ",
      h("span", { class: `pill p-${before}` }, before), h("span", { class: "to", "aria-label": "becomes" }, " → "), h("span", { class: `pill p-${after}` }, after)),
    h("p", { class: "sub" }, h("a", { href: path, class: "mono" }, item.event)),
    diff(text(item.before), text(item.after), `Changes of ${item.event}`));
}

function shown(run) {
  const differing = run.data.filter((item) => !item.same);
  const kind = run.events === 0 ? "plain" : run.changed === 0 ? "good" : "wait";
  const words = run.events === 0
    ? "No stored event goes to an endpoint with this plugin."
    : `${run.events} stored ${run.events === 1 ? "event" : "events"}: ${run.changed} ${run.changed === 1 ? "result" : "results"} would change, ${run.same} would not.`;
  return h("div", { class: "dry" },
    h("div", { class: `callout ${kind}` },
      h("p", { class: "verdict" }, words),
      h("p", { class: "sub" }, run.before ? h("code", {}, run.before.slice(0, 12)) : "no component", " → ", h("code", {}, run.after.slice(0, 12)),
        run.cut ? ". It stopped at a bound of its own, with events left." : "")),
    ...differing.slice(0, 200).map((item, at) => entry(item, at < 3)));
}

async function dryRun(form) {
  const query = new URLSearchParams({ limit: form.elements.limit.value || "100" });
  if (form.elements.event_type.value.trim()) query.set("event_type", form.elements.event_type.value.trim());
  const run = await ask(`${upload.dataset.dry}?${query}`, { body: component() ?? "", headers: { "content-type": "application/wasm" } });
  document.getElementById("result").replaceChildren(shown(run));
}

async function force() {
  const file = component();
  if (!file) throw new Error("Choose a component first.");
  const plugin = await ask(upload.dataset.put, { method: "PUT", body: file, headers: { "content-type": "application/wasm" } });
  note(`In force: ${plugin.digest.slice(0, 12)}`, "good");
  changed();
}

if (upload) {
  const form = upload.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(document.getElementById("dry"), () => dryRun(form));
  });
  const button = document.getElementById("force");
  button?.addEventListener("click", () => busy(button, force));
}

// A pasted event.

const form = document.getElementById("try");

function made(tried) {
  const { content } = tried;
  const words = { sent: "It would be sent.", filtered: "A filter drops it: nothing would be sent.", failed: "It could not be sent.", waits: "It would wait." };
  return [
    h("div", { class: `callout ${tried.result === "sent" ? "good" : tried.result === "filtered" ? "plain" : "bad"}` },
      h("p", { class: "verdict" }, words[tried.result]), tried.reason && h("p", { class: "reason" }, tried.reason)),
    ...calls(tried.plugins),
    ...(content
      ? [
          h("p", { class: "sub" }, [content.content_type, ...content.headers.map(([name, value]) => `${name}: ${value}`)].join("\n")),
          diff(form.elements.data.value, content.data ?? content.data_base64 ?? "", "What the plugins changed"),
        ]
      : []),
  ];
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.submitter ?? form, async () => {
    const fields = Object.fromEntries(new FormData(form));
    const tried = await ask(form.dataset.try, { body: JSON.stringify(fields), headers: { "content-type": "application/json" } });
    document.getElementById("made").replaceChildren(...made(tried).filter(Boolean));
  });
});
