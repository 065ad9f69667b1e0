/* Keeps a page live: asks for its changing part every two seconds, not while the tab is hidden. */
(() => {
  "use strict";
  const region = document.querySelector("[data-psq-every]");
  if (!region) return;
  const status = document.querySelector("[data-psq-status]");
  const toggle = document.querySelector("[data-psq-toggle]");
  let isStill = false;

  function say(words, isGood) {
    if (!status || status.textContent === words) return;
    status.textContent = words;
    status.classList.toggle("psq-off", !isGood);
  }

  function isOver() {
    if (!region.querySelector("[data-psq-over]")) return false;
    say("Ended", true);
    if (toggle) toggle.hidden = true;
    return true;
  }

  function tick() {
    if (isStill || document.hidden || isOver()) return;
    window.htmx.trigger(region, "psq:tick");
  }

  region.addEventListener("htmx:before:response", (event) => {
    const response = event.detail.ctx.response;
    if (response.headers.get("X-Psq-Fragment")) {
      say("Live", true);
      return;
    }
    // Not our fragment: never put it on the page.
    event.preventDefault();
    if (response.raw.redirected) {
      window.location.reload(); // signed out: the page itself leads to the login and back
    } else {
      say("Not live: the server answered " + response.status + ", asking again", false);
    }
  });
  region.addEventListener("htmx:error", () => say("Not live: no answer, asking again", false));

  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      isStill = !isStill;
      toggle.setAttribute("aria-pressed", String(isStill));
      say(isStill ? "Held still" : "Live", !isStill);
      tick();
    });
  }
  isOver();
  document.addEventListener("visibilitychange", tick);
  window.setInterval(tick, Number(region.dataset.psqEvery));
})();
