// The before/after viewer. `element`, `props`, `watch` and `trigger` come from gr.HTML.
// The wipe is a range input, so that mouse, touch and keyboard can move it.
const words = window.rembgTuner.words();
const root = element.querySelector(".rt-viewer");
const part = (name) => root.querySelector(name);
let before = part(".rt-before"), after = part(".rt-after img");
const wipe = part(".rt-wipe"), cutout = part(".rt-cutout"); // `after` has the colours of the cut-out, `cutout` is a mask
const download = part(".rt-download"), colour = part(".rt-colour input");
let shown = null;

const place = () => root.style.setProperty("--at", `${wipe.value}%`);
const press = (selector, chosen) => window.rembgTuner.check([...root.querySelectorAll(selector)], chosen);
const setMode = (mode) => {
  if (!shown?.turn) return;
  root.dataset.mode = mode;
  wipe.value = { original: 100, cutout: 0 }[mode] ?? wipe.value;
  if (mode === "compare" && (wipe.value === "0" || wipe.value === "100")) wipe.value = 50;
  place();
  press(".rt-modes button", part(`.rt-modes [data-mode=${mode}]`));
};
const setBackdrop = (value) => {
  root.dataset.backdrop = value;
  root.style.setProperty("--backdrop", value || "transparent");
  const named = [...root.querySelectorAll(".rt-backdrops button")].find((b) => b.dataset.backdrop === value);
  press(".rt-backdrops button", named);
  part(".rt-colour").classList.toggle("rt-chosen", !named);
  if (!named) colour.value = value;
};
const askBackdrop = (value) => {
  setBackdrop(value);
  if (!shown?.turn || shown.backdrop === value) return;
  download.setAttribute("aria-disabled", "true");
  download.textContent = words["viewer.preparing"];
  trigger("select", { backdrop: value, turn: shown.turn });
};
const offer = (value) => {
  download.removeAttribute("aria-disabled");
  download.textContent = value.empty ? words["viewer.download_empty"] : words["viewer.download"];
  if (value.download) download.href = window.rembgTuner.address(value.download);
  else download.removeAttribute("href");
  download.download = value.name ?? "";
};
// Shows a chosen picture before its run. For a format that the browser cannot show, a preview
// follows.
const showPicture = async (value) => {
  shown = value;
  root.dataset.mode = "picture"; // hides the previous cut-out immediately
  wipe.value = 100;
  place();
  await load(before, value.before);
  if (shown !== value) return;
  if (!before.naturalWidth) return clear();
  part(".rt-frame").style.setProperty("--ratio", before.naturalWidth / before.naturalHeight);
  before.alt = `${words["viewer.original"]}: ${value.alt}`;
  replaceBroken();
};
const clear = () => {
  shown = null;
  root.dataset.mode = "empty";
  root.removeAttribute("data-turn");
};
// The picture's field shows the upload itself; if the browser cannot, it is replaced by the
// preview.
const replaceBroken = () => {
  const image = document.querySelector("#picture img");
  if (!image || !shown?.source || !before.naturalWidth) return;
  const isOfThis = decodeURIComponent(image.src).endsWith(decodeURIComponent(shown.source));
  if (isOfThis && image.complete && !image.naturalWidth) image.src = before.src;
};
document.addEventListener("error", (event) => {
  if (event.target.matches?.("#picture img")) replaceBroken();
}, true);
const load = (image, address) => {
  if (image.dataset.from === address) return image.decode().catch(() => {});
  image.dataset.from = address;
  image.src = window.rembgTuner.address(address);
  return image.decode().catch(() => {});
};
// Decodes a picture before it is shown, since backgrounds and masks have no event for that.
const decode = async (address) => {
  const image = new Image();
  image.src = address;
  await image.decode().catch(() => {});
  return image;
};
// Replaces a picture with a decoded one, so that it is shown immediately.
const put = (old, image, address) => {
  for (const { name, value } of old.attributes) if (name !== "src") image.setAttribute(name, value);
  image.dataset.from = address;
  old.replaceWith(image);
  return image;
};
// Shows the original and the cut-out of a run. Both are decoded first, so that pictures of two runs
// are not mixed.
const showRun = async (value, isCurrent) => {
  const full = window.rembgTuner.address;
  const isShown = before.dataset.from === value.before;
  const files = value.mask ? [value.mask, full(value.colours)] : [full(value.after)];
  const original = isShown ? before.decode().catch(() => {}).then(() => before) : decode(full(value.before));
  const [image, shape] = await Promise.all([original, ...files.map(decode)]);
  if (!isCurrent()) return;
  const label = `${words["viewer.cutout"]}: ${value.alt}`;
  if (!isShown) before = put(before, image, value.before);
  if (value.mask) {
    cutout.style.backgroundImage = `url("${files[1]}")`;
    cutout.style.maskImage = `url("${value.mask}")`;
    cutout.setAttribute("aria-label", label);
  } else {
    after = put(after, shape, value.after);
    after.alt = label;
  }
  after.hidden = Boolean(value.mask);
  cutout.hidden = !value.mask;
  part(".rt-frame").style.setProperty("--ratio", shape.naturalWidth / shape.naturalHeight || 1);
  before.alt = `${words["viewer.original"]}: ${value.alt}`;
};
const show = async (value) => {
  root.removeAttribute("data-turn");
  if (!value?.before) return clear();
  if (!value.turn) return showPicture(value);
  const isNew = !shown || shown.turn !== value.turn || shown.after !== value.after || shown.mask !== value.mask;
  const wasEmpty = !shown?.turn;
  shown = value;
  offer(value);
  setBackdrop(value.backdrop ?? "");
  if (isNew) {
    await showRun(value, () => shown === value);
    if (shown !== value) return; // another value arrived meanwhile
  }
  const isEmpty = wasEmpty || ["empty", "picture"].includes(root.dataset.mode);
  setMode(isEmpty ? "compare" : root.dataset.mode);
  replaceBroken();
  root.dataset.turn = value.turn;
};

for (const button of root.querySelectorAll(".rt-modes button")) {
  button.textContent = words[`viewer.${button.dataset.mode}`];
  button.addEventListener("click", () => setMode(button.dataset.mode));
}
const names = { "": "viewer.transparent", "#ffffff": "viewer.white", "#000000": "viewer.black" };
for (const button of root.querySelectorAll(".rt-backdrops button")) {
  button.title = words[names[button.dataset.backdrop]];
  button.setAttribute("aria-label", button.title);
  button.addEventListener("click", () => askBackdrop(button.dataset.backdrop));
}
part(".rt-modes").setAttribute("aria-label", words["viewer.modes"]);
part(".rt-swatches").setAttribute("aria-label", words["viewer.backdrops"]);
part(".rt-colour").title = words["viewer.colour"];
colour.setAttribute("aria-label", words["viewer.colour"]);
colour.addEventListener("change", () => askBackdrop(colour.value));
wipe.setAttribute("aria-label", words["viewer.wipe"]);
wipe.addEventListener("input", () => {
  const at = Number(wipe.value);
  root.dataset.mode = at === 100 ? "original" : at === 0 ? "cutout" : "compare";
  press(".rt-modes button", part(`.rt-modes [data-mode=${root.dataset.mode}]`));
  place();
});
download.addEventListener("click", (event) => {
  if (download.getAttribute("aria-disabled") === "true") event.preventDefault();
});
part(".rt-empty").innerHTML = words["viewer.empty"];
download.textContent = words["viewer.download"];
press(".rt-modes button", null);
press(".rt-backdrops button", part(".rt-checker"));
place();
watch("value", () => show(props.value));
show(props.value);
