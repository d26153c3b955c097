// The player of player.py: draws clips on a canvas. No library, nothing is loaded. `mount(data, id)` starts it; `decode` and `vectors`
// need no page, so tests run them alone. Points are (bodies, frames, joints, 3) in one array; a joint that is not there is NaN.

function decode(clip) { // undoes packing.pack
  const { bodies, frames, step, bone } = clip, axes = clip.flat ? 2 : 3, bytes = atob(clip.data);
  const points = new Float64Array(bodies * frames * bone.length * 3).fill(NaN);
  let at = 0;
  const number = () => {
    let value = 0, place = 1, byte;
    do {
      byte = bytes.charCodeAt(at++);
      value += (byte & 127) * place;
      place *= 128;
    } while (byte > 127);
    return value;
  };
  for (let body = 0; body < bodies; body++)
    for (let joint = 0; joint < bone.length; joint++) {
      const runs = [], index = (frame) => 3 * ((body * frames + frame) * bone.length + joint);
      for (let frame = 0, there = true; frame < frames; there = !there) {
        const length = number();
        if (there && length) runs.push([frame, frame + length]);
        frame += length;
      }
      for (let axis = 0; axis < axes; axis++)
        for (const [begin, end] of runs)
          for (let frame = begin, value = 0, change = 0; frame < end; frame++) {
            const n = number(), signed = n % 2 ? -(n + 1) / 2 : n / 2;
            if (frame === begin) value = signed;
            else value += change += signed;
            points[index(frame) + axis] = value * step;
          }
      if (clip.flat) for (const [begin, end] of runs) for (let frame = begin; frame < end; frame++) points[index(frame) + 2] = 0;
    }
  return points;
}

const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const times = (a, k) => [a[0] * k, a[1] * k, a[2] * k];
const unit = (a) => times(a, 1 / Math.max(Math.sqrt(dot(a, a)), 1e-12));
const known = (a) => (isNaN(a[0] + a[1] + a[2]) ? [0, 0, 0] : a); // what needs a joint that is not there is 0

// One modality of a clip as arrows, as scene.vectors has it: tail, head (M, T, V, 3), size (M, T, V). `scale`: reference, metres, length,
// longest, order; `ratio`: the clip's frame rate over the scale's, which may be per second.
function vectors(clip, points, name, scale, ratio = 1) {
  const { bodies, frames, bone, axis, centre, shoulders, spine, flat } = clip, count = bone.length, per = ratio ** scale.order;
  const tail = new Float64Array(points.length), head = new Float64Array(points.length), size = new Float64Array(points.length / 3);
  const index = (m, t, v) => 3 * ((m * frames + t) * count + v);
  const at = (m, t, v) => points.slice(index(m, t, v), index(m, t, v) + 3);
  const place = (m, t, v) => (flat ? at(m, t, v) : minus(at(m, t, v), at(m, t, centre)));
  const plain = (m, t, v) => known(minus(at(m, t, v), at(m, t, bone[v])));
  const limb = (m, t, v) => {
    if (v !== centre || flat) return plain(m, t, v);
    const [left, right] = shoulders, back = plain(m, t, right);
    return unit(cross(minus(plain(m, t, spine), back), minus(plain(m, t, left), back)));
  };
  const turn = (m, t, v) => (v === centre ? [0, 0, 0] : cross(limb(m, t, v), limb(m, t, axis[v])));
  const bend = (m, t, v) => {
    const a = unit(limb(m, t, v)), b = unit(limb(m, t, axis[v])), sine = cross(a, b);
    return Math.atan2(Math.sqrt(dot(sine, sine)), dot(a, b));
  };
  const whole = (m, t, v) => t >= 0 && t < frames && !isNaN(points[index(m, t, v)]);
  const change = (m, t, v) => minus(place(m, t + 1, v), place(m, t, v));
  const value = {
    joint: (m, t, v) => known(minus(at(m, t, v), at(m, t, centre))),
    motion: (m, t, v) => (whole(m, t + 1, v) ? change(m, t, v) : [0, 0, 0]),
    bone: limb,
    acceleration: (m, t, v) => (whole(m, t + 1, v) && whole(m, t + 2, v) ? minus(change(m, t + 1, v), change(m, t, v)) : [0, 0, 0]),
    rotation_axis: (m, t, v) => unit(turn(m, t, v)),
    angular_velocity: (m, t, v) => (whole(m, t + 1, v) ? times(unit(turn(m, t, v)), bend(m, t + 1, v) - bend(m, t, v)) : [0, 0, 0]),
  }[name];
  for (let m = 0, i = 0; m < bodies; m++)
    for (let t = 0; t < frames; t++)
      for (let v = 0; v < count; v++, i++) {
        const there = whole(m, t, v), arrow = there ? value(m, t, v) : [NaN, NaN, NaN], long = Math.sqrt(dot(arrow, arrow)) * per;
        const start = at(m, t, name === "joint" ? centre : name === "bone" ? bone[v] : v);
        let stretch = scale.metres * per * Math.min(1, (scale.longest * scale.reference) / Math.max(long, 1e-12));
        if (name === "joint" || name === "bone") stretch = name === "bone" && v === centre ? scale.length : 1;
        size[i] = long;
        for (let c = 0; c < 3; c++) {
          tail[3 * i + c] = start[c];
          head[3 * i + c] = start[c] + arrow[c] * stretch;
        }
      }
  return { tail, head, size };
}

