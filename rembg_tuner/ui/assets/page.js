// What every part of the page shares: words in the page's language, addresses below the page's root,
// and the two keys. `__WORDS__` is filled in by the server.
window.rembgTuner = {
  all: __WORDS__,
  words() {
    return this.all[/^zh/i.test(document.documentElement.lang || navigator.language) ? "zh-CN" : "en"];
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
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    document.activeElement?.blur?.(); // a number that is being typed counts
    setTimeout(() => document.querySelector("#run:not([disabled])")?.click(), 0);
  } else if (event.key === "Escape") {
    document.querySelector("#cancel:not([disabled])")?.click();
  }
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
  const current = /^zh/i.test(document.documentElement.lang) ? "zh-CN" : "en";
  for (const link of document.querySelectorAll("[data-language]")) {
    if (link.dataset.language === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  return document.querySelector("[data-language]") !== null;
};
const waiting = new MutationObserver(() => { if (markLanguage()) waiting.disconnect(); });
waiting.observe(document.documentElement, { childList: true, subtree: true });
// A picture pasted anywhere on the page takes the place of the one that is there.
document.addEventListener("paste", async (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (!file || event.target.closest?.("input, textarea")) return;
  event.preventDefault();
  const input = () => document.querySelector("#picture input[type=file]");
  if (!input()) document.querySelector("#picture .top-panel button:last-of-type")?.click();
  for (let tries = 0; tries < 50 && !input(); tries++) await new Promise((done) => setTimeout(done, 20));
  const files = new DataTransfer();
  files.items.add(file);
  const field = input();
  if (!field) return;
  field.files = files.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}, true);
