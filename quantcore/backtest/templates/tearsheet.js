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

  document.querySelectorAll(".switch button").forEach((button) => {
    button.addEventListener("click", () => {
      const node = document.getElementById(button.parentElement.dataset.chart);
      node.dataset.scale = button.dataset.scale;
      button.parentElement.querySelectorAll("button").forEach((other) =>
        other.setAttribute("aria-pressed", String(other === button)));
      draw(node);
    });
  });
})();
