(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const palettes = JSON.parse(document.getElementById("palettes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 760px)");
  const config = { displayModeBar: false, responsive: true, scrollZoom: false };

  const coloured = (part, palette) => {
    if (typeof part === "string") return part[0] === "@" ? palette[part.slice(1)] : part;
    if (Array.isArray(part)) return part.map((item) => coloured(item, palette));
    if (part && typeof part === "object")
      return Object.fromEntries(Object.entries(part).map(([k, v]) => [k, coloured(v, palette)]));
    return part;
  };

  const draw = (node) => {
    const figure = coloured(figures[node.id], palettes[dark.matches ? "dark" : "light"]);
    if (node.dataset.scale) figure.layout.yaxis.type = node.dataset.scale;
    const ticks = figure.layout.meta && figure.layout.meta.log_ticks;
    delete figure.layout.yaxis.tickvals;
    if (ticks && node.dataset.scale === "log" && node.dataset.view !== "alone")
      figure.layout.yaxis.tickvals = ticks;
    if (node.dataset.view === "alone")
      figure.data = figure.data.filter((trace) => trace.meta !== "benchmark");
    if (narrow.matches) {
      figure.layout.font.size = 11;
      figure.layout.margin = { ...figure.layout.margin, l: 46, r: 6 };
      figure.layout.dragmode = false;
      for (const axis of Object.keys(figure.layout).filter((key) => key.startsWith("xaxis"))) {
        figure.layout[axis].nticks = 5;
        figure.layout[axis].tickangle = 0;
      }
    }
    Plotly.react(node, figure.data, figure.layout, config);
  };

  const charts = [...document.querySelectorAll(".chart")];
  charts.forEach(draw);
  dark.addEventListener("change", () => charts.forEach(draw));
  narrow.addEventListener("change", () => charts.forEach(draw));

  const press = () => document.querySelectorAll(".switch").forEach((group) => {
    const state = document.getElementById(group.dataset.chart).dataset[group.dataset.key];
    group.querySelectorAll("button").forEach((button) =>
      button.setAttribute("aria-pressed", String(button.dataset.value === state)));
  });
  document.querySelectorAll(".switch button").forEach((button) => {
    button.addEventListener("click", () => {
      const { chart, key } = button.parentElement.dataset;
      const node = document.getElementById(chart);
      node.dataset[key] = button.dataset.value;
      if (button.dataset.begin) node.dataset.scale = button.dataset.begin;
      press();
      draw(node);
    });
  });
  press();

  const tables = [...document.querySelectorAll(".scroll")];
  const cue = (box) => {
    const beyond = box.scrollWidth - box.clientWidth;
    box.classList.toggle("wide", beyond > 4);
    box.classList.toggle("more", beyond - box.scrollLeft > 4);
    if (beyond > 4) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  tables.forEach((box) => {
    box.addEventListener("scroll", () => cue(box), { passive: true });
    new ResizeObserver(() => cue(box)).observe(box);
  });
})();
