// Tells Python which button of a part drawn on the server was pressed.
const BUTTONS = "[data-show],[data-pin],[data-example],[data-get],[data-stop],[data-focus]";
// Remembered by the tab, so that after a reload it can be told whether its visit has ended.
watch("value", () => {
  if (!String(props.value).includes("data-row")) return;
  try { sessionStorage.setItem("rembg-tuner.runs", "1"); } catch { /* private mode */ }
});
// A part that is redrawn between press and release gives its click to what stands around it,
// so the button that was pressed is kept.
let pressed = null;
element.addEventListener("pointerdown", (event) => {
  pressed = event.target.closest(BUTTONS);
});
element.addEventListener("click", (event) => {
  const gone = pressed && !pressed.isConnected ? pressed : null;
  pressed = null;
  const button = event.target.closest(BUTTONS) ?? gone;
  const row = event.target.closest("[data-row]");
  // The button goes with the result it stands in, so the keyboard goes on from Run.
  if (button?.dataset.focus) document.querySelector("#run")?.focus({ preventScroll: true });
  if (button) trigger("select", { ...button.dataset });
  else if (row) trigger("select", { show: row.dataset.row });
});
