// The page of runs: sorting, figures, example tasks.

const percent = (value) => shown(100 * value, 3);
const readPercent = (value) => (100 * value).toFixed(1);
const UNITS = { 1: "s", 60: "min", 3600: "h" };
const unitOf = (s) => (s < 100 ? 1 : s < 6000 ? 60 : 3600);
const duration = (s, unit = unitOf(s)) => `${shown(s / unit)} ${UNITS[unit]}`;
const style = (number) => ({ colour: number % 8, dashed: number >= 8 });

// Tables.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = !head.classList.contains("text");
      const before = head.getAttribute("aria-sort");
      const first = numeric ? "descending" : "ascending";
      const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const valueOf = (row) => row.cells[column].dataset.value;
      const rows = [...body.rows].sort((a, b) => {
        const [one, two] = [valueOf(a), valueOf(b)];
        if (one === "" || two === "") return (one === "") - (two === ""); // unknown: last
        return sign * (numeric ? Number(one) - Number(two) : one.localeCompare(two, "en"));
      });
      body.append(...rows);
    });
  });
}

// Learning curves.
{
  const holder = document.getElementById("curves-figure");
  const metrics = {
    validation: ["Validation accuracy", "validation", "accuracy", "validation accuracy, %"],
    loss: ["Training loss", "train", "loss", "training loss"],
    train: ["Training accuracy", "train", "accuracy", "training accuracy, %"],
    conflicts: ["Conflicting pairs of tasks", "train", "conflicting_pairs", "pairs with a negative cosine, %"],
    cosine: ["Cosine of gradients of tasks", "train", "gradient_cosine", "mean cosine of pairs"],
  };
  const state = { metric: "validation", x: "seconds" };
  const controls = make("div", { class: "controls" });
  holder.append(controls);
  const chart = new Chart(holder);
  const show = () => {
    const [title, kind, name, label] = metrics[state.metric];
    const share = name === "accuracy" || name === "conflicting_pairs";
    chart.show({
      label: `${title} by ${state.x === "step" ? "step" : "training time"}`,
      x: state.x === "step"
        ? { label: "step", format: (v) => shown(v, 6) }
        : { label: "training time", format: duration, unit: unitOf },
      y: { label, format: share ? percent : undefined, read: share ? readPercent : undefined },
      series: DATA.runs.map((run, number) => {
        const records = run[kind];
        const points = records.step.map((_, i) => {
          const point = { x: records[state.x][i], y: records[name][i] };
          const half = records.ci95?.[i];
          return half === undefined ? point : { ...point, low: point.y - half, high: point.y + half };
        });
        return { name: run.name, ...style(number), points, band: true, dots: points.length < 40 ? 2.2 : 0 };
      }),
    });
  };
  const choose = (name) => (value) => {
    state[name] = value;
    show();
  };
  const named = [["validation", "Validation"], ["train", "Training"], ["loss", "Loss"]];
  if (DATA.runs.some((run) => run.train.conflicting_pairs.some(Number.isFinite))) {
    named.push(["conflicts", "Conflicts"], ["cosine", "Cosine"]);
  }
  controls.append(
    segments("What is drawn", named, state.metric, choose("metric")),
    segments("Against", [["seconds", "Time"], ["step", "Steps"]], state.x, choose("x")),
  );
  show();
}

// Accuracy against training time.
{
  const chart = new Chart(document.getElementById("efficiency-figure"));
  chart.show({
    label: "Accuracy by training time",
    x: { label: "training time, logarithmic", log: true, format: duration, unit: unitOf },
    y: { label: "accuracy, %", format: percent, read: readPercent },
    series: DATA.runs.flatMap((run, number) => {
      const { seconds, accuracy } = run.validation;
      const points = seconds.map((x, i) => ({ x, y: accuracy[i] }));
      const { train_seconds: x, accuracy: y, ci95 } = run.test;
      const test = { x, y, low: y - ci95, high: y + ci95 };
      return [
        { name: run.name, ...style(number), points: [test], line: false, bars: true, dots: 5, tag: true, level: 1 },
        { name: run.name, ...style(number), points, dots: 0 },
      ];
    }),
  });
}

