// What every part of the page shares: words in the page's language, addresses below the page's root,
// and the two keys. `__WORDS__` and `__LIMIT__` are filled in by the server.
window.rembgTuner = {
  all: __WORDS__,
  limit: __LIMIT__,
  example: "", // pressed, and not yet the picture
  form: [], // before the preset that was chosen last
  words() {
    return this.all[this.language()];
  },
  language() {
    const first = (tag) => (tag ?? "").toLowerCase().split(/[-_]/)[0];
    const wanted = first(document.documentElement.lang || navigator.language);
    const known = Object.keys(this.all);
    return known.find((tag) => first(tag) === wanted) ?? known[0];
  },
  address(path) {
    const base = (window.gradio_config?.root ?? window.location.origin).replace(/\/$/, "");
    return `${base}/${path}`;
  },
  // Checks one of the buttons that are the radios of a group: it is the group's only tab stop.
  check(radios, chosen) {
    const stop = chosen ?? radios[0];
    for (const radio of radios) {
      radio.setAttribute("aria-checked", String(radio === chosen));
      radio.tabIndex = radio === stop ? 0 : -1;
    }
  },
  // The tab's token, by which its visit is found again after a reload: 128 random bits, for this tab only.
  // A duplicated tab has a copy of the storage, but no mark that its page was left: it begins a visit of its own.
  tab() {
    return { ...this.visit(), masks: CSS.supports("mask-mode", "alpha") };
  },
  visit() {
    try {
      let token = sessionStorage.getItem("rembg-tuner.visit") ?? "";
      const isReload = sessionStorage.getItem("rembg-tuner.left") !== null;
      sessionStorage.removeItem("rembg-tuner.left");
      if (!isReload || !/^[0-9a-f]{32}$/.test(token)) {
        const bytes = crypto.getRandomValues(new Uint8Array(16));
        token = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
        sessionStorage.setItem("rembg-tuner.visit", token);
      }
      const hadRuns = isReload && sessionStorage.getItem("rembg-tuner.runs") !== null;
      sessionStorage.removeItem("rembg-tuner.runs");
      return { token, hadRuns };
    } catch {
      return {}; // a browser without storage: nothing is kept over a reload
    }
  },
  // Fills the form in from a preset; the server may refuse the preset, which brings the form back.
  fill(values, now) {
    this.form = now;
    return values;
  },
  settle(preset, filled, now) {
    return [preset, ...(preset === filled ? now : this.form)];
  },
  // What the viewer shows of an upload until the server has checked it. The previous run's figures are hidden at
  // once; the server's answer, which may take a while, replaces them.
  uploaded(picture) {
    if (!picture?.path) return null;
    const result = document.querySelector("#result .rt-result:not([data-state=running], [data-state=waiting])");
    if (result) {
      result.dataset.old = "";
      const status = result.querySelector(".rt-status");
      if (status) status.textContent = this.words()["status.ready"].replace("{picture}", () => picture.orig_name ?? "");
    }
    const path = picture.path.split("/").map(encodeURIComponent).join("/");
    const address = `gradio_api/file=${path}`;
    return { turn: 0, before: address, source: address, alt: picture.orig_name ?? "" };
  },
};
