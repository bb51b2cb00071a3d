document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-language]");
  if (!link) return;
  event.preventDefault();
  try { localStorage.setItem("rembg-tuner.language", link.dataset.language); } catch { /* private mode */ }
  const url = new URL(window.location.href);
  url.searchParams.set("lang", link.dataset.language);
  window.location.href = url.href;
});
const markLanguage = () => {
  const current = window.rembgTuner.language();
  for (const link of document.querySelectorAll("[data-language]")) {
    if (link.dataset.language === current) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  return document.querySelector("[data-language]") !== null;
};
const waiting = new MutationObserver(() => { if (markLanguage()) waiting.disconnect(); });
waiting.observe(document.documentElement, { childList: true, subtree: true });
