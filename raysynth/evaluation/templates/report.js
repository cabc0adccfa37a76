(() => {
  "use strict";
  const $ = (s, at = document) => at.querySelector(s), all = (s, at = document) => [...at.querySelectorAll(s)];
  const tip = $("#tip");
  const show = (event, text) => {
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
    tip.style.top = Math.max(8, event.clientY - box.height - 12) + "px";
    tip.style.opacity = 1;
  };
  const hide = () => { tip.style.opacity = 0; };

  // Columns: what is not near the view is text until it comes there, or is printed: 500 have some 28,000 elements.
  const grid = $("#column-grid"), unfold = (card) => {
    const waiting = $("noscript", card);
    if (waiting) waiting.outerHTML = waiting.textContent;
  };
  if (grid) {
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) { near.unobserve(target); unfold(target); }
    }, { rootMargin: "600px" });
    for (const card of all(".column", grid)) near.observe(card);
    addEventListener("beforeprint", () => all(".column", grid).forEach(unfold));

    // Histograms: the bin under the pointer, read from the table behind the chart.
    grid.addEventListener("pointermove", (event) => {
      const svg = event.target.closest("svg.histogram");
      if (!svg) return;
      const card = svg.closest(".column"), rows = all("tbody tr", card), cursor = $(".cursor", svg);
      const box = svg.getBoundingClientRect();
      const i = Math.min(rows.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * rows.length)));
      const head = all("thead th", card).map((c) => c.textContent);
      const cells = [...rows[i].cells].map((c) => c.textContent);
      show(event, cells[0] + "\n" + cells.slice(1).map((c, k) => head[k + 1] + ": " + c).join("\n"));
      const x = (i + .5) / rows.length * 320;
      cursor.setAttribute("x1", x); cursor.setAttribute("x2", x); cursor.style.opacity = .5;
    });
    grid.addEventListener("pointerout", (event) => {
      const svg = event.target.closest("svg.histogram");
      if (!svg || svg.contains(event.relatedTarget)) return;
      hide(); $(".cursor", svg).style.opacity = 0;
    });
  }

  // Columns: find and order.
  const find = $("#find"), order = $("#order");
  if (grid && find) {
    const cards = all(".column", grid);
    find.addEventListener("input", () => {
      const text = find.value.trim().toLowerCase();
      for (const card of cards) card.hidden = !card.dataset.name.toLowerCase().includes(text);
    });
    order.addEventListener("change", () => {
      const by = order.value;
      cards.sort((a, b) => by === "name" ? a.dataset.name.localeCompare(b.dataset.name)
        : by === "best" ? b.dataset.score - a.dataset.score : a.dataset.score - b.dataset.score);
      grid.append(...cards);
    });
  }

  // Heat maps: drawn when they come into view, again when the page turns dark or is resized.
  const source = $("#pair-data"), pairs = source && JSON.parse(source.textContent);
  if (source) {
    const { names, maps, scale } = pairs, n = names.length;
    const short = (pen, name, room) => {
      let shown = name;
      while (shown && pen.measureText(shown === name ? name : shown + "…").width > room) shown = shown.slice(0, -1);
      return shown === name ? name : shown + "…";
    };
    // Names stand left of the rows and above the columns where a row is high enough to read them.
    const margin = (side) => (side * .72) / n >= 10 ? side * .28 : 0;
    const dark = matchMedia("screen and (prefers-color-scheme: dark)");
    let onPaper = false;
    const isDark = () => dark.matches && !onPaper;
    const mix = (a, b, t) => a.map((v, k) => Math.round(v + (b[k] - v) * t));
    const colour = (value) => {
      const zero = isDark() ? [30, 39, 53] : [246, 247, 249];
      const end = value < 0 ? (isDark() ? [240, 160, 80] : [186, 92, 12]) : (isDark() ? [125, 176, 255] : [22, 78, 175]);
      return "rgb(" + mix(zero, end, Math.min(1, Math.abs(value))).join(",") + ")";
    };
    const draw = (canvas) => {
      const size = Math.round(canvas.clientWidth * (devicePixelRatio || 1));
      if (!size) return;
      canvas.width = canvas.height = size;
      const edge = margin(canvas.clientWidth) * size / canvas.clientWidth;
      const pen = canvas.getContext("2d"), cell = (size - edge) / n, gap = cell > 12 ? 1 : 0, by = canvas.dataset.map === "difference" ? scale : 1;
      const matrix = maps[canvas.dataset.map], none = isDark() ? "#2b3647" : "#dfe3ea";
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
        const value = matrix[i][j];
        if (value === null && i === j) continue;
        pen.fillStyle = value === null ? none : colour(value / by);
        pen.fillRect(edge + j * cell, edge + i * cell, cell - gap, cell - gap);
      }
      if (!edge) return;
      pen.font = Math.min(cell * .8, 12 * (devicePixelRatio || 1)) + "px sans-serif";
      pen.textBaseline = "middle"; pen.fillStyle = isDark() ? "#e7ebf2" : "#18202f";
      for (let i = 0; i < n; i++) {
        const name = short(pen, names[i], edge - 8);
        pen.textAlign = "right"; pen.fillText(name, edge - 5, edge + (i + .5) * cell);
        pen.save(); pen.translate(edge + (i + .5) * cell, edge - 5); pen.rotate(-Math.PI / 2);
        pen.textAlign = "left"; pen.fillText(name, 0, 0); pen.restore();
      }
    };
    const seen = new Set();
    const watch = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting && !seen.has(target)) { seen.add(target); draw(target); }
    }, { rootMargin: "300px" });
    const canvases = all("canvas[data-map]");
    for (const canvas of canvases) {
      watch.observe(canvas);
      canvas.addEventListener("pointermove", (event) => {
        const box = canvas.getBoundingClientRect();
        const edge = margin(canvas.clientWidth), at = (x) => Math.min(n - 1, Math.floor((x - edge) / (canvas.clientWidth - edge) * n));
        const j = at(event.clientX - box.left), i = at(event.clientY - box.top);
        if (i < 0 || j < 0) return hide();
        const text = (m) => maps[m][i][j] === null ? "not defined" : maps[m][i][j].toFixed(2);
        show(event, names[i] + " × " + names[j] + "\nreal: " + text("real") + "\nsynthetic: " + text("synthetic"));
      });
      canvas.addEventListener("pointerleave", hide);
    }
    const again = () => seen.forEach(draw);
    dark.addEventListener("change", again); addEventListener("resize", again);
    addEventListener("beforeprint", () => { onPaper = true; canvases.forEach(draw); });
    addEventListener("afterprint", () => { onPaper = false; again(); });
  }

  // Two columns together: a table for each side, its cells shaded by their shares.
  const pick = $("#joint-pick"), at = $("#joint");
  if (pick) {
    const { joints } = pairs;
    const cell = (kind, text, scope) => {
      const made = document.createElement(kind);
      made.textContent = text;
      if (scope) made.scope = scope;
      return made;
    };
    const row = (...cells) => { const made = document.createElement("tr"); made.append(...cells); return made; };
    const side = (pair, which, most) => {
      const box = document.createElement("div"), table = document.createElement("table");
      const head = document.createElement("thead"), body = document.createElement("tbody");
      table.append(cell("caption", (which === "real" ? "Real" : "Synthetic") + ": " + pair.names[0] + " down, " + pair.names[1] + " across"), head, body);
      head.append(row(cell("td", ""), ...pair.columns.map((c) => cell("th", c, "col"))));
      pair[which].forEach((shares, i) => body.append(row(cell("th", pair.rows[i], "row"), ...shares.map((share) => {
        const made = cell("td", share >= .5 ? (share / 10).toFixed(1) : share > 0 ? "·" : "");
        made.style.setProperty("--share", Math.round(100 * Math.sqrt(share / most)) + "%");
        return made;
      }))));
      box.className = "scroll"; box.append(table);
      return box;
    };
    const paint = () => {
      const pair = joints[pick.value], most = Math.max(1e-9, ...pair.real.flat(), ...pair.synthetic.flat());
      at.replaceChildren(side(pair, "real", most), side(pair, "synthetic", most));
    };
    pick.addEventListener("change", () => { paint(); reachable(); });
    paint();
  }

  // Words of the glossary are explained where they stand: by pointer, and by keyboard.
  const meant = new Map();
  all("#glossary dt").forEach((term, i) => {
    const words = term.nextElementSibling;
    words.id = "meaning-" + i;
    for (const name of term.textContent.toLowerCase().split(/[:,()]/)) if (name.trim()) meant.set(name.trim(), words);
  });
  for (const cell of all("main section:not(#overview, #diagnostics, #columns, #making, #glossary) th")) {
    const words = meant.get((cell.firstChild?.textContent || "").trim().toLowerCase());
    if (!words) continue;
    const told = () => { const box = cell.getBoundingClientRect(); show({ clientX: box.left, clientY: box.top }, words.textContent); };
    cell.classList.add("term"); cell.tabIndex = 0; cell.setAttribute("aria-describedby", words.id);
    for (const on of ["pointerenter", "focus"]) cell.addEventListener(on, told);
    for (const off of ["pointerleave", "blur"]) cell.addEventListener(off, hide);
  }

  // What scrolls can be reached and scrolled by keyboard, also where it was just unfolded.
  const scrolls = (box) => box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
  const reachable = () => all(".scroll").filter(scrolls).forEach((box) => { box.tabIndex = 0; });
  addEventListener("load", reachable); addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true);

  // The section in view is marked in the list of contents.
  const links = new Map(all("nav a").map((a) => [a.getAttribute("href").slice(1), a]));
  const current = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) {
      links.forEach((a) => a.removeAttribute("aria-current"));
      links.get(target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  all("section[id]").forEach((s) => current.observe(s));
})();
