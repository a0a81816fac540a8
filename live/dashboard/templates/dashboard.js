"use strict";
// Theme: as the system is, or as the reader chose; set before anything is painted.
const themes = ["", "light", "dark"];
const kept = localStorage.getItem("theme") || "";
if (kept) document.documentElement.dataset.theme = kept;

function nextTheme() {
  const now = document.documentElement.dataset.theme || "";
  const next = themes[(themes.indexOf(now) + 1) % themes.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  localStorage.setItem("theme", next);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action],button[data-range]");
  if (!button) return;
  if (button.dataset.action === "theme") return nextTheme();
  button.parentElement.querySelectorAll("button").forEach((other) =>
    other.setAttribute("aria-pressed", String(other === button)));
  emitEvent("range", button.dataset.range);
});

// What the curve was at the place that a reader points at.
let told = null;
function tell(event) {
  const figure = event.target.closest && event.target.closest("figure.chart");
  if (told && told !== figure) hide(told);
  if (!figure) return;
  told = figure;
  if (!figure.points) figure.points = JSON.parse(figure.dataset.points);
  const points = figure.points;
  const plot = figure.querySelector(".plot svg").getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - plot.left) / plot.width, 0), 1);
  const first = points[0][0], last = points[points.length - 1][0];
  const at = first + share * (last - first);
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < at) low = middle + 1; else high = middle;
  }
  if (low > 0 && at - points[low - 1][0] < points[low][0] - at) low -= 1;
  const [seconds, equity, drawdown] = points[low];
  const left = plot.left - figure.getBoundingClientRect().left + plot.width * (last > first ? (seconds - first) / (last - first) : 0);
  const cross = figure.querySelector(".cross"), tip = figure.querySelector(".tip");
  const when = new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ");
  const number = equity.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  tip.replaceChildren(line("b", number + " USDT"), line("span", "drawdown " + drawdown.toFixed(2).replace("-", "\u2212") + " %"), line("small", when + " UTC"));
  cross.hidden = tip.hidden = false;
  cross.style.left = left + "px";
  const room = figure.clientWidth - tip.offsetWidth;
  tip.style.left = Math.min(Math.max(left - tip.offsetWidth / 2, 0), room) + "px";
}
function line(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
function hide(figure) {
  figure.querySelectorAll(".cross,.tip").forEach((part) => { part.hidden = true; });
}
document.addEventListener("pointermove", tell, { passive: true });
document.addEventListener("pointerdown", tell, { passive: true });

// The first picture goes when the page that lives has its content.
const watch = new MutationObserver(() => {
  const first = document.getElementById("first");
  if (!first || !document.querySelector("#app .part.curve figure, #app .part.curve .empty")) return;
  watch.disconnect();
  first.remove();
  document.body.classList.add("lives");
});
watch.observe(document.documentElement, { childList: true, subtree: true });

// What a reader has unfolded, a part or a small card, stays so when its section comes anew.
const unfolded = new Set();
const card = (row) => "card " + row.cells[0].innerText;
function keep(name, is) {
  if (is) unfolded.add(name); else unfolded.delete(name);
}
document.addEventListener("toggle", (event) => {
  const name = event.target.dataset && event.target.dataset.fold;
  if (name && event.target.isConnected) keep(name, event.target.open);
}, true);
document.addEventListener("click", (event) => {
  const row = event.target.closest("table.dense tbody tr");
  if (row) keep(card(row), row.classList.toggle("whole"));
});
new MutationObserver(() => {
  if (!unfolded.size) return;
  document.querySelectorAll("details[data-fold]:not([open])").forEach((each) => {
    if (unfolded.has(each.dataset.fold)) each.open = true;
  });
  document.querySelectorAll("table.dense tbody tr:not(.whole)").forEach((row) => {
    if (unfolded.has(card(row))) row.classList.add("whole");
  });
}).observe(document.documentElement, { childList: true, subtree: true });

// What is no more kept up must not look as if it were.
setInterval(() => {
  const cut = document.body.classList.contains("lives") && !(window.socket && window.socket.connected);
  document.body.classList.toggle("cut", cut);
}, 1000);
