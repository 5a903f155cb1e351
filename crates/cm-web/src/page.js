"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const fault = (error) => { $("fault").textContent = `Nothing can be drawn: ${error.message || error}`; $("fault").hidden = false; };

  // What the page holds: bytes, compressed, as text.
  async function held(id) {
    const packed = Uint8Array.from(atob($(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // A thread with a module of its own; what it is asked, it answers in turn.
  function thread(url) {
    const worker = new Worker(url), waiting = new Map();
    let last = 0;
    worker.onmessage = ({ data }) => {
      const { well, ill } = waiting.get(data.number);
      waiting.delete(data.number);
      if (data.error) ill(new Error(data.error)); else well(data.bytes);
    };
    worker.onerror = (event) => { for (const { ill } of waiting.values()) ill(new Error(event.message || "a thread ended")); };
    return (work, more) => new Promise((well, ill) => {
      waiting.set(++last, { well, ill });
      worker.postMessage({ work, number: last, ...more });
    });
  }

  // Above so many bytes a model is large: one thread holds it, and draws one image at a time.
  const LARGE = 2e7;
  let card, threads, large;
  try {
    const [code, model] = await Promise.all([held("module").then((bytes) => WebAssembly.compile(bytes)), held("model")]);
    const length = new DataView(model.buffer).getUint32(0, true);
    card = JSON.parse(new TextDecoder().decode(model.subarray(4, 4 + length)));
    const url = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
    large = model.length > LARGE;
    const count = large ? 1 : Math.min(4, navigator.hardwareConcurrency || 1);
    threads = Array.from({ length: count }, () => thread(url));
    await Promise.all(threads.map((ask) => ask("open", { code, model })));
  } catch (error) { fault(error); return; }

  const { height, width, channels } = card, places = height * width, values = places * channels;
  const nameOf = (kind) => card.class_names[kind] ?? String(kind);
  const kindOf = (select) => (select && select.value !== "" ? Number(select.value) : undefined);

  // Pixels as a canvas takes them.
  function imageData(pixels) {
    const data = new ImageData(width, height);
    for (let i = 0; i < places; i++) {
      for (let c = 0; c < 3; c++) data.data[4 * i + c] = pixels[channels * i + (channels === 3 ? c : 0)];
      data.data[4 * i + 3] = 255;
    }
    return data;
  }
  // The images and classes of an answer.
  function images(bytes, count) {
    const kinds = new DataView(bytes.buffer, bytes.byteOffset + count * values);
    return Array.from({ length: count }, (_, i) => ({
      pixels: bytes.subarray(i * values, (i + 1) * values),
      kind: card.classes === null ? undefined : kinds.getUint32(4 * i, true),
    }));
  }

  // Drawing: few images at a time, so that the sheet fills while one looks.
  const AT_ONCE = large ? 1 : Math.max(1, Math.min(10, Math.floor(2 ** 16 / values)));
  const sheet = $("sheet"), seed = $("seed"), evaluations = $("evaluations");
  let drawn = [], turn = 0, chosen = -1;

  function seedGiven() {
    const text = seed.value.trim();
    const given = /^[0-9]{1,20}$/.test(text) ? BigInt(text) : -1n;
    const well = given >= 0n && given < 2n ** 64n;
    seed.setAttribute("aria-invalid", !well);
    return well ? given : null;
  }
  function tell() {
    const steps = Number(evaluations.value), later = card.levels[steps - 1];
    const number = (level) => String(Number(level.toPrecision(3)));
    $("levels").textContent = `${steps}, at noise ${[card.sigma_max, ...later].map(number).join(", ")}`;
    evaluations.setAttribute("aria-valuetext", $("levels").textContent);
    const kind = kindOf($("class"));
    $("command").textContent = `cm sample MODEL --seed ${seed.value.trim()} --count ${$("count").value}` +
      (kind === undefined ? "" : ` --class ${kind}`) + (steps === 1 ? "" : ` --steps ${steps}`) + " --out drawn";
  }

  async function draw() {
    const given = seedGiven();
    if (given === null) {
      $("status").textContent = "A seed is a whole number from 0 to 18446744073709551615.";
      return;
    }
    tell();
    const mine = ++turn, begun = performance.now();
    const count = Number($("count").value), steps = Number(evaluations.value), kind = kindOf($("class"));
    const chunks = [];
    for (let first = 0; first < count; first += AT_ONCE) chunks.push({ first, count: Math.min(AT_ONCE, count - first) });
    drawn = Array(count).fill(null);
    sheet.setAttribute("aria-busy", true);
    sheet.style.setProperty("--across", count === 1 ? 1 : count === 25 ? 5 : count === 100 ? 10 : 20);
    if (sheet.children.length !== count) sheet.replaceChildren(...Array.from({ length: count }, (_, i) => cell(i)));
    const work = async (ask) => {
      while (chunks.length && mine === turn) {
        const chunk = chunks.shift();
        const bytes = await ask("draw", { seed: given, ...chunk, kind, evaluations: steps });
        if (mine !== turn) return;
        images(bytes, chunk.count).forEach((image, i) => show(chunk.first + i, image));
      }
    };
    try { await Promise.all(threads.map(work)); } catch (error) { if (mine === turn) fault(error); return; }
    if (mine !== turn) return;
    const seconds = ((performance.now() - begun) / 1000).toFixed(2);
    $("status").textContent = `${count} ${count === 1 ? "image" : "images"} in ${seconds} seconds, ${steps} ` +
      `${steps === 1 ? "evaluation" : "evaluations"} each, on ${threads.length} ${threads.length === 1 ? "thread" : "threads"}.`;
    sheet.setAttribute("aria-busy", false);
    choose(Math.max(0, Math.min(chosen, count - 1)));
  }
  function cell(index) {
    const option = document.createElement("div");
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", false);
    option.id = `image-${index}`;
    option.append(Object.assign(document.createElement("canvas"), { width, height }));
    option.addEventListener("click", () => choose(index));
    return option;
  }
  function show(index, image) {
    drawn[index] = image;
    const option = sheet.children[index];
    option.firstChild.getContext("2d").putImageData(imageData(image.pixels), 0, 0);
    option.setAttribute("aria-label", `Image ${index + 1}` + (image.kind === undefined ? "" : `, class ${nameOf(image.kind)}`));
  }

  // Editing: a copy of the chosen image, and which of its places are known.
  const marked = $("marked"), filled = $("filled"), brush = $("brush");
  const scale = Math.max(1, Math.round(256 / Math.max(height, width)));
  Object.assign(marked, { width: width * scale, height: height * scale });
  Object.assign(filled, { width, height });
  let pixels = new Uint8Array(values), known = new Uint8Array(places).fill(1), cursor = [0, 0], edits = 0, tries = 0n;

  function choose(index) {
    if (!drawn[index]) return;
    sheet.children[chosen]?.setAttribute("aria-selected", false);
    chosen = index;
    const option = sheet.children[index];
    option.setAttribute("aria-selected", true);
    sheet.setAttribute("aria-activedescendant", option.id);
    pixels = drawn[index].pixels.slice();
    if ($("edit-class")) $("edit-class").value = drawn[index].kind;
    tries = 0n;
    paint();
    fillIn();
  }
  function paint() {
    const context = marked.getContext("2d"), style = getComputedStyle(document.body);
    const accent = style.getPropertyValue("--accent");
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const at = y * width + x, [r, g, b] = [0, 1, 2].map((c) => pixels[channels * at + (channels === 3 ? c : 0)]);
      context.fillStyle = `rgb(${r} ${g} ${b})`;
      context.fillRect(x * scale, y * scale, scale, scale);
      if (known[at]) continue;
      context.globalAlpha = 0.6;
      context.fillStyle = accent;
      context.fillRect(x * scale, y * scale, scale, scale);
      context.globalAlpha = 1;
    }
    const side = Number(brush.value), from = Math.floor((side - 1) / 2);
    context.strokeStyle = accent;
    context.lineWidth = Math.max(2, scale / 10);
    context.strokeRect((cursor[0] - from) * scale, (cursor[1] - from) * scale, side * scale, side * scale);
  }
  // The places under the brush.
  function under([x, y]) {
    const side = Number(brush.value), from = Math.floor((side - 1) / 2), all = [];
    for (let dy = 0; dy < side; dy++) for (let dx = 0; dx < side; dx++) {
      const [px, py] = [x - from + dx, y - from + dy];
      if (px >= 0 && px < width && py >= 0 && py < height) all.push(py * width + px);
    }
    return all;
  }
  function tellPlace() {
    const left = known.filter((one) => !one).length;
    $("place").textContent = `Column ${cursor[0] + 1}, row ${cursor[1] + 1}, ${known[cursor[1] * width + cursor[0]] ? "kept" : "marked"}; ` +
      `${left} of ${places} pixels marked`;
    paint();
  }
  function mark(value) {
    for (const place of under(cursor)) known[place] = value;
    tellPlace();
  }
  function markAll(which) {
    known = known.map((_, place) => (which(place) ? 0 : 1));
    tellPlace();
    fillIn();
  }
  const pointed = (event) => {
    const box = marked.getBoundingClientRect();
    const within = (value, most) => Math.max(0, Math.min(most - 1, Math.floor(value)));
    return [within((event.clientX - box.left) / box.width * width, width), within((event.clientY - box.top) / box.height * height, height)];
  };
  let stroke = null;
  marked.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    cursor = pointed(event);
    stroke = known[cursor[1] * width + cursor[0]] ? 0 : 1;
    marked.setPointerCapture(event.pointerId);
    mark(stroke);
  });
  marked.addEventListener("pointermove", (event) => { cursor = pointed(event); if (stroke === null) paint(); else mark(stroke); });
  for (const end of ["pointerup", "pointercancel"]) marked.addEventListener(end, () => {
    if (stroke !== null) { stroke = null; fillIn(); }
  });
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  marked.addEventListener("keydown", (event) => {
    if (arrows[event.key]) {
      const [dx, dy] = arrows[event.key];
      cursor = [Math.max(0, Math.min(width - 1, cursor[0] + dx)), Math.max(0, Math.min(height - 1, cursor[1] + dy))];
      tellPlace();
    } else if (event.key === " ") mark(known[cursor[1] * width + cursor[0]] ? 0 : 1);
    else if (event.key === "Enter") fillIn();
    else return;
    event.preventDefault();
  });
  async function fillIn() {
    const mine = ++edits, again = seedGiven();
    if (known.every((one) => one)) {
      $("filling").textContent = "Nothing is marked.";
      filled.getContext("2d").putImageData(imageData(pixels), 0, 0);
      return;
    }
    if (again === null) { $("filling").textContent = "The seed above is none."; return; }
    $("filling").textContent = "Drawing…";
    // Each try has other noise.
    const noise = BigInt.asUintN(64, again + tries++);
    try {
      const bytes = await threads[0]("fillIn", { seed: noise, kind: kindOf($("edit-class")), pixels, known });
      if (mine !== edits) return;
      filled.getContext("2d").putImageData(imageData(bytes), 0, 0);
      $("filling").textContent = `Seed ${noise}, ${card.edit_levels.length} evaluations.`;
    } catch (error) { fault(error); }
  }

  // What is chosen takes effect at once; a drawing that is under way gives way to the next.
  const on = (id, event, act) => $(id)?.addEventListener(event, act);
  on("controls", "submit", (event) => { event.preventDefault(); draw(); });
  for (const id of ["class", "count", "seed"]) on(id, "change", draw);
  on("evaluations", "input", draw);
  on("another", "click", () => { seed.value = String(Math.floor(Math.random() * 1e9)); draw(); });
  on("sheet", "keydown", (event) => {
    const across = Number(getComputedStyle(sheet).getPropertyValue("--across")), last = drawn.length - 1;
    const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, ArrowUp: chosen - across, ArrowDown: chosen + across, Home: 0, End: last };
    if (!(event.key in to)) return;
    event.preventDefault();
    if (to[event.key] >= 0 && to[event.key] <= last) choose(to[event.key]);
  });
  on("edit", "submit", (event) => { event.preventDefault(); fillIn(); });
  on("edit-class", "change", fillIn);
  on("brush", "input", paint);
  on("lower", "click", () => markAll((place) => place >= places / 2));
  on("none", "click", () => markAll(() => false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  await draw();
})();
