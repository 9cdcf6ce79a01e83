"use strict";

// Keeps the numbers fresh: fetches this very page and takes over what is not as it was. Nodes
// that stay the same are not touched, so nothing flickers, and focus, selection and what was
// unfolded remain.

const EVERY_MS = 2000;
const KEPT = new Set(["open", "disabled"]); // what the reader changed, not the server

if (!location.pathname.endsWith("/")) {
  history.replaceState(null, "", location.pathname + "/"); // so that relative addresses hold
}
const here = location.pathname;

function takeOver(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !KEPT.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  takeOverChildren(old, fresh);
}

function takeOverChildren(old, fresh) {
  const named = new Map([...old.children].filter((one) => one.id).map((one) => [one.id, one]));
  const wanted = [...fresh.childNodes];
  wanted.forEach((child, place) => {
    let at = old.childNodes[place];
    const same = child.id && named.get(child.id);
    if (same && same !== at) {
      old.insertBefore(same, at ?? null); // a row that moved down keeps its node
      at = same;
    } else if (!same && at?.id && child.id) {
      old.insertBefore(child, at); // a new row pushes the others down
      return;
    }
    if (at) takeOver(at, child);
    else old.append(child);
  });
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

function inOwnTime(root) {
  for (const time of root.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  }
}

async function refresh() {
  const away = document.getElementById("away");
  try {
    const answer = await fetch(here, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    inOwnTime(fresh);
    for (const id of ["top", "page"]) {
      takeOver(document.getElementById(id), fresh.getElementById(id));
    }
    away.hidden = true;
  } catch {
    away.hidden = false;
  }
}

async function cancel(event) {
  const job = event.target.dataset.job;
  if (!job) return;
  event.preventDefault();
  event.target.querySelector("button").disabled = true;
  await fetch(`${here}jobs/${job}/cancel`, { method: "POST" }).catch(() => {});
  await refresh();
}

async function keepFresh() {
  if (!document.hidden) await refresh();
  setTimeout(keepFresh, EVERY_MS);
}

inOwnTime(document);
document.getElementById("fresh").textContent = "Numbers are fresh every two seconds.";
document.addEventListener("submit", cancel);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
setTimeout(keepFresh, EVERY_MS);
