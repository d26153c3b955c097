// The linked map of linked.py: points on a canvas, and the player of player.js (`play`) for the clips behind them, whose STYLE and
// `add` it shares. No library, nothing is loaded. `mountMap(data, id)` starts it; `unpack`, `between` and `inside` need no page. Places
// on a map run from 0 to 1, y upwards.

// Plain loops: `from` with a function takes five hundred times as long for the places of 40,000 points.
function unpack(text, Kind) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Kind(bytes.buffer);
}

function fromGrid(step) { // places on the grid of linked.py as numbers from 0 to 1
  const places = new Float32Array(step.length);
  for (let i = 0; i < places.length; i++) places[i] = step[i] / 65535;
  return places;
}

function between(from, to, share) { // places of all points on the way from one map to another
  const places = new Float32Array(from.length);
  for (let i = 0; i < places.length; i++) places[i] = from[i] + (to[i] - from[i]) * share;
  return places;
}

function inside(corners, x, y) { // whether a point lies in a polygon: an odd number of its edges cross the ray to the right
  let odd = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const [x1, y1] = corners[i], [x2, y2] = corners[j];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) odd = !odd;
  }
  return odd;
}

const MAP_STYLE = `${STYLE}
.bar { margin: 0 0 6px } .bar .note { margin: 0; min-width: 0; overflow-wrap: anywhere } [hidden] { display: none !important } select { max-width: 260px } .note { margin-top: 4px }
button[aria-pressed=true] { background: #cfe4f3; border-color: #0072b2 }
.bar [type=search] { flex: none; font: inherit; border: 1px solid #bbb; border-radius: 4px }
.both { display: flex; flex-wrap: wrap; gap: 10px } .map { position: relative; flex: 1 1 420px; min-width: 0; height: 480px }
.map canvas { position: absolute; inset: 0; height: 100%; touch-action: none } canvas:focus-visible { outline: 2px solid #0072b2 }
.legend { flex: 0 1 230px; max-height: 480px; overflow: auto } .legend b { display: block; margin-bottom: 4px }
.entry { display: flex; width: 100%; box-sizing: border-box; gap: 6px; align-items: center; text-align: left; border-color: transparent;
  background: none; padding: 0 4px } .entry span { flex: 1; overflow-wrap: anywhere } .entry canvas { width: auto; cursor: inherit }
.entry i { all: unset; color: #555; font-size: 12px } .ramp { height: 14px } .ends { display: flex; justify-content: space-between }
.tip { position: absolute; pointer-events: none; background: #222e; color: #fff; border-radius: 4px; padding: 3px 7px; font-size: 12px;
  max-width: 260px; overflow-wrap: anywhere; white-space: pre-line; z-index: 1 }
.found { border-top: 1px solid #ddd; margin-top: 8px; padding-top: 6px } .found p { margin: 0 0 6px } .found .note { margin-bottom: 4px }
ul, ol { margin: 0 0 6px; padding: 0 } ul { columns: 180px } ol .entry { width: auto; display: inline-flex }
.stage { position: relative } .sight { position: absolute; top: 0; height: 300px; pointer-events: none }
textarea { width: 100%; box-sizing: border-box; font: 12px monospace }
`;

const LISTED = 500; // names that are written below a lasso: a page lays out tens of thousands in seconds
const MARGIN = 96; // pixels around the picture, so that no point at its edge needs care

function mountMap(data, id) {
  for (const host of document.querySelectorAll(`[data-skelmm-map="${id}"]`)) if (!host.shadowRoot) linkedMap(host, data, id);
}

