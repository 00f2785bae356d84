// The reading room: a slice with five circles to be moved and sized by mouse, touch and keys. What is stored is computed
// by the node; the numbers shown while a circle moves are a preview.
import { draw, inside, load, range, said } from "./pixels.js";

const room = document.getElementById("room");
const start = JSON.parse(room.dataset.start);
const texts = JSON.parse(room.dataset.texts);
const say = (key, values = {}) => texts[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

const view = document.getElementById("view");
const canvas = view.querySelector("canvas");
const svg = view.querySelector("svg");
const besideView = document.getElementById("view-beside");
const element = (id) => document.getElementById(id);
const NAMES = start.regions;
const MIN_RADIUS = 1;
const CHECK_AFTER_MS = 400;

const state = {
  number: start.start,
  circles: structuredClone(start.circles),
  read: Object.keys(start.circles).length ? start.start : null, // the slice that the circles are on
  slice: null, window: null, zoom: { scale: 1, row: 0, col: 0 },
  undo: [], redo: [], outlines: {}, digests: {}, checking: 0, checked: null, doubts: [],
};

// ---- slices ---------------------------------------------------------------------------------------------------------
async function showSlice(number) {
  if (number < 0 || number >= start.slices.length) return;
  state.number = number;
  element("place").textContent = say("js_loading");
  let slice;
  try {
    slice = await load(start.series, number);
  } catch (error) {
    if (state.number === number) element("place").textContent = say("js_failed", { why: error.message });
    return;
  }
  if (state.number !== number) return;
  state.slice = slice;
  state.digests[number] = slice.digest;
  state.window ??= range(slice);
  room.dataset.shown = number;
  element("place").textContent = say("js_slice", { n: start.slices[number].slice ?? number + 1, all: start.slices.length });
  redraw();
  if (element("beside").checked) showBeside();
  if (element("outlines").checked) showOutlines();
}

async function showBeside() {
  const number = start.beside?.slices[state.number] ?? null;
  besideView.hidden = !element("beside").checked || number === null;
  if (besideView.hidden) return;
  const slice = await load(start.beside.series, number).catch(() => null);
  besideView.hidden = slice === null;
  if (slice) draw(besideView.querySelector("canvas"), slice, range(slice));
}

async function showOutlines() {
  const number = state.number;
  if (element("outlines").checked && !(number in state.outlines)) {
    const answer = await fetch(`/series/${start.series}/outlines/${number}`);
    state.outlines[number] = answer.ok ? await answer.json() : {};
  }
  drawCircles();
}

function redraw() {
  draw(canvas, state.slice, state.window);
  const { rows, columns } = state.slice;
  const { scale, row, col } = state.zoom;
  svg.setAttribute("viewBox", `${col} ${row} ${columns / scale} ${rows / scale}`);
  const width = Math.min(view.clientWidth, (view.clientHeight * columns) / rows);
  const pixel = (width * scale) / columns;
  canvas.style.transformOrigin = "0 0";
  const left = (view.clientWidth - width) / 2, top = (view.clientHeight - (width * rows) / columns) / 2;
  canvas.style.transform = scale === 1 ? "" : `translate(${left - left * scale - col * pixel}px, ${top - top * scale - row * pixel}px) scale(${scale})`;
  drawCircles();
}

// ---- circles --------------------------------------------------------------------------------------------------------
function make(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawCircles() {
  const focused = document.activeElement?.dataset?.name;
  svg.replaceChildren();
  if (element("outlines").checked) {
    for (const line of Object.values(state.outlines[state.number] ?? {})) {
      svg.append(make("polygon", { points: line.map(([r, c]) => `${c + 0.5},${r + 0.5}`).join(" ") }));
    }
  }
  if (state.read === null || state.read === state.number) {
    for (const name of NAMES) if (state.circles[name]) drawCircle(name, state.circles[name]);
  }
  if (focused) svg.querySelector(`[data-name="${focused}"]`)?.focus({ preventScroll: true });
  showValues();
}

function drawCircle(name, [row, col, radius]) {
  const x = col + 0.5, y = row + 0.5;
  const circle = make("circle", { class: `roi roi-${name}`, cx: x, cy: y, r: radius, tabindex: 0, role: "slider", "aria-label": name, "aria-valuetext": `${row.toFixed(1)}, ${col.toFixed(1)}, ${radius.toFixed(1)}` });
  circle.dataset.name = name;
  const handle = make("circle", { class: "handle", cx: x + radius, cy: y, r: 1.4 / state.zoom.scale });
  handle.dataset.handle = name;
  const label = make("text", { x: x + radius + 1, y: y - radius, "font-size": 8 / Math.sqrt(state.zoom.scale) });
  label.textContent = name;
  svg.append(circle, handle, label);
}

function remember() {
  state.undo.push(JSON.stringify([state.circles, state.read]));
  state.redo.length = 0;
}

function step(from, to) {
  if (!from.length) return;
  to.push(JSON.stringify([state.circles, state.read]));
  [state.circles, state.read] = JSON.parse(from.pop());
  checkSoon();
  drawCircles();
}

function place(name, circle) {
  const { rows, columns } = state.slice;
  const round = (value) => Math.round(value * 10) / 10;
  state.circles[name] = [
    Math.max(0, Math.min(rows - 1, round(circle[0]))),
    Math.max(0, Math.min(columns - 1, round(circle[1]))),
    Math.max(MIN_RADIUS, Math.min(rows / 4, round(circle[2]))),
  ];
  state.read = state.number;
  checkSoon();
  drawCircles();
}

function at(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.y - 0.5, point.x - 0.5];
}

// ---- mouse and touch ------------------------------------------------------------------------------------------------
const fingers = new Map(); // where each finger is, by its pointer
let letGo = null; // ends what one finger has begun

view.addEventListener("pointerdown", (event) => {
  if (event.pointerType !== "touch") return;
  fingers.set(event.pointerId, event);
  if (fingers.size === 2) letGo?.();
}, { capture: true });
view.addEventListener("pointermove", (event) => {
  if (!fingers.has(event.pointerId)) return;
  const [one, other] = [...fingers.values()];
  fingers.set(event.pointerId, event);
  if (fingers.size !== 2 || !state.slice) return;
  const [first, second] = [...fingers.values()];
  const apart = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const middle = (a, b) => at({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
  const before = middle(one, other), after = middle(first, second);
  panTo(state.zoom.row + before[0] - after[0], state.zoom.col + before[1] - after[1]);
  zoomBy(apart(first, second) / Math.max(1, apart(one, other)), middle(first, second));
});
for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, (event) => fingers.delete(event.pointerId), { capture: true });

svg.addEventListener("pointerdown", (event) => {
  if (!state.slice || fingers.size > 1) return;
  const begin = at(event);
  const handle = event.target.dataset?.handle, name = event.target.dataset?.name;
  const windowing = { x: event.clientX, y: event.clientY, ...(state.window ?? {}) };
  const pan = event.shiftKey || event.button === 1 ? { ...state.zoom } : null;
  if (handle || name) {
    remember();
    svg.querySelector(`[data-name="${handle ?? name}"]`).focus({ preventScroll: true });
  }
  const from = structuredClone(state.circles[handle ?? name]);
  const missing = NAMES.find((one) => !state.circles[one]);
  svg.setPointerCapture(event.pointerId);
  let moved = false;
  const move = (next) => {
    moved ||= Math.hypot(next.clientX - event.clientX, next.clientY - event.clientY) > 3;
    const [row, col] = at(next);
    if (handle) place(handle, [from[0], from[1], Math.hypot(row - from[0], col - from[1])]);
    else if (name) place(name, [from[0] + row - begin[0], from[1] + col - begin[1], from[2]]);
    else if (pan) panTo(pan.row + begin[0] - row + (state.zoom.row - pan.row), pan.col + begin[1] - col + (state.zoom.col - pan.col));
    else if (moved) windowBy(windowing, next.clientX - windowing.x, next.clientY - windowing.y);
  };
  const end = (ended) => {
    svg.removeEventListener("pointermove", move);
    svg.removeEventListener("pointerup", end);
    svg.removeEventListener("pointercancel", end);
    letGo = null;
    if (ended && !moved && !handle && !name && missing) {
      remember();
      place(missing, [...begin, missing === "CSF" ? 2.5 : 7]);
      svg.querySelector(`[data-name="${missing}"]`).focus({ preventScroll: true });
    }
  };
  letGo = end;
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerup", end);
  svg.addEventListener("pointercancel", end);
  event.preventDefault();
});

view.addEventListener("wheel", (event) => {
  event.preventDefault();
  if (event.ctrlKey) zoomBy(event.deltaY < 0 ? 1.25 : 0.8, at(event));
  else showSlice(state.number + Math.sign(event.deltaY));
}, { passive: false });

function windowBy(from, right, down) {
  const width = Math.max(2, (from.high - from.low) * (1 + right / 300));
  const middle = (from.high + from.low) / 2 + (down / 300) * (from.high - from.low);
  state.window = { low: middle - width / 2, high: middle + width / 2 };
  redraw();
}

function zoomBy(factor, [row, col]) {
  const before = state.zoom, scale = Math.max(1, Math.min(12, before.scale * factor));
  const share = before.scale / scale;
  state.zoom = { ...before, scale };
  panTo(row - (row - before.row) * share, col - (col - before.col) * share);
}

function zoomStep(factor) {
  if (!state.slice) return;
  const { rows, columns } = state.slice, { scale, row, col } = state.zoom;
  zoomBy(factor, [row + rows / scale / 2, col + columns / scale / 2]);
}

function panTo(row, col) {
  const { rows, columns } = state.slice, { scale } = state.zoom;
  state.zoom = {
    scale,
    row: Math.max(0, Math.min(rows - rows / scale, row)),
    col: Math.max(0, Math.min(columns - columns / scale, col)),
  };
  redraw();
}

// ---- keys -----------------------------------------------------------------------------------------------------------
const MOVES = { ArrowUp: [-1, 0, 0], ArrowDown: [1, 0, 0], ArrowLeft: [0, -1, 0], ArrowRight: [0, 1, 0], "+": [0, 0, 0.5], "-": [0, 0, -0.5] };

document.addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement && event.target.type === "text") return;
  if (event.altKey || event.metaKey) return;
  if (event.ctrlKey && event.key === "z") step(state.undo, state.redo);
  else if (event.ctrlKey && event.key === "y") step(state.redo, state.undo);
  else if (event.ctrlKey && event.key === "Enter") [element("store"), element("store-confirmed")].find((one) => !one.disabled && !one.hidden)?.click();
  else if (event.ctrlKey) return;
  else if (event.key >= "1" && event.key <= "5") svg.querySelector(`[data-name="${NAMES[Number(event.key) - 1]}"]`)?.focus({ preventScroll: true });
  else if (event.key === "n") element("next")?.click();
  else if (event.key === "o") element("outlines").click();
  else if (event.key === "t" && start.beside) element("beside").click();
  else if (event.key === "z") zoomStep(1.25);
  else if (event.key === "Z") zoomStep(0.8);
  else if (event.key === "PageUp") showSlice(state.number - 1);
  else if (event.key === "PageDown") showSlice(state.number + 1);
  else {
    const name = event.target.dataset?.name, move = MOVES[event.key];
    if (!name || !move) return;
    remember();
    const by = event.shiftKey ? 0.1 : 1;
    place(name, state.circles[name].map((value, index) => value + move[index] * (index === 2 ? 1 : by)));
  }
  event.preventDefault();
});

