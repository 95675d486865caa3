"use strict";
/* The explorer of column lineage. All names come from the data, and reach the page as text only. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const SOURCE = 0, TARGET = 1, KIND = 2, SUBTYPE = 3, MASKING = 4, PROVED = 5, START = 6, END = 7, WIDTH = 8;
  const DIRECT = 0;
  const MOST_BOXES_OF_A_STEP = 16, MOST_BOXES = 90, MOST_HITS = 50, MOST_LINES = 100;
  const BOX = { width: 216, height: 62, across: 284, down: 74, margin: 14 };

  /* ---- The graph: columns have numbers, in the order of the tables; edges are rows of a flat list. ---- */

  const tables = data.tables.map((row, number) => {
    const [key, group, description, owners, sql, unknown, columns] = row;
    return { number, key, group, description, owners, sql, unknown, columns, first: 0 };
  });
  const columns = [];
  for (const table of tables) {
    table.first = columns.length;
    for (const [name, type, description, marks, constant] of table.columns) {
      // The name * stands for the rows of the table as a whole: which there are, and in what order.
      columns.push({ number: columns.length, table, name, type, description, marks, constant, isRows: name === "*" });
    }
  }
  const columnsOf = (table) => columns.slice(table.first, table.first + table.columns.length).filter((column) => !column.isRows);
  const realColumns = columns.filter((column) => !column.isRows);
  const rowsOf = (table) => {
    const last = columns[table.first + table.columns.length - 1];
    return last && last.isRows ? last : null;
  };
  const edges = data.edges;
  const edgeCount = edges.length / WIDTH;
  const edge = (row, field) => edges[row * WIDTH + field];

  /* For each number, the rows of the edges that have it at one end: `rows` from `from[n]` to `from[n + 1]`. */
  function indexBy(field, size) {
    const from = new Uint32Array(size + 2);
    for (let row = 0; row < edgeCount; row++) from[edge(row, field) + 2]++;
    for (let n = 2; n < from.length; n++) from[n] += from[n - 1];
    const rows = new Uint32Array(edgeCount);
    for (let row = 0; row < edgeCount; row++) rows[from[edge(row, field) + 1]++] = row;
    return (n) => rows.subarray(from[n], from[n + 1]);
  }
  const ownEdgesInto = indexBy(TARGET, columns.length);
  /* What decides about the rows of a table decides about each of its columns. */
  const edgesInto = (n) => {
    const rows = rowsOf(columns[n].table);
    return rows && rows.number !== n ? [...ownEdgesInto(n), ...ownEdgesInto(rows.number)] : [...ownEdgesInto(n)];
  };
  const edgesOutOf = indexBy(SOURCE, columns.length);

  const nameOf = (column) => column.isRows ? "all rows" : column.name;
  const fullName = (column) => `${column.table.key}.${column.name}`;
  const linkTo = (name) => `#${encodeURIComponent(name).replaceAll("%2F", "/")}`;
  const places = new Map();
  for (const column of columns) places.set(fullName(column), { table: column.table, column });
  for (const table of tables) places.set(table.key, { table, column: null });

  /* ---- Small pieces of the page ---- */

  function make(tag, attributes, ...content) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") element.className = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...content.filter((one) => one !== null && one !== ""));
    return element;
  }
  function makeSvg(tag, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  }
  const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
  const lower = (word) => word.toLowerCase().replaceAll("_", " ");
  const tell = (text) => { byId("news").textContent = text; };

  const ORIGINS = ["found", "declared", "derived"];
  const colourOf = (marks) => !marks.length ? "" : marks.some((mark) => mark[1] < 2) ? "found" : "derived";
  function badges(marks) {
    return marks.map(([type, origin]) =>
      make("span", { class: `mark ${origin < 2 ? "found" : "derived"}`, title: `${type}, ${ORIGINS[origin]}` }, type));
  }
  const spoken = (marks) => marks.map(([type, origin]) => `${type} ${ORIGINS[origin]}`).join(", ");
  const columnLink = (column) =>
    make("a", { href: linkTo(fullName(column)), class: "name" }, column.isRows ? `all rows of ${column.table.key}` : fullName(column));
  const tableLink = (table) => make("a", { href: linkTo(table.key), class: "name" }, table.key);

  function wordsOf(row) {
    const words = [make("span", { class: "word" },
      `${edge(row, KIND) === DIRECT ? "direct" : "indirect"}: ${lower(data.subtypes[edge(row, SUBTYPE)])}`)];
    const masking = edge(row, MASKING);
    if (masking) words.push(make("span", { class: "word masked" }, masking === 2 ? "removes the information" : "masks the value"));
    if (edge(row, PROVED) === 0) words.push(make("span", { class: "word unproved" }, "not proved"));
    if (edge(row, PROVED) === 1) words.push(make("span", { class: "word" }, "proved"));
    return words;
  }

  /* ---- What is shown ---- */

  const shown = { place: null, view: "drawing", withIndirect: false, steps: 2, edge: -1 };
  const isWalked = (row) => shown.withIndirect || edge(row, KIND) === DIRECT;

  /* The graph that is walked: of columns, or of whole tables where a table is shown. */
  function links(place) {
    if (place.column) {
      return {
        start: place.column,
        before: (column) => edgesInto(column.number).filter(isWalked)
          .map((row) => [columns[edge(row, SOURCE)], row]),
        after: (column) => Array.from(edgesOutOf(column.number)).filter(isWalked)
          .map((row) => [columns[edge(row, TARGET)], row]),
      };
    }
    const ofTable = (index, field) => (table) => {
      const found = [];
      for (let n = table.first; n < table.first + table.columns.length; n++) {
        for (const row of index(n)) {
          const other = columns[edge(row, field)].table;
          if (isWalked(row) && other !== table) found.push([other, row]);
        }
      }
      return found;
    };
    return { start: place.table, before: ofTable(ownEdgesInto, SOURCE), after: ofTable(edgesOutOf, TARGET) };
  }

  /* Breadth first from the start, up and down: the nodes by step (negative is upstream), and their edges. */
  function neighbourhood(place, steps) {
    const { start, before, after } = links(place);
    const layers = new Map([[0, [start]]]);
    const stepOf = new Map([[start, 0]]);
    const between = new Map();
    const hidden = new Map();
    let drawn = 1;
    for (const [direction, next] of [[-1, before], [1, after]]) {
      let frontier = [start];
      for (let step = 1; step <= steps && frontier.length; step++) {
        const layer = [];
        let left = 0;
        for (const node of frontier) {
          for (const [other, row] of next(node)) {
            if (!stepOf.has(other)) {
              if (layer.length >= MOST_BOXES_OF_A_STEP || drawn >= MOST_BOXES) { left++; continue; }
              stepOf.set(other, direction * step);
              layer.push(other);
              drawn++;
            }
            const [from, to] = direction < 0 ? [other, node] : [node, other];
            if (!between.has(from)) between.set(from, new Map());
            const rows = between.get(from);
            if (!rows.has(to)) rows.set(to, []);
            if (!rows.get(to).includes(row)) rows.get(to).push(row);
          }
        }
        if (layer.length) layers.set(direction * step, layer);
        if (left) hidden.set(direction * step, left);
        frontier = layer;
      }
    }
    return { layers, stepOf, between, hidden };
  }

  /* ---- The drawing ---- */

  const grid = { layers: new Map(), boxes: new Map(), at: null };

  function draw() {
    const { layers, stepOf, between, hidden } = neighbourhood(shown.place, shown.steps);
    const boxes = byId("boxes"), lines = byId("lines");
    boxes.replaceChildren();
    lines.replaceChildren();
    grid.boxes.clear();
    const steps = [...layers.keys()].sort((a, b) => a - b);
    order(layers, steps, between);
    const tallest = Math.max(...steps.map((step) => layers.get(step).length + (hidden.has(step) ? 1 : 0)));
    const height = tallest * BOX.down + 2 * BOX.margin;
    const width = steps.length * BOX.across - (BOX.across - BOX.width) + 2 * BOX.margin;
    const where = new Map();
    steps.forEach((step, at) => {
      const layer = layers.get(step);
      const rows = layer.length + (hidden.has(step) ? 1 : 0);
      const x = BOX.margin + at * BOX.across;
      const top = BOX.margin + (height - 2 * BOX.margin - rows * BOX.down) / 2;
      layer.forEach((node, row) => {
        const y = top + row * BOX.down;
        where.set(node, { x, y });
        boxes.append(boxOf(node, step, x, y));
      });
      if (hidden.has(step)) {
        const more = make("div", { class: "box more" }, `${hidden.get(step)} more are in the list`);
        put(more, x, top + layer.length * BOX.down);
        boxes.append(more);
      }
    });
    for (const [from, targets] of between) {
      for (const [to, rows] of targets) if (where.has(from) && where.has(to)) line(lines, where.get(from), where.get(to), rows);
    }
    boxes.style.width = `${width}px`;
    boxes.style.height = `${height}px`;
    lines.setAttribute("width", width);
    lines.setAttribute("height", height);
    grid.layers = new Map(steps.map((step) => [step, layers.get(step)]));
    focusable(links(shown.place).start);
    const centre = where.get(grid.at), drawing = byId("drawing");
    drawing.scrollLeft = centre.x - (drawing.clientWidth - BOX.width) / 2;
    drawing.scrollTop = centre.y - (drawing.clientHeight - BOX.height) / 2;
    return stepOf.size - 1;
  }

  /* Order the nodes of each step by the middle of their neighbours one step nearer, so that few lines cross. */
  function order(layers, steps, between) {
    const rank = new Map();
    const nearest = [...steps].sort((a, b) => Math.abs(a) - Math.abs(b));
    for (const step of nearest) {
      const layer = layers.get(step);
      const middle = new Map(layer.map((node, at) => {
        const ranks = [];
        const inner = layers.get(step - Math.sign(step)) || [];
        if (step) for (const other of inner) {
          const [from, to] = step < 0 ? [node, other] : [other, node];
          if (between.get(from)?.has(to)) ranks.push(rank.get(other));
        }
        return [node, ranks.length ? ranks.reduce((sum, one) => sum + one, 0) / ranks.length : at];
      }));
      layer.sort((a, b) => middle.get(a) - middle.get(b));
      layer.forEach((node, at) => rank.set(node, at - layer.length / 2));
    }
  }

  function put(element, x, y) {
    element.style.left = `${x}px`;
    element.style.top = `${y}px`;
  }

  function marksOf(node) {
    if (!node.columns) return node.marks;
    const types = new Map();
    for (let n = node.first; n < node.first + node.columns.length; n++) {
      for (const mark of columns[n].marks) {
        if (!types.has(mark[0]) || types.get(mark[0])[1] > mark[1]) types.set(mark[0], mark);
      }
    }
    return [...types.values()];
  }

  function boxOf(node, step, x, y) {
    const isTable = Boolean(node.columns);
    const marks = marksOf(node);
    const side = step < 0 ? `${counted(-step, "step")} upstream` : step > 0 ? `${counted(step, "step")} downstream` : "selected";
    const name = isTable ? node.key : nameOf(node);
    const box = make("button", {
      type: "button", class: `box ${colourOf(marks)}${step ? "" : " here"}`, tabindex: "-1",
      title: isTable ? node.key : fullName(node),
      "aria-label": `${isTable ? node.key : fullName(node)}, ${side}${marks.length ? `, sensitive: ${spoken(marks)}` : ""}`,
      "aria-current": step ? null : "true",
      onclick: () => go(node, "drawing"),
      onkeydown: (event) => walk(event, node, step),
      onfocus: () => focusable(node),
    },
      make("span", { class: "name" }, name),
      make("span", { class: "of" }, isTable ? counted(columnsOf(node).length, "column") : node.table.key),
      make("span", { class: "marks" }, ...badges(marks)));
    put(box, x, y);
    grid.boxes.set(node, box);
    return box;
  }

  function line(lines, from, to, rows) {
    const isDirect = rows.some((row) => edge(row, KIND) === DIRECT);
    let [x1, y1, x2, y2] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
    // A target that is not further right is reached from its right side, so that the line passes behind no box.
    const isBack = x2 <= x1;
    if (isBack) x2 = to.x + BOX.width;
    const bend = isBack ? 44 : Math.max(30, (x2 - x1) / 2), into = isBack ? x2 + bend : x2 - bend, tip = isBack ? 7 : -7;
    lines.append(makeSvg("path", {
      d: `M${x1},${y1} C${x1 + bend},${y1} ${into},${y2} ${x2},${y2}`, class: isDirect ? "direct" : "indirect",
    }));
    lines.append(makeSvg("path", { d: `M${x2 + tip},${y2 - 4} L${x2 + tip / 7},${y2} L${x2 + tip},${y2 + 4}` }));
    const dots = [];
    if (rows.some((row) => edge(row, MASKING))) dots.push(["m", "masked"]);
    if (rows.some((row) => edge(row, PROVED) === 0)) dots.push(["?", "unproved"]);
    dots.forEach(([letter, kind], at) => {
      const x = (isBack ? Math.max(x1, x2) + 32 : (x1 + x2) / 2) + (at - (dots.length - 1) / 2) * 20, y = (y1 + y2) / 2;
      lines.append(makeSvg("circle", { cx: x, cy: y, r: 8.5, class: kind }));
      lines.append(makeSvg("text", { x, y: y + 4, class: kind }, letter));
    });
  }

  /* One box is in the order of Tab; arrow keys move among all. */
  function focusable(node) {
    if (grid.at && grid.boxes.has(grid.at)) grid.boxes.get(grid.at).tabIndex = -1;
    grid.at = node;
    grid.boxes.get(node).tabIndex = 0;
  }

  function walk(event, node, step) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") {
      event.preventDefault();
      focusOn(links(shown.place).start);
      return;
    }
    if (!(event.key in moves) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [across, down] = moves[event.key];
    const layer = grid.layers.get(step + across);
    if (!layer) return;
    let next = null;
    if (down) next = layer[layer.indexOf(node) + down];
    else {
      const top = (one) => grid.boxes.get(one).offsetTop;
      next = layer.reduce((best, one) =>
        Math.abs(top(one) - top(node)) < Math.abs(top(best) - top(node)) ? one : best);
    }
    if (next) focusOn(next);
  }

  function focusOn(node) {
    const box = grid.boxes.get(node);
    focusable(node);
    box.focus();
    box.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /* ---- The list, which says all that the drawing does ---- */

  function list() {
    const { start, before, after } = links(shown.place);
    let lines = 0;
    const tree = (node, next, left, above) => {
      const items = [];
      const byNode = new Map();
      for (const [other, row] of next(node)) byNode.set(other, [...(byNode.get(other) || []), row]);
      for (const [other, rows] of byNode) {
        if (lines >= 10 * MOST_LINES) break;
        lines++;
        const item = make("li", {}, other.columns ? tableLink(other) : columnLink(other), " ", ...badges(marksOf(other)), " ");
        if (!other.columns) for (const row of rows) item.append(...spaced(wordsOf(row)));
        if (above.has(other)) item.append(" (listed above)");
        else if (left > 1) {
          above.add(other);
          const inner = tree(other, next, left - 1, above);
          if (inner) item.append(inner);
        }
        items.push(item);
      }
      return items.length ? make("ul", {}, ...items) : null;
    };
    const part = (title, next, none) =>
      [make("h3", {}, title), tree(start, next, shown.steps, new Set([start])) || make("p", { class: "nothing" }, none)];
    byId("listing").replaceChildren(
      ...part("Upstream", before, "Nothing is upstream."), ...part("Downstream", after, "Nothing is downstream."));
    if (lines >= 10 * MOST_LINES) byId("listing").append(make("p", { class: "nothing" }, "The list ends here; choose fewer steps."));
    return lines;
  }
  const spaced = (elements) => elements.flatMap((one) => [one, " "]);

  /* ---- The facts about a column or a table ---- */

  function stepList(rows, end) {
    const item = (row) => make("li", {}, columnLink(columns[edge(row, end)]), ...badges(columns[edge(row, end)].marks),
      ...wordsOf(row), sqlButton(row));
    return shortened(make("ul", { class: "stepsof" }), [...rows], item);
  }
  function shortened(parent, items, show) {
    parent.append(...items.slice(0, MOST_LINES).map(show));
    if (items.length > MOST_LINES) {
      const button = make("button", { type: "button", onclick: () => {
        button.parentElement.remove();
        parent.append(...items.slice(MOST_LINES).map(show));
      } }, `Show all ${items.length.toLocaleString("en")}`);
      parent.append(make("li", {}, button));
    }
    return parent;
  }
  function sqlButton(row) {
    if (edge(row, START) < 0) return "";
    const target = columns[edge(row, TARGET)];
    return make("button", {
      type: "button", "aria-label": `Show the SQL of ${fullName(target)} from ${fullName(columns[edge(row, SOURCE)])}`,
      onclick: () => { showSql(target.table, [row], `expression of ${target.name}`); byId("sql-text").focus(); },
    }, "SQL");
  }

  function columnFacts(column) {
    const into = edgesInto(column.number), out = Array.from(edgesOutOf(column.number));
    const isDirect = (row) => edge(row, KIND) === DIRECT;
    const parts = [
      make("h2", { id: "facts-title", tabindex: "-1" }, make("span", { class: "name" }, nameOf(column))),
      make("p", {}, "of ", tableLink(column.table)),
      column.type ? make("p", { class: "of" }, column.type) : "",
      column.description ? make("p", {}, column.description) : "",
      ownersOf(column.table),
    ];
    for (const [type, origin, from] of column.marks) {
      parts.push(make("p", {}, ...badges([[type, origin]]),
        origin === 0 ? "found by the inspection" : origin === 1 ? "declared" : "derived from ",
        origin === 2 && from >= 0 ? columnLink(columns[from]) : ""));
    }
    if (column.constant) parts.push(make("p", {}, `A declared constant: ${column.constant}`));
    if (column.isRows) parts.push(make("p", {}, "Which rows the table has, and in what order. It decides about all columns of the table."));
    for (const [title, rows, end, none] of [
      ["Comes from", into.filter(isDirect), SOURCE, column.constant || column.isRows ? "" : column.table.unknown || (into.length ? "No value: others only decide about it." : "Nothing: the data begins here.")],
      ["Is decided by (indirect)", into.filter((row) => !isDirect(row)), SOURCE, ""],
      ["Goes to", out.filter(isDirect), TARGET, column.isRows ? "" : "Nothing."],
      ["Decides (indirect)", out.filter((row) => !isDirect(row)), TARGET, ""],
    ]) {
      if (!rows.length && !none) continue;
      parts.push(make("h3", {}, `${title}${rows.length ? ` (${rows.length})` : ""}`),
        rows.length ? stepList(rows, end) : make("p", { class: "nothing" }, none));
    }
    byId("facts").replaceChildren(...parts.filter((part) => part !== ""));
    showSql(column.table, into.filter(isDirect), `expression of ${column.name}`);
  }
  const ownersOf = (table) => table.owners.length ? make("p", { class: "of" }, `Owned by ${table.owners.join(", ")}`) : "";

  function tableFacts(table) {
    const rows = columnsOf(table);
    const body = make("tbody", {}, ...rows.map((column) => make("tr", {},
      make("td", {}, make("a", { href: linkTo(fullName(column)), class: "name" }, column.name), " ", ...badges(column.marks)),
      make("td", { class: "of" }, column.type || ""),
      make("td", { class: "of" }, column.description || ""))));
    byId("facts").replaceChildren(...[
      make("h2", { id: "facts-title", tabindex: "-1" }, make("span", { class: "name" }, table.key)),
      table.description ? make("p", {}, table.description) : "",
      ownersOf(table),
      table.unknown ? make("p", {}, `The lineage is unknown: ${table.unknown}`) : "",
      make("h3", {}, counted(rows.length, "column")),
      make("table", {}, make("thead", {}, make("tr", {},
        make("th", { scope: "col" }, "Name"), make("th", { scope: "col" }, "Type"), make("th", { scope: "col" }, "Description"))), body),
    ].filter((part) => part !== ""));
    showSql(table, [], "");
  }

  /* ---- SQL, with expressions highlighted ---- */

  function showSql(table, rows, what) {
    byId("sql").hidden = !table.sql;
    if (!table.sql) return;
    const spans = rows.filter((row) => edge(row, START) >= 0).map((row) => [edge(row, START), edge(row, END)])
      .sort((a, b) => a[0] - b[0]);
    byId("sql-title").textContent = `SQL of ${table.key}${spans.length ? `: ${what}` : ""}`;
    const parts = [];
    let at = 0;
    for (const [start, end] of spans) {
      if (end <= at) continue;
      const from = Math.max(start, at);
      parts.push(table.sql.slice(at, from), make("mark", {}, table.sql.slice(from, end)));
      at = end;
    }
    parts.push(table.sql.slice(at));
    const code = byId("sql-code"), box = byId("sql-text");
    code.replaceChildren(...parts);
    const first = code.querySelector("mark");
    const top = first ? first.offsetTop - box.offsetTop : 0;
    box.scrollTop = top > box.clientHeight - 60 ? top - 60 : 0;
  }

  /* ---- The first page: all tables, and where sensitive data can be ---- */

  function overview() {
    const groups = new Map();
    for (const table of tables) groups.set(table.group, [...(groups.get(table.group) || []), table]);
    const types = new Map();
    for (const column of columns) {
      for (const mark of column.marks) types.set(mark[0], [...(types.get(mark[0]) || []), [column, mark]]);
    }
    const parts = [make("div", { class: "wide" },
      make("p", {}, `${counted(tables.length, "table")}, ${counted(realColumns.length, "column")}, ${counted(edgeCount, "edge")}. `
        + "Search a column with the field above (key /), or choose a table."))];
    for (const [type, found] of [...types].sort((a, b) => a[0] < b[0] ? -1 : 1)) {
      parts.push(make("div", {}, make("h2", {}, `Where ${type} can be (${found.length})`),
        shortened(make("ul", {}), found, ([column, mark]) =>
          make("li", {}, columnLink(column), " ", make("span", { class: "of" }, ORIGINS[mark[1]])))));
    }
    for (const [group, members] of groups) {
      parts.push(make("div", {}, make("h2", {}, `${group} (${members.length})`),
        shortened(make("ul", {}), members, (table) => make("li", {}, tableLink(table), " ",
          make("span", { class: "of" }, counted(columnsOf(table).length, "column"))))));
    }
    byId("overview").replaceChildren(...parts);
  }

  /* ---- Going somewhere ---- */

  let cameFrom = "";
  function go(node, from) {
    cameFrom = from;
    const target = linkTo(node.columns ? node.key : fullName(node));
    if (location.hash === target) show();
    else location.hash = target;
  }

  function placeOfAddress() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* An address typed by hand: compare it as it is. */ }
    return { name, place: places.get(name) || null };
  }

  function show() {
    const { name, place } = placeOfAddress();
    const before = document.activeElement;
    const from = cameFrom || (before && byId("facts").contains(before) ? "facts" : before && byId("listing").contains(before) ? "list" : "");
    cameFrom = "";
    const isOther = place !== shown.place;
    shown.place = place;
    byId("overview").hidden = Boolean(place);
    byId("place").hidden = !place;
    if (place) byId("overview").replaceChildren();
    else {
      document.title = "Column lineage";
      overview();
      if (name && name !== "main-part") {
        byId("overview").prepend(make("div", { class: "wide" }, make("p", {}, `There is no column or table ${name} here.`)));
        tell(`There is no column or table ${name} here.`);
      }
      return;
    }
    const title = place.column ? fullName(place.column) : place.table.key;
    document.title = `${title} - column lineage`;
    if (place.column) columnFacts(place.column);
    else tableFacts(place.table);
    redraw();
    if (isOther) {
      const { start, before: into, after } = links(place);
      const [sources, targets] = [into, after].map((next) => new Set(next(start).map(([node]) => node)).size);
      const marks = marksOf(start);
      tell(`${title}: ${counted(sources, "source")}, ${counted(targets, "target")}${marks.length ? `, sensitive: ${spoken(marks)}` : ""}.`);
    }
    if (from === "drawing" || (from === "search" && shown.view === "drawing")) focusOn(links(place).start);
    else if (from) byId("facts-title").focus();
  }

  function redraw() {
    if (!shown.place) return;
    byId("drawing").hidden = shown.view !== "drawing";
    byId("listing").hidden = shown.view !== "list";
    if (shown.view === "drawing") draw();
    else list();
  }

  for (const view of ["drawing", "list"]) {
    byId(`as-${view}`).addEventListener("click", () => {
      shown.view = view;
      for (const other of ["drawing", "list"]) byId(`as-${other}`).setAttribute("aria-pressed", String(other === view));
      redraw();
    });
  }
  byId("indirect").addEventListener("change", (event) => { shown.withIndirect = event.target.checked; redraw(); });
  byId("steps").addEventListener("change", (event) => { shown.steps = Number(event.target.value); redraw(); });
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main-part").focus(); });

  /* ---- Search ---- */

  const entries = [
    ...realColumns.map((column) => ({ node: column, name: column.name.toLowerCase(), full: fullName(column).toLowerCase(),
      types: column.marks.map((mark) => mark[0].toLowerCase()).join(" ") })),
    ...tables.map((table) => ({ node: table, name: table.key.split("/").pop().toLowerCase(), full: table.key.toLowerCase(), types: "" })),
  ];

  /* How well an entry matches a word: 0 is not at all. */
  function score(entry, word) {
    const { name, full, types } = entry;
    if (name === word || full === word) return 100;
    if (name.startsWith(word)) return 80;
    const at = name.indexOf(word);
    if (at > 0) return "_ -.".includes(name[at - 1]) ? 65 : 50;
    if (types && types.includes(word)) return 45;
    const anywhere = full.indexOf(word);
    if (anywhere >= 0) return anywhere === 0 || "/._-".includes(full[anywhere - 1]) ? 35 : 25;
    return 0;
  }

  function find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    if (!words.length) return found;
    for (const entry of entries) {
      let sum = 0;
      for (const word of words) {
        const one = score(entry, word);
        if (!one) { sum = 0; break; }
        sum += one;
      }
      // Shorter names first, and of one name the column with most targets.
      if (sum) found.push([sum * 1000 - entry.full.length, entry]);
    }
    found.sort((a, b) => b[0] - a[0] || (a[1].full < b[1].full ? -1 : 1));
    return found.map(([, entry]) => entry.node);
  }

  const query = byId("query"), hits = byId("hits");
  let found = [], chosen = -1;

  function search() {
    const all = find(query.value);
    found = all.slice(0, MOST_HITS);
    hits.replaceChildren(...found.map((node, at) => make("li", {
      role: "option", id: `hit-${at}`, "aria-selected": "false",
      onmousedown: (event) => { event.preventDefault(); choose(at); take(); },
    }, make("span", { class: "name" }, node.columns ? node.key : node.name),
    make("span", { class: "of" }, node.columns ? `table, ${counted(columnsOf(node).length, "column")}` : node.table.key),
    ...badges(marksOf(node)))));
    const isOpen = query.value.trim() !== "";
    if (isOpen && !found.length) {
      hits.append(make("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false" }, "Nothing matches."));
    }
    open(isOpen);
    choose(found.length ? 0 : -1);
    if (isOpen) tell(all.length > MOST_HITS ? `${counted(all.length, "match").replace("matchs", "matches")}, the best ${MOST_HITS} are shown` : all.length === 1 ? "1 match" : `${all.length} matches`);
  }
  function open(isOpen) {
    hits.hidden = !isOpen;
    query.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) query.removeAttribute("aria-activedescendant");
  }
  function choose(at) {
    hits.children[chosen]?.setAttribute("aria-selected", "false");
    chosen = at;
    if (at < 0) { query.removeAttribute("aria-activedescendant"); return; }
    const hit = hits.children[at];
    hit.setAttribute("aria-selected", "true");
    hit.scrollIntoView({ block: "nearest" });
    query.setAttribute("aria-activedescendant", hit.id);
  }
  function take() {
    if (chosen < 0) return;
    const node = found[chosen];
    open(false);
    query.value = "";
    go(node, "search");
  }

  query.addEventListener("input", search);
  query.addEventListener("focus", () => { if (query.value.trim()) search(); });
  query.addEventListener("blur", () => open(false));
  query.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (hits.hidden) search();
      else if (found.length) choose((chosen + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!hits.hidden) take();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (!hits.hidden) open(false);
      else if (query.value) query.value = "";
      else if (shown.place && shown.view === "drawing") focusOn(grid.at);
      else query.blur();
    }
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLElement && event.target.matches("input[type=text], textarea, select");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      query.focus();
      query.select();
    }
  });

  /* ---- Theme: the system's, or the one that was chosen here ---- */

  const THEMES = ["system", "light", "dark"];
  function remembered() {
    try { return localStorage.getItem("lineage-theme"); } catch { return null; }
  }
  function setTheme(theme) {
    if (theme === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = theme;
    byId("theme").textContent = `Theme: ${theme}`;
    byId("theme").dataset.now = theme;
  }
  setTheme(THEMES.includes(remembered()) ? remembered() : "system");
  byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(byId("theme").dataset.now) + 1) % THEMES.length];
    setTheme(next);
    try { localStorage.setItem("lineage-theme", next); } catch { /* The browser keeps nothing for this page. */ }
  });

  byId("made").textContent = data.made;
  window.addEventListener("hashchange", show);
  show();
  document.documentElement.dataset.ready = "true";
})();
