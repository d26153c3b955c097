// The list of clips of explore_clips.py: filters, a list, and the player of player.js (`play`) for what is clicked, whose STYLE, `add` and
// `choice` it shares. No library, nothing is loaded. `mountClips(data, id)` starts it; `matching` needs no page.

function matching(data, asked) { // rows that pass, in order: asked has a value or "" by column, from, to in frames, words, playable
  const words = asked.words.trim().toLowerCase(), rows = [];
  data.numbers.forEach((number, row) => {
    const passes =
      data.columns.every((column) => asked[column.name] === "" || column.values[row] === +asked[column.name]) &&
      data.frames[row] >= asked.from && data.frames[row] <= asked.to &&
      (!asked.playable || number in data.stored) &&
      (!words || `${number}: ${data.names[row]}`.toLowerCase().includes(words));
    if (passes) rows.push(row);
  });
  const far = (row) => !(data.numbers[row] in data.stored), longer = { shortest: 1, longest: -1 }[asked.order] ?? 0;
  return rows.sort((a, b) => (asked.order === "here" ? far(a) - far(b) : longer * (data.frames[a] - data.frames[b])) || a - b);
}

const CLIPS_STYLE = `${STYLE}
.filters { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center } select { max-width: 200px }
input[type=number], input[type=search] { font: inherit; border: 1px solid #bbb; border-radius: 4px; padding: 2px 4px; flex: none }
input[type=number] { width: 64px } .count { margin: 8px 0 4px; font-weight: 600 }
.both { display: flex; flex-wrap: wrap; gap: 12px } .list { flex: 1 1 240px; min-width: 0; max-height: 470px; overflow: auto;
  border: 1px solid #ddd; border-radius: 4px } .stage { flex: 3 1 400px; min-width: 0 }
.row { display: block; width: 100%; box-sizing: border-box; text-align: left; border: 0; border-bottom: 1px solid #eee; border-radius: 0;
  background: none; padding: 3px 8px; cursor: pointer; overflow-wrap: anywhere } .row b { font-weight: 600 }
.row .who { color: #555; font-size: 12px } .row.far, .row.far .who { color: #767676 }
.row[aria-pressed=true] { background: #cfe4f3 } .row.far[aria-pressed=true], .row[aria-pressed=true] .who { color: #444 } .more { margin: 6px 8px } .empty { padding: 8px; color: #555 }
`;

const STEP = 100; // rows that are listed at a time

function mountClips(data, id) {
  for (const host of document.querySelectorAll(`[data-skelmm-clips="${id}"]`)) if (!host.shadowRoot) clipList(host, data, id);
}

