(() => {
  // Before Gradio looks: the address (?lang=zh), else the visitor's last choice, else the browser's own.
  const known = (text) => (/^zh/i.test(text ?? "") ? "zh-CN" : /^en/i.test(text ?? "") ? "en" : null);
  let kept = null;
  try { kept = localStorage.getItem("rembg-tuner.language"); } catch { /* storage is closed to this page */ }
  const asked = new URLSearchParams(location.search).get("lang");
  const chosen = known(asked) ?? known(kept) ?? (navigator.languages ?? [navigator.language]).map(known).find(Boolean) ?? "en";
  Object.defineProperty(navigator, "language", { get: () => chosen, configurable: true });
  Object.defineProperty(navigator, "languages", { get: () => [chosen], configurable: true });
  document.documentElement.lang = chosen;
})();