// ---- values and checks ----------------------------------------------------------------------------------------------
const complete = () => NAMES.every((name) => state.circles[name]);
const shown = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");

function showValues() {
  const body = document.querySelector("#values tbody");
  body.replaceChildren();
  if (!state.slice || (state.read !== null && state.read !== state.number)) return;
  const found = {};
  for (const name of NAMES) if (state.circles[name]) found[name] = inside(state.slice, state.circles[name]);
  for (const name of NAMES) {
    const row = body.insertRow();
    const ratio = name !== "CSF" && found[name] && found.CSF ? found[name].mean / found.CSF.mean : NaN;
    for (const text of [name, shown(found[name]?.mean, 1), shown(found[name]?.sd, 1), shown(ratio, 2)]) row.insertCell().textContent = text;
  }
  if (complete()) {
    const marrow = NAMES.filter((name) => name !== "CSF").reduce((sum, name) => sum + found[name].mean, 0) / 4;
    element("vbq").textContent = state.checked ?? `${say("js_preview")}: VBQ ${shown(marrow / found.CSF.mean, 3)}`;
  } else element("vbq").textContent = say("js_incomplete");
}

function reading() {
  const { slice, frame } = start.slices[state.read];
  return { slice, ...(frame === null ? {} : { frame }), ...state.circles };
}