function linkedMap(host, data, id) {
  const root = host.attachShadow({ mode: "open" });
  const press = (parent, words, options = {}) => add(parent, "button", options, words);
  const note = (parent, words) => add(parent, "div", { class: "note" }, words);
  const fill = (line, look, words, many = "") => { // a line of a list: marker, words, number
    if (look) line.append(sprite(look, 5.5, ""));
    add(line, "span", {}, words);
    add(line, "i", {}, many);
    return line;
  };
  const count = data.count, names = data.names.split("\n"), none = 2 ** (8 * data.wide) - 1, unknown = 65535;
  const maps = data.maps.map((map) => ({ ...map, steps: map.steps.map((text) => fromGrid(unpack(text, Uint16Array))) }));
  const columns = data.columns.map((column) => ({ ...column, values: unpack(column.values, Uint16Array) }));
  const nearest = data.nearest.map((text) => unpack(text, data.wide === 2 ? Uint16Array : Uint32Array));
  const stored = new Map(Object.entries(data.stored).map(([point, number]) => [+point, number]));
  const near = (i) => [...(nearest[map().near]?.subarray(i * data.each, (i + 1) * data.each) ?? [])].filter((n) => n !== none);
  const ask = () => document.querySelector(`.skelmm-ask-${id} input`); // there while a kernel listens (messenger.py)
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // the card
  add(root, "style", {}, MAP_STYLE);
  const card = add(root, "div", { class: "card", role: "group", "aria-label": `Map: ${data.title}` });
  if (data.heading) add(card, "h3", {}, data.heading);
  const first = add(card, "div", { class: "bar" }), second = add(card, "div", { class: "bar" });
  const which = choice(first, "map", maps.map((map, key) => [key, map.name]), 0);
  const colour = choice(first, "colour by", columns.map((column, key) => [key, column.name]), 0);
  const lasso = press(first, "lasso", { "aria-pressed": false });
  const again = press(first, "reset view");
  const search = add(first, "input", { type: "search", placeholder: "find a clip by name", "aria-label": "find a clip by name", size: 20 });
  const told = add(first, "span", { class: "note", role: "status" });
  const start = press(second, "▶ play"), slider = add(second, "input", { type: "range", min: 0, step: 0.01, "aria-label": "step" });
  const where = add(second, "output");
  const both = add(card, "div", { class: "both" }), frame = add(both, "div", { class: "map" });
  const canvas = add(frame, "canvas", { role: "img", tabindex: 0 }), pen = canvas.getContext("2d");
  const tip = add(frame, "div", { class: "tip", hidden: "" }), legend = add(both, "div", { class: "legend" });
  const help = "Drag: move. Wheel, after a click: zoom. Click a point: its clip. Shift and drag: lasso. " +
    "Keys: arrows, + −, R: reset, Enter: the point at the cross, N, P: next, previous.";
  const held = stored.size && stored.size < count ? ` Ringed: the ${stored.size} clips this page holds.` : "";
  note(card, help + held);
  if (data.left) note(card, data.left);
  const [listed, shown] = [1, 2].map(() => add(card, "div", { class: "found", hidden: "" }));
  const stage = add(card, "div", { class: "stage" });

  // what is to be seen
  const home = { x: 0.5, y: 0.5, zoom: 1 };
  let view = { ...home }, aim = false, now = new Float32Array(2 * count), chosen = -1, over = -1, corners = null, lit = new Set();
  let picture = new ImageData(1, 1), stamps = [], faint = null, size = 0, waiting = false, moving = 0, codes = null, before = 0;
  const map = () => maps[which.value], column = () => columns[colour.value];
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  let stride = Math.ceil(0.618 * count); // points are drawn so many apart: no value covers the others
  while (divisor(stride, count) > 1) stride++;
  const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const scale = () => 1.88 * Math.min(...middle()) * view.zoom;
  const put = (x, y, [a, b] = middle()) => [a + (x - view.x) * scale(), b - (y - view.y) * scale()];
  const back = (x, y, [a, b] = middle()) => [view.x + (x - a) / scale(), view.y - (y - b) / scale()];
  const at = (i) => put(now[2 * i], now[2 * i + 1]);
  const measure = ({ range: [low, high] }, v) => (v === unknown ? "unknown" : +(low + (v / 65534) * (high - low)).toPrecision(3));
  const wordOf = (c, i) => (c.entries ? c.entries[c.values[i]].word : measure(c, c.values[i]));
  const about = (i) => columns.map((c) => { // "view 2", not "view: view 2"
    const word = "" + wordOf(c, i);
    return (word.startsWith(c.name + " ") ? "" : `${c.name}: `) + word + (c.unit ? ` (${c.unit})` : "");
  });

  function sprite(style, radius, edge) { // a marker as matplotlib has it
    const node = document.createElement("canvas"), to = node.getContext("2d"), corners = data.shapes[style.shape] ?? [];
    const middle = (node.width = node.height = 2 * Math.ceil(1.6 * radius) + 2) / 2;
    if (!corners.length) to.arc(middle, middle, radius * 0.9, 0, 7);
    for (const [x, y] of corners) to.lineTo(middle + x * radius, middle - y * radius);
    to.closePath();
    to.fillStyle = style.colour;
    to.fill();
    to.strokeStyle = edge;
    to.lineWidth = radius / 8;
    if (edge) to.stroke();
    return node;
  }
  function stamp(style, radius, edge) { // a sprite's pixels that aren't empty: where in the picture, colour, cover of 256
    const node = sprite(style, radius, edge), side = node.width, image = node.getContext("2d").getImageData(0, 0, side, side).data;
    const tones = new Uint32Array(image.buffer), all = [...tones.keys()].filter((i) => image[4 * i + 3] > 8);
    return {
      places: Int32Array.from(all, (i) => (Math.floor(i / side) - side / 2) * picture.width + (i % side) - side / 2),
      tones: Uint32Array.from(all, (i) => tones[i] | 0xff000000), covers: Int32Array.from(all, (i) => image[4 * i + 3] + 1),
    };
  }
  function dress() { // one picture for each value, and each point's number among them
    const c = column(), dots = devicePixelRatio || 1;
    size = dots * Math.min(8, Math.max(1.6, Math.min(5, 90 / Math.sqrt(count))) * view.zoom ** 0.35);
    const styles = c.entries ?? [...data.ramp.map((tone) => ({ colour: tone, shape: "o" })), { colour: data.grey, shape: "o" }];
    stamps = styles.map((style) => stamp(style, size, size > 2.4 * dots ? "#fff" : ""));
    faint = stamp({ colour: "#ddd", shape: "o" }, Math.max(1, 0.7 * size), "");
    if (c.entries) return (codes = c.values);
    const [low, high] = c.limits, last = data.ramp.length - 1;
    codes = c.values.map((v) => (v === unknown ? last + 1 : Math.round(last * Math.min(1, Math.max(0, (v - low) / (high - low))))));
  }

  // Points are written into a picture pixel by pixel: ten times as fast as `drawImage` where there is no graphics card.
  function dot({ places, tones, covers }, pixels, middle) {
    for (let n = 0; n < places.length; n++) {
      const place = middle + places[n], cover = covers[n], tone = tones[n], under = pixels[place];
      if (cover > 240) pixels[place] = tone;
      else {
        const mix = (mask) => (((tone & mask) * cover + (under & mask) * (256 - cover)) >>> 8) & mask;
        pixels[place] = 0xff000000 | mix(0xff00ff) | mix(0xff00);
      }
    }
  }
  function draw() {
    waiting = false;
    const dots = devicePixelRatio || 1, k = scale() * dots, wide = canvas.width, high = canvas.height, row = picture.width;
    const left = wide / 2 - view.x * k, top = high / 2 + view.y * k, pixels = new Uint32Array(picture.data.buffer);
    const on = stamps.map((_, code) => !lit.size || lit.has(code));
    pixels.fill(0xfffafafa);
    for (const pass of lit.size ? [false, true] : [true])
      for (let n = 0, i = 0; n < count; n++, i = (i + stride) % count) {
        if (on[codes[i]] !== pass) continue;
        const x = Math.round(left + now[2 * i] * k), y = Math.round(top - now[2 * i + 1] * k);
        if (x >= -MARGIN / 2 && y >= -MARGIN / 2 && x < wide + MARGIN / 2 && y < high + MARGIN / 2)
          dot(pass ? stamps[codes[i]] : faint, pixels, (y + MARGIN) * row + x + MARGIN);
      }
    pen.putImageData(picture, -MARGIN, -MARGIN);
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    const stroke = (tone, width) => {
      pen.strokeStyle = tone;
      pen.lineWidth = width;
      pen.stroke();
    };
    const trace = (points, ...look) => {
      pen.beginPath();
      for (const [x, y] of points) pen.lineTo(x, y);
      pen.closePath();
      stroke(...look);
    };
    const ring = (i, tone, width, apart) => {
      pen.beginPath();
      pen.arc(...at(i), size / dots + apart, 0, 7);
      stroke(tone, width);
    };
    if (stored.size < count) for (const i of stored.keys()) ring(i, "#0007", 0.8, 1.5);
    if (chosen >= 0) ring(chosen, "#000", 2.5, 3);
    for (const n of chosen < 0 ? [] : near(chosen)) {
      trace([at(chosen), at(n)], "#0006", 1);
      ring(n, "#000", 1.2, 2);
    }
    if (over >= 0) ring(over, "#000", 1, 2);
    const [x, y] = middle();
    if (aim) for (const [a, b] of [[9, 0], [0, 9]]) trace([[x - a, y - b], [x + a, y + b]], "#000", 2);
    if (!corners) return;
    trace(corners.map(([x, y]) => put(x, y)), "#0072b2", 1.2);
    pen.fillStyle = "#0072b21a";
    pen.fill();
  }
  const touch = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };

  // which map, and where between its steps
  function place(share = +slider.value) {
    const { steps } = map(), low = Math.min(Math.floor(share), steps.length - 1), high = Math.min(low + 1, steps.length - 1);
    return between(steps[low], steps[high], share - low);
  }
  function tellStep() {
    const { labels } = map(), share = +slider.value, low = Math.floor(share), part = Math.round(100 * (share - low));
    where.textContent = part % 100 ? `${part} % of the way from ${labels[low]} to ${labels[low + 1]}` : labels[Math.round(share)];
    slider.ariaValueText = where.textContent;
    canvas.ariaLabel = `${count} clips on the map ${map().name}, by ${column().name}`;
  }
  function step(share) {
    slider.value = share;
    if (corners) drop(); // others lie in the lasso
    now = place();
    tellStep();
    touch();
  }
  function glide(seconds, each) { // calls each(share) with 0 to 1 as time goes on, until another glide begins
    const mine = ++moving, began = performance.now();
    const beat = (time) => {
      if (mine !== moving || !host.isConnected) return;
      const share = Math.min(1, Math.max(0, (time - began) / 1000 / seconds));
      each(share);
      if (share < 1) requestAnimationFrame(beat);
      else halt();
    };
    requestAnimationFrame(beat);
  }
  const halt = () => { moving++; start.textContent = "▶ play"; };
  function change() {
    const last = map().steps.length - 1, old = now;
    if (chosen >= 0 && map().near !== before) choose(chosen); // on another map others are near
    if (corners) drop(); // and others lie in the lasso
    before = map().near;
    second.hidden = !last;
    slider.max = last;
    slider.value = last;
    tellStep();
    const next = place();
    halt();
    glide(calm ? 0.001 : 0.6, (share) => { now = between(old, next, share * share * (3 - 2 * share)); touch(); });
  }
  function form() {
    if (start.textContent.startsWith("❚")) return halt();
    const last = map().steps.length - 1, from = +slider.value < last ? +slider.value : 0;
    glide(1.6 * (last - from), (share) => step(from + share * (last - from)));
    start.textContent = "❚❚ pause";
  }

  function explain() { // the legend
    const c = column();
    if (corners) gather();
    lit = new Set();
    legend.textContent = "";
    add(legend, "b", {}, c.unit ? `${c.name} (${c.unit})` : c.name);
    dress();
    tellStep();
    if (!c.entries) {
      const [low, high] = c.limits;
      add(legend, "div", { class: "ramp", style: `background:linear-gradient(90deg,${data.ramp})` });
      const ends = add(legend, "div", { class: "ends" });
      add(ends, "span", {}, (low > 0 ? "≤ " : "") + measure(c, low));
      add(ends, "span", {}, (high < 65534 ? "≥ " : "") + measure(c, high));
      if (c.values.includes(unknown)) note(legend, "grey: unknown");
      return touch();
    }
    c.entries.forEach((entry, code) => {
      const button = fill(press(legend, "", { class: "entry", "aria-pressed": false }), entry, entry.word, entry.count);
      button.onclick = () => {
        if (!lit.delete(code)) lit.add(code);
        button.ariaPressed = lit.has(code);
        touch();
      };
    });
    touch();
  }

  // a point and its clips
  function choose(i) {
    chosen = i;
    stage.textContent = "";
    shown.textContent = "";
    shown.hidden = i < 0;
    touch();
    if (i < 0) return;
    const wanted = [i, ...near(i)], missing = wanted.filter((n) => !stored.has(n)), kernel = ask(), list = add(shown, "ol");
    wanted.forEach((n, place) => {
      const button = press(list, "", { class: "entry", title: about(n).join("\n") }), c = columns[0], look = c.entries?.[c.values[n]];
      fill(button, look, (place ? `nearest ${place}: ` : "") + names[n] + (look ? `, ${look.word}` : ""));
      if (place) button.onclick = () => choose(n);
    });
    const said = note(shown, wanted.length > 1 ? data.words[map().near] : "");
    if (!data.player) return;
    if (missing.length && kernel) {
      said.textContent = "asking the kernel for these clips …";
      setTimeout(() => { // of all points that a held key passes, the last
        if (chosen !== i) return;
        kernel.value = `${map().near * count + i} ${Date.now()}`;
        kernel.dispatchEvent(new Event("input", { bubbles: true }));
      }, 150);
      return setTimeout(() => { if (chosen === i && !stage.firstChild) said.textContent = "The kernel does not answer yet: while it is busy these clips wait; if it was restarted, run the cell again."; }, 15000);
    }
    if (missing.length)
      said.textContent += ` Not in this page: ${missing.length} of these ${wanted.length} clips; they play where a kernel runs.`;
    const there = wanted.filter((n) => stored.has(n));
    if (there.length) present({ ...data.player, clips: there.map((n) => data.player.clips[stored.get(n)]) }, there);
  }
  let kept; // tells what was chosen in the last player
  function present(player, points) {
    const order = [chosen, ...near(chosen)], word = (n) => (n === chosen ? "" : `nearest ${order.indexOf(n)}: `);
    const clips = player.clips.map((clip, k) => ({ ...clip, title: word(points[k]) + clip.title }));
    stage.textContent = "";
    kept = play(add(stage, "div"), { ...player, autoplay: true, clips }, kept?.());
    add(stage, "div", { class: "sight" }).scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  }
  host.addEventListener("skelmm-clips", ({ detail }) => { // the kernel's answer
    if (detail.points[0] !== chosen || detail.near !== map().near) return;
    shown.lastChild.textContent = data.words[map().near];
    present(detail.player, detail.points);
  });

  // a lasso and what lies in it
  function gather() {
    const found = [], c = column().entries ? column() : columns.find((other) => other.entries);
    for (let i = 0; i < count; i++) if (inside(corners, now[2 * i], now[2 * i + 1])) found.push(i);
    listed.textContent = "";
    listed.hidden = false;
    add(listed, "p", {}, `${found.length} clip${found.length === 1 ? "" : "s"} inside${c ? `, by ${c.name}:` : ""}`);
    if (c) {
      const counts = new Map(), list = add(listed, "ul");
      for (const i of found) counts.set(c.values[i], (counts.get(c.values[i]) ?? 0) + 1);
      for (const [code, many] of [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]))
        fill(add(list, "li", { class: "entry" }), c.entries[code], c.entries[code].word, many);
    }
    const text = add(listed, "textarea", { readonly: "", rows: 5, "aria-label": "names of the clips inside" });
    const all = found.map((i) => names[i]), more = all.length - LISTED;
    text.value = all.slice(0, LISTED).join("\n");
    if (more > 0) note(listed, `and ${more} more, which “copy the names” takes too`);
    const bar = add(listed, "div", { class: "bar" });
    press(bar, "copy the names").onclick = () => {
      const give = (event) => { event.clipboardData.setData("text/plain", all.join("\n")); event.preventDefault(); };
      text.addEventListener("copy", give, { once: true });
      text.select();
      document.execCommand("copy");
    };
    press(bar, "close").onclick = drop;
  }
  function drop() {
    corners = null;
    listed.hidden = true;
    touch();
  }

  // pointer and keys
  const fingers = new Map(), spot = ({ clientX, clientY }, box = canvas.getBoundingClientRect()) => [clientX - box.left, clientY - box.top];
  const off = () => { tip.hidden = true; over = -1; touch(); };
  let begun = null, drawing = false;
  function zoomBy(factor, [x, y] = middle()) {
    const [a, b] = back(x, y);
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.5), 200);
    const [c, d] = back(x, y);
    view.x += a - c;
    view.y += b - d;
    dress();
    touch();
  }
  const reset = () => { view = { ...home }; dress(); touch(); };
  function hit(x, y, within = 10) { // the nearest point within so many pixels, or -1; of what stands out
    const [a, b] = back(x, y);
    let best = -1, least = (within / scale()) ** 2;
    for (let i = 0; i < count; i++) {
      const far = (now[2 * i] - a) ** 2 + (now[2 * i + 1] - b) ** 2;
      if (far < least && (!lit.size || lit.has(codes[i]))) [best, least] = [i, far];
    }
    return best;
  }
  canvas.onpointerdown = (event) => {
    fingers.set(event.pointerId, spot(event));
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    begun = spot(event);
    off();
    aim = false;
    drawing = (event.shiftKey || lasso.ariaPressed === "true") && fingers.size === 1;
    if (drawing) corners = [back(...begun)];
  };
  canvas.onpointermove = (event) => {
    const was = fingers.get(event.pointerId), [x, y] = spot(event);
    if (!was) {
      const found = hit(x, y);
      tip.hidden = found < 0;
      if (found >= 0) {
        if (found !== over) tip.textContent = [names[found], ...about(found)].join("\n");
        tip.style.left = `${Math.min(x + 12, Math.max(0, canvas.clientWidth - 200))}px`;
        tip.style.top = `${y + 14}px`;
      }
      if (found !== over) touch();
      over = found;
      return;
    }
    const apart = fingers.size === 2 ? spread(fingers) : 0;
    fingers.set(event.pointerId, [x, y]);
    if (apart) return zoomBy(spread(fingers) / apart, [x, y]);
    if (drawing) corners.push(back(x, y));
    else {
      view.x -= (x - was[0]) / scale();
      view.y += (y - was[1]) / scale();
    }
    touch();
  };
  canvas.onpointerup = (event) => {
    const [x, y] = spot(event);
    if (!fingers.delete(event.pointerId)) return;
    if (drawing && corners.length > 2) gather();
    else if (drawing) drop();
    else if (Math.hypot(x - begun[0], y - begun[1]) < 4) choose(hit(x, y));
    drawing = false;
  };
  canvas.onpointercancel = (event) => fingers.delete(event.pointerId);
  canvas.onfocus = canvas.onblur = () => { aim = canvas.matches(":focus-visible"); touch(); }; // a pointer needs no cross
  canvas.onpointerleave = off;
  canvas.onwheel = (event) => {
    if (root.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls on until the map was clicked
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.0015), spot(event));
  };
  card.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return; // such as Ctrl+S: the page's
    event.stopPropagation();
    if (event.target !== canvas) return;
    const move = (x, y) => () => { view.x += x / scale(); view.y += y / scale(); touch(); };
    const action = {
      arrowleft: move(-40, 0), arrowright: move(40, 0), arrowup: move(0, 40), arrowdown: move(0, -40),
      "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), r: reset, escape: drop,
      enter: () => choose(hit(...middle(), Infinity)), n: () => next(1), p: () => next(-1),
    }[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    aim = true;
    touch();
    action();
  };
  function bring(i) { // into sight
    const [x, y] = at(i), [a, b] = middle();
    if (Math.abs(x - a) > a || Math.abs(y - b) > b) [view.x, view.y] = [now[2 * i], now[2 * i + 1]];
    choose(i);
  }
  function next(by) { // of those that stand out
    let i = Math.max(chosen, by < 0 ? 0 : -1);
    do i = (i + by + count) % count; while (lit.size && !lit.has(codes[i]));
    bring(i);
  }
  let sought = "", reached = -1;
  search.onkeydown = (event) => { // Enter goes to the next clip that is called so, and after the last one to the first
    const words = search.value.trim().toLowerCase();
    if (event.key !== "Enter" || !words) return;
    if (words !== sought) [sought, reached] = [words, -1];
    const found = [...names.keys()].filter((i) => names[i].toLowerCase().includes(words));
    if (!found.length) return (told.textContent = `no clip is called “${search.value.trim()}”`);
    reached = found.find((i) => i > reached) ?? found[0];
    told.textContent = found.length > 1 ? `${found.indexOf(reached) + 1} of ${found.length}; Enter: the next` : "";
    bring(reached);
  };
  search.oninput = () => { told.textContent = ""; };
  lasso.onclick = () => { lasso.ariaPressed = lasso.ariaPressed !== "true"; };
  again.onclick = reset;
  start.onclick = form;
  slider.oninput = () => { halt(); step(+slider.value); };
  which.onchange = change;
  colour.onchange = explain;

  new ResizeObserver(() => {
    const dots = devicePixelRatio || 1;
    [canvas.width, canvas.height] = middle().map((half) => Math.round(2 * half * dots));
    if (!canvas.width) return;
    picture = new ImageData(canvas.width + 2 * MARGIN, canvas.height + 2 * MARGIN);
    dress();
    draw();
  }).observe(canvas);
  explain();
  change();
  halt();
  now = place();
}