// Geometry of features and heads.
const geometry = document.getElementById("geometry-figure");
if (geometry) {
  const cdnv = "V(i, j) = (var_i + var_j) / (2 |μ_i − μ_j|²), mean over pairs of classes";
  const cosine = "q·s / (|q| |s|), mean over queries q and support s of";
  const heads = "the class table where the learner has one, else of heads of validation tasks";
  // [name, label of the axis, formula and reading, number of test classes]
  const quantities = {
    validation_cdnv: ["CDNV, validation classes", "CDNV", `${cdnv}. Low: classes lie apart, few images tell them. Large points: test classes.`, "test_cdnv"],
    train_cdnv: ["CDNV, training classes", "CDNV", `${cdnv}. Falling towards 0: training classes collapse to points.`],
    validation_cosine_same_class: ["Cosine with the same class", "cosine", `${cosine} the same class. Near 1: images of a class look alike. Large points: test classes.`, "test_cosine_same_class"],
    validation_cosine_other_class: ["Cosine with other classes", "cosine", `${cosine} two classes. Low against that of the same class: classes are told apart. Large points: test classes.`, "test_cosine_other_class"],
    head_condition_number: ["Condition number of heads", "condition number", `κ = σ_1 / σ_r, largest over smallest singular value of the rows of ${heads}, less their mean. Near 1: heads use all directions alike.`],
    head_norm_mean: ["Norm of head rows", "norm", `|w_c|, mean over the rows of ${heads}; the band is a standard deviation. A narrow band: no class is favoured.`],
  };
  const state = { quantity: "validation_cdnv", x: "seconds" };
  const select = make("select", { id: "geometry-quantity" },
    ...Object.entries(quantities).map(([value, [name]]) => make("option", { value }, name)));
  const formula = make("p", { class: "note", "aria-live": "polite" });
  const controls = make("div", { class: "controls" });
  geometry.append(controls, formula);
  const chart = new Chart(geometry);
  const show = () => {
    const [title, label, text, ofTest] = quantities[state.quantity];
    const all = DATA.runs.flatMap((run) => [...run.features[state.quantity], run.test[ofTest]]).filter(Number.isFinite);
    const log = Math.min(...all) > 0 && Math.max(...all) > 10 * Math.min(...all);
    formula.textContent = text;
    chart.show({
      label: `${title} by ${state.x === "step" ? "step" : "training time"}`,
      x: state.x === "step"
        ? { label: "step", format: (v) => shown(v, 6) }
        : { label: "training time", format: duration, unit: unitOf },
      y: { label: log ? `${label}, logarithmic` : label, log },
      series: DATA.runs.flatMap((run, number) => {
        const values = run.features;
        const spread = state.quantity === "head_norm_mean" ? values.head_norm_std : [];
        const points = values[state.quantity].map((y, i) => {
          const point = { x: values[state.x][i], y };
          return Number.isFinite(spread[i]) ? { ...point, low: y - spread[i], high: y + spread[i] } : point;
        });
        const curve = { name: run.name, ...style(number), points, band: true, dots: points.length < 40 ? 2.2 : 0 };
        const test = run.test[ofTest];
        if (!Number.isFinite(test)) return [curve];
        const x = run.test[state.x === "step" ? "train_steps" : "train_seconds"];
        const end = { name: run.name, ...style(number), points: [{ x, y: test }], line: false, dots: 5, level: 1, unlisted: true };
        return [curve, end];
      }),
    });
  };
  select.addEventListener("change", () => {
    state.quantity = select.value;
    show();
  });
  controls.append(
    make("label", { for: "geometry-quantity" }, "Quantity ", select),
    segments("Against", [["seconds", "Time"], ["step", "Steps"]], state.x, (value) => {
      state.x = value;
      show();
    }),
  );
  show();
}

