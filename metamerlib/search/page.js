/* A metamer beside its reference: reads window.METAMERS, draws into every element with data-metamers. */
(function () {
  "use strict";

  // ---- Numbers: packed arrays, and the forward pass of GCN, GraphSAGE and GIN -------------------------------------

  function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.data), (c) => c.charCodeAt(0));
    const [rows, cols] = packed.shape;
    const v = new Float64Array(rows * cols);
    if (packed.type === "ones") new Uint16Array(bytes.buffer).forEach((place) => { v[place] = 1; });
    else if (packed.type === "int16") new Int16Array(bytes.buffer).forEach((n, i) => { v[i] = n * packed.scale; });
    else new Float32Array(bytes.buffer).forEach((n, i) => { v[i] = n; });
    return { rows, cols, v };
  }

  function adjacency(n, edges) {
    const lists = Array.from({ length: n }, () => []);
    for (const [a, b] of edges) { lists[a].push(b); lists[b].push(a); }
    return lists;
  }

  function linear(x, weight, bias) {
    const out = { rows: x.rows, cols: weight.rows, v: new Float64Array(x.rows * weight.rows) };
    for (let i = 0; i < x.rows; i++) {
      for (let o = 0; o < weight.rows; o++) {
        let sum = bias ? bias.v[o] : 0;
        for (let f = 0; f < x.cols; f++) sum += x.v[i * x.cols + f] * weight.v[o * weight.cols + f];
        out.v[i * out.cols + o] = sum;
      }
    }
    return out;
  }

  function gather(x, lists, own, other) {
    const out = { rows: x.rows, cols: x.cols, v: new Float64Array(x.v.length) };
    lists.forEach((list, i) => {
      for (let f = 0; f < x.cols; f++) {
        let sum = own(i) * x.v[i * x.cols + f];
        for (const j of list) sum += other(i, j) * x.v[j * x.cols + f];
        out.v[i * x.cols + f] = sum;
      }
    });
    return out;
  }

  function plus(one, other) { return { ...one, v: one.v.map((value, i) => value + other.v[i % other.v.length]) }; }
  function elu(x) { return { ...x, v: x.v.map((value) => (value > 0 ? value : Math.expm1(value))) }; }

  const LAYERS = {
    gcn(layer, x, lists) {
      const root = lists.map((list) => 1 / Math.sqrt(list.length + 1));
      const sent = gather(linear(x, layer.weight), lists, (i) => root[i] * root[i], (i, j) => root[i] * root[j]);
      return plus(sent, layer.bias);
    },
    sage(layer, x, lists) {
      const mean = gather(x, lists, () => 0, (i) => 1 / lists[i].length);
      return plus(linear(mean, layer.weight, layer.bias), linear(x, layer.root));
    },
    gin(layer, x, lists) {
      const sum = gather(x, lists, () => 1 + layer.eps, () => 1);
      return linear(elu(linear(sum, layer.inner, layer.inner_bias)), layer.weight, layer.bias);
    },
  };

  function forward(model, x, edges) {
    const lists = adjacency(x.rows, edges), found = [];
    for (const layer of model.layers) {
      const h = LAYERS[layer.kind](layer, found.length ? found[found.length - 1] : x, lists);
      found.push(layer.act === "elu" ? elu(h) : h);
    }
    return found;
  }

  function relativeError(h, reference) {
    let gap = 0, size = 0;
    h.v.forEach((value, i) => { gap += (value - reference.v[i]) ** 2; size += reference.v[i] ** 2; });
    return Math.sqrt(gap / size);
  }

  function cosine(x, reference) {
    let total = 0, count = 0;
    for (let i = 0; i < x.rows; i++) {
      let dot = 0, one = 0, other = 0;
      for (let k = i * x.cols; k < (i + 1) * x.cols; k++) {
        dot += x.v[k] * reference.v[k]; one += x.v[k] ** 2; other += reference.v[k] ** 2;
      }
      if (one > 0 && other > 0) { total += dot / Math.sqrt(one * other); count += 1; }
    }
    return total / count;
  }

  function largest(h, row) {
    let best = 0;
    for (let c = 1; c < h.cols; c++) if (h.v[row * h.cols + c] > h.v[row * h.cols + best]) best = c;
    return best;
  }

  const key = (a, b) => (a < b ? `${a}-${b}` : `${b}-${a}`);
  function shown(value) {
    if (value === 0) return "0";
    if (!Number.isFinite(value)) return "not a number";
    return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  }

  // ---- Elements ---------------------------------------------------------------------------------------------------

  const ENDS = { converged: "converged after", max_steps: "not converged after", stalled: "stalled after",
    exact: "exact, after" };
  const SVG = "http://www.w3.org/2000/svg";
  const TINTS = ["#a6cee3", "#fdbf6f", "#b2df8a", "#fb9a99", "#cab2d6", "#f3ec8d", "#d9d9d9", "#9fe0d6"];

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  function options(select, entries, chosen) {
    select.replaceChildren(...entries.map(([value, text]) => {
      const option = make("option", { value }, text);
      option.selected = String(value) === String(chosen);
      return option;
    }));
    select.closest(".field").hidden = entries.length < 2;
  }

  // ---- The page ---------------------------------------------------------------------------------------------------

  class Explorer {
    constructor(root, data) {
      this.root = root;
      this.data = data;
      this.timer = null;
      this.state = { example: 0, model: 0, layer: "", vary: "", node: 0, frame: 0 };
      this.flipped = new Set();
      this.values = new Map();
      this.build();
      this.follow(location.hash) || this.choose({ example: 0 });
      window.addEventListener("hashchange", () => this.follow(location.hash));
    }

    get example() { return this.data.examples[this.state.example]; }
    get model() { return this.example.models[this.state.model]; }
    get search() {
      return this.model.searches.find((s) => s.layer === this.state.layer && s.vary === this.state.vary);
    }

    build() {
      const field = (label, control) => make("label", { class: "field" }, make("span", {}, label), control);
      const select = (name, changed) => make("select", { name, onchange: (event) => changed(event.target.value) });
      const button = (text, name, pressed) => make("button", { type: "button", name, onclick: pressed }, text);
      const el = (this.el = {});
      el.example = select("example", (value) => this.choose({ example: Number(value) }));
      el.model = select("model", (value) => this.choose({ model: Number(value) }));
      el.layer = select("layer", (value) => this.choose({ layer: value }));
      el.vary = select("vary", (value) => this.choose({ vary: value }));
      el.node = select("node", (value) => this.point(Number(value)));
      el.frame = make("input", {
        type: "range", name: "frame", min: 0, step: 1,
        oninput: (event) => { this.pause(); this.go(Number(event.target.value)); },
      });
      el.text = make("p", { class: "text" });
      el.numbers = make("output", { class: "numbers", "aria-live": "polite" });
      el.graphs = [make("div", { class: "drawing" }), make("div", { class: "drawing" })];
      el.canvases = [make("canvas", { role: "img" }), make("canvas", {
        role: "img",
        onclick: (event) => this.pick(event),
      })];
      el.bars = make("div", { class: "drawing" });
      el.table = make("div", { class: "rows", tabindex: 0, role: "group", "aria-label": "Features, scrolls" });
      el.feature = select("feature", () => this.showValue());
      el.value = make("input", { type: "number", step: "any", name: "value", onchange: () => this.setFeature() });
      el.other = select("other", () => this.showEdge());
      el.flipEdge = button("Flip the edge", "flip-edge", () => this.flipEdge());
      el.link = make("input", {
        type: "text", readonly: "", name: "link", "aria-label": "Link to this view", hidden: "",
      });
      el.said = make("span", { role: "status", class: "said" });
      el.play = button("Let the solver finish", "finish", () => (this.timer ? this.pause() : this.finish()));
      const hand = make("fieldset", { class: "hand" }, make("legend", {}, "By hand"),
        make("p", {}, "Change the metamer at the chosen node: the model runs again in this page, and the errors " +
          "above follow."),
        make("div", { class: "row" }, field("Edge to node", el.other), el.flipEdge,
          field("Feature", el.feature), field("Value", el.value),
          button("Flip the feature", "flip-feature", () => this.flipFeature())));
      el.hand = hand;
      el.start = button("Begin with the reference", "reference", () => { this.pause(); this.go(-1); });
      const panel = (title, ...inner) => make("figure", {}, make("figcaption", {}, title), ...inner);
      this.root.replaceChildren(
        make("div", { class: "row" }, field("Example", el.example), field("Model", el.model),
          field("Layer to match", el.layer), field("What varies", el.vary), field("Node", el.node)),
        el.text,
        make("div", { class: "row search" }, field("Place in the stored search", el.frame), el.play, el.start,
          button("Reset", "reset", () => { this.pause(); this.go(this.search.frames.length - 1); }),
          button("Copy link", "copy", () => this.copy()), el.said, el.link),
        el.numbers,
        hand,
        make("div", { class: "pair" }, panel("Reference", el.graphs[0]), panel("Metamer", el.graphs[1])),
        el.legend = make("p", { class: "legend" }),
        panel("", el.bars),
        make("div", { class: "pair features" }, panel("Features of the reference", el.canvases[0]),
          panel("Features of the metamer", el.canvases[1])),
        make("p", { class: "legend" }, "One row for each node, one column for each feature: blue above zero, red " +
          "below, deeper where larger; the chosen node is framed."),
        make("details", {}, el.summary = make("summary", {}), el.table),
      );
      el.barsCaption = el.bars.parentElement.firstChild;
    }

    /* Take a new example, model, layer or kind of search, and correct what no longer fits. */
    choose(change) {
      this.pause();
      Object.assign(this.state, change);
      if ("example" in change) {
        Object.assign(this.state, { node: this.example.node || 0 });
        if (!this.model) this.state.model = 0;
        this.x = unpack(this.example.x);
        this.references = {};
      }
      const layers = [...new Set(this.model.searches.map((s) => s.layer))];
      if (!layers.includes(this.state.layer)) this.state.layer = layers[0];
      const kinds = this.model.searches.filter((s) => s.layer === this.state.layer).map((s) => s.vary);
      if (!kinds.includes(this.state.vary)) this.state.vary = kinds[0];
      const { el, data, state } = this;
      options(el.example, data.examples.map((e, i) => [i, e.title]), state.example);
      options(el.model, this.example.models.map((m, i) => [i, m.title]), state.model);
      options(el.layer, layers.map((l) => [l, l]), state.layer);
      options(el.vary, kinds.map((k) => [k, k]), state.vary);
      options(el.node, this.example.nodes.map((n, i) => [i, n]), state.node);
      options(el.feature, this.example.features.map((f, i) => [i, f]), this.firstFeature());
      this.listOthers();
      el.text.textContent = [this.example.text, this.search.text].filter(Boolean).join(" ");
      el.hand.hidden = !this.model.layers;
      el.start.hidden = !this.model.layers;
      el.frame.max = this.search.frames.length - 1;
      if (this.model.layers && !this.model.ready) {
        for (const layer of this.model.layers) {
          for (const [name, value] of Object.entries(layer)) if (value.data) layer[name] = unpack(value);
        }
        this.model.ready = true;
      }
      this.go(this.search.frames.length - 1);
    }

    firstFeature() {
      for (let f = 0; f < this.x.cols; f++) if (this.x.v[this.state.node * this.x.cols + f]) return f;
      return 0;
    }

    listOthers() {
      const others = this.example.nodes.map((n, i) => [i, n]).filter(([i]) => i !== this.state.node);
      options(this.el.other, others, this.el.other.value);
    }

    point(node) {
      this.state.node = node;
      this.el.node.value = String(node);
      this.listOthers();
      this.render();
    }

    /* Show a frame of the stored search (-1: the reference itself), without changes by hand. */
    go(frame) {
      this.state.frame = Math.max(-1, Math.min(frame, this.search.frames.length - 1));
      this.flipped.clear();
      this.values.clear();
      this.render();
    }

    pause() {
      if (this.timer) clearInterval(this.timer);
      this.timer = null;
      this.el.play.textContent = "Let the solver finish";
      this.el.numbers.setAttribute("aria-live", "polite");
    }

    finish() {
      const last = this.search.frames.length - 1;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) { this.go(last); return; }
      if (this.state.frame >= last) this.state.frame = -1;
      this.go(Math.max(0, this.state.frame));
      this.el.numbers.setAttribute("aria-live", "off");
      this.el.play.textContent = "Pause";
      this.timer = setInterval(() => {
        if (this.state.frame + 1 >= last) this.pause();
        this.go(this.state.frame + 1);
      }, 450);
    }

    /* The graph on the right: the frame, then what was changed by hand. */
    current() {
      const frame = this.state.frame < 0 ? {} : this.search.frames[this.state.frame];
      let x = frame.x ? unpack(frame.x) : { ...this.x, v: this.x.v.slice() };
      for (const [place, value] of this.values) x.v[place] = value;
      const held = new Map((frame.edges || this.example.edges).map((e) => [key(e[0], e[1]), e]));
      for (const name of this.flipped) {
        if (held.has(name)) held.delete(name); else held.set(name, name.split("-").map(Number));
      }
      return { x, edges: [...held.values()], held, frame };
    }

    flipEdge() {
      this.pause();
      const name = key(this.state.node, Number(this.el.other.value));
      if (!this.flipped.delete(name)) this.flipped.add(name);
      this.render();
    }

    place() { return this.state.node * this.x.cols + Number(this.el.feature.value || 0); }
    setFeature() {
      this.pause();
      const value = Number(this.el.value.value);
      if (this.el.value.value !== "" && Number.isFinite(value)) this.values.set(this.place(), value);
      this.render();
    }
    flipFeature() {
      this.pause();
      this.values.set(this.place(), this.current().x.v[this.place()] < 0.5 ? 1 : 0);
      this.render();
    }
    showValue() { this.el.value.value = String(Number(this.now.x.v[this.place()].toPrecision(6))); }
    showEdge() {
      const there = this.now.held.has(key(this.state.node, Number(this.el.other.value)));
      this.el.flipEdge.textContent = there ? "Remove the edge" : "Add the edge";
    }

    pick(event) {
      const box = event.target.getBoundingClientRect();
      const share = (at, start, size, count) => Math.min(count - 1, Math.floor(((at - start) / size) * count));
      this.el.feature.value = String(share(event.clientX, box.left, box.width, this.x.cols));
      this.point(share(event.clientY, box.top, box.height, this.x.rows));
    }

    // ---- The address keeps the view ----

    address() {
      const { example, model, layer, vary, node, frame } = this.state;
      const parts = { example: this.data.examples[example].id, model: this.example.models[model].id,
        layer, vary, node, frame };
      if (this.flipped.size) parts.edges = [...this.flipped].join(".");
      if (this.values.size) parts.values = [...this.values].map(([p, v]) => `${p}_${v}`).join("~");
      return `#view?${new URLSearchParams(parts)}`;
    }

    follow(hash) {
      if (!hash.startsWith("#view?") || hash === this.address()) return false;
      const asked = new URLSearchParams(hash.slice(6));
      const example = this.data.examples.findIndex((e) => e.id === asked.get("example"));
      if (example < 0) return false;
      const model = this.data.examples[example].models.findIndex((m) => m.id === asked.get("model"));
      this.state.model = Math.max(0, model);
      this.choose({ example, layer: asked.get("layer"), vary: asked.get("vary") });
      const frame = Number(asked.get("frame")), node = Number(asked.get("node"));
      if (Number.isInteger(node) && this.example.nodes[node] !== undefined) this.point(node);
      if (Number.isInteger(frame)) this.go(frame);
      if (this.model.layers) {
        const count = this.example.nodes.length;
        for (const name of (asked.get("edges") || "").split(".")) {
          const [a, b] = name.split("-").map(Number);
          if (name && Number.isInteger(a) && a >= 0 && a < b && b < count) this.flipped.add(name);
        }
        for (const change of (asked.get("values") || "").split("~")) {
          const [place, value] = change.split("_").map(Number);
          if (change && Number.isInteger(place) && place >= 0 && place < this.x.v.length && Number.isFinite(value)) {
            this.values.set(place, value);
          }
        }
        this.render();
      }
      return true;
    }

    async copy() {
      this.el.link.value = location.href;
      try {
        await navigator.clipboard.writeText(location.href);
        this.el.said.textContent = "The link is copied.";
      } catch (refused) {
        this.el.link.hidden = false;
        this.el.link.select();
        this.el.said.textContent = "Copy the marked link.";
      }
    }

    // ---- Drawing ----

    render() {
      const { el, state, search, model } = this;
      const now = (this.now = this.current());
      let before, after;
      if (model.layers) {
        before = this.references[state.model] ||= forward(model, this.x, this.example.edges);
        after = forward(model, now.x, now.edges);
      }
      el.frame.value = String(Math.max(0, state.frame));
      history.replaceState(null, "", this.address());
      this.showNumbers(before, after);
      this.showGraphs(before, after);
      this.showBars(before, after);
      this.showFeatures();
      if (model.layers) { this.showValue(); this.showEdge(); }
      this.root.dataset.ready = "true";
      this.root.dataset.search = search.vary;
    }

    showNumbers(before, after) {
      const { el, state, search, model, now } = this;
      const items = [];
      const changes = this.flipped.size + this.values.size;
      const step = state.frame < 0 ? "the reference" : now.frame.name || `step ${now.frame.step}`;
      items.push(["Shown", step + (changes ? ` and ${changes} change${changes > 1 ? "s" : ""} by hand` : "")]);
      if (search.status) items.push(["Search", `${ENDS[search.status] || search.status} ${search.steps} steps`]);
      if (after) {
        model.layers.forEach((layer, k) => {
          items.push([`Relative error, ${layer.name}${layer.name === state.layer ? " (matched)" : ""}`,
            shown(relativeError(after[k], before[k])), relativeError(after[k], before[k])]);
        });
        const last = after[after.length - 1], first = before[before.length - 1];
        let same = 0;
        for (let i = 0; i < last.rows; i++) same += largest(last, i) === largest(first, i);
        if (this.example.classes) items.push(["Nodes that keep their class", `${same} of ${last.rows}`, same]);
      } else if (now.frame.error !== undefined) {
        items.push([`Relative error, ${state.layer} (matched)`, shown(now.frame.error), now.frame.error]);
      }
      const alike = cosine(now.x, this.x);
      items.push(["Feature cosine", Number.isFinite(alike) ? String(Math.round(alike * 1e3) / 1e3) : "none", alike]);
      const kept = this.example.edges.filter((e) => now.held.has(key(e[0], e[1]))).length;
      items.push(["Edges in common", `${kept} of ${this.example.edges.length}`, kept]);
      el.numbers.replaceChildren(...items.map(([name, text, value]) => make("span", { class: "number" },
        make("span", {}, `${name}: `), make("strong", { "data-name": name, "data-value": value }, text))));
      el.frame.setAttribute("aria-valuetext", items.map(([name, text]) => `${name} ${text}`).join(", "));
    }

    showGraphs(before, after) {
      const { el, example, now, state } = this;
      const old = new Set(example.edges.map((e) => key(e[0], e[1])));
      const sides = [
        { edges: example.edges, layout: example.layout, outputs: before, other: now.held },
        { edges: now.edges, layout: now.frame.layout || example.layout, outputs: after, other: old },
      ];
      sides.forEach((side, k) => {
        const svg = draw("svg", { viewBox: "0 0 100 82", role: "img", "aria-label":
          `${k ? "Metamer" : "Reference"}: ${example.nodes.length} nodes, ${side.edges.length} edges, of which ` +
          `${side.edges.filter((e) => !side.other.has(key(e[0], e[1]))).length} the other graph lacks` });
        const at = (i) => [6 + 88 * side.layout[i][0], 6 + 70 * side.layout[i][1]];
        for (const [a, b] of side.edges) {
          const [x1, y1] = at(a), [x2, y2] = at(b);
          const kind = side.other.has(key(a, b)) ? "edge" : k ? "edge new" : "edge lost";
          svg.append(draw("line", { x1, y1, x2, y2, class: kind }));
        }
        example.nodes.forEach((name, i) => {
          const [cx, cy] = at(i);
          const label = side.outputs && example.classes ? largest(side.outputs[side.outputs.length - 1], i)
            : example.y ? example.y[i] : 0;
          const title = draw("title", {}, name + (example.classes ? `, ${example.classes[label] || ""}` : ""));
          const kind = i === state.node ? "node chosen" : "node";
          svg.append(draw("g", { class: kind, onclick: () => this.point(i) }, title,
            draw("circle", { cx, cy, r: example.nodes.length > 40 ? 2.1 : 2.7, fill: TINTS[label % TINTS.length] }),
            draw("text", { x: cx, y: cy + 0.9 }, example.marks ? example.marks[i] : String(i))));
        });
        el.graphs[k].replaceChildren(svg);
      });
      const answers = example.classes && this.model.layers;
      el.legend.textContent = (answers ? "Colour: the class that the model answers. " : "") +
        "Dashed: an edge that the metamer lacks. Thick: an edge that the reference lacks. Ring: the chosen node.";
    }

    activationsOf(before, after) {
      const { state, search, model, now } = this;
      if (after) {
        const k = model.layers.findIndex((layer) => layer.name === state.layer);
        const row = (h) => Array.from(h.v.slice(state.node * h.cols, (state.node + 1) * h.cols));
        const last = k === model.layers.length - 1 && this.example.classes;
        return { one: row(before[k]), other: row(after[k]), units: last ? this.example.classes : null };
      }
      const at = search.rows.indexOf(state.node);
      const stored = search.pooled ? 0 : at;
      if (stored < 0 || !now.frame.activation) return null;
      const row = (packed) => {
        const h = unpack(packed);
        return Array.from(h.v.slice(stored * h.cols, (stored + 1) * h.cols));
      };
      return { one: row(search.target), other: row(now.frame.activation), units: search.units };
    }

    showBars(before, after) {
      const { el, state, example } = this;
      const found = this.activationsOf(before, after);
      const name = example.nodes[state.node];
      if (!found) {
        el.barsCaption.textContent = `Activations of ${name} at ${state.layer}: not stored here` +
          (this.now.frame.activation ? ", since this node was not matched" : "");
        el.bars.replaceChildren();
        return;
      }
      el.barsCaption.textContent = `Activations of ${name} at ${state.layer}: reference outlined, metamer filled`;
      const { one, other, units } = found;
      const high = Math.max(0, ...one, ...other), low = Math.min(0, ...one, ...other), span = high - low || 1;
      const width = Math.max(300, Math.min(640, el.bars.parentElement.clientWidth || 640)), height = 150;
      const step = width / one.length, y = (value) => 8 + ((high - value) / span) * height;
      const svg = draw("svg", { viewBox: `0 0 ${width} ${height + 34}`, role: "img", "aria-label":
        `${one.length} units. ` + one.slice(0, 16).map((value, i) =>
          `${units ? units[i] : i}: ${shown(value)} and ${shown(other[i])}`).join("; ") });
      svg.append(draw("line", { x1: 0, x2: width, y1: y(0), y2: y(0), class: "axis" }));
      one.forEach((value, i) => {
        [value, other[i]].forEach((v, k) => svg.append(draw("rect", {
          x: i * step + step * (k ? 0.5 : 0.14), width: step * 0.34, y: Math.min(y(v), y(0)),
          height: Math.max(0.5, Math.abs(y(v) - y(0))), class: k ? "bar metamer" : "bar reference" },
        draw("title", {}, `${units ? units[i] : `unit ${i}`}: ${v}`))));
        if (step >= 17) {
          svg.append(draw("text", { x: (i + 0.5) * step, y: height + 26, class: "unit" },
            String(units ? units[i].replace("unit ", "") : i)));
        }
      });
      el.bars.replaceChildren(svg);
    }

    showFeatures() {
      const { el, example, now, state } = this;
      const { rows, cols } = this.x;
      let top = 1e-12;
      for (const x of [this.x, now.x]) for (const value of x.v) top = Math.max(top, Math.abs(value));
      const kx = Math.max(2, Math.floor(640 / cols)), ky = rows > 40 ? 8 : 12;
      [this.x, now.x].forEach((x, k) => {
        const canvas = el.canvases[k], pen = canvas.getContext("2d");
        canvas.width = cols * kx;
        canvas.height = rows * ky;
        canvas.setAttribute("aria-label", `${k ? "Metamer" : "Reference"}: ${rows} nodes by ${cols} features, from ` +
          `${shown(Math.min(...x.v))} to ${shown(Math.max(...x.v))}; the table below has the chosen node's`);
        x.v.forEach((value, i) => {
          const deep = Math.sqrt(Math.abs(value) / top);
          const end = value > 0 ? [8, 81, 156] : [165, 15, 21];
          pen.fillStyle = `rgb(${end.map((c) => Math.round(250 + (c - 250) * deep)).join(",")})`;
          pen.fillRect((i % cols) * kx, Math.floor(i / cols) * ky, kx, ky);
        });
        pen.strokeStyle = "#111";
        pen.lineWidth = 2;
        pen.strokeRect(1, state.node * ky - 1, canvas.width - 2, ky + 2);
      });
      el.canvases[0].closest(".pair").classList.toggle("wide", cols > 80);
      const first = state.node * cols;
      const found = example.features.map((name, f) => [name, this.x.v[first + f], now.x.v[first + f]])
        .filter(([, a, b]) => a !== 0 || b !== 0).sort((a, b) => Math.abs(b[2] - b[1]) - Math.abs(a[2] - a[1]));
      const head = ["Feature", "Reference", "Metamer"].map((text) => make("th", { scope: "col" }, text));
      el.summary.textContent = `Features of ${example.nodes[state.node]} as a table, the most changed first`;
      el.table.replaceChildren(make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {},
        ...found.slice(0, 40).map(([name, a, b]) => make("tr", {}, make("th", { scope: "row" }, name),
          make("td", {}, shown(a)), make("td", {}, shown(b)))))));
    }
  }

  function start() {
    for (const root of document.querySelectorAll("[data-metamers]")) new Explorer(root, window.METAMERS);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();
})();
