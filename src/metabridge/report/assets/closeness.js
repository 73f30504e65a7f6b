// The explorer: sliders choose a network, and everything shows it.

const sliders = {
  depth: document.getElementById("depth-slider"),
  time: document.getElementById("time-slider"),
  shots: document.getElementById("shots-slider"),
};
const state = { task: 0 };
const cells = new Map(
  DATA.cells.map((cell) => [[cell.depth, cell.time, cell.shots, cell.task].join(), cell]),
);
const cellAt = (depth, time) => cells.get([depth, time, state.shots, state.task].join());
const layers = (count) => `${count} hidden layer${count === 1 ? "" : "s"}`;
const predictions = new Chart(document.getElementById("predictions-figure"), { height: 380, toggles: false });
const figures = {
  gap: new Chart(document.getElementById("gap-figure"), { height: 280, toggles: false }),
  relative_gap: new Chart(document.getElementById("relative-figure"), { height: 280, toggles: false }),
};
// The same height for every setting, so that what moves is the curves.
const range = DATA.tasks.map((task, place) => {
  const all = DATA.cells.filter((cell) => cell.task === place).flatMap((cell) => [...cell.mtl, ...cell.gbml]);
  all.push(...task.target, ...task.support.map((p) => p[1]), ...task.query.map((p) => p[1]));
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return [low - 0.05 * (high - low), high + 0.1 * (high - low)];
});

function showPredictions(cell) {
  const task = DATA.tasks[state.task];
  const curve = (values) => DATA.angles.map((x, i) => ({ x, y: values[i] }));
  const points = (pairs) => pairs.map(([x, y]) => ({ x, y }));
  const shots = DATA.shots[state.shots];
  predictions.show({
    label: `Predictions of MTL and GBML with ${layers(DATA.depths[state.depth])}, inner loop ${DATA.times[state.time]}, ${shots} shots`,
    x: {
      label: "angle",
      domain: [-Math.PI, Math.PI],
      ticks: [-Math.PI, -Math.PI / 2, 0, Math.PI / 2, Math.PI],
      format: (v) => ["−π", "−π/2", "0", "π/2", "π"][Math.round((v / Math.PI + 1) * 2)],
      read: (v) => shown(v),
    },
    y: { label: "prediction", domain: range[state.task] },
    series: [
      { name: "target", colour: 7, target: true, points: curve(task.target) },
      { name: "MTL", colour: 0, points: curve(cell.mtl) },
      { name: "GBML (ANIL)", colour: 1, dashed: true, points: curve(cell.gbml) },
      { name: "queries", unlisted: true, colour: 7, line: false, dots: 4, ring: true, points: points(task.query) },
      { name: "support", unlisted: true, colour: 7, line: false, dots: 5.5, points: points(task.support.slice(0, shots)) },
    ],
  });
}

function showGap(name, title) {
  const series = DATA.times.map((time, place) => ({
    name: `λτ = ${time}`,
    colour: place % 8,
    weak: place !== state.time,
    level: place === state.time ? 1 : 0,
    dots: place === state.time ? 3.5 : 0,
    points: DATA.depths.map((depth, row) => ({ x: depth, y: cellAt(row, place)[name] })),
  }));
  const chosen = cellAt(state.depth, state.time)[name];
  const here = { name: "chosen", unlisted: true, colour: state.time % 8, line: false, dots: 7, level: 2, points: [{ x: DATA.depths[state.depth], y: chosen }] };
  figures[name].show({
    label: `${title} by depth, for every time of the inner loop`,
    x: { label: "hidden layers L", log: true, ticks: DATA.depths, format: (v) => String(v) },
    y: { label: title.toLowerCase(), log: true },
    series: [...series, here],
  });
}

function refresh() {
  for (const [name, slider] of Object.entries(sliders)) state[name] = Number(slider.value);
  const texts = {
    depth: layers(DATA.depths[state.depth]),
    time: String(DATA.times[state.time]),
    shots: `${DATA.shots[state.shots]} point${DATA.shots[state.shots] === 1 ? "" : "s"}`,
  };
  for (const [name, slider] of Object.entries(sliders)) {
    document.getElementById(`${name}-slider-value`).textContent = texts[name];
    slider.setAttribute("aria-valuetext", texts[name]);
  }
  const cell = cellAt(state.depth, state.time);
  document.getElementById("gap").textContent = shown(cell.gap);
  document.getElementById("relative-gap").textContent = `${shown(100 * cell.relative_gap)} %`;
  showPredictions(cell);
  showGap("gap", "Gap");
  showGap("relative_gap", "Relative gap");
}

for (const slider of Object.values(sliders)) slider.addEventListener("input", refresh);
const tasks = [...document.querySelectorAll("[data-task]")];
for (const button of tasks) {
  button.addEventListener("click", () => {
    state.task = Number(button.dataset.task);
    for (const other of tasks) other.setAttribute("aria-pressed", String(other === button));
    refresh();
  });
}
refresh();
