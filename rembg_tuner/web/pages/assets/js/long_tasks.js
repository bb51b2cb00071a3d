// The comparison and the sweep in the browser: points by mouse and keyboard, the wipe, the
// synchronised zoom, the PNG file of the plot. `element` is the part that the server redraws.
followPoints(element, (point) => point.dataset.thumb);
const CHOICES = "[data-trial],[data-use]";
// Redrawing a part loses the focus of the pressed element; it is restored.
let chosenLast = null;
new MutationObserver(() => {
  if (!chosenLast || document.activeElement !== document.body) return;
  element.querySelector(chosenLast)?.focus({ preventScroll: true });
}).observe(element, { childList: true, subtree: true });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) chosenLast = null; });
const pair = () => element.querySelector(".rt-pair-stage");

function choose(target) {
  const chosen = target.closest(CHOICES);
  if (!chosen) return false;
  const { trial, use } = chosen.dataset;
  const kind = chosen.matches(".rt-point") ? ".rt-point" : "button";
  chosenLast = use !== undefined ? `[data-use="${use}"]` : `${kind}[data-trial="${trial}"]`;
  trigger("select", use !== undefined ? { use } : { trial });
  return true;
}

async function savePng(name) {
  const plot = element.querySelector(".rt-plane svg");
  const link = [...element.querySelectorAll(".rt-files a")].find((a) => a.download === "plot.svg");
  if (!plot || !link) return;
  const image = new Image();
  const svg = await (await fetch(link.href)).text();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
  await image.decode();
  const canvas = document.createElement("canvas");
  const box = plot.viewBox.baseVal;
  canvas.width = box.width * 2;
  canvas.height = box.height * 2;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const saved = document.createElement("a");
  saved.href = canvas.toDataURL("image/png");
  saved.download = name;
  saved.click();
}

element.addEventListener("click", (event) => {
  const png = event.target.closest("[data-png]");
  if (png) return void savePng(png.dataset.png);
  const ground = event.target.closest("[data-ground]");
  if (ground) {
    const root = element.querySelector(".rt-compare");
    root.dataset.backdrop = ground.dataset.ground;
    window.rembgTuner.check([...root.querySelectorAll("[data-ground]")], ground);
    return;
  }
  choose(event.target);
});

element.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  if (event.target.matches(".rt-point") && choose(event.target)) event.preventDefault();
});

element.addEventListener("input", (event) => {
  const { target } = event, root = element.querySelector(".rt-compare");
  if (!root) return;
  if (target.matches(".rt-wipe")) pair().style.setProperty("--at", `${target.value}%`);
  if (target.matches("[data-zoom]")) root.style.setProperty("--zoom", target.value);
  if (target.matches("[data-side]")) {
    const image = pair().querySelector(`.rt-pair-${target.dataset.side}`);
    image.src = target.value;
    image.alt = target.selectedOptions[0].textContent;
  }
  if (target.matches("[data-differences]")) root.toggleAttribute("data-different", target.checked);
  if (target.matches("[data-ground-colour]")) {
    root.dataset.backdrop = "colour";
    root.style.setProperty("--ground", target.value);
    window.rembgTuner.check([...root.querySelectorAll("[data-ground]")], null);
  }
});

// All cut-outs show the same place: the one under the pointer, moved by touch, mouse or arrow keys.
let place = { x: 50, y: 50 };
function look(x, y) {
  place = { x: Math.min(100, Math.max(0, x)), y: Math.min(100, Math.max(0, y)) };
  const root = element.querySelector(".rt-compare");
  root?.style.setProperty("--x", `${place.x}%`);
  root?.style.setProperty("--y", `${place.y}%`);
}
element.addEventListener("pointermove", (event) => {
  const seen = event.target.closest(".rt-loupe, .rt-pair-stage");
  if (!seen || (event.buttons && seen.matches(".rt-pair-stage"))) return; // the wipe is being dragged
  const box = seen.getBoundingClientRect();
  look(((event.clientX - box.left) / box.width) * 100, ((event.clientY - box.top) / box.height) * 100);
});
element.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-5, 0], ArrowRight: [5, 0], ArrowUp: [0, -5], ArrowDown: [0, 5] }[event.key];
  if (!step || !event.target.matches(".rt-loupe")) return;
  event.preventDefault();
  look(place.x + step[0], place.y + step[1]);
});
