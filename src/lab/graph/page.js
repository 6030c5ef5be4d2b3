"use strict";
const details = document.getElementById("details");
const choice = document.getElementById("block");
const shown = () => document.querySelector("section:not([hidden]) svg");
// What each image showed first.
const whole = new Map([...document.querySelectorAll("section svg")].map((svg) => [svg, svg.getAttribute("viewBox")]));

function view(svg) {
  return svg.getAttribute("viewBox").split(" ").map(Number);
}

// Where a pointer is, in the image's own units.
function at(svg, event) {
  const point = new DOMPoint(event.clientX, event.clientY);
  return point.matrixTransform(svg.getScreenCTM().inverse());
}

choice.addEventListener("change", () => {
  document.querySelectorAll("section").forEach((s) => { s.hidden = s.id !== "block-" + choice.value; });
});
document.getElementById("fit").addEventListener("click", () => shown().setAttribute("viewBox", whole.get(shown())));

document.querySelector("main").addEventListener("wheel", (event) => {
  event.preventDefault();
  const svg = shown();
  const [x, y, width, height] = view(svg);
  const scale = event.deltaY > 0 ? 1.15 : 1 / 1.15;
  const p = at(svg, event);
  svg.setAttribute("viewBox", [p.x - (p.x - x) * scale, p.y - (p.y - y) * scale, width * scale, height * scale].join(" "));
}, { passive: false });

let held = null;
document.querySelector("main").addEventListener("pointerdown", (event) => { held = at(shown(), event); });
window.addEventListener("pointerup", () => { held = null; });
window.addEventListener("pointermove", (event) => {
  const target = event.target.closest ? event.target.closest(".op, .kernel") : null;
  if (target) details.textContent = target.querySelector("title").textContent;
  if (!held) return;
  const svg = shown();
  const [x, y, width, height] = view(svg);
  const p = at(svg, event);
  svg.setAttribute("viewBox", [x - (p.x - held.x), y - (p.y - held.y), width, height].join(" "));
});

// Seen by whoever looks at the page from outside: all images have a size and every kernel is drawn.
const drawn = [...document.querySelectorAll("section")].map((s) => s.querySelectorAll(".kernel").length);
document.body.dataset.drawn = drawn.join(",");
