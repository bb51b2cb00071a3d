(() => {
  // Runs before Gradio reads the language: the URL (?lang=zh), the visitor's last choice, or the
  // browser's language. The server fills in the tags of the available languages.
  const first = (text) => (text ?? "").toLowerCase().split(/[-_]/)[0];
  const whole = (text) => (text ?? "").toLowerCase().replace("_", "-");
  const known = (text) => __LANGUAGES__.find((tag) => whole(tag) === whole(text))
    ?? __LANGUAGES__.find((tag) => first(tag) === first(text)) ?? null;
  let kept = null;
  try { kept = localStorage.getItem("rembg-tuner.language"); } catch { /* storage is blocked */ }
  const asked = new URLSearchParams(location.search).get("lang");
  const chosen = known(asked) ?? known(kept) ?? (navigator.languages ?? [navigator.language]).map(known).find(Boolean) ?? "en";
  Object.defineProperty(navigator, "language", { get: () => chosen, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [chosen], configurable: true });
  document.documentElement.lang = chosen;
})();