function clipList(host, data, id) {
  const root = host.attachShadow({ mode: "open" }), many = data.numbers.length, held = Object.keys(data.stored).length;
  const ask = () => document.querySelector(`.skelmm-ask-${id} input`); // there while a kernel listens (messenger.py)
  const clips = (n) => `${n} clip${n === 1 ? "" : "s"}`;
  const shortest = data.frames.reduce((a, b) => Math.min(a, b)), longest = data.frames.reduce((a, b) => Math.max(a, b));

  // the card
  add(root, "style", {}, CLIPS_STYLE);
  const card = add(root, "div", { class: "card", role: "group", "aria-label": `Clips: ${data.title}` });
  if (data.heading) add(card, "h3", {}, data.heading);
  const filters = add(card, "div", { class: "filters" }), selects = {};
  for (const { name, words, values } of data.columns) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
    selects[name] = choice(filters, name, [["", "all"], ...words.map(([value, word]) => [value, `${word} (${counts.get(value)})`])], "");
  }
  const number = (words, value) => add(add(filters, "label", {}, `${words} `), "input", {
    type: "number", min: shortest, max: longest, value, "aria-label": words,
  });
  const from = number("frames from", shortest), to = number("to", longest);
  const orders = [["file", "as in the file"], ["shortest", "shortest first"], ["longest", "longest first"]];
  if (held < many) orders.unshift(["here", "those that play first"]); // so that the first click plays, without a kernel too
  const order = choice(filters, "order", orders, orders[0][0]);
  const search = add(filters, "input", { type: "search", placeholder: "part of a name", "aria-label": "part of a name", size: 16 });
  const tick = add(filters, "label"), playable = add(tick, "input", { type: "checkbox" });
  tick.append(" only those that play here");
  tick.hidden = held === many;
  const again = add(filters, "button", { type: "button" }, "show all");
  const count = add(card, "div", { class: "count", role: "status" });
  const both = add(card, "div", { class: "both" }), list = add(both, "div", { class: "list" }), stage = add(both, "div", { class: "stage" });
  const parts = [];
  if (many < data.total) parts.push(`Listed: ${many} of the file's ${data.total} clips, ${data.chosen ? "as chosen" : "taken in turn from the classes"}.`);
  if (held < many) parts.push(`Of these, ${held} are packed into this page and play here (▶), taken in turn from the classes; the others, in grey, play where a kernel runs.`);
  add(card, "div", { class: "note" }, parts.join(" "));

  let rows = [], shown = 0, chosen = -1, waiting = "", kept; // the last one tells what was chosen in the last player
  const asked = () => ({
    ...Object.fromEntries(Object.entries(selects).map(([name, select]) => [name, select.value])),
    from: from.value === "" ? -Infinity : +from.value, to: to.value === "" ? Infinity : +to.value,
    order: order.value, words: search.value, playable: playable.checked,
  });
  const wordsOf = (row) => data.columns.map(({ words, values }) => words.find(([value]) => value === values[row])[1]);

  function more() {
    list.querySelector(".more")?.remove();
    for (const row of rows.slice(shown, shown + STEP)) {
      const here = data.numbers[row] in data.stored, button = add(list, "button", { type: "button", class: `row${here ? "" : " far"}` });
      const [what, ...who] = wordsOf(row), long = `${data.frames[row]} frames, ${(data.frames[row] / data.rate).toFixed(1)} s`;
      add(button, "b", {}, `${here ? "▶ " : ""}${data.numbers[row]}: ${data.names[row]}`);
      add(button, "div", {}, [what, long].filter(Boolean).join(", "));
      if (who.length) add(button, "div", { class: "who" }, who.join(", "));
      button.dataset.row = row;
      button.setAttribute("aria-pressed", row === chosen);
      button.onclick = ({ detail }) => {
        choose(row);
        if (!detail) stage.querySelector("div")?.shadowRoot?.querySelector(".card").focus(); // by key: there it is played by keys
      };
    }
    shown = Math.min(shown + STEP, rows.length);
    if (shown < rows.length) add(list, "button", { type: "button", class: "more" }, `${rows.length - shown} more`).onclick = more;
  }
  function filter() {
    rows = matching(data, asked());
    tell();
    list.textContent = "";
    list.scrollTop = shown = 0;
    if (rows.length) more();
    else add(list, "div", { class: "empty" }, "No clip matches all of these.");
  }
  function tell() {
    const here = rows.filter((row) => data.numbers[row] in data.stored).length;
    count.textContent = `${rows.length} of ${clips(many)} match${rows.length === 1 ? "es" : ""}` + (held < many ? `, ${here} of them play here` : "");
  }
  function choose(row) {
    chosen = row;
    for (const button of list.querySelectorAll(".row")) button.setAttribute("aria-pressed", +button.dataset.row === row);
    const number = data.numbers[row], place = data.stored[number], kernel = ask();
    if (place !== undefined) present(data.player.clips[place], data.notes[place]);
    else if (kernel) {
      say("asking the kernel for this clip …");
      const asked = (waiting = kernel.value = `${number} ${Date.now()}`);
      kernel.dispatchEvent(new Event("input", { bubbles: true }));
      setTimeout(() => { if (waiting === asked) say("The kernel does not answer yet: while it is busy this clip waits; if it was restarted, run the cell again."); }, 15000);
    } else {
      const live = `it plays by drawing.show((clips, ${number})), and here once a cell has shown the with_kernel() of this list.`;
      say(`Clip ${number} is not in this page. In a live notebook ${live}`);
    }
    const { top, bottom } = stage.getBoundingClientRect();
    if (top > innerHeight - 150 || bottom < 150) stage.scrollIntoView({ block: "nearest" }); // where it stands under the list
  }
  function say(words) {
    waiting = "";
    stage.textContent = "";
    add(stage, "div", { class: "empty" }, words);
  }
  function present(clip, note) {
    stage.textContent = waiting = "";
    const own = { clips: [clip], title: clip.title, heading: clip.title, notes: note ? [note] : [] };
    kept = play(add(stage, "div"), { ...data.player, ...own }, kept?.());
  }
  host.addEventListener("skelmm-clips", ({ detail: { points: [number], player } }) => { // the kernel's answer
    const row = data.numbers.indexOf(number);
    if (player.clips) {
      data.stored[number] = data.player.clips.push(player.clips[0]) - 1;
      data.notes[data.stored[number]] = player.notes[0];
      for (const button of list.querySelectorAll(`.far[data-row="${row}"]`)) {
        button.classList.remove("far");
        button.firstChild.prepend("▶ ");
      }
      tell();
    }
    if (row !== chosen) return;
    if (player.clips) choose(row);
    else say(player.problem);
  });

  for (const select of [...Object.values(selects), order]) select.onchange = filter;
  for (const input of [from, to, search]) input.oninput = filter;
  playable.onchange = filter;
  again.onclick = () => {
    for (const select of Object.values(selects)) select.value = "";
    from.value = shortest;
    to.value = longest;
    order.selectedIndex = 0;
    search.value = "";
    playable.checked = false;
    filter();
  };
  card.addEventListener("keydown", (event) => { // JupyterLab's shortcuts leave its keys alone; what saves or copies goes on
    if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
  });
  say("Choose a clip: it plays here.");
  filter();
}