const NARROW = 215, TALL = 640; // pixels: the narrowest panel of several, and how high all rows may be; rows lower than 200 are not made

function round(least) { // the smallest of 1, 2, 5 x 10^k that is not below
  const ten = 10 ** Math.floor(Math.log10(least) + 1e-9);
  return [1, 2, 5, 10].find((n) => n * ten > least * 0.999) * ten;
}

// In how many columns n panels stand on a page of this width, and how high one may be: as large as `TALL` allows, less for empty places.
// paired: two clips, whose panels stay beside each other.
function grid(n, width, paired = false) {
  if (n === 1) return [1, Math.round(Math.min(Math.max(200, 0.62 * width), 480))];
  let best = [1, 0, -1];
  for (let columns = 1; columns <= n && (columns === 1 || width / columns >= NARROW); columns++) {
    const rows = Math.ceil(n / columns), high = Math.min(440, (0.95 * width) / columns, TALL / rows), filled = n / (rows * columns);
    if ((!paired || columns === 1 || columns % 2 === 0) && high * filled >= best[2]) best = [columns, high, high * filled];
  }
  return [best[0], Math.round(Math.max(200, best[1]))];
}

const STYLE = `
:host { all: initial; display: block }
.card { font: 13px/1.4 system-ui, sans-serif; color: #222; background: #fff; color-scheme: light;
  border: 1px solid #ccc; border-radius: 6px; padding: 10px 12px; max-width: 1100px; box-sizing: border-box; outline: none }
.card:focus-within { border-color: #0072b2 } .card:focus-visible { box-shadow: 0 0 0 3px #0072b266 }
h3 { font-size: 15px; margin: 0 0 6px; overflow-wrap: anywhere }
canvas { display: block; width: 100%; touch-action: pan-y; cursor: grab }
.bar { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; margin-top: 6px }
.bar input { flex: 1 1 200px; min-width: 120px; accent-color: #0072b2 }
button, select { font: inherit; color: inherit; background: #f4f4f4; border: 1px solid #bbb; border-radius: 4px; padding: 2px 8px }
button:hover, select:hover { background: #e8e8e8 }
button:focus-visible, select:focus-visible, input:focus-visible { outline: 2px solid #0072b2; outline-offset: 1px }
.play { min-width: 84px } output { font-variant-numeric: tabular-nums; min-width: 215px }
label { white-space: nowrap } .note { color: #555; font-size: 12px; margin-top: 6px }
.note span { white-space: nowrap; margin-right: 12px }
i { display: inline-block; width: 18px; height: 4px; margin-right: 4px; vertical-align: middle }
`;

