// What every part of the page shares: words in the page's language, addresses below the page's root,
// and the two keys. `__WORDS__` and `__LIMIT__` are filled in by the server.
window.rembgTuner = {
  all: __WORDS__,
  limit: __LIMIT__,
  example: "", // pressed, and not yet the picture
  form: [], // before the preset that was chosen last
  words() {
    return this.all[this.language()];
  },
  language() {
    const first = (tag) => (tag ?? "").toLowerCase().split(/[-_]/)[0];
    const wanted = first(document.documentElement.lang || navigator.language);
    const known = Object.keys(this.all);
    return known.find((tag) => first(tag) === wanted) ?? known[0];
  },
  address(path) {
    const base = (window.gradio_config?.root ?? window.location.origin).replace(/\/$/, "");
    return `${base}/${path}`;
  },
  // Checks one of the buttons that are the radios of a group: it is the group's only tab stop.
  check(radios, chosen) {
    const stop = chosen ?? radios[0];
    for (const radio of radios) {
      radio.setAttribute("aria-checked", String(radio === chosen));
      radio.tabIndex = radio === stop ? 0 : -1;
    }
  },
  // The tab's token, by which its visit is found again after a reload: 128 random bits, for this tab only.
  // A duplicated tab has a copy of the storage, but no mark that its page was left: it begins a visit of its own.
  tab() {
    return { ...this.visit(), masks: CSS.supports("mask-mode", "alpha") };
  },
  visit() {
    try {
      let token = sessionStorage.getItem("rembg-tuner.visit") ?? "";
      const isReload = sessionStorage.getItem("rembg-tuner.left") !== null;
      sessionStorage.removeItem("rembg-tuner.left");
      if (!isReload || !/^[0-9a-f]{32}$/.test(token)) {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        token = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
        sessionStorage.setItem("rembg-tuner.visit", token);
      }
      const hadRuns = isReload && sessionStorage.getItem("rembg-tuner.runs") !== null;
      sessionStorage.removeItem("rembg-tuner.runs");
      return { token, hadRuns };
    } catch {
      return {}; // a browser without storage: nothing is kept over a reload
    }
  },
  // Fills the form in from a preset; the server may refuse the preset, which brings the form back.
  fill(values, now) {
    this.form = now;
    return values;
  },
  settle(preset, filled, now) {
    return [preset, ...(preset === filled ? now : this.form)];
  },
  // What the viewer shows of an upload until the server has checked it. The previous run's figures are hidden at
  // once; the server's answer, which may take a while, replaces them.
  uploaded(picture) {
    if (!picture?.path) return null;
    const result = document.querySelector("#result .rt-result:not([data-state=running], [data-state=waiting])");
    if (result) {
      result.dataset.old = "";
      const status = result.querySelector(".rt-status");
      if (status) status.textContent = this.words()["status.ready"].replace("{picture}", () => picture.orig_name ?? "");
    }
    const path = picture.path.split("/").map(encodeURIComponent).join("/");
    const address = `gradio_api/file=${path}`;
    return { turn: 0, before: address, source: address, alt: picture.orig_name ?? "" };
  },
};
// Arrow keys, Home and End choose within a group of buttons that are radios, as in a group of inputs.
document.addEventListener("keydown", (event) => {
  const radio = event.target.closest?.("[role=radio]");
  const group = radio?.closest("[role=radiogroup]");
  if (!group || event.ctrlKey || event.altKey || event.metaKey) return;
  const radios = [...group.querySelectorAll("[role=radio]")];
  const at = radios.indexOf(radio), last = radios.length - 1;
  const next = {
    ArrowRight: at === last ? 0 : at + 1, ArrowDown: at === last ? 0 : at + 1,
    ArrowLeft: at === 0 ? last : at - 1, ArrowUp: at === 0 ? last : at - 1,
    Home: 0, End: last,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  radios[next].focus();
  radios[next].click();
});
// Gradio names each radio apart. One name for each group makes the browser treat it as one: arrow keys, one tab stop.
const nameRadios = () => {
  for (const radio of document.querySelectorAll("fieldset[id] input[type=radio]")) {
    const name = `rt-${radio.closest("fieldset").id}`;
    if (radio.name === name) continue;
    const { checked } = radio;
    radio.name = name;
    radio.checked = checked;
  }
};
// A choice that is not possible here has an invisible mark in its label, which says why; it is greyed.
const ABSENT = "\u2060";
const greyAbsent = () => {
  for (const choice of document.querySelectorAll("[role=option], .rt-chips label, .rt-knob label")) {
    const isAbsent = choice.textContent.includes(ABSENT);
    choice.classList.toggle("rt-lacking", isAbsent);
    if (!choice.closest("#preset, #compared")) continue; // others can be chosen, and the page says how to get them
    const told = choice.querySelector("input") ?? choice;
    if (isAbsent) told.setAttribute("aria-disabled", "true");
    else told.removeAttribute("aria-disabled");
  }
};
document.addEventListener("click", (event) => {
  const box = event.target.closest?.("#compared label.rt-lacking")?.querySelector("input");
  if (box && box.checked === (event.target === box)) event.preventDefault(); // it can be unchecked only
}, true);
new MutationObserver(() => { nameRadios(); greyAbsent(); }).observe(document.documentElement, {
  childList: true, characterData: true, subtree: true, attributeFilter: ["name"],
});
const markLeft = (isLeft) => {
  try {
    if (isLeft) sessionStorage.setItem("rembg-tuner.left", "1");
    else sessionStorage.removeItem("rembg-tuner.left");
  } catch { /* private mode */ }
};
// A tab that is hidden may be discarded by the browser without another word.
document.addEventListener("visibilitychange", () => markLeft(document.visibilityState === "hidden"));
window.addEventListener("pagehide", () => markLeft(true));
window.addEventListener("pageshow", (event) => { if (event.persisted) markLeft(false); });
// An open list, dialog or colour picker takes Esc for itself; looked for before the list closes.
const takesEscape = (target) =>
  target.closest?.("[role=combobox][aria-expanded=true], select, input[type=color], dialog, [role=dialog]") ||
  document.querySelector("ul.options, dialog[open]");
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.stopPropagation();
    // A number that is being typed counts, and the focus stays where it is.
    document.activeElement?.dispatchEvent(new Event("change", { bubbles: true }));
    setTimeout(() => document.querySelector("#run:not(.rt-off)")?.click(), 0);
  } else if (event.key === "Escape" && !takesEscape(event.target)) {
    document.querySelector("#cancel:not(.rt-off)")?.click();
  }
}, true);
// A button that cannot be used now keeps the focus: it is greyed, and does nothing.
const BUTTONS = "#run, #repeat, #cancel";
const greyButtons = () => {
  for (const button of document.querySelectorAll(BUTTONS)) {
    const isOff = button.classList.contains("rt-off");
    if (isOff !== (button.getAttribute("aria-disabled") === "true")) button.setAttribute("aria-disabled", String(isOff));
  }
};
new MutationObserver(greyButtons).observe(document.documentElement, {
  childList: true, subtree: true, attributeFilter: ["class"],
});
// Nor does the second half of a double click, which would begin another run where one takes less time than that.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.(BUTTONS);
  if (button && (button.classList.contains("rt-off") || event.detail > 1)) event.stopImmediatePropagation();
}, true);
// On a phone the progress lies below the form.
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#run, #repeat") || window.innerWidth > 760) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.querySelector("#result")?.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-language]");
  if (!link) return;
  event.preventDefault();
  try { localStorage.setItem("rembg-tuner.language", link.dataset.language); } catch { /* private mode */ }
  const url = new URL(window.location.href);
  url.searchParams.set("lang", link.dataset.language);
  window.location.href = url.href;
});
const markLanguage = () => {
  const current = window.rembgTuner.language();
  for (const link of document.querySelectorAll("[data-language]")) {
    if (link.dataset.language === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  return document.querySelector("[data-language]") !== null;
};
const waiting = new MutationObserver(() => { if (markLanguage()) waiting.disconnect(); });
waiting.observe(document.documentElement, { childList: true, subtree: true });
// Files: what cannot be taken is told next to its field. Gradio's own messages are toasts in English.
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
// The server tells by its bytes what a file is; the browser's guess by its name must not stop it.
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
// A picture dropped on the one that is there, or pasted anywhere on the page, takes its place.
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
