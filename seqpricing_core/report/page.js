// Draw each plot where its still figure stands; without script, and in print, the still one is shown.
"use strict";
const OPTIONS = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
function draw(figure) {
  const live = figure.querySelector(".live");
  const plot = JSON.parse(figure.querySelector("script.plot").textContent);
  live.hidden = false;
  figure.classList.add("drawn");
  if (live.clientWidth < 480) {
    plot.layout.legend.font = { size: 10 };
    plot.layout.margin.l = 44;
  }
  Plotly.newPlot(live, plot.data, plot.layout, OPTIONS);
}
addEventListener("beforeprint", () => {
  for (const figure of document.querySelectorAll("figure:not(.drawn):has(script.plot)")) {
    if (!figure.querySelector(".still")) {
      draw(figure);
    }
  }
});
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      watch.unobserve(entry.target);
      draw(entry.target);
    }
  }
}, { rootMargin: "600px" });
for (const script of document.querySelectorAll("script.plot")) {
  watch.observe(script.closest("figure"));
}
