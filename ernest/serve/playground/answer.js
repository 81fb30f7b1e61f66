// Shows an answer while it is made: text as it comes, pictures scale by scale, films and sounds frame by frame, and the experts.

const stage = document.getElementById("stage");
const maps = document.getElementById("maps");
const mapBox = document.getElementById("map-box");
const SVG = "http://www.w3.org/2000/svg";

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const png = (data) => `data:image/png;base64,${data}`;

export class Answer {
  constructor(prompt, layers, experts) {
    this.prompt = prompt;
    this.counts = new Map(); // kind: how often each expert ran, layers times experts
    this.shape = [layers, experts];
    this.peaks = [];
    this.timer = null;
    stage.replaceChildren();
    maps.replaceChildren();
    mapBox.hidden = true;
  }

  take(news) {
    if (news.experts) this.count(news.what, news.experts);
    if (news.what === "text") this.text(news.text);
    if (news.what === "picture") this.picture(news);
    if (news.what === "sound") this.sound(news.peaks);
    if (news.what === "end") this.end(news.made);
  }

  text(added) {
    this.said ||= stage.appendChild(element("p", { className: "said" }));
    this.said.textContent += added;
  }

  picture(news) {
    if (!this.shown) {
      this.shown = stage.appendChild(element("img", { className: "picture", alt: "the picture so far" }));
      this.strip = stage.appendChild(element("div", { className: "strip" }));
    }
    this.shown.src = png(news.png);
    const name = news.frame ? `frame ${news.frame + 1}` : `scale ${news.scale + 1}`;
    if (news.frame && news.scale) { // of later frames only the last scale stays
      this.strip.lastChild.querySelector("img").src = png(news.png);
      return;
    }
    this.strip.append(element("figure", {}, element("img", { src: png(news.png), alt: name }), name));
  }

  sound(peaks) {
    this.peaks.push(...peaks);
    this.wave ||= stage.appendChild(element("div"));
    this.wave.replaceChildren(waveform(this.peaks));
  }

  end(made) {
    stage.replaceChildren();
    this.said = this.shown = this.wave = null;
    for (const one of made) {
      if (one.kind === "text") stage.append(element("p", { className: "said", textContent: one.text || "(nothing)" }));
      if (one.kind === "image") stage.append(element("img", { className: "picture", src: png(one.png), alt: `picture: ${this.prompt}` }), this.strip || "");
      if (one.kind === "video") this.film(one);
      if (one.kind === "audio") stage.append(waveform(one.peaks), element("audio", { controls: true, src: `data:audio/wav;base64,${one.wav}` }));
    }
  }

  film(one) {
    const screen = element("img", { className: "picture", src: png(one.frames[0]), alt: `film: ${this.prompt}` });
    const strip = element("div", { className: "strip" });
    one.frames.forEach((frame, number) => strip.append(
      element("figure", {}, element("img", { src: png(frame), alt: `frame ${number + 1}` }), `frame ${number + 1}`)));
    const curve = energyCurve(one.energy);
    const slider = element("input", { type: "range", min: 0, max: one.frames.length - 1, value: 0 });
    slider.setAttribute("aria-label", "frame");
    const play = element("button", { type: "button", textContent: "Pause" });
    const show = (number) => { screen.src = png(one.frames[number]); slider.value = number; curve.mark(number); };
    const stop = () => { clearInterval(this.timer); this.timer = null; play.textContent = "Play"; };
    const start = () => {
      play.textContent = "Pause";
      this.timer = setInterval(() => show((Number(slider.value) + 1) % one.frames.length), 120);
    };
    slider.oninput = () => { stop(); show(Number(slider.value)); };
    play.onclick = () => (this.timer ? stop() : start());
    const caption = element("figcaption", { textContent: "Energy of each frame, if it is a phase field: physics lets it fall, never rise." });
    stage.append(screen, element("div", { className: "row" }, play, slider), strip, element("figure", {}, caption, curve.svg));
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) stop(); else start();
  }

  close() { clearInterval(this.timer); }

  count(kind, experts) {
    const [layers, width] = this.shape;
    if (!this.counts.has(kind)) this.counts.set(kind, experts.map(() => new Array(width).fill(0)));
    const counts = this.counts.get(kind);
    experts.forEach((ran, layer) => ran.forEach((expert) => { counts[layer][expert] += 1; }));
    mapBox.hidden = false;
    maps.replaceChildren(...[...this.counts].map(([name, rows]) => expertMap(name, rows)));
  }
}

function expertMap(name, rows) {
  const canvas = element("canvas", { width: rows[0].length, height: rows.length });
  canvas.style.aspectRatio = `${rows[0].length} / ${Math.max(rows.length, rows[0].length / 4)}`;
  const context = canvas.getContext("2d");
  const most = Math.max(1, ...rows.flat());
  rows.forEach((row, y) => row.forEach((count, x) => {
    const share = Math.sqrt(count / most);
    context.fillStyle = `rgb(${20 + 230 * share}, ${24 + 160 * share}, ${60 + 30 * (1 - share)})`;
    context.fillRect(x, y, 1, 1);
  }));
  const used = rows.flat().filter((count) => count).length;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${used} of ${rows.flat().length} experts of all layers ran for ${name}`);
  return element("div", {}, element("p", { textContent: name }), canvas);
}

function waveform(peaks) {
  const svg = drawing("svg", { viewBox: `0 0 ${Math.max(peaks.length, 40)} 40`, preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", `loudness over ${(peaks.length / 100).toFixed(2)} seconds`);
  svg.style.height = "5rem";
  const most = Math.max(0.02, ...peaks);
  peaks.forEach((peak, x) => {
    const height = Math.max(0.6, 38 * peak / most);
    svg.append(drawing("rect", { x: x + 0.1, y: 20 - height / 2, width: 0.8, height, class: "bar" }));
  });
  return svg;
}

function energyCurve(energy) {
  const [low, high] = [0, Math.max(...energy, 1e-6)];
  const at = (number) => [44 + 242 * number / Math.max(1, energy.length - 1), 96 - 84 * (energy[number] - low) / (high - low)];
  const svg = drawing("svg", { viewBox: "0 0 300 120", role: "img" },
    drawing("line", { x1: 40, y1: 96, x2: 290, y2: 96, class: "axis" }), drawing("line", { x1: 40, y1: 8, x2: 40, y2: 96, class: "axis" }),
    drawing("polyline", { points: energy.map((_, number) => at(number).join(",")).join(" "), class: "curve" }));
  const label = (x, y, text) => { const made = drawing("text", { x, y }); made.textContent = text; svg.append(made); };
  label(0, 16, high.toPrecision(3));
  label(24, 99, "0");
  label(36, 114, "frame 1");
  label(242, 114, `frame ${energy.length}`);
  const dot = svg.appendChild(drawing("circle", { r: 4, class: "bar" }));
  const mark = (number) => { const [x, y] = at(number); dot.setAttribute("cx", x); dot.setAttribute("cy", y); };
  mark(0);
  svg.setAttribute("aria-label", `energy from ${energy[0].toFixed(2)} to ${energy.at(-1).toFixed(2)} over ${energy.length} frames`);
  return { svg, mark };
}
