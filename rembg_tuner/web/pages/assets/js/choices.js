// Arrow keys, Home and End choose within a group of buttons with role=radio, as for radio inputs.
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
// Gradio gives each radio input another name. With one name per group, the browser supports the
// arrow keys and a single tab stop.
const nameRadios = () => {
  for (const radio of document.querySelectorAll("fieldset[id] input[type=radio]")) {
    const name = `rt-${radio.closest("fieldset").id}`;
    if (radio.name === name) continue;
    const { checked } = radio;
    radio.name = name;
    radio.checked = checked;
  }
};
// A choice that is not possible on this machine has an invisible mark in its label; it is greyed
// out.
const ABSENT = "\u2060";
const greyAbsent = () => {
  for (const choice of document.querySelectorAll("[role=option], .rt-chips label, .rt-knob label")) {
    const isAbsent = choice.textContent.includes(ABSENT);
    choice.classList.toggle("rt-lacking", isAbsent);
    if (!choice.closest("#preset, #compared")) continue; // other choices stay enabled: the page then explains how to install them
    const told = choice.querySelector("input") ?? choice;
    if (isAbsent) told.setAttribute("aria-disabled", "true");
    else told.removeAttribute("aria-disabled");
  }
};
document.addEventListener("click", (event) => {
  const box = event.target.closest?.("#compared label.rt-lacking")?.querySelector("input");
  if (box && box.checked === (event.target === box)) event.preventDefault(); // it can only be unchecked
}, true);
new MutationObserver(() => { nameRadios(); greyAbsent(); }).observe(document.documentElement, {
  childList: true, characterData: true, subtree: true, attributeFilter: ["name"],
});
