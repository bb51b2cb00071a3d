const markLeft = (isLeft) => {
  try {
    if (isLeft) sessionStorage.setItem("rembg-tuner.left", "1");
    else sessionStorage.removeItem("rembg-tuner.left");
  } catch { /* private mode */ }
};
// The browser can discard a hidden tab without a further event.
document.addEventListener("visibilitychange", () => markLeft(document.visibilityState === "hidden"));
window.addEventListener("pagehide", () => markLeft(true));
window.addEventListener("pageshow", (event) => { if (event.persisted) markLeft(false); });
