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
