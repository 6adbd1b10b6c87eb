"use strict";

// A click on a column's head sorts by it, a second one the other way round.
for (const button of document.querySelectorAll(".cells thead button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, row = head.parentElement, at = [...row.children].indexOf(head);
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = row.closest("table").tBodies[0];
    const key = (line) => line.children[at].dataset.key;
    const compare = head.classList.contains("number") ? (a, b) => a - b : (a, b) => a.localeCompare(b);
    const lines = [...body.rows].sort((a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      return (descending ? -1 : 1) * compare(key(a), key(b));
    });
    body.append(...lines);
  });
}

// Every picture is drawn when it comes into sight, in the colours of the page.
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 40rem)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function painted(figure) {
  const data = structuredClone(figure.data), layout = structuredClone(figure.layout);
  delete layout.template;
  for (const trace of data) {
    if (typeof trace.meta !== "string") continue;
    const [role, band] = trace.meta.split(" "), own = colour(role);
    if (band) Object.assign(trace, { fillcolor: own, opacity: 0.16 });
    else if (trace.type === "bar") trace.marker = { color: own };
    else {
      if (trace.marker) Object.assign(trace.marker, { color: own, line: { width: role === "open" ? 1.5 : 0.5, color: role === "open" ? own : colour("paper") } });
      if (trace.line) trace.line.color = own;
      for (const bar of ["error_x", "error_y"]) if (trace[bar]) trace[bar].color = own;
    }
  }
  for (const shape of layout.shapes || []) {
    if (shape.name === "zone") Object.assign(shape, { fillcolor: colour("equivalent"), opacity: 0.14 });
    if (shape.name === "reference") shape.line = { color: colour("ink"), width: 1, dash: "dot" };
  }
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    Object.assign(layout[name], { gridcolor: colour("rule"), linecolor: colour("rule"), zeroline: false });
  }
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, dragmode: false,
    font: { color: colour("ink"), size: narrow.matches ? 10.5 : 12, family: "system-ui, sans-serif" },
    hoverlabel: { bgcolor: colour("ink"), font: { color: colour("paper"), size: 13 }, align: "left" },
  });
  return [data, layout];
}

function draw(place) {
  const [data, layout] = painted(JSON.parse(place.nextElementSibling.textContent));
  place.closest("figure").classList.add("drawn");
  Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d"] });
}

function drawAll() {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      draw(entry.target.querySelector(".live"));
    }
  }, { rootMargin: "600px" });
  for (const place of document.querySelectorAll(".live")) seen.observe(place.closest("figure"));
  dark.addEventListener("change", () => document.querySelectorAll(".drawn .live").forEach(draw));
}
