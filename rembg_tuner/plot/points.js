// What the points of a plot do, on the page and in a report: a card with thumbnail, setting and figures on
// hover and focus, and arrow keys from one point to the next
// in memory (left, right) or time (up, down). `thumbnailOf` gives an address or nothing.
function followPoints(root, thumbnailOf) {
  const tip = document.createElement("div");
  tip.className = "rt-tip";
  tip.hidden = true;
  document.body.append(tip);
  let shown = null;

  const hide = () => { tip.hidden = true; shown = null; };
  const show = (point) => {
    if (!point || point === shown) return;
    shown = point;
    tip.replaceChildren();
    const address = thumbnailOf(point);
    if (address) {
      const image = document.createElement("img");
      image.src = address;
      image.alt = "";
      tip.append(image);
    }
    const [setting, figures] = point.getAttribute("aria-label").split(/: |：/);
    for (const [tag, text] of [["b", setting], ["span", figures]]) {
      const line = document.createElement(tag);
      line.textContent = text ?? "";
      tip.append(line);
    }
    tip.hidden = false;
    const box = point.querySelector(".rt-shape").getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 10;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 8 ? above : box.bottom + 10) + scrollY}px`;
  };

  root.addEventListener("pointerover", (event) => show(event.target.closest(".rt-point")));
  root.addEventListener("focusin", (event) => show(event.target.closest(".rt-point")));
  root.addEventListener("focusout", hide);
  document.addEventListener("pointermove", (event) => {
    if (shown && !event.target.closest?.(".rt-point") && document.activeElement !== shown) hide();
    if (shown && !shown.isConnected) hide();
  });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    // To the right there is more memory, further up more time: where a point stands is where the arrows lead.
    const [axis, step] = { ArrowRight: ["cx", 1], ArrowLeft: ["cx", -1], ArrowUp: ["cy", -1], ArrowDown: ["cy", 1] }[event.key] ?? [];
    if (!step || !event.target.matches(".rt-point")) return;
    event.preventDefault();
    const place = (point) => point.querySelector(".rt-hit")[axis].baseVal.value;
    const points = [...root.querySelectorAll(".rt-point")].sort((a, b) => place(a) - place(b));
    points[points.indexOf(event.target) + step]?.focus({ preventScroll: true });
  });
}
