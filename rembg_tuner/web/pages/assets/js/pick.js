// Sends the pressed button of a part that the server draws as an event.
const BUTTONS = "[data-show],[data-pin],[data-example],[data-get],[data-stop],[data-focus]";
// Stored in the tab, so that a reloaded page can show that its visit has ended.
watch("value", () => {
  if (!String(props.value).includes("data-row")) return;
  try { sessionStorage.setItem("rembg-tuner.runs", "1"); } catch { /* private mode */ }
});
// If a part is redrawn between press and release, its parent receives the click, so the pressed
// button is stored.
let pressed = null;
element.addEventListener("pointerdown", (event) => {
  pressed = event.target.closest(BUTTONS);
});
element.addEventListener("click", (event) => {
  const gone = pressed && !pressed.isConnected ? pressed : null;
  pressed = null;
  const button = event.target.closest(BUTTONS) ?? gone;
  const row = event.target.closest("[data-row]");
  // The button is removed with its result, so the focus moves to Run.
  if (button?.dataset.focus) document.querySelector("#run")?.focus({ preventScroll: true });
  if (button) trigger("select", { ...button.dataset });
  else if (row) trigger("select", { show: row.dataset.row });
});
