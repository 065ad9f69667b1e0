/* Keeps a page live: asks for its changing part every two seconds, not while the tab is hidden. */
(() => {
  "use strict";
  const region = document.querySelector("[data-psq-every]");
  if (!region) return;
  const status = document.querySelector("[data-psq-status]");
  const toggle = document.querySelector("[data-psq-toggle]");
  let isPaused = false;

  // The texts are attributes of the page, in its language.
  function show(name, isGood) {
    const text = status && status.dataset[name];
    if (!text || status.textContent === text) return;
    status.textContent = text;
    status.classList.toggle("psq-off", !isGood);
  }

  function isOver() {
    if (!region.querySelector("[data-psq-over]")) return false;
    show("ended", true);
    if (toggle) toggle.hidden = true;
    return true;
  }

  function tick() {
    if (isPaused || document.hidden || region.dataset.psqBusy || isOver()) return;
    window.htmx.trigger(region, "psq:tick");
  }

  region.addEventListener("htmx:before:response", (event) => {
    const response = event.detail.ctx.response;
    if (response.headers.get("X-Psq-Fragment")) {
      show("live", true);
      return;
    }
    // Not our fragment: never put it on the page.
    event.preventDefault();
    if (response.raw.redirected) {
      window.location.reload(); // signed out: the page itself leads to the login and back
    } else {
      show("refused", false);
    }
  });
  region.addEventListener("htmx:error", () => show("silent", false));

  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      isPaused = !isPaused;
      toggle.setAttribute("aria-pressed", String(isPaused));
      show(isPaused ? "paused" : "live", !isPaused);
      tick();
    });
  }
  isOver();
  document.addEventListener("visibilitychange", tick);
  window.setInterval(tick, Number(region.dataset.psqEvery));
})();
