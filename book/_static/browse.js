// The list of all published metamers: filters, order and place live in the address behind #, so each view is a link.
(() => {
  "use strict";
  const PER_PAGE = 25;
  const FILTERS = {
    table: "Chapter and table", graph: "Graph", model: "Model", layer: "Layer", varies: "What varies",
    verdict: "Verdict", seed: "Seed",
  };
  const SHOWN = [
    ["verdict", "verdict"], ["error", "relative error"], ["likeness", "likeness"], ["graph", "graph"],
    ["model", "model, layer"], ["varies", "what varies"], ["seed", "seed"],
  ];
  const DETAILS = {
    verdict: "verdict", missed: "missed", error: "relative error", likeness: "likeness", measure: "likeness is",
    graph: "graph", model: "model", layer: "layer", varies: "what varies", node: "node or graph", seed: "seed",
    status: "status of the search", settings: "further settings", table: "table",
  };

  const box = document.querySelector("[data-browse]");
  if (!box || !window.METAMERS_LISTED) return;
  const { columns, rows: count, texts } = window.METAMERS_LISTED;
  const plain = column => (Array.isArray(column) ? column : column.codes.map(code => column.values[code]));
  const held = Object.fromEntries(Object.entries(columns).filter(([name]) => name !== "id").map(([name, column]) => [name, plain(column)]));
  const [keys, parts] = columns.id;
  held.id = keys.codes.map((code, row) => keys.values[code] + (parts[row] ? `-${parts[row]}` : ""));
  const place = new Map(held.id.map((id, row) => [id, row]));
  const notebook = row => held.table[row].match(/^\d+_[a-z_]+$/) && chapters.find(name => held.table[row].startsWith(name));
  const chapters = JSON.parse(box.dataset.chapters).sort((a, b) => b.length - a.length);

  const create = (tag, settings = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(settings)) {
      if (name in element && name !== "list") element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const digits = value => (value === null ? "–" : value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(3))));
  const text = (name, row) => {
    const value = held[name][row];
    if (name === "error" || name === "likeness") return digits(value);
    return value === "" ? "–" : String(value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

  // Places are names of links and not ids: the theme watches the ids of all links while one scrolls, and rows come and go.
  // #metamer-<id> and #chapter-<name> are what other pages link to; every other choice is #name=value&name=value.
  const read = () => {
    const hash = decodeURIComponent(location.hash.slice(1));
    if (hash.startsWith("metamer-")) return { id: hash.slice(8) };
    if (hash.startsWith("chapter-")) return { table: hash.slice(8) };
    return Object.fromEntries(new URLSearchParams(hash));
  };
  const write = state => {
    const kept = Object.entries(state).filter(([, value]) => value !== "" && value !== undefined && value !== null);
    const alone = kept.length === 1 ? kept[0][0] : "";
    let hash = kept.length ? `#${new URLSearchParams(kept)}` : location.pathname + location.search;
    if (alone === "id") hash = `#metamer-${state.id}`;
    if (alone === "table" && chapters.includes(state.table)) hash = `#chapter-${state.table}`;
    history.replaceState(null, "", hash);
    draw();
  };
  const show = id => {
    write({ ...read(), id });
    detail.focus({ preventScroll: true });
    detail.scrollIntoView({ block: "nearest" });
  };

  // Controls are made once, and hold what the address says.
  const controls = {};
  const form = create("form", { className: "browse-filters", onsubmit: event => event.preventDefault() });
  const label = (name, words, control) => form.append(create("label", {}, create("span", { textContent: words }), control));
  for (const [name, words] of Object.entries(FILTERS)) {
    const values = [...new Set(held[name])].sort(compare);
    const options = values.map(value => create("option", { value: String(value), textContent: String(value) }));
    controls[name] = create("select", { name }, create("option", { value: "", textContent: "all" }), ...options);
    label(name, words, controls[name]);
  }
  for (const [name, words] of [["most", "Relative error at most"], ["alike", "Likeness at most"]]) {
    controls[name] = create("input", { name, type: "number", min: "-1", step: "any", inputMode: "decimal" });
    label(name, words, controls[name]);
  }
  const change = () => {
    const state = read();
    for (const [name, control] of Object.entries(controls)) state[name] = control.value;
    write({ ...state, page: "", id: "" });
  };
  form.addEventListener("change", change);
  form.append(create("button", { type: "button", textContent: "Show all", onclick: () => write({}) }));

  const said = create("p", { className: "browse-said", "aria-live": "polite" });
  const detail = create("section", { className: "browse-detail", "aria-label": "The metamer that was chosen", tabIndex: -1 });
  const head = create("tr");
  const body = create("tbody");
  const table = create("table", { id: "table-metamers", className: "browse" },
    create("caption", { textContent: "Published metamers, one a row." }), create("thead", {}, head), body);
  const pager = create("nav", { className: "browse-pages", "aria-label": "Pages of the list" });
  box.replaceChildren(form, said, detail, table, pager);

  const chosenRows = state => {
    const asked = Object.keys(FILTERS).filter(name => state[name]);
    const most = state.most ? Number(state.most) : Infinity, alike = state.alike ? Number(state.alike) : Infinity;
    const found = [];
    for (let row = 0; row < count; row++) {
      if (held.error[row] > most || (state.alike && !(held.likeness[row] !== null && held.likeness[row] <= alike))) continue;
      // A chapter stands for all of its tables.
      if (asked.every(name => String(held[name][row]) === state[name] || (name === "table" && chapters.includes(state.table) && held.table[row].startsWith(state.table)))) found.push(row);
    }
    const [sort, down] = [state.sort?.replace(/^-/, ""), state.sort?.startsWith("-")];
    if (held[sort]) {
      const values = held[sort];
      found.sort((a, b) => {
        if ((values[a] === null) !== (values[b] === null)) return values[a] === null ? 1 : -1;
        return (down ? -1 : 1) * compare(values[a], values[b]) || a - b;
      });
    }
    return found;
  };

  const drawHead = state => {
    head.replaceChildren(...SHOWN.map(([name, words]) => {
      const order = state.sort === name ? "ascending" : state.sort === `-${name}` ? "descending" : "none";
      const sign = { ascending: " ▲", descending: " ▼", none: "" }[order];
      const next = order === "ascending" ? `-${name}` : name;
      const button = create("button", { type: "button", textContent: words + sign, title: texts[name], onclick: () => {
        write({ ...read(), sort: next, page: "" });
        head.querySelector(`[data-name=${name}] button`).focus();
      } });
      return create("th", { scope: "col", "aria-sort": order, "data-name": name }, button);
    }));
  };
  const drawRow = (row, state) => create("tr", { className: state.id === held.id[row] ? "chosen" : "" },
    ...SHOWN.map(([name, words]) => {
      const cell = create("td", { "data-label": words, className: typeof held[name][row] === "number" ? "number" : "" });
      if (name === "verdict") cell.append(create("a", { name: `metamer-${held.id[row]}`, href: `#metamer-${held.id[row]}`, textContent: held.verdict[row], onclick: event => {
        event.preventDefault();
        show(held.id[row]);
      } }));
      else if (name === "model") cell.textContent = `${held.model[row]}, ${held.layer[row]}`;
      else cell.textContent = text(name, row);
      return cell;
    }));
  const drawDetail = id => {
    const row = place.get(id);
    detail.hidden = id === undefined;
    if (id === undefined) return detail.replaceChildren();
    if (row === undefined) return detail.replaceChildren(create("p", { textContent: `No published metamer has the id ${id}.` }));
    const list = create("dl");
    for (const [name, words] of Object.entries(DETAILS)) {
      if (held[name][row] !== "" && held[name][row] !== null) list.append(create("dt", { textContent: words }), create("dd", { textContent: text(name, row) }));
    }
    const chapter = notebook(row);
    const key = id.split("-")[0];
    const code = `import pandas as pd\n\ntable = pd.read_parquet("results/${held.table[row]}.parquet")\ntable.query("key == '${key}'")`;
    detail.replaceChildren(
      create("h2", { textContent: `Metamer ${id}` }), list,
      create("p", {}, create("a", { href: `../notebooks/${chapter}.html`, textContent: `Chapter ${chapter}` }), " computes it. ",
        create("a", { name: `metamer-${id}`, href: `#metamer-${id}`, textContent: "Permanent link to this metamer" }), "."),
      create("p", { textContent: "All that is stored of it, in a copy of the project:" }),
      create("pre", { tabIndex: 0, textContent: code }),
      create("button", { type: "button", textContent: "Close", onclick: () => write({ ...read(), id: "" }) }),
    );
  };

  function draw() {
    const state = read();
    for (const [name, control] of Object.entries(controls)) {
      const value = state[name] ?? "";
      if (name === "table" && chapters.includes(value) && ![...control.options].some(option => option.value === value)) {
        control.append(create("option", { value, textContent: `${value}: all tables` }));
      }
      if (control.value !== value) control.value = value;
    }
    const found = chosenRows(state);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const page = Math.min(pages, Math.max(1, Number(state.page) || 1));
    const start = (page - 1) * PER_PAGE;
    said.textContent = found.length
      ? `${found.length} of ${count} metamers; rows ${start + 1} to ${Math.min(found.length, start + PER_PAGE)}. The verdict of a row leads to all that is known of it.`
      : `No metamer of ${count} fits all that is asked for. Ask for less.`;
    drawHead(state);
    body.replaceChildren(...found.slice(start, start + PER_PAGE).map(row => drawRow(row, state)));
    drawDetail(state.id);
    const turn = (words, to, off) => create("button", { type: "button", textContent: words, disabled: off, onclick: () => write({ ...read(), page: String(to) }) });
    pager.replaceChildren(turn("Back", page - 1, page === 1), create("span", { textContent: `page ${page} of ${pages}` }), turn("Next", page + 1, page === pages));
  }
  addEventListener("hashchange", () => (read().id ? show(read().id) : draw()));
  draw();
  if (read().id) detail.scrollIntoView({ block: "center" });
  box.dataset.ready = "true";
})();