async function send(where, content) {
  const answer = await fetch(`/series/${start.series}/${where}`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json", "x-form-token": start.token },
    body: JSON.stringify(content),
  });
  if (!answer.ok) throw new Error(await said(answer));
  return answer.json();
}

let timer = null;
function checkSoon() {
  clearTimeout(timer);
  state.checked = null;
  element("doubts").setAttribute("aria-busy", "true");
  element("store").disabled = element("store-confirmed").disabled = true;
  if (complete()) timer = setTimeout(check, CHECK_AFTER_MS);
}

async function check() {
  const mine = (state.checking += 1);
  const list = element("doubts");
  list.replaceChildren(entry(say("js_checking"), ""));
  try {
    const told = await send("check", reading());
    if (mine !== state.checking) return;
    list.setAttribute("aria-busy", "false");
    state.doubts = told.doubts;
    state.checked = `VBQ ${shown(told.vbq_mean, 3)}`;
    showValues();
    list.replaceChildren(...(told.doubts.length ? told.doubts.map((one) => entry(one.words, "")) : [entry(say("js_all_good"), "good")]));
    element("store").disabled = told.doubts.length > 0;
    element("store-confirmed").hidden = element("store-confirmed").disabled = told.doubts.length === 0;
  } catch (error) {
    if (mine === state.checking) list.replaceChildren(entry(say("js_failed", { why: error.message }), ""));
  }
}

