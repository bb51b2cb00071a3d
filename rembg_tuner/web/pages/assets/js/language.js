(() => {
  // Before Gradio looks: the address (?lang=zh), else the visitor's last choice, else the browser's own.
  // `__LANGUAGES__` is filled in by the server: the tags of the languages that there are.
  const first = (text) => (text ?? "").toLowerCase().split(/[-_]/)[0];
  const whole = (text) => (text ?? "").toLowerCase().replace("_", "-");
  const known = (text) => __LANGUAGES__.find((tag) => whole(tag) === whole(text))
    ?? __LANGUAGES__.find((tag) => first(tag) === first(text)) ?? null;
  let kept = null;
  try { kept = localStorage.getItem("rembg-tuner.language"); } catch { /* storage is closed to this page */ }
  const asked = new URLSearchParams(location.search).get("lang");
  const chosen = known(asked) ?? known(kept) ?? (navigator.languages ?? [navigator.language]).map(known).find(Boolean) ?? "en";
  Object.defineProperty(navigator, "language", { get: () => chosen, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [chosen], configurable: true });
  document.documentElement.lang = chosen;
})();
