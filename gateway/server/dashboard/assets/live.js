// Keeps a page true while it is open: what happens is told by server-sent events, and then the page is read anew and what
// differs is changed in place, so that focus, scroll and opened details stay.

import { dress, note, watched } from "./app.js";

const main = document.getElementById("main");
const state = document.getElementById("live");
const { live, on, event: ofEvent, endpoint: ofEndpoint } = main.dataset;

/** The shortest time between two readings of the page. */
const PAUSE = 400;
/** What changes by time alone (breakers, what is due) is seen after this. */
const LONGEST = 10000;

// Changing in place.

/** Makes `old` what `fresh` is. What is marked with data-keep belongs to the page's scripts or to the user. */
function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.dataset.keep !== undefined) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "aria-busy" && name !== "open" && name !== "title") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  children(old, fresh);
}

/** The id that is written at a node. A form's own `id` is its field of that name, where it has one. */
const idOf = (node) => node?.getAttribute?.("id");

function children(old, fresh) {
  const byId = new Map();
  for (const child of old.children) if (idOf(child)) byId.set(idOf(child), child);
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const id = idOf(wanted);
    let found = id ? byId.get(id) : place;
    if (!id && idOf(found)) found = null;
    if (found && found.nodeName === wanted.nodeName && found.nodeType === wanted.nodeType) {
      if (found === place) place = place.nextSibling;
      else old.insertBefore(found, place);
      morph(found, wanted);
    } else {
      old.insertBefore(document.importNode(wanted, true), place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

// Reading anew.

let reading = false;
let again = false;
let last = 0;
let timer = null;

function refresh() {
  if (reading) {
    again = true;
  } else if (timer === null) {
    timer = setTimeout(read, Math.max(0, last + PAUSE - Date.now()));
  }
}

async function read() {
  timer = null;
  reading = true;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin", headers: { accept: "text/html" } });
    if (answer.status === 401 || answer.status === 429) return location.reload();
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      if (fresh) {
        morph(main, fresh);
        dress(main);
        document.title = page.title;
      }
    }
  } catch {
    // The stream says that the gateway is away; what is shown stays.
  } finally {
    last = Date.now();
    reading = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

document.addEventListener("hookweir:changed", refresh);
setInterval(() => document.hidden || Date.now() - last < LONGEST || refresh(), 1000);

// What happens.

const SPAN = 60;
const counts = { accepted: [0], delivered: [0] };
/** Deliveries that arrived in each of the last seconds, by "tenant/endpoint". */
const flows = new Map();

function concerns(told) {
  const delivery = told.delivery;
  const event = delivery?.event ?? told.event?.id;
  const endpoint = delivery ? [delivery.endpoint] : (told.endpoints ?? []);
  return (!ofEvent || event === ofEvent) && (!ofEndpoint || endpoint.includes(ofEndpoint));
}

function heard(told) {
  if (told.what === "accepted") counts.accepted[counts.accepted.length - 1]++;
  const delivery = told.delivery;
  if (delivery) {
    if (delivery.status === "delivered") {
      counts.delivered[counts.delivered.length - 1]++;
      const name = `${told.tenant}/${delivery.endpoint}`;
      const flow = flows.get(name) ?? [0];
      flow[flow.length - 1]++;
      flows.set(name, flow);
    }
    const key = `${delivery.event} ${delivery.endpoint}`;
    if (watched.delete(key)) {
      const what = `${delivery.event_type} to ${delivery.endpoint}`;
      if (delivery.status === "delivered") note(`Delivered: ${what}`, "good");
      else note(`Not delivered: ${what}. ${delivery.reason ?? ""}`, "bad");
    }
  }
  if ((!on || on === told.what) && concerns(told)) refresh();
}

let stream = null;

function show(word) {
  state.hidden = false;
  state.dataset.state = word;
  state.querySelector(".word").textContent = word;
}

function connect() {
  if (stream || !live || document.hidden) return;
  stream = new EventSource(live);
  stream.addEventListener("open", () => {
    show("live");
    // What happened before the stream began is in the page that is read now.
    refresh();
  });
  stream.addEventListener("error", () => {
    show("offline");
    if (stream?.readyState === EventSource.CLOSED) {
      disconnect();
      setTimeout(() => {
        refresh();
        connect();
      }, 3000);
    }
  });
  stream.addEventListener("accepted", (event) => heard(JSON.parse(event.data)));
  stream.addEventListener("handled", (event) => heard(JSON.parse(event.data)));
  stream.addEventListener("missed", refresh);
}

function disconnect() {
  stream?.close();
  stream = null;
}

// A browser allows few streams to one host: a page that nobody looks at gives its own back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) disconnect();
  else connect();
});
addEventListener("pagehide", disconnect);
addEventListener("pageshow", connect);
connect();

// Rates, of the last five seconds that are whole.

function average(seconds) {
  const last = seconds.slice(-5);
  const rate = last.reduce((sum, count) => sum + count, 0) / last.length;
  return rate === 0 || rate >= 10 ? String(Math.round(rate)) : rate.toFixed(1);
}

function tick() {
  for (const place of document.querySelectorAll("[data-flow]")) {
    const rate = average(flows.get(place.dataset.flow) ?? [0]);
    place.textContent = rate === "0" ? "" : `${rate} per second`;
  }
  for (const [name, flow] of flows) {
    flow.push(0);
    if (flow.length > 5) flow.shift();
    if (flow.every((count) => count === 0)) flows.delete(name);
  }
  for (const [name, seconds] of Object.entries(counts)) {
    const rate = average(seconds);
    for (const place of document.querySelectorAll(`[data-rate=${name}]`)) place.textContent = rate;
    const most = Math.max(1, ...seconds);
    const points = seconds.map((count, at) => `${((SPAN - seconds.length + at) * 120) / (SPAN - 1)},${27 - (26 * count) / most}`);
    for (const line of document.querySelectorAll(`[data-spark=${name}] polyline`)) line.setAttribute("points", points.join(" "));
    seconds.push(0);
    if (seconds.length > SPAN) seconds.shift();
  }
}

if (document.querySelector("[data-rate]")) setInterval(tick, 1000);