// Reliability: accuracy against confidence, and how many queries are so sure.
const reliability = document.getElementById("reliability-figure");
if (reliability) {
  const chosen = { scale: "raw" };
  const controls = make("div", { class: "controls" });
  reliability.append(controls);
  const axis = { label: "confidence, %", domain: [0, 1], format: percent, read: readPercent };
  const chart = new Chart(reliability);
  const shares = new Chart(reliability, { height: 170, legend: false });
  const line = { name: "calibrated", colour: 7, points: [{ x: 0, y: 0 }, { x: 1, y: 1 }], target: true, unlisted: true };
  const show = () => {
    const curves = (name, options) => DATA.reliability.filter((one) => one[chosen.scale]).map((one) => {
      const table = one[chosen.scale];
      const points = table.confidence.map((x, i) => ({ x, y: table[name][i] }));
      return { name: DATA.runs[one.run].name, ...style(one.run), points, ...options };
    });
    const at = chosen.scale === "raw" ? "" : ", at each run's temperature";
    chart.show({
      label: `Accuracy by confidence${at}`,
      x: axis,
      y: { label: "accuracy, %", domain: [0, 1], format: percent, read: readPercent },
      series: [line, ...curves("accuracy", { dots: 3 })],
    });
    shares.show({
      label: `Share of the queries by confidence${at}`,
      x: axis,
      y: { label: "share of the queries, %", zero: true, format: percent, read: readPercent },
      series: curves("share", { dots: 2.2 }),
    });
  };
  if (DATA.reliability.some((one) => one.scaled)) {
    controls.append(segments("Probabilities", [["raw", "As they are"], ["scaled", "At the temperature"]], chosen.scale, (value) => {
      chosen.scale = value;
      show();
    }));
  }
  show();
}

// Agreement: the matrix of one measure at a time.
for (const view of document.querySelectorAll(".agreement")) {
  const select = view.querySelector("select");
  const show = () => {
    for (const part of view.querySelectorAll("[data-measure]")) part.hidden = part.dataset.measure !== select.value;
  };
  select.addEventListener("change", show);
  show();
}

// Example tasks.
for (const view of document.querySelectorAll(".tasks")) {
  const group = DATA.groups[Number(view.dataset.group)];
  const select = view.querySelector("select");
  const panel = view.querySelector(".confidence");
  const members = Object.keys(group.confidence).map(Number);
  const state = { task: 0, run: members[0], way: 0, query: 0 };
  const best = (row) => row.indexOf(Math.max(...row));

  const answers = () => {
    const confidence = group.confidence[state.run][state.task];
    for (const button of view.querySelectorAll(`.task[data-task="${state.task}"] button`)) {
      const [way, query] = [Number(button.dataset.way), Number(button.dataset.query)];
      const row = confidence[way][query];
      const said = best(row);
      const right = said === way;
      const sure = `${Math.round(100 * row[said])} %`;
      const name = group.classes[state.task][way];
      button.className = right ? "right" : "wrong";
      button.querySelector("span").textContent = `${right ? "" : "✗ "}${said + 1} · ${sure}`;
      button.setAttribute("aria-pressed", String(way === state.way && query === state.query));
      button.setAttribute(
        "aria-label",
        `Query ${query + 1} of class ${way + 1}, ${name}: predicted class ${said + 1}, ${sure} sure, ${right ? "right" : "wrong"}`,
      );
    }
    const right = confidence.flatMap((rows, way) => rows.map((row) => best(row) === way));
    const hits = right.filter(Boolean).length;
    view.querySelector(".verdict").textContent =
      `${DATA.runs[state.run].name}: ${hits} of ${right.length} queries of this task right.`;
  };

  const details = () => {
    const names = group.classes[state.task];
    const head = make("tr", {}, make("th", { scope: "col", class: "text" }, "Run"),
      ...names.map((name, way) => make("th", { scope: "col", class: way === state.way ? "true" : null }, `${way + 1} ${name}`)));
    const rows = members.map((run) => {
      const row = group.confidence[run][state.task][state.way][state.query];
      const label = make("span", { class: "run" },
        make("span", { class: `swatch c${run % 8}`, "aria-hidden": "true" }), make("span", {}, DATA.runs[run].name));
      return make("tr", {}, make("th", { scope: "row", class: "text" }, label),
        ...row.map((value, way) => make("td", {
          class: way !== best(row) ? null : way === state.way ? "said right" : "said wrong",
        }, `${(100 * value).toFixed(1)}`)));
    });
    const title = `Confidence in %, query ${state.query + 1} of class ${state.way + 1}, ${names[state.way]}`;
    panel.replaceChildren(
      make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title },
        make("table", {}, make("caption", {}, title), make("thead", {}, head), make("tbody", {}, ...rows))));
  };

  const refresh = () => {
    for (const task of view.querySelectorAll(".task")) task.hidden = Number(task.dataset.task) !== state.task;
    answers();
    details();
  };
  view.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.way !== undefined) {
      [state.way, state.query] = [Number(button.dataset.way), Number(button.dataset.query)];
    } else {
      state.task = Number(button.dataset.task);
      for (const other of view.querySelectorAll(".segments button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    }
    refresh();
  });
  select.addEventListener("change", () => {
    state.run = Number(select.value);
    refresh();
  });
  refresh();
}

