// The form: which model, how large, what is asked; and the stream that comes back.

import { Answer, element } from "./answer.js";
import { given } from "./drawing.js";

const at = (id) => document.getElementById(id);
const SIZES = ["layers", "experts", "top_k"];
const EXAMPLES = ["a red seven at the top left", "a disk shrinking", "anna says seven", "what is nine minus two?"];
const KINDS = { text: "text", image: "picture", video: "film", audio: "sound", any: "answer" };
let models = [];
let running = null; // what stops the answer that is under way
let answer = null;
const costs = new Map(); // millions of operations a position, by the name of a model

function headers() {
  return at("key").value ? { Authorization: `Bearer ${at("key").value}` } : {};
}

async function ask(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  if (response.status === 401) at("key-row").hidden = false;
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Error(body?.error?.message || `the server answers ${response.status}`);
  }
  return response;
}

const say = (text) => { at("status").textContent = text; };

// ---------------------------------------------------------------- model

async function load() {
  try {
    models = (await (await ask("playground/models")).json()).models;
  } catch (error) {
    say(error.message);
    setTimeout(load, 2000);
    return;
  }
  at("model").replaceChildren(...models.map((one) => element("option", { value: one.id, textContent: one.id })));
  choose();
  if (at("status").textContent.startsWith("the checkpoints") || at("status").textContent.startsWith("give an API key")) say("Ready.");
}

const chosen = () => models[Math.max(0, at("model").selectedIndex)];

function choose() {
  const model = chosen();
  for (const name of SIZES) {
    const slider = at(name);
    [slider.min, slider.max] = model[name];
    slider.value = model[name][1];
    slider.disabled = model[name][0] === model[name][1];
  }
  for (const radio of document.querySelectorAll("[name=to]")) {
    radio.disabled = radio.value !== "any" && !model.makes.includes(radio.value);
  }
  const right = document.querySelector("[name=to]:checked");
  if (right.disabled) document.querySelector("[name=to]:not(:disabled)").checked = true;
  resize();
}

function showMeasured() {
  const model = chosen();
  const same = model.measured.find((one) => SIZES.every((size) => one[size] === Number(at(size).value)));
  const scores = Object.entries(same?.scores ?? {}).map(([direction, score]) => `${direction} ${Math.round(100 * score)} %`);
  at("scores").textContent = `Measured at this size: ${scores.join(", ")}`;
  at("scores").hidden = !scores.length;
  at("report").hidden = !model.has_report;
  at("report").firstChild.href = `playground/report/${encodeURIComponent(model.id)}`;
}

function name() {
  const model = chosen();
  const cut = SIZES.filter((size) => Number(at(size).value) < model[size][1]).map((size) => `${size}=${at(size).value}`);
  return cut.length ? `${model.id}:${cut.join(",")}` : model.id;
}

let soon = null;
function resize() {
  for (const size of SIZES) at(size).parentElement.querySelector("output").textContent = at(size).value;
  showMeasured();
  clearTimeout(soon);
  soon = setTimeout(async () => { // the slider may still be moving
    try {
      const asked = name();
      const cost = await (await ask(`playground/cost?model=${encodeURIComponent(asked)}`)).json();
      costs.set(asked, cost.flops / 1e6);
      at("cost").textContent = `${(cost.flops / 1e6).toFixed(2)} MFLOP a position, ${(cost.parameters / 1e6).toFixed(2)} million parameters`;
    } catch (error) {
      at("cost").textContent = error.message;
    }
  }, 120);
}

// ---------------------------------------------------------------- answer

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (part.startsWith("data: ") && part !== "data: [DONE]") yield JSON.parse(part.slice(6));
    }
  }
}

function form(to) {
  const data = new FormData();
  data.set("to", to);
  data.set("model", name());
  if (at("text").value.trim()) data.set("text", at("text").value.trim());
  for (const one of given) data.append("files", one.blob, one.name);
  for (const field of ["seed", "temperature", "guidance"]) if (at(field).value !== "") data.set(field, at(field).value);
  return data;
}

async function make() {
  const to = document.querySelector("[name=to]:checked").value;
  const model = chosen();
  const asked = name();
  if (innerWidth < 896) at("answer").scrollIntoView();
  running = new AbortController();
  at("go").disabled = true;
  at("stop").disabled = false;
  at("doubts").hidden = true;
  say("Waiting …");
  answer?.close();
  answer = new Answer(at("text").value.trim() || given.map((one) => one.name).join(", "), model.layers[1], model.experts[1]);
  const start = performance.now();
  try {
    const response = await ask("playground/answer", { method: "POST", body: form(to), signal: running.signal });
    for await (const news of events(response)) {
      if (news.error) throw new Error(news.error.message);
      if (news.what === "accepted") {
        say(`Making a ${KINDS[to]} …`);
        at("doubts").textContent = news.doubts.join("; ");
        at("doubts").hidden = !news.doubts.length;
        continue;
      }
      answer.take(news);
      if (news.what === "end") {
        say(`Done: ${news.choices} choices in ${news.seconds.toFixed(2)} s.`);
        note(asked, KINDS[to], news);
      }
    }
  } catch (error) {
    say(error.name === "AbortError" ? `Stopped after ${((performance.now() - start) / 1000).toFixed(1)} s.` : error.message);
  } finally {
    running = null;
    at("go").disabled = false;
    at("stop").disabled = true;
  }
}

function note(asked, kind, news) {
  at("runs-box").hidden = false;
  const cells = [asked, kind, costs.get(asked)?.toFixed(2) ?? "", news.choices, news.seconds.toFixed(2), (news.choices / news.seconds).toFixed(0)];
  at("runs").prepend(element("tr", {}, ...cells.map((text) => element("td", { textContent: text }))));
  while (at("runs").children.length > 8) at("runs").lastChild.remove();
}

// ---------------------------------------------------------------- the page

at("examples").append(...EXAMPLES.map((text) => {
  const button = element("button", { type: "button", textContent: text });
  button.onclick = () => { at("text").value = text; at("text").focus(); };
  return button;
}));
at("model").onchange = choose;
for (const size of SIZES) at(size).oninput = resize;
at("key").value = sessionStorage.getItem("key") || "";
at("key").onchange = () => { sessionStorage.setItem("key", at("key").value); load(); };
at("stop").onclick = () => running?.abort();
at("ask").onsubmit = (event) => { event.preventDefault(); make(); };
at("text").onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask").requestSubmit(); };
load();
