// Tells Python which button of a part drawn on the server was pressed.
const BUTTONS = "[data-show],[data-pin],[data-example],[data-get],[data-stop]";
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
  if (button) trigger("select", { ...button.dataset });
  else if (row) trigger("select", { show: row.dataset.row });
});
