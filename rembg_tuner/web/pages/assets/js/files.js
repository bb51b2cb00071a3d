// Files: refusals are shown next to the field. Gradio itself shows toasts in English.
const fieldOf = (target) => target.closest?.(".block") ?? target;
const refuse = (target, text) => {
  const block = fieldOf(target);
  let note = block.nextElementSibling;
  if (!note?.classList.contains("rt-refused")) {
    if (!text) return;
    note = Object.assign(document.createElement("p"), { className: "rt-refused" });
    note.setAttribute("role", "alert");
    block.after(note);
  }
  note.textContent = text;
  note.hidden = !text;
};
const isTooLarge = (file, target) => {
  const text = window.rembgTuner.words()["picture.too_large"];
  const { bytes, text: limit } = window.rembgTuner.limit;
  const found = file.size > bytes;
  refuse(target, found ? text.replace("{name}", () => file.name).replace("{limit}", limit) : "");
  return found;
};
// The server detects the format from the content; a wrong type from the file name must not block
// the upload.
const asPicture = (file) =>
  file.type.startsWith("image/") ? file : new File([file], file.name, { type: "image/unknown" });
const give = (field, file) => {
  const files = new DataTransfer();
  files.items.add(asPicture(file));
  field.files = files.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
};
const take = async (file) => {
  const input = () => document.querySelector("#picture input[type=file]");
  if (isTooLarge(file, document.querySelector("#picture"))) return;
  if (!input()) document.querySelector("#picture .top-panel button:last-of-type")?.click();
  for (let tries = 0; tries < 50 && !input(); tries++) await new Promise((done) => setTimeout(done, 20));
  if (input()) give(input(), file);
};
document.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.matches?.("input[type=file]") || !field.files.length) return;
  const files = [...field.files];
  const isPicture = field.closest("#picture") !== null;
  if (files.some((file) => isTooLarge(file, field))) {
    event.stopImmediatePropagation();
    field.value = "";
  } else if (isPicture && asPicture(files[0]) !== files[0]) {
    event.stopImmediatePropagation();
    give(field, files[0]);
  }
}, true);
// A picture that is dropped on the current one, or pasted anywhere on the page, replaces it.
document.addEventListener("dragover", (event) => {
  if (event.target.closest?.("#picture")) event.preventDefault();
});
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer?.files ?? [];
  if (!file || !event.target.closest?.("#picture")) return;
  event.preventDefault();
  event.stopPropagation();
  event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
  take(file);
}, true);
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (!file || event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  take(file);
}, true);
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-example]");
  if (!button) return;
  window.rembgTuner.example = button.dataset.example;
  refuse(document.querySelector("#picture"), "");
}, true);