const add = (parent, tag, options = {}, words = "") => {
  const node = parent.appendChild(document.createElement(tag));
  for (const [key, value] of Object.entries(options)) node.setAttribute(key, value);
  node.textContent = words;
  return node;
};
const choice = (parent, words, entries, value) => {
  const select = add(add(parent, "label", {}, `${words} `), "select", { "aria-label": words });
  for (const [key, text] of entries) add(select, "option", { value: key }, text);
  select.value = value;
  return select;
};

const spread = (fingers) => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };

function mount(data, id) {
  const players = (globalThis.skelmmKept ??= {}); // by `data.keep`: the last one that a widget made, which makes them anew
  for (const host of document.querySelectorAll(`[data-skelmm="${id}"]`)) {
    if (host.shadowRoot) continue;
    const chosen = play(host, data, players[data.keep]?.());
    if (data.keep) players[data.keep] = chosen;
  }
}

// Makes a player in `host`; gives a function that tells what its reader has chosen. `kept`: what another one told; what this one has of
// it is chosen from the start.
function play(host, data, kept = {}) {
  const root = host.attachShadow({ mode: "open" });
  const clips = data.clips.map((clip) => ({ ...clip, points: decode(clip), arrows: {} }));
  const flat = clips[0].flat, names = Object.keys(data.scales), rate = Math.max(...clips.map((c) => c.rate));
  const ticks = Math.round(Math.max(...clips.map((c) => (c.frames - 1) / c.rate)) * rate); // the slider's steps: frames of the fastest clip

  // the card
  add(root, "style", {}, STYLE);
  const card = add(root, "div", { class: "card", role: "group", tabindex: 0, "aria-label": `Player: ${data.title}` });
  if (data.heading) add(card, "h3", {}, data.heading);
  const canvas = add(card, "canvas", { role: "img" }), pen = canvas.getContext("2d");
  const first = add(card, "div", { class: "bar" }), second = add(card, "div", { class: "bar" });
  const start = add(first, "button", { class: "play" }, "▶ play");
  const back = add(first, "button", { "aria-label": "one frame back" }, "◂");
  const on = add(first, "button", { "aria-label": "one frame on" }, "▸");
  const slider = add(first, "input", { type: "range", min: 0, max: ticks, step: 1, value: 0, "aria-label": "time" });
  const clock = add(first, "output", { "aria-live": "off" });
  const given = data.panels.join("+"), all = names.join("+");
  const shows = [["limbs", "limbs"], ...names.map((n) => [n, data.scales[n].label]), [all, `all ${names.length} side by side`]];
  if (!shows.some(([key]) => key === given)) shows.push([given, data.panels.map((n) => data.scales[n]?.label ?? n).join(" + ")]);
  const show = choice(second, "show", shows, given);
  const look = choice(second, "as", [["arrows", "arrows"], ["colour", "colour"]], data.style);
  const speeds = [...new Set([0.1, 0.25, 0.5, 1, 2, 4, data.speed])].sort((a, b) => a - b);
  const speed = choice(second, "speed", speeds.map((s) => [s, `${s} ×`]), data.speed);
  const lasting = [...new Set([0, 0.5, 1, 2, data.trails])].sort((a, b) => a - b);
  const trails = choice(second, "trails", lasting.map((s) => [s, s ? `${s} s` : "none"]), data.trails);
  const choices = { [given]: show, as: look, speed, trails }; // `show` by what was to be shown: whoever asks for something else sees that
  for (const [name, select] of Object.entries(choices))
    if ([...select.options].some((option) => option.value === kept[name])) select.value = kept[name];
  const again = add(second, "button", {}, "reset view");
  const legend = add(card, "div", { class: "note" });
  const help = "Wheel, after a click, or Page Up, Page Down: zoom. Double click or R: reset. Space: play. ← →: one frame. + −: speed.";
  const hand = flat ? "Drag, or Shift and arrows: move. " : "Drag, or Shift and arrows: turn. Shift and drag: move. ";
  add(card, "div", { class: "note" }, hand + help);

  // what is to be seen
  const home = { turn: flat ? 0 : (data.turn * Math.PI) / 180, pitch: flat ? 0 : 0.2, zoom: 1, right: 0, down: 0 }; // the last two in pixels
  let view = { ...home, ...kept.view }, time = 0, playing = false, last = 0, panels = [], drawn = "";
  const frameOf = (clip) => Math.min(clip.frames - 1, Math.floor(time * clip.rate + 1e-6));
  const ended = (clip) => clips.length > 1 && time * rate > ((clip.frames - 1) / clip.rate) * rate + 0.5;
  const half = [0, 1, 2].map((c) => Math.max(...clips.map((clip) => (clip.box[c][1] - clip.box[c][0]) / 2)));
  const far = 4 * Math.hypot(...half), long = Math.max(half[0], half[flat ? 1 : 2]) * 2;
  const cell = Math.max(0.1, round(long / 8)); // of the grid
  for (const clip of clips) {
    const down = (a) => Math.floor(a / cell + 1e-6) * cell, up = (a) => Math.ceil(a / cell - 1e-6) * cell, [x, y, z] = clip.box;
    clip.area = [down(x[0]), up(x[1]), down((flat ? y : z)[0]), up((flat ? y : z)[1])]; // of the grid: sideways, and in depth or upwards
  }
  const arrowsOf = (clip, name) => (clip.arrows[name] ??= vectors(clip, clip.points, name, data.scales[name], clip.rate / data.clock));

  // A camera of a panel: point -> [right, down, depth] in pixels and metres. `view.turn` > 0: the viewer stands to the camera's right.
  function camera(clip, { turn, pitch, zoom }, x, y, scale) {
    const middle = clip.box.map(([low, high]) => (low + high) / 2);
    const [s, c, sp, cp] = [Math.sin(turn), Math.cos(turn), Math.sin(pitch), Math.cos(pitch)];
    return (px, py, pz) => {
      const a = px - middle[0], b = py - middle[1], d = pz - middle[2], away = a * s + d * c, depth = away * cp - b * sp;
      const k = flat ? scale * zoom : (scale * zoom * far) / Math.max(far + depth, far / 20);
      return [x + (d * s - a * c) * k, y - (b * cp + away * sp) * k, depth];
    };
  }

  function outline(clip) { // [left, right, top, bottom] of all joints and of the ground in metres, seen from where the player begins
    const see = camera(clip, home, 0, 0, 1), points = [], [x0, x1, z0, z1] = clip.area;
    if (!flat) for (const x of [x0, x1]) for (const z of [z0, z1]) points.push(see(x, clip.floor, z));
    for (let i = 0; i < clip.points.length; i += 3) if (!isNaN(clip.points[i])) points.push(see(...clip.points.subarray(i, i + 3)));
    if (!points.length) return [-1, 1, -1, 1];
    const bound = (c, sign) => sign * points.reduce((most, point) => Math.max(most, sign * point[c]), -Infinity);
    return [bound(0, -1) - 0.02 * far, bound(0, 1) + 0.02 * far, bound(1, -1) - 0.02 * far, bound(1, 1)];
  }

  function arrange() { // which panels, and where
    const asked = show.value.split("+"), width = canvas.clientWidth;
    if (!width) return;
    panels = asked.flatMap((name) => clips.map((clip) => ({ clip, name })));
    const [columns, most] = grid(panels.length, width, clips.length === 2), wide = width / columns;
    const seen = clips.map(outline), room = [wide - (flat ? 24 : 60), most - (clips.length > 1 ? 76 : 58)];
    const scale = Math.min(...seen.map(([x0, x1, y0, y1]) => Math.min(room[0] / (x1 - x0), room[1] / (y1 - y0)))); // the same in all panels
    const high = Math.round(most - room[1] + Math.max(110, scale * Math.max(...seen.map(([, , y0, y1]) => y1 - y0))));
    panels.forEach((panel, i) => {
      const x = (i % columns) * wide, y = Math.floor(i / columns) * high;
      Object.assign(panel, { x, y, wide, high, scale, outline: seen[clips.indexOf(panel.clip)] });
    });
    const dots = devicePixelRatio || 1, tall = high * Math.ceil(panels.length / columns);
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(tall * dots);
    canvas.style.height = `${tall}px`;
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    const figures = clips.map((c) => c.title).filter(Boolean).join(" and ") || "a clip";
    canvas.ariaLabel = `Stick figures of ${figures}; shown: ${asked.map((n) => data.scales[n]?.label ?? n).join(", ")}`;
    explain(asked);
    draw();
  }

  function explain(asked) { // the legend under the controls
    legend.textContent = "";
    const swatch = (colour, words) => {
      const span = add(legend, "span");
      add(span, "i", { style: `background:${colour}` });
      span.append(words);
    };
    const bodies = Math.max(...clips.map((c) => Math.max(...c.numbers))) + 1;
    const bright = asked.includes("limbs") || +trails.value;
    const both = (sides, whose) => ["left", "right"].forEach((side) => swatch(sides[side], side + whose));
    if (bright)
      data.colours.bodies.slice(0, bodies).forEach((sides, number) => {
        if (clips.some((c) => c.numbers.includes(number))) both(sides, bodies > 1 ? `, body ${number + 1}` : "");
      });
    if (look.value === "arrows" && asked.some((name) => name !== "limbs")) both(data.colours.faint[0], bright ? ", behind arrows" : "");
    if (+trails.value) add(legend, "span", {}, `trails: ends of limbs, the last ${trails.value} s`);
    for (const note of data.notes) add(legend, "span", { style: "white-space: normal; color: #000; font-weight: 600" }, note);
  }

  const line = (a, b, colour, width) => {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    pen.stroke();
  };
  const disc = (a, radius, colour) => {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(a[0], a[1], radius, 0, 7);
    pen.fill();
  };
  const arrowhead = (a, b, colour) => {
    const length = Math.hypot(b[0] - a[0], b[1] - a[1]), size = Math.min(7, 0.6 * length), turn = Math.atan2(b[1] - a[1], b[0] - a[0]);
    if (length < 3) return;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(b[0], b[1]);
    for (const side of [2.7, -2.7]) pen.lineTo(b[0] + size * Math.cos(turn + side), b[1] + size * Math.sin(turn + side));
    pen.fill();
  };
  const width = (words, weight = "", size = 12) => {
    pen.font = `${weight} ${size}px system-ui, sans-serif`;
    return pen.measureText(words).width;
  };
  const write = (words, x, y, colour = "#222", weight = "", align = "left", size = 12) => {
    const long = width(words, weight, size);
    pen.fillStyle = colour;
    pen.textAlign = align;
    pen.fillText(words, x, y);
    return long;
  };
  const channels = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  const shade = (colour, share) => { // grey -> the modality's colour -> nearly black
    const stops = [[0, channels("#D4D4D4")], [0.7, channels(colour)], [1, channels("#222222")]], s = Math.min(Math.max(share, 0), 1);
    const [[p, a], [q, b]] = s < 0.7 ? stops : stops.slice(1);
    return `rgb(${a.map((from, i) => Math.round(from + ((b[i] - from) * (s - p)) / (q - p)))})`;
  };

  function ground(panel, see) { // the floor with its grid and a measuring rod; in an image the plane of the image
    const { box, floor, area: [a0, a1, b0, b1] } = panel.clip, top = box[1][1], step = cell;
    const put = (a, b) => (flat ? see(a, b, 0) : see(a, floor, b));
    if (!flat) {
      pen.fillStyle = "#efefef";
      pen.beginPath();
      for (const [a, b] of [[a0, b0], [a1, b0], [a1, b1], [a0, b1]]) pen.lineTo(...put(a, b).slice(0, 2));
      pen.fill();
    }
    for (let a = a0; a < a1 + step / 2; a += step) line(put(a, b0), put(a, b1), "#d6d6d6", 1);
    for (let b = b0; b < b1 + step / 2; b += step) line(put(a0, b), put(a1, b), "#d6d6d6", 1);
    if (flat) return;
    if (panel.wide > 250) {
      const mid = put((a0 + a1) / 2, b0), pole = put((a0 + a1) / 2, b1);
      if (mid[2] < pole[2]) write("camera side", mid[0], mid[1] + 12, "#777", "", "center", 10);
    }
    const corners = [[a0, b0], [a0, b1], [a1, b0], [a1, b1]].map(([a, b]) => [a, b, put(a, b)]);
    const [a, b] = corners.reduce((one, other) => (other[2][0] < one[2][0] ? other : one)), tick = Math.max(0.5, round((top - floor) / 8));
    line(see(a, floor, b), see(a, Math.max(top, floor + tick), b), "#a8a8a8", 1);
    for (let h = tick; h < top - floor + 1e-6; h += tick) {
      const p = see(a, floor + h, b);
      line([p[0] - 3, p[1]], [p[0] + 3, p[1]], "#a8a8a8", 1);
      write(`${h} m`, p[0] - 6, p[1] + 4, "#666", "", "right", 10);
    }
  }

  function drawPanel(panel) {
    const { clip, name, x, y, wide, high, scale } = panel, { bone, sides, frames, points } = clip, count = bone.length, t = frameOf(clip);
    const style = data.scales[name], arrows = style && arrowsOf(clip, name), coloured = style && look.value === "colour";
    const [x0, x1, y0, y1] = panel.outline, zoomed = scale * view.zoom, head = clips.length > 1 ? 38 : 20;
    const across = x + wide / 2 + (flat ? 0 : 14) - ((x0 + x1) / 2) * zoomed + view.right;
    const down = y + (high + head - 30) / 2 - ((y0 + y1) / 2) * zoomed + view.down;
    const see = camera(clip, view, across, down, scale);
    const from = (array, i) => see(array[3 * i], array[3 * i + 1], array[3 * i + 2]);
    pen.save();
    pen.beginPath();
    pen.rect(x + 2, y + 2, wide - 4, high - 4);
    pen.clip();
    pen.fillStyle = "#fafafa";
    pen.fill();
    pen.lineCap = "round";
    ground(panel, see);
    const parts = [], feet = [], memory = Math.round(+trails.value * clip.rate), big = Math.min(1.4, Math.max(0.75, wide / 330));
    for (let m = 0; m < clip.bodies; m++) {
      const base = (m * frames + t) * count, tones = (style ? data.colours.faint : data.colours.bodies)[clip.numbers[m]];
      if (memory)
        for (const joint of clip.ends)
          for (let before = Math.max(1, t - memory + 1); before <= t; before++) {
            const i = (m * frames + before) * count + joint;
            if (isNaN(points[3 * i] + points[3 * (i - count)])) continue;
            pen.globalAlpha = 1 - (t - before) / memory;
            line(from(points, i - count), from(points, i), data.colours.bodies[clip.numbers[m]][sides[joint]], 1.6 * big);
          }
      pen.globalAlpha = 1;
      for (let v = 0; v < count; v++) {
        if (isNaN(points[3 * (base + v)])) continue;
        const tone = coloured ? shade(style.colour, arrows.size[base + v] / style.top) : tones[sides[v]], b = from(points, base + v);
        const thin = style && !coloured;
        parts.push([b[2] - 0.01, () => disc(b, (coloured ? 4 : thin ? 2 : 3) * big, tone)]);
        if (bone[v] === v || isNaN(points[3 * (base + bone[v])])) continue;
        const a = from(points, base + bone[v]);
        parts.push([(a[2] + b[2]) / 2, () => line(a, b, tone, (thin ? 2 : 3.6) * big)]);
      }
      const middle = 3 * (base + clip.centre);
      if (style && clip.bodies > 1 && !isNaN(points[middle])) { // colours tell values here, not bodies
        const foot = see(points[middle], flat ? clip.box[1][0] : clip.floor, points[middle + 2]);
        let down = foot[1] + 13;
        if (feet.some(([x, y]) => Math.abs(x - foot[0]) < 40 && Math.abs(y - down) < 11)) down = Math.max(...feet.map(([, y]) => y)) + 11;
        feet.push([foot[0], down]);
        parts.push([-Infinity, () => write(`body ${clip.numbers[m] + 1}`, foot[0], down, "#555", "", "center", 10)]);
      }
    }
    if (!parts.length) write("nobody in this frame", x + wide / 2, y + high / 2, "#555", "", "center");
    parts.sort((one, other) => other[0] - one[0]).forEach((part) => part[1]());
    if (style && !coloured)
      for (let m = 0; m < clip.bodies; m++)
        for (let v = 0; v < count; v++) {
          const i = (m * frames + t) * count + v;
          if (isNaN(arrows.head[3 * i])) continue;
          const a = from(arrows.tail, i), b = from(arrows.head, i);
          if (Math.hypot(b[0] - a[0], b[1] - a[1]) < 1.5) continue;
          line(a, b, style.colour, (name === "joint" ? 1 : 1.8) * big);
          if (name === "joint") disc(b, 2.6 * big, style.colour);
          else arrowhead(a, b, style.colour);
        }
    captions(panel, style, coloured, t);
    pen.restore();
    pen.strokeStyle = "#e0e0e0";
    pen.lineWidth = 1;
    pen.strokeRect(x + 2.5, y + 2.5, wide - 5, high - 5);
  }

  function fitting(words, room, bar) { // the same without what stands in brackets, then beside a shorter bar, where there is no room
    const most = room - bar, short = width(words, "", 11) > most ? words.replace(/ \(.*/, "") : words;
    return [short, Math.max(Math.min(bar, room - width(short, "", 11)), Math.min(bar, 20))];
  }

  function captions({ clip, x, y, wide, high, scale }, style, coloured, t) { // heading, frame number, scale
    let from = x + 9;
    const below = y + high - 8, halo = (height, top) => { pen.fillStyle = "#fafafacc"; pen.fillRect(x + 3, top, wide - 6, height); };
    halo(clips.length > 1 ? 36 : 20, y + 3);
    const top = y + (clips.length > 1 ? 33 : 17), taken = style ? 24 + width(style.label, "bold") : 0, mesh = `grid ${cell} ${data.length}`;
    if (taken + width(mesh, "", 11) + 16 < wide) write(mesh, x + wide - 8, top, "#555", "", "right", 11);
    if (clips.length > 1) {
      const counter = `${t + 1}/${clip.frames}${ended(clip) ? ", waits" : ""}`;
      const room = wide - 26 - write(counter, x + wide - 8, y + 17, "#555", "", "right", 11);
      let words = clip.title;
      while (words.length > 4 && width(words, "bold") > room) words = `${words.slice(0, -2).trimEnd()}…`;
      write(words, from, y + 17, "#222", "bold");
    }
    if (!style) return;
    pen.fillStyle = style.colour;
    pen.fillRect(from, top - 9, 10, 10);
    write(style.label, from + 15, top, "#222", "bold");
    if (coloured) {
      const [words, bar] = fitting(`0 to ${style.bar}`, wide - 22, Math.min(80, wide / 4));
      for (let i = 0; i < bar; i++)
        line([from + i, below - 8], [from + i, below - 1], shade(style.colour, ((i / bar) * style.end) / style.top), 1.5);
      write(words, from + bar + 6, below, "#222", "", "left", 11);
      return;
    }
    if (!style.own) {
      const long = style.reference * style.metres * scale * view.zoom;
      line([from, below - 16], [from + long, below - 16], style.colour, 2);
      arrowhead([from, below - 16], [from + long, below - 16], style.colour);
    }
    write(fitting(style.arrow, wide - 16, 0)[0], from, below, "#222", "", "left", 11);
  }

  function draw() {
    pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    panels.forEach(drawPanel);
    const tick = Math.round(time * rate), words = `${time.toFixed(2)} of ${(ticks / rate).toFixed(2)} s`;
    slider.value = tick;
    slider.ariaValueText = words;
    clock.textContent = clips.length > 1 ? words : `${words}, frame ${frameOf(clips[0]) + 1} of ${clips[0].frames}`;
    drawn = String(clips.map(frameOf));
  }

  // the clock
  function beat(now) {
    if (!playing || !host.isConnected) return run(false);
    time += (Math.min(now - last, 250) / 1000) * +speed.value;
    last = now;
    if (time * rate >= ticks + 1) time = 0;
    if (drawn !== String(clips.map(frameOf)) || ticks < 1) draw();
    requestAnimationFrame(beat);
  }
  function run(yes) {
    if (yes && !playing) requestAnimationFrame((now) => { last = now; beat(now); });
    playing = yes;
    start.textContent = yes ? "❚❚ pause" : "▶ play";
  }
  function go(tick) {
    run(false);
    time = Math.min(Math.max(tick, 0), ticks) / rate;
    draw();
  }
  const step = (by) => go(Math.floor(time * rate + 1e-6) + by);
  const reset = () => { view = { ...home }; draw(); };
  const faster = (by) => { speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + by, 0), speeds.length - 1); };

  const zoomBy = (factor) => { // what is in the middle stays there
    const before = view.zoom;
    view.zoom = Math.min(Math.max(before * factor, 0.3), 12);
    view.right *= view.zoom / before;
    view.down *= view.zoom / before;
    draw();
  };
  const drag = (right, down, moves = flat) => { // by pixels: moves the figures, or turns them
    if (moves) {
      view.right += right;
      view.down += down;
    } else {
      view.turn -= right * 0.01;
      view.pitch = Math.min(Math.max(view.pitch + down * 0.01, -0.3), 1.57);
    }
    if (!playing) draw();
    else drawn = "";
  };

  start.onclick = () => run(!playing);
  back.onclick = () => step(-1);
  on.onclick = () => step(1);
  again.onclick = reset;
  slider.oninput = () => go(+slider.value);
  let typed = false; // whether a key chooses in a closed dropdown, where the focus stays: the next key chooses on
  for (const select of [show, look, speed, trails])
    select.onchange = () => {
      if (select !== speed) arrange();
      if (!typed) card.focus({ preventScroll: true }); // whose keys are the player's
    };
  card.onkeyup = () => { typed = false; };
  card.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation(); // JupyterLab's shortcuts leave its keys alone
    const inside = event.target.tagName === "SELECT";
    typed = inside && event.key !== " " && event.key !== "Enter"; // these open it
    if (inside) return;
    const button = event.target.tagName === "BUTTON";
    const action = {
      " ": button ? null : () => run(!playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
      Home: () => go(0), End: () => go(ticks), PageUp: () => zoomBy(1.2), PageDown: () => zoomBy(1 / 1.2),
      ShiftArrowLeft: () => drag(-15, 0), ShiftArrowRight: () => drag(15, 0),
      ShiftArrowUp: () => drag(0, -15), ShiftArrowDown: () => drag(0, 15),
      "+": () => faster(1), "=": () => faster(1), "-": () => faster(-1), r: reset, R: reset,
    }[(event.shiftKey && event.key.startsWith("Arrow") ? "Shift" : "") + event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  const fingers = new Map();
  canvas.onpointerdown = (event) => {
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.setPointerCapture(event.pointerId);
    card.focus({ preventScroll: true });
  };
  canvas.onpointermove = (event) => {
    const was = fingers.get(event.pointerId);
    if (!was) return;
    const apart = fingers.size === 2 ? spread(fingers) : 0;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (apart) return zoomBy(spread(fingers) / apart);
    if (fingers.size < 2) drag(event.clientX - was[0], event.clientY - was[1], flat || event.shiftKey);
  };
  canvas.onpointerup = canvas.onpointercancel = (event) => fingers.delete(event.pointerId);
  canvas.onwheel = (event) => {
    if (!root.activeElement && !event.ctrlKey) return; // the page scrolls on until the player was clicked
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY * 0.0015));
  };
  canvas.ondblclick = reset;

  new ResizeObserver(() => canvas.clientWidth && arrange()).observe(card);
  arrange();
  if (data.autoplay && !matchMedia("(prefers-reduced-motion: reduce)").matches) run(true);
  const told = () => Object.entries(choices).map(([name, select]) => [name, select.value]);
  return () => ({ ...Object.fromEntries(told()), view: { ...view, right: 0, down: 0 } }); // its figure stands elsewhere than the next one
}