// Features in the plane: a panel a run, the same colours and shapes in all.
{
  const holder = document.getElementById("features-figure");
  const shapes = ["M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-3.6,-3.6h7.2v7.2h-7.2z", "M0,-4.6L4.4,3.4H-4.4z", "M0,-5L4.6,0L0,5L-4.6,0z"];
  let lit = null;
  const light = (place) => {
    lit = lit === place ? null : place;
    for (const node of holder.querySelectorAll("[data-place]")) {
      node.classList.toggle("dim", lit !== null && Number(node.dataset.place) !== lit);
    }
    for (const button of holder.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(Number(button.value) === lit));
    }
  };
  const glyph = (svg, place) => draw(svg, "path", { d: shapes[place % 4], class: `point c${place % 8}` });
  for (const title of new Set((DATA.embeddings || []).map((one) => one.title))) {
    const panels = DATA.embeddings.filter((one) => one.title === title);
    const legend = make("ul", { class: "legend", "aria-label": "Classes" });
    panels[0].classes.forEach((name, place) => {
      const key = document.createElementNS(SVG, "svg");
      key.setAttribute("viewBox", "-6 -6 12 12");
      key.setAttribute("class", "key");
      key.setAttribute("aria-hidden", "true");
      glyph(key, place);
      const button = make("button", { type: "button", "aria-pressed": "false", value: place }, key, make("span", {}, name));
      button.addEventListener("click", () => light(place));
      legend.append(make("li", {}, button));
    });
    const grid = make("div", { class: "grid" });
    for (const panel of panels) {
      const [first, second] = panel.explained.map((share) => `${Math.round(100 * share)} %`);
      const name = DATA.runs[panel.run].name;
      const svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("viewBox", "0 0 300 300");
      svg.setAttribute("role", "img");
      svg.setAttribute("aria-label", `Features of ${name}: ${panel.points.length} images of ${panel.classes.length} test classes; the two components hold ${first} and ${second} of the variance`);
      draw(svg, "path", { class: "cross", d: "M150,10V290M10,150H290" });
      panel.points.forEach(([x, y], i) => {
        const point = glyph(svg, panel.labels[i]);
        point.setAttribute("transform", `translate(${(150 + 136 * x).toFixed(1)},${(150 - 136 * y).toFixed(1)})`);
        point.dataset.place = panel.labels[i];
      });
      const swatch = make("span", { class: `swatch c${panel.run % 8}`, "aria-hidden": "true" });
      grid.append(make("figure", {}, svg, make("figcaption", {},
        make("span", { class: "run" }, swatch, make("span", {}, name)),
        make("span", { class: "taken" }, ` ${first} + ${second} of the variance`))));
    }
    holder.append(make("h3", {}, title), legend, grid);
  }
}

// Options.
{
  const box = document.getElementById("only-differences");
  const table = document.querySelector("table.options");
  const show = () => table.classList.toggle("only", box.checked);
  if (box) {
    box.addEventListener("change", show);
    show();
  }
}
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
