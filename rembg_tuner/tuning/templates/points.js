// The behaviour of a plot's points, on the page and in a report: a card with thumbnail, setting and
// figures on hover and focus, and arrow keys that move to the next point in memory (left, right) or
// time (up, down). `thumbnailOf` returns an address or nothing.
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
    place(point);
  };
  // Place the card above the point, otherwise below or beside it, always within the plot's box.
  const place = (point) => {
    const edge = 4, gap = 10;
    const plot = point.ownerSVGElement.parentElement.getBoundingClientRect();
    const box = point.querySelector(".rt-shape").getBoundingClientRect();
    tip.style.maxWidth = `${Math.min(280, plot.width - 2 * edge)}px`;
    tip.style.left = tip.style.top = "0";
    tip.classList.remove("rt-tip-low");
    tip.classList.toggle("rt-tip-low", plot.height < 2 * tip.offsetHeight);
    const { offsetWidth: width, offsetHeight: height } = tip;
    const within = (at, from, to) => Math.max(from + edge, Math.min(at, to - edge));
    const x = within(box.left + (box.width - width) / 2, plot.left, plot.right - width);
    const y = within(box.top + (box.height - height) / 2, plot.top, plot.bottom - height);
    const places = [[x, box.top - gap - height], [x, box.bottom + gap], [box.left - gap - width, y], [box.right + gap, y]];
    const isInside = ([left, top]) => left >= plot.left + edge && left + width <= plot.right - edge && top >= plot.top + edge && top + height <= plot.bottom - edge;
    const [left, top] = places.find(isInside) ?? [x, y];
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${top + scrollY}px`;
  };

  root.addEventListener("pointerover", (event) => show(event.target.closest(".rt-point")));
  root.addEventListener("focusin", (event) => show(event.target.closest(".rt-point")));
  root.addEventListener("focusout", hide);
  document.addEventListener("pointermove", (event) => {
    if (shown && !event.target.closest?.(".rt-point") && document.activeElement !== shown) hide();
    if (shown && !shown.isConnected) hide();
  });
  // The browser scrolls a focused point into view, so its card must move too.
  const follow = () => (shown && document.activeElement === shown ? place(shown) : hide());
  document.addEventListener("scroll", follow, { passive: true, capture: true });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    // More memory is to the right, and more time is up, so the arrows follow the positions.
    const [axis, step] = { ArrowRight: ["cx", 1], ArrowLeft: ["cx", -1], ArrowUp: ["cy", -1], ArrowDown: ["cy", 1] }[event.key] ?? [];
    if (!step || !event.target.matches(".rt-point")) return;
    event.preventDefault();
    const place = (point) => point.querySelector(".rt-hit")[axis].baseVal.value;
    const points = [...root.querySelectorAll(".rt-point")].sort((a, b) => place(a) - place(b));
    points[points.indexOf(event.target) + step]?.focus({ preventScroll: true });
  });
}
