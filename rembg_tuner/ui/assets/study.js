// What a comparison and a sweep do in the browser: points by mouse and keyboard, the wipe, the zoom that
// moves together, the picture of the plot. `element` is the part that the server draws anew.
const CHOICES = "[data-trial],[data-use]";
const pair = () => element.querySelector(".rt-pair-stage");

function choose(target) {
  const chosen = target.closest(CHOICES);
  if (!chosen) return false;
  const { trial, use } = chosen.dataset;
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
    root.querySelectorAll("[data-ground]").forEach((b) => b.setAttribute("aria-pressed", b === ground));
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
    root.querySelectorAll("[data-ground]").forEach((b) => b.setAttribute("aria-pressed", "false"));
  }
});

// The place under the pointer is what every cut-out shows; a finger or a mouse moves them all.
element.addEventListener("pointermove", (event) => {
  const loupe = event.target.closest(".rt-loupe");
  const root = element.querySelector(".rt-compare");
  if (!loupe || !root) return;
  const box = loupe.getBoundingClientRect();
  root.style.setProperty("--x", `${((event.clientX - box.left) / box.width) * 100}%`);
  root.style.setProperty("--y", `${((event.clientY - box.top) / box.height) * 100}%`);
});
