// Functions that all parts of the page share. The server fills in the texts and the upload limit.
window.rembgTuner = {
  all: __WORDS__,
  limit: __LIMIT__,
  example: "", // pressed, but not yet the picture
  form: [], // its values before the last choice of a preset
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
  // Checks one button of a group with role=radio; it is the only tab stop of the group.
  check(radios, chosen) {
    const stop = chosen ?? radios[0];
    for (const radio of radios) {
      radio.setAttribute("aria-checked", String(radio === chosen));
      radio.tabIndex = radio === stop ? 0 : -1;
    }
  },
  // The token of the tab, 128 random bits, with which a reloaded page finds its visit. A duplicated
  // tab copies the storage, but not the mark that the page was left, so it starts a new visit.
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
      return {}; // without storage, a visit cannot be resumed after a reload
    }
  },
  // Fills the form in from a preset. If the server refuses the preset, `settle` restores the form.
  fill(values, now) {
    this.form = now;
    return values;
  },
  settle(preset, filled, now) {
    return [preset, ...(preset === filled ? now : this.form)];
  },
  // Returns the viewer's value for an upload that the server has not checked yet. The figures of
  // the previous run are hidden immediately, since the answer of the server can take some time.
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
