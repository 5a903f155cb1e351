"use strict";
// Zooming and reading of curves, choosing of lines, comparing of pictures, sorting of tables. What is drawn at first was drawn in Rust
// (axis.rs, figure.rs); this draws the same again for another part of the data or another scale.
(() => {
  const W = 640, H = 300, L = 66, R = 14, T = 10, B = 42;
  const place = (axis, v) => ((axis.log ? Math.log10(v) : v) - axis.low) / (axis.high - axis.low);
  const value = (axis, p) => { const v = axis.low + p * (axis.high - axis.low); return axis.log ? 10 ** v : v; };
  const fits = (v, log) => v !== null && Number.isFinite(v) && (!log || v > 0);

  function axisOf(values, log) {
    let low = Infinity, high = -Infinity;
    for (const v of values) {
      if (!fits(v, log)) continue;
      const t = log ? Math.log10(v) : v;
      low = Math.min(low, t); high = Math.max(high, t);
    }
    if (low > high) return null;
    const room = high > low ? (high - low) * 0.04 : log ? 0.3 : low === 0 ? 1 : Math.abs(low) * 0.1;
    return { low: low - room, high: high + room, log };
  }
  function multiples(low, high, step) {
    const all = [];
    for (let m = Math.ceil(low / step); m <= Math.floor(high / step); m++) all.push(m * step);
    return all;
  }
  function round(step) {
    const power = 10 ** Math.floor(Math.log10(step));
    return [1, 2, 5].map((m) => m * power).find((r) => r >= step * 0.999999) ?? 10 * power;
  }
  function ticks(axis) {
    const width = axis.high - axis.low;
    if (!axis.log) return multiples(axis.low, axis.high, round(width / 5));
    if (width >= 2) return multiples(axis.low, axis.high, Math.ceil(width / 6)).map((p) => 10 ** p);
    const within = [];
    for (let p = Math.floor(axis.low); p <= Math.ceil(axis.high); p++) {
      for (const m of [1, 2, 5]) { const t = m * 10 ** p, at = place(axis, t); if (at >= 0 && at <= 1) within.push(t); }
    }
    if (within.length >= 2) return within;
    const low = 10 ** axis.low, high = 10 ** axis.high;
    return multiples(low, high, round((high - low) / 5));
  }
  function label(v) {
    const r = (x) => Number(x.toPrecision(6)), size = Math.abs(v);
    if (size === 0) return "0";
    if (size >= 1e9 || size < 1e-3) return r(v).toExponential().replace("e+", "e");
    if (size >= 1e6) return r(v / 1e6) + "M";
    if (size >= 1e4) return r(v / 1e3) + "k";
    return String(r(v));
  }
  const style = (group) => `c${group % 8} d${Math.min(3, Math.floor(group / 8))}`;

  const hidden = new Set();
  const figures = [];

  function plot(figure) {
    const [x, y, lines] = JSON.parse(figure.querySelector("script").textContent);
    const svg = figure.querySelector("svg");
    const logX = x.log, logY = y.log;
    const state = { logX, logY, from: null, to: null, cursor: null, ax: null, ay: null };
    const shown = () => lines.filter((line) => !hidden.has(line.group));
    const inside = (v) => state.from === null || (v >= state.from && v <= state.to);
    const seen = (p) => fits(p[0], state.logX) && fits(p[1], state.logY) && inside(p[0]);

    function draw() {
      const points = shown().flatMap((line) => line.points).filter(seen);
      const ax = axisOf(points.map((p) => p[0]), state.logX), ay = axisOf(points.map((p) => p[1]), state.logY);
      state.ax = ax; state.ay = ay;
      if (!ax || !ay) {
        svg.innerHTML = `<text class="label middle" x="${W / 2}" y="${H / 2}">nothing to show on this scale</text>`;
        return;
      }
      const across = (v) => (L + place(ax, v) * (W - L - R)).toFixed(1);
      const down = (v) => (H - B - place(ay, v) * (H - T - B)).toFixed(1);
      let text = "";
      for (const t of ticks(ay)) {
        text += `<path class="grid" d="M${L} ${down(t)}H${W - R}"/><text class="tick end" x="${L - 7}" y="${+down(t) + 4}">${label(t)}</text>`;
      }
      for (const t of ticks(ax)) {
        text += `<path class="grid" d="M${across(t)} ${T}V${H - B}"/><text class="tick middle" x="${across(t)}" y="${H - B + 17}">${label(t)}</text>`;
      }
      text += `<text class="label middle" x="${L + (W - L - R) / 2}" y="${H - 6}">${x.label}</text>`;
      for (const line of [...shown()].sort((a, b) => b.thin - a.thin)) {
        let path = "", next = "M";
        for (const p of line.points) {
          if (seen(p)) { path += `${next}${across(p[0])} ${down(p[1])}`; next = "L"; } else next = "M";
        }
        text += `<path class="line ${style(line.group)}${line.reference ? " reference" : line.thin ? " thin" : ""}" d="${path}"/>`;
        const visible = line.points.filter(seen);
        if (visible.length === 1) {
          text += `<circle class="dot ${style(line.group)}" cx="${across(visible[0][0])}" cy="${down(visible[0][1])}" r="3.5"/>`;
        }
      }
      if (state.cursor !== null && inside(state.cursor) && fits(state.cursor, state.logX)) {
        const at = across(state.cursor);
        text += `<path class="cursor" d="M${at} ${T}V${H - B}"/>`;
      }
      if (state.band) {
        const [a, b] = state.band;
        text += `<rect class="band" x="${Math.min(a, b)}" y="${T}" width="${Math.abs(b - a)}" height="${H - T - B}"/>`;
      }
      svg.innerHTML = text;
    }

    const reading = Object.assign(document.createElement("p"), { className: "reading" });
    reading.setAttribute("role", "status");
    function read() {
      reading.replaceChildren();
      if (state.cursor === null) return;
      const tell = (text, group) => {
        const span = document.createElement("span");
        if (group !== undefined) span.innerHTML = `<svg class="swatch" viewBox="0 0 24 8" aria-hidden="true"><path class="line ${style(group)}" d="M1 4H23"/></svg>`;
        span.append(text);
        reading.append(span);
      };
      tell(`${x.label} ${label(Number(state.cursor.toPrecision(4)))}:`);
      for (const line of shown().filter((l) => !l.thin)) {
        const point = nearest(line.points.filter(seen), state.cursor);
        if (point) tell(`${line.name} ${label(Number(point[1].toPrecision(4)))}`, line.group);
      }
    }
    function nearest(points, at) {
      let best = null;
      for (const p of points) if (!best || Math.abs(p[0] - at) < Math.abs(best[0] - at)) best = p;
      return best;
    }
    const stops = () => [...new Set(shown().flatMap((l) => l.points).filter(seen).map((p) => p[0]))].sort((a, b) => a - b);
    function look(at) {
      const p = nearest(stops().map((s) => [s]), at);
      state.cursor = p ? p[0] : null;
      draw(); read();
    }
    function zoom(from, to) {
      const within = lines.flatMap((l) => l.points).some((p) => fits(p[1], state.logY) && p[0] >= from && p[0] <= to);
      if (!within) return;
      state.from = from; state.to = to; draw(); read(); update();
    }
    function all() { state.from = state.to = null; draw(); read(); update(); }
    function zoomBy(factor) {
      if (!state.ax) return;
      const middle = state.cursor === null ? 0.5 : place(state.ax, state.cursor);
      const from = value(state.ax, middle - middle * factor), to = value(state.ax, middle + (1 - middle) * factor);
      const full = axisOf(lines.flatMap((l) => l.points).map((p) => p[0]), state.logX);
      if (factor > 1 && full && from <= value(full, 0) && to >= value(full, 1)) all(); else zoom(from, to);
    }

    const tools = Object.assign(document.createElement("div"), { className: "tools" });
    const add = (text, press) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      button.addEventListener("click", press);
      tools.append(button);
      return button;
    };
    const ofX = add("log x", () => { state.logX = !state.logX; draw(); read(); update(); });
    const ofY = add("log y", () => { state.logY = !state.logY; draw(); read(); update(); });
    const reset = add("show all", all);
    function update() {
      ofX.setAttribute("aria-pressed", state.logX);
      ofY.setAttribute("aria-pressed", state.logY);
      reset.disabled = state.from === null;
    }

    const at = (event) => {
      const box = svg.getBoundingClientRect();
      return Math.min(W - R, Math.max(L, ((event.clientX - box.left) / box.width) * W));
    };
    const valueAt = (px) => value(state.ax, (px - L) / (W - L - R));
    svg.tabIndex = 0;
    svg.addEventListener("pointerdown", (event) => {
      if (!state.ax || event.button !== 0) return;
      state.band = [at(event), at(event)];
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (!state.ax) return;
      if (state.band) state.band[1] = at(event);
      look(valueAt(at(event)));
    });
    const end = (event) => {
      if (!state.band) return;
      const [a, b] = state.band.map(valueAt).sort((p, q) => p - q), wide = Math.abs(state.band[0] - state.band[1]) > 6;
      state.band = null;
      if (wide && event.type === "pointerup") zoom(a, b); else draw();
    };
    svg.addEventListener("pointerup", end);
    svg.addEventListener("pointercancel", end);
    svg.addEventListener("pointerleave", () => { if (!state.band) { state.cursor = null; draw(); read(); } });
    svg.addEventListener("dblclick", all);
    svg.addEventListener("keydown", (event) => {
      const list = stops();
      const now = state.cursor === null ? -1 : list.findIndex((s) => s >= state.cursor);
      const moves = { ArrowRight: Math.min(list.length - 1, now + 1), ArrowLeft: Math.max(0, now - 1), Home: 0, End: list.length - 1 };
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in moves && list.length) look(list[moves[event.key]]);
      else if (event.key === "+" || event.key === "=") zoomBy(0.5);
      else if (event.key === "-") zoomBy(2);
      else if (event.key === "0" || event.key === "Escape") all();
      else return;
      event.preventDefault();
    });
    svg.after(reading, tools);
    update();
    figures.push(() => { draw(); read(); });
  }

  function slider(figure) {
    const items = [...figure.querySelectorAll("li")];
    if (items.length < 2) return;
    const steps = items.map((item) => item.querySelector("span").textContent);
    figure.classList.add("slider");
    items[0].classList.add("first");
    const range = (text, max, start, change) => {
      const box = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "range", min: 0, max, value: start });
      const output = document.createElement("output");
      box.append(text, input, output);
      input.addEventListener("input", () => change(input, output));
      figure.querySelector("ol").after(box);
      return () => change(input, output);
    };
    let divide = 0, now = items.length - 1;
    const show = () => items.forEach((item, place) => {
      item.classList.toggle("now", place === now);
      item.style.clipPath = place === now && place > 0 ? `inset(0 0 0 ${divide}%)` : "";
      item.style.zIndex = place === now ? 1 : 0;
    });
    // The later one is put first.
    const compare = range("First beside", 100, 0, (input, output) => {
      divide = Number(input.value);
      output.textContent = divide ? `left ${divide}%: ${steps[0]}` : "off";
      input.setAttribute("aria-valuetext", output.textContent);
      show();
    });
    const choose = range("Checkpoint", items.length - 1, now, (input, output) => {
      now = Number(input.value);
      output.textContent = steps[now];
      input.setAttribute("aria-valuetext", steps[now]);
      show();
    });
    compare(); choose();
  }

  // Rows by a column: numbers by size, what has none last.
  function sortable(table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const key = (row, at) => {
      const text = row.cells[at].textContent.trim(), number = parseFloat(text);
      return { text, number: Number.isNaN(number) ? Infinity : number };
    };
    heads.forEach((head, at) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
        const rows = [...body.rows], keys = new Map(rows.map((row) => [row, key(row, at)]));
        const numeric = rows.some((row) => keys.get(row).number !== Infinity);
        rows.sort((a, b) => {
          const [x, y] = [keys.get(a), keys.get(b)];
          if (!numeric) return down * x.text.localeCompare(y.text, undefined, { numeric: true });
          if (x.number === y.number) return 0;
          if (x.number === Infinity || y.number === Infinity) return x.number === Infinity ? 1 : -1;
          return down * (x.number - y.number);
        });
        body.append(...rows);
      });
    });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("figure.plot").forEach(plot);
  document.querySelectorAll("figure.samples").forEach(slider);
  for (const box of document.querySelectorAll(".legend input")) {
    box.addEventListener("change", () => {
      const group = Number(box.dataset.group);
      if (box.checked) hidden.delete(group); else hidden.add(group);
      figures.forEach((redraw) => redraw());
    });
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details:not(.long)").forEach((d) => { d.open = true; }));
})();
