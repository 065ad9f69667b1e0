/* Looks at a part of the time: drag over the bars. Without it each row of the table is a link. */
(() => {
  "use strict";
  const region = document.querySelector("[data-psq-every]");
  if (!region) return;
  const SVG = "http://www.w3.org/2000/svg";
  let drag = null;

  const words = (svg, name) => svg.dataset[name].split(" ");

  function bucketAt(svg, event) {
    const box = svg.getBoundingClientRect();
    const count = words(svg, "psqCounts").length;
    const share = (event.clientX - box.left) / box.width;
    return Math.min(Math.max(Math.floor(share * count), 0), count - 1);
  }

  function ends() {
    return [Math.min(drag.first, drag.last), Math.max(drag.first, drag.last)];
  }

  function show(svg) {
    const [from, to] = ends();
    drag.mark.setAttribute("x", from);
    drag.mark.setAttribute("width", to + 1 - from);
    say(svg, from, to);
  }

  // When the bars under the pointer are, and how many failed; the text is in the page's language.
  function say(svg, from, to) {
    const hint = region.querySelector("[data-psq-hint]");
    const edges = words(svg, "psqEdges").map((edge) => edge.replace("T", " "));
    const counts = words(svg, "psqCounts").slice(from, to + 1).map(Number);
    const values = { from: edges[from], to: edges[to + 1], count: counts.reduce((a, b) => a + b, 0) };
    hint.textContent = hint.dataset.psqHint.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  }

  function go(svg) {
    const [from, to] = ends();
    const edges = words(svg, "psqEdges");
    const address = new URL(window.location.href);
    address.searchParams.delete("last");
    address.searchParams.set("from", edges[from]);
    address.searchParams.set("to", edges[to + 1]);
    window.location.assign(address);
  }

  function end() {
    drag?.mark.remove();
    drag = null;
    delete region.dataset.psqBusy;
  }

  region.addEventListener("pointerdown", (event) => {
    const svg = event.target.closest("[data-psq-brush]");
    if (!svg || event.button !== 0) return;
    event.preventDefault();
    const mark = document.createElementNS(SVG, "rect");
    mark.setAttribute("class", "psq-brushed");
    mark.setAttribute("height", "100");
    svg.append(mark);
    const at = bucketAt(svg, event);
    drag = { svg, mark, first: at, last: at };
    // The live part is not fetched during a drag: it would replace the drawing.
    region.dataset.psqBusy = "1";
    svg.setPointerCapture(event.pointerId);
    show(svg);
  });
  region.addEventListener("pointermove", (event) => {
    if (drag) {
      drag.last = bucketAt(drag.svg, event);
      show(drag.svg);
      return;
    }
    const svg = event.target.closest("[data-psq-brush]");
    if (svg) say(svg, bucketAt(svg, event), bucketAt(svg, event));
  });
  region.addEventListener("pointerup", (event) => {
    if (!drag) return;
    drag.last = bucketAt(drag.svg, event);
    go(drag.svg);
    end();
  });
  region.addEventListener("pointercancel", end);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") end();
  });

  function enable() {
    const svg = region.querySelector("[data-psq-brush]");
    if (svg && !svg.classList.contains("psq-can-drag")) svg.classList.add("psq-can-drag");
    const hint = region.querySelector("[data-psq-hint]");
    if (hint?.hidden) hint.hidden = false;
  }
  // Also after each update, which brings the page as it is without this script.
  const watched = { childList: true, subtree: true, attributeFilter: ["class", "hidden"] };
  new MutationObserver(enable).observe(region, watched);
  enable();
})();
