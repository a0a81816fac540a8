"use strict";
const live = document.getElementById("live");
const said = document.getElementById("said");
let shown = "";

function say(text, bad) {
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

async function refresh() {
  const asked = new URLSearchParams(location.search);
  asked.set("part", "body");
  try {
    const answer = await fetch("/?" + asked, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (document.body.classList.contains("stale")) say("");
    document.body.classList.remove("stale");
    if (text === shown) return;
    const places = [...live.querySelectorAll(".scroll")].map((e) => [e.scrollLeft, e.scrollTop]);
    live.innerHTML = shown = text;
    live.querySelectorAll(".scroll").forEach((e, i) => places[i] && e.scrollTo(...places[i]));
  } catch {
    document.body.classList.add("stale");
    say("The exchange does not answer.", true);
  }
}

async function send(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", body });
    const told = await answer.json();
    say(answer.ok ? "Done." : told.error, !answer.ok);
  } catch {
    say("The exchange does not answer.", true);
  }
  await refresh();
}

document.querySelectorAll("button[data-path]").forEach((button) =>
  button.addEventListener("click", () => send(button.dataset.path, button.dataset.body)));
document.getElementById("inject").addEventListener("click", () =>
  send("/fault", document.getElementById("preset").value));

async function watch() {
  if (!document.hidden) await refresh();
  setTimeout(watch, 1000);
}
setTimeout(watch, 1000);