function entry(text, kind) {
  const made = document.createElement("li");
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

async function store(confirm) {
  try {
    const told = await send("reading", { ...reading(), confirm, seen: state.digests[state.read] });
    element("vbq").textContent = say("js_stored", { vbq: shown(told.vbq_mean, 3) });
    window.location.assign("/?done=reading");
  } catch (error) {
    element("doubts").replaceChildren(entry(say("js_failed", { why: error.message }), ""));
  }
}

element("store").addEventListener("click", () => store([]));
element("store-confirmed").addEventListener("click", () => store(state.doubts.map((one) => one.code)));
element("slice-before").addEventListener("click", () => showSlice(state.number - 1));
element("slice-after").addEventListener("click", () => showSlice(state.number + 1));
element("zoom-in").addEventListener("click", () => zoomStep(1.25));
element("zoom-out").addEventListener("click", () => zoomStep(0.8));
element("undo").addEventListener("click", () => step(state.undo, state.redo));
element("redo").addEventListener("click", () => step(state.redo, state.undo));
element("restart").addEventListener("click", () => {
  remember();
  state.circles = structuredClone(start.circles);
  state.read = Object.keys(start.circles).length ? start.start : null;
  state.zoom = { scale: 1, row: 0, col: 0 };
  showSlice(start.start);
  checkSoon();
});
element("here").addEventListener("click", () => {
  remember();
  state.read = state.number;
  checkSoon();
  drawCircles();
});
for (const button of document.querySelectorAll("[data-given]")) {
  button.addEventListener("click", () => {
    const given = start.given[Number(button.dataset.given)];
    if (!given) return;
    remember();
    state.circles = structuredClone(given.circles);
    state.read = given.slice;
    showSlice(given.slice);
    checkSoon();
  });
}
element("outlines").addEventListener("change", showOutlines);
element("beside").addEventListener("change", showBeside);
element("beside-choice").hidden = start.beside === null;
for (const button of document.querySelectorAll("[data-preset]")) {
  button.addEventListener("click", () => {
    state.window = preset(button.dataset.preset);
    redraw();
  });
}

function preset(kind) {
  if (kind === "all") return range(state.slice, 0, 1);
  const names = kind === "fluid" ? ["CSF"] : ["L1", "L2", "L3", "L4"];
  const means = names.filter((name) => state.circles[name]).map((name) => inside(state.slice, state.circles[name]).mean);
  if (!means.length) return range(state.slice);
  const mean = means.reduce((sum, value) => sum + value, 0) / means.length;
  return { low: 0, high: mean * (kind === "fluid" ? 3 : 1.8) };
}

window.addEventListener("resize", () => state.slice && redraw());
await showSlice(start.start);
if (complete()) checkSoon();
else showValues();
