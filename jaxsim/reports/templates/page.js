"use strict";
(() => {
  const SEQUENTIAL = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
  const DIVERGING = ["053061", "2a71b2", "6bacd1", "c2ddec", "f7f6f6", "fbccb4", "e48066", "ba2832", "67001f"];
  const VEIL = 0.72, PRINTED = 12, SHEET = 660;
  const isDark = matchMedia("(prefers-color-scheme: dark)"), onPaper = matchMedia("print");
  const rgb = (hex) => [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const STOPS = { sequential: SEQUENTIAL.map(rgb), diverging: DIVERGING.map(rgb) };

  const make = (tag, text, attributes = {}) => {
    const one = document.createElement(tag);
    if (text !== undefined) one.textContent = text;
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    return one;
  };
  const draw = (tag, attributes, ...inside) => {
    const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
    one.append(...inside);
    return one;
  };
  const text = (value) => {
    if (value === null || value === undefined) return "none";
    const size = Math.abs(value), digits = size >= 100 ? 1 : 3;
    if (size < 0.0005) return "0.000";
    return (size >= 1000 ? value.toPrecision(5) : value.toFixed(digits)).replace("-", "\u2212");
  };
  const mix = (a, b, t) => a.map((v, k) => v + (b[k] - v) * t);
  const light = (color) => {
    const [r, g, b] = color.map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const words = new Intl.Collator(undefined, { numeric: true });

  class Matrix {
    constructor(section, data) {
      Object.assign(this, data);
      this.section = section;
      this.rows = this.names.length;
      this.width = this.targets.length;
      this.color = 0;
      this.at = [0, 0];
      const bytes = data.histogram ? Uint8Array.from(atob(data.histogram.counts), (c) => c.charCodeAt(0)) : null;
      if (bytes) {
        const view = new DataView(bytes.buffer), step = data.histogram.bits / 8;
        this.counts = (pair, bin) => {
          const place = (pair * data.histogram.bins + bin) * step;
          return step === 2 ? view.getUint16(place, true) : view.getUint32(place, true);
        };
      }
      this.find = (name) => section.querySelector(name);
      this.find(".scripted").hidden = false;
      this.fillSelects();
      this.build();
      this.reorder();
      this.choose(...this.best());
      isDark.addEventListener("change", () => this.paint());
      onPaper.addEventListener("change", () => { this.fit(); this.paint(); });
      addEventListener("resize", () => this.fit());
    }

    /* Place of a pair: what is symmetric holds the upper triangle. */
    place(i, j, symmetric = this.symmetric) {
      if (!symmetric) return i * this.width + j;
      if (i > j) [i, j] = [j, i];
      return i * this.width - (i * (i - 1)) / 2 + (j - i);
    }
    value(k, i, j) {
      const column = this.columns[k];
      return column.values[this.place(i, j, column.symmetric)];
    }
    said(k, i, j) {
      const value = this.value(k, i, j);
      return this.columns[k].whole && value !== null ? String(value) : text(value);
    }
    isOwn(i, j) { return this.own[this.place(i, j)] === 1; }
    better(a, b) {
      if (a === null || b === null) return (a === null) - (b === null);
      return this.distance ? a - b : b - a;
    }
    /* The best pair, and the first column of it. */
    best() {
      let found = [0, Math.min(1, this.width - 1)], score = null;
      for (let i = 0; i < this.rows; i++) for (let j = 0; j < this.width; j++) {
        const value = this.value(0, i, j);
        if (!this.isOwn(i, j) && value !== null && (score === null || this.better(value, score) < 0)) [found, score] = [[i, j], value];
      }
      return found;
    }
    why(i, j) {
      const found = [this.names[i], this.targets[j]].filter((n, k, all) => all.indexOf(n) === k && this.reasons[n]);
      return found.length ? found.map((n) => `${n}: ${this.reasons[n]}`).join("; ") : "this comparison has no value";
    }
    weak(i, j) {
      if (this.isOwn(i, j) || this.value(0, i, j) === null) return false;
      if (this.p !== null) return !(this.value(this.p, i, j) !== null && this.value(this.p, i, j) < this.alpha);
      if (!this.interval) return false;
      const [low, high] = this.interval.map((c) => this.value(c, i, j));
      return !(low !== null && (low > 0 || high < 0));
    }

    fillSelects() {
      const option = (select, value, said) => select.append(make("option", said, { value }));
      const order = this.find(".order");
      option(order, "given", "as given");
      option(order, "name", "by name");
      if (this.orders.tree) option(order, "tree", "by tree");
      option(order, "score", "by mean score");
      order.value = this.orders.tree ? "tree" : "given";
      order.addEventListener("change", () => this.reorder());
      const colors = this.find(".colors");
      this.columns.forEach((column, k) => column.scale && option(colors, k, column.name));
      colors.addEventListener("change", () => { this.color = Number(colors.value); this.paint(); });
      const target = this.find(".target");
      this.targets.forEach((name, j) => option(target, j, name));
      target.addEventListener("change", () => this.rank(Number(target.value)));
      if (this.histogram) {
        const [row, column] = [this.find(".row"), this.find(".column")];
        this.names.forEach((name, i) => option(row, i, name));
        this.targets.forEach((name, j) => option(column, j, name));
        for (const one of [row, column]) one.addEventListener("change", () => this.choose(Number(row.value), Number(column.value)));
      }
      this.find(".list").addEventListener("toggle", () => this.list(), { once: true });
    }

    build() {
      const table = this.find(".cells"), head = make("thead"), line = make("tr"), body = make("tbody");
      line.append(make("th", "", { class: "corner", scope: "col" }));
      line.firstChild.append(make("span", "source, target", { class: "unseen" }));
      this.heads = this.targets.map(() => make("th", undefined, { scope: "col" }));
      this.heads.forEach((one) => { one.append(make("span")); line.append(one); });
      head.append(line);
      this.sides = [];
      this.cells = [];
      for (let r = 0; r < this.rows; r++) {
        const row = make("tr"), side = make("th", undefined, { scope: "row" }), cells = [];
        row.append(side);
        for (let c = 0; c < this.width; c++) {
          const cell = document.createElement("td");
          cell.tabIndex = -1;
          cell.place = [r, c];
          cells.push(cell);
          row.append(cell);
        }
        this.sides.push(side);
        this.cells.push(cells);
        body.append(row);
      }
      table.setAttribute("aria-rowcount", this.rows + 1);
      table.setAttribute("aria-colcount", this.width + 1);
      this.fit();
      table.append(head, body);
      const on = (event) => event.target.closest("td");
      body.addEventListener("mouseover", (event) => { const cell = on(event); if (cell) this.tell(...this.pair(cell)); });
      body.addEventListener("mouseleave", () => this.tell(...this.at));
      body.addEventListener("focusin", (event) => { const cell = on(event); if (cell) this.enter(cell); });
      body.addEventListener("click", (event) => { const cell = on(event); if (cell) { cell.focus(); this.choose(...this.pair(cell)); } });
      body.addEventListener("keydown", (event) => this.move(event));
    }
    /* Cells as large as the width allows, and labels that fit them. */
    fit() {
      const wide = onPaper.matches ? SHEET : this.section.clientWidth, least = onPaper.matches ? 4 : 11, brush = this.find("canvas").getContext("2d");
      brush.font = "13px system-ui, sans-serif";
      const longest = Math.max(...this.names.map((name) => brush.measureText(name).width));
      const labels = Math.min(Math.ceil(longest) + 12, wide < 640 ? 110 : 220);
      const most = this.rows > PRINTED || this.width > PRINTED ? 26 : 52;
      const cell = Math.max(least, Math.min(most, Math.floor((Math.min(wide, 1200) - labels - 8) / this.width)));
      const heat = this.find(".heat");
      for (const [name, value] of [["cell", cell], ["labels", labels], ["table", labels + this.width * cell], ["font", Math.max(least - 2, Math.min(13, cell - 1))]])
        heat.style.setProperty(`--${name}`, `${value}px`);
      heat.classList.toggle("small", cell < 18);
      heat.classList.toggle("wide", labels + this.width * cell + 290 > wide);
      const printed = most === 52 && cell >= 30;
      if (printed !== this.printed && this.row) { this.printed = printed; this.paint(); }
      this.printed = printed;
    }

    pair(cell) { return [this.row[cell.place[0]], this.column[cell.place[1]]]; }
    cell(i, j) { return this.cells[this.row.indexOf(i)][this.column.indexOf(j)]; }

    reorder() {
      const how = this.find(".order").value;
      const given = (count) => Array.from({ length: count }, (_, k) => k);
      const sorted = (names, score) => given(names.length).sort((a, b) =>
        how === "name" ? words.compare(names[a], names[b]) : this.better(score(a), score(b)) || a - b);
      const mean = (count, value) => (a) => {
        let sum = 0, known = 0;
        for (let k = 0; k < count; k++) { const v = value(a, k); if (v !== null) { sum += v; known++; } }
        return known ? sum / known : null;
      };
      const apart = (i, j) => (this.isOwn(i, j) ? null : this.value(0, i, j));
      if (how === "given") [this.row, this.column] = [given(this.rows), given(this.width)];
      else if (how === "tree") this.row = this.column = this.orders.tree;
      else {
        this.row = sorted(this.names, mean(this.width, (i, j) => apart(i, j)));
        this.column = this.square ? this.row : sorted(this.targets, mean(this.rows, (j, i) => apart(i, j)));
      }
      const label = (one, name) => { one.textContent = name; one.title = name; };
      this.row.forEach((i, r) => label(this.sides[r], this.names[i]));
      this.column.forEach((j, c) => label(this.heads[c].firstChild, this.targets[j]));
      this.paint();
    }

    shade(value, column) {
      const [low, high] = column.scale, stops = STOPS[column.diverging ? "diverging" : "sequential"];
      let t = column.diverging
        ? 0.5 + value / (2 * Math.max(-low, high))
        : (value - low) / (high - low);
      if (column.reverse) t = 1 - t;
      t = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
      const k = Math.min(Math.floor(t), stops.length - 2);
      return mix(stops[k], stops[k + 1], t - k);
    }
    paint() {
      const column = this.columns[this.color], paper = isDark.matches && !onPaper.matches ? [22, 24, 27] : [255, 255, 255];
      let [blank, faded] = [false, false];
      for (let r = 0; r < this.rows; r++) for (let c = 0; c < this.width; c++) {
        const i = this.row[r], j = this.column[c], cell = this.cells[r][c], value = this.value(this.color, i, j);
        const style = cell.style, empty = value === null && this.color > 0 && this.isOwn(i, j);
        const kind = value === null && !empty ? "none" : "";
        if (cell.className !== kind) cell.className = kind;
        if (cell.firstChild) cell.textContent = "";
        if (value === null) {
          blank ||= !empty;
          style.backgroundColor = "";
          cell.setAttribute("aria-label", empty ? "itself" : "no score");
          continue;
        }
        let color = this.shade(value, column);
        if (this.weak(i, j)) { color = mix(color, paper, VEIL); faded = true; }
        style.backgroundColor = `rgb(${color.map(Math.round).join(" ")})`;
        const said = text(value);
        cell.setAttribute("aria-label", said);
        if (this.printed) {
          cell.textContent = said.slice(0, said.startsWith("\u2212") ? 5 : 4);
          style.color = light(color) > 0.179 ? "#000" : "#fff";
        }
      }
      this.mark();
      const [low, high] = column.scale, canvas = this.find("canvas"), brush = canvas.getContext("2d");
      for (let x = 0; x < canvas.width; x++) {
        brush.fillStyle = `rgb(${this.shade(low + ((x + 0.5) / canvas.width) * (high - low), column).map(Math.round).join(" ")})`;
        brush.fillRect(x, 0, 1, canvas.height);
      }
      this.find(".low").textContent = `${column.name}: ${text(low)}`;
      this.find(".high").textContent = text(high);
      this.find(".marks").hidden = !faded;
      this.find(".legend").querySelectorAll(".blank").forEach((one) => one.remove());
      if (blank) {
        const key = make("span", " no score", { class: "blank" });
        key.prepend(make("span", "", { class: "key" }));
        this.find(".legend").append(key);
      }
    }

    /* Rows of names and numbers of a pair. */
    facts(i, j) {
      if (this.value(0, i, j) === null) return [["no score", this.why(i, j)]];
      const found = [], ends = this.interval || [];
      this.columns.forEach((column, k) => {
        const value = this.value(k, i, j);
        if (k === ends[1] || (value === null && this.isOwn(i, j))) return;
        if (k === ends[0]) {
          const high = this.value(ends[1], i, j), name = column.name.replace(/ low$/, " interval");
          found.push([name, value === null ? "none" : `${text(value)} to ${text(high)}`]);
        } else found.push([column.name, this.said(k, i, j)]);
      });
      for (const [name, of] of Object.entries(this.words)) if (!this.isOwn(i, j)) found.push([name, of[i][j]]);
      if (this.isOwn(i, j)) found.push(["", "the network with itself"]);
      return found;
    }
    tell(i, j) {
      this.find(".pair").textContent = `${this.names[i]} \u2192 ${this.targets[j]}`;
      const list = this.find(".detail dl");
      list.replaceChildren(...this.facts(i, j).flatMap(([name, said]) => [make("dt", name || "\u00a0"), make("dd", said)]));
    }
    enter(cell) {
      const [i, j] = this.pair(cell);
      this.tell(i, j);
      this.tab(cell);
    }
    /* One cell of the matrix is reached by the Tab key. */
    tab(cell) {
      if (this.tabbed) this.tabbed.tabIndex = -1;
      this.tabbed = cell;
      cell.tabIndex = 0;
    }
    /* What a screen reader says of a cell that is entered by a key: all of the pair. */
    sentence(i, j) {
      const said = this.facts(i, j).map(([name, value]) => (name === "" ? value : `${name} ${value}`)).join(", ");
      return `${this.names[i]} to ${this.targets[j]}: ${said}`;
    }
    move(event) {
      const cell = event.target.closest("td");
      if (!cell || event.altKey || event.metaKey) return;
      const [r, c] = cell.place, last = [this.rows - 1, this.width - 1];
      const steps = {
        ArrowUp: [r - 1, c], ArrowDown: [r + 1, c], ArrowLeft: [r, c - 1], ArrowRight: [r, c + 1],
        PageUp: [r - 10, c], PageDown: [r + 10, c],
        Home: event.ctrlKey ? [0, 0] : [r, 0], End: event.ctrlKey ? last : [r, last[1]],
      };
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.choose(...this.pair(cell));
        document.getElementById("said").textContent = `chosen: ${this.sentence(...this.pair(cell))}`;
        return;
      }
      if (!steps[event.key]) return;
      event.preventDefault();
      const clamp = (v, most) => Math.min(Math.max(v, 0), most);
      const next = this.cells[clamp(steps[event.key][0], last[0])][clamp(steps[event.key][1], last[1])];
      next.setAttribute("aria-label", this.sentence(...this.pair(next)));
      next.focus();
    }
    mark() {
      this.marked?.classList.remove("chosen");
      this.marked = this.cell(...this.at);
      this.marked.classList.add("chosen");
      this.tab(this.marked);
    }
    choose(i, j) {
      this.at = [i, j];
      this.mark();
      this.tell(i, j);
      this.find(".target").value = j;
      this.rank(j);
      if (this.histogram) {
        this.find(".row").value = i;
        this.find(".column").value = j;
        this.bars(i, j);
      }
    }

    rank(j) {
      const order = this.names.map((_, i) => i).filter((i) => !this.isOwn(i, j));
      order.sort((a, b) => this.better(this.value(0, a, j), this.value(0, b, j)) || a - b);
      const ends = this.interval || [], table = this.find(".ranking table");
      const numbers = order.flatMap((i) => [0, ...ends].map((k) => this.value(k, i, j))).filter((v) => v !== null);
      const low = Math.min(0, ...numbers), high = Math.max(...numbers, low + 1e-9), wide = 180;
      const x = (v) => 6 + ((v - low) / (high - low)) * (wide - 12);
      const others = this.columns.map((_, k) => k).filter((k) => k > 0 && !ends.includes(k));
      const head = make("tr");
      const titles = ["", "source", this.columns[0].name, "", ...(ends.length ? [this.columns[ends[0]].name.replace(/ low$/, " interval")] : [])];
      const cells = [...titles, ...others.map((k) => this.columns[k].name)];
      cells.forEach((name, k) => head.append(k === 0 || k === 3 ? make("td") : make("th", name, { scope: "col" })));
      table.tHead.replaceChildren(head);
      table.caption.textContent = `Sources of ${this.targets[j]}, ${this.distance ? "nearest" : "most similar"} first`;
      table.tBodies[0].replaceChildren(...order.map((i, rank) => {
        const row = make("tr"), score = this.value(0, i, j), [from, to] = ends.map((k) => this.value(k, i, j));
        const picture = draw("svg", { width: wide, height: 16, "aria-hidden": "true" }, draw("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 16 }));
        if (from !== undefined && from !== null) picture.append(draw("line", { class: "whisker", x1: x(from), x2: x(to), y1: 8, y2: 8 }));
        if (score !== null) picture.append(draw("circle", { cx: x(score), cy: 8, r: 4 }));
        const cell = make("td");
        cell.append(picture);
        row.append(make("td", String(rank + 1)), make("th", this.names[i], { scope: "row", title: this.names[i] }));
        row.append(make("td", score === null ? `no score: ${this.why(i, j)}` : text(score)), cell);
        if (ends.length) row.append(make("td", from === null ? "none" : `${text(from)} to ${text(to)}`));
        for (const k of others) row.append(make("td", this.said(k, i, j)));
        return row;
      }));
    }

    bars(i, j) {
      const place = this.find(".bars"), pair = this.place(i, j), { bins, count } = this.histogram;
      const [low, high, score] = [this.histogram.low[pair], this.histogram.high[pair], this.value(0, i, j)];
      if (low === null) { place.replaceChildren(make("p", `no resample has a score: ${this.why(i, j)}`)); return; }
      const counts = Array.from({ length: bins }, (_, k) => this.counts(pair, k)), most = Math.max(...counts);
      const [from, to] = (this.interval || []).map((k) => this.value(k, i, j));
      const known = [low, high, score, from, to].filter((v) => v !== null && v !== undefined);
      const [left, right] = [Math.min(...known), Math.max(...known)], span = right - left || 1, [wide, tall] = [420, 150];
      const x = (v) => 12 + ((v - left) / span) * (wide - 24);
      const scored = counts.reduce((a, b) => a + b, 0);
      const range = `${scored} of ${count} resamples have scores from ${text(low)} to ${text(high)}`;
      const said = `${this.names[i]} to ${this.targets[j]}: ${range}; score ${text(score)}` + (from === undefined || from === null ? "" : `, interval ${text(from)} to ${text(to)}`);
      const picture = draw("svg", { viewBox: `0 0 ${wide} ${tall + 24}`, width: wide, height: tall + 24, role: "img", "aria-label": said });
      if (from !== undefined && from !== null) picture.append(draw("rect", { class: "interval", x: x(from), y: 0, width: Math.max(x(to) - x(from), 1), height: tall }));
      const bar = high > low ? (x(high) - x(low)) / bins : 6;
      counts.forEach((n, k) => n && picture.append(draw("rect", { class: "bar", x: high > low ? x(low) + k * bar + 0.5 : x(low) - 3, y: tall - (n / most) * (tall - 8), width: Math.max(bar - 1, 1), height: (n / most) * (tall - 8) })));
      picture.append(draw("line", { class: "axis", x1: 12, x2: wide - 12, y1: tall, y2: tall }));
      if (score !== null) picture.append(draw("line", { class: "score", x1: x(score), x2: x(score), y1: 0, y2: tall }));
      const at = (v, anchor) => draw("text", { class: "support", x: x(v), y: tall + 16, "text-anchor": anchor }, text(v));
      picture.append(at(left, "start"), at(right, "end"));
      place.replaceChildren(make("p", said), picture);
    }

    list() {
      const table = make("table"), head = make("tr"), body = make("tbody"), rows = [];
      for (let i = 0; i < this.rows; i++) for (let j = this.symmetric ? i + 1 : 0; j < this.width; j++) {
        if (this.square && i === j) continue;
        rows.push([this.names[i], this.targets[j], ...this.columns.map((_, k) => this.value(k, i, j))]);
      }
      const fill = () => body.replaceChildren(...rows.map((row) => {
        const line = make("tr");
        row.forEach((value, k) => line.append(k < 2 ? make(k ? "td" : "th", value, k ? {} : { scope: "row" }) : make("td", text(value))));
        return line;
      }));
      ["source", "target", ...this.columns.map((c) => c.name)].forEach((name, k) => {
        const cell = make("th", undefined, { scope: "col" }), button = make("button", name, { type: "button" });
        button.addEventListener("click", () => {
          const down = cell.getAttribute("aria-sort") === "ascending";
          head.querySelectorAll("th").forEach((one) => one.removeAttribute("aria-sort"));
          cell.setAttribute("aria-sort", down ? "descending" : "ascending");
          const sign = down ? -1 : 1;
          rows.sort((a, b) => (k < 2 ? sign * words.compare(a[k], b[k]) : (a[k] === null) - (b[k] === null) || sign * (a[k] - b[k])));
          fill();
        });
        cell.append(button);
        head.append(cell);
      });
      const top = make("thead");
      top.append(head);
      table.append(make("caption", `${rows.length} pairs; the heads of the columns sort`), top, body);
      fill();
      const frame = this.find(".list .frame");
      frame.tabIndex = 0;
      frame.setAttribute("role", "region");
      frame.setAttribute("aria-label", "Table of all pairs");
      frame.replaceChildren(table);
    }
  }

  const copy = async (button) => {
    const of = document.getElementById(button.dataset.of), said = document.getElementById("said");
    try {
      await navigator.clipboard.writeText(of.innerText);
      said.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(of);
      said.textContent = "selected; copy it with the keyboard";
    }
    button.textContent = said.textContent;
  };

  for (const [id, data] of Object.entries(JSON.parse(document.getElementById("data").textContent)))
    new Matrix(document.getElementById(id), data);
  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", () => copy(button));
  }
})();
