/* Draws the last hour: one line a queue, in the theme's colours; renewed each half minute. */
(() => {
  "use strict";
  const place = document.querySelector("[data-psq-series]");
  if (!place || !window.uPlot) return;
  const boxes = [...place.querySelectorAll("[data-psq-chart]")];
  const nothing = document.querySelector("[data-psq-empty]");
  const RENEWED_EACH = 30000;
  // Told apart by dashes too, not by colour only.
  const DASHES = [[], [8, 4], [2, 3], [12, 4, 2, 4], [5, 2], [1, 5]];
  const charts = new Map();
  let told = null;

  const colour = (name) => getComputedStyle(place).getPropertyValue(name).trim();

  function axis(unit) {
    const units = unit && {
      values: (_, values) => values.map((value) => (value === null ? "" : value + unit)),
    };
    return {
      stroke: colour("--body-quiet-color"),
      grid: { stroke: colour("--hairline-color"), width: 1 },
      ticks: { stroke: colour("--hairline-color"), width: 1 },
      font: "11px system-ui, sans-serif",
      size: 46,
      ...units,
    };
  }

  function options(box) {
    const unit = box.dataset.psqUnit === "s" ? " s" : "";
    return {
      width: Math.max(box.clientWidth, 200),
      height: 220,
      legend: { live: true },
      cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.05] } },
      axes: [{ ...axis(""), size: 30 }, axis(unit)],
      series: [
        { label: "Minute", value: "{HH}:{mm}" },
        ...told.queues.map((queue, number) => ({
          label: queue.type,
          stroke: colour("--psq-line-" + number),
          width: 1.75,
          dash: DASHES[number],
          points: { size: 4 },
          value: (_, value) => (value === null ? "-" : value + unit),
        })),
      ],
    };
  }

  function data(box) {
    return [told.minutes, ...told.queues.map((queue) => queue[box.dataset.psqChart])];
  }

  // The same figures for those who cannot see the lines, the newest minute first.
  function tabulate(box) {
    const [minutes, ...columns] = data(box);
    const body = box.parentElement.querySelector(".psq-figures-of tbody");
    const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
    const rows = minutes.map((minute, place) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = time.format(new Date(minute * 1000));
      row.append(head);
      for (const column of columns) row.insertCell().textContent = column[place] ?? "-";
      return row;
    });
    body.replaceChildren(...rows.reverse());
  }

  function describe(box) {
    const canvas = box.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", box.dataset.psqSays);
    tabulate(box);
  }

  function draw() {
    const isEmpty = told.queues.every((queue) => queue.completed.every((n) => n === null));
    nothing.hidden = !isEmpty;
    place.hidden = isEmpty;
    if (isEmpty) return;
    for (const box of boxes) {
      charts.get(box)?.destroy();
      charts.set(box, new window.uPlot(options(box), data(box), box));
      describe(box);
    }
  }

  function follow(box) {
    charts.get(box).setData(data(box));
    tabulate(box);
  }

  async function renew() {
    if (document.hidden) return;
    try {
      const response = await fetch(place.dataset.psqSeries, { credentials: "same-origin" });
      if (!response.ok || response.redirected) return;
      const isFirst = told === null;
      told = await response.json();
      if (isFirst || charts.size === 0) draw();
      else for (const box of boxes) follow(box);
    } catch {
      // The status of the page says that the server does not answer.
    }
  }

  new ResizeObserver(() => {
    for (const [box, chart] of charts) {
      chart.setSize({ width: Math.max(box.clientWidth, 200), height: 220 });
    }
  }).observe(place);
  // Another theme has other colours.
  new MutationObserver(() => told && draw()).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => told && draw());
  renew();
  window.setInterval(renew, RENEWED_EACH);
})();
