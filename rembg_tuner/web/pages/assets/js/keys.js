// An open list, dialog or colour picker handles Esc itself; this is checked before it closes.
const takesEscape = (target) =>
  target.closest?.("[role=combobox][aria-expanded=true], select, input[type=color], dialog, [role=dialog]") ||
  document.querySelector("ul.options, dialog[open]");
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.stopPropagation();
    // Apply a number that is being typed, without moving the focus.
    document.activeElement?.dispatchEvent(new Event("change", { bubbles: true }));
    setTimeout(() => document.querySelector("#run:not(.rt-off)")?.click(), 0);
  } else if (event.key === "Escape" && !takesEscape(event.target)) {
    document.querySelector("#cancel:not(.rt-off)")?.click();
  }
}, true);
// A disabled button keeps the focus: it is only marked as disabled, and its clicks are ignored.
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
// The second click of a double click is ignored too: it could start another run if the first has
// already ended.
document.addEventListener("click", (event) => {
  const button = event.target.closest?.(BUTTONS);
  if (button && (button.classList.contains("rt-off") || event.detail > 1)) event.stopImmediatePropagation();
}, true);
// On a phone the progress is below the form.
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("#run, #repeat") || window.innerWidth > 760) return;
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  document.querySelector("#result")?.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
});
