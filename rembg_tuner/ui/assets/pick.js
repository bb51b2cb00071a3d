// Tells Python which button of a part drawn on the server was pressed.
element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-show],[data-pin],[data-example],[data-get],[data-stop]");
  const row = event.target.closest("[data-row]");
  if (button) trigger("select", { ...button.dataset });
  else if (row) trigger("select", { show: row.dataset.row });
});
