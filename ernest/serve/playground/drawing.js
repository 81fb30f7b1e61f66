// The drawing board, the microphone, and files: everything that is given to the model beside words.

const board = document.getElementById("board");
const canvas = document.getElementById("canvas");
const pen = document.getElementById("pen");
const ground = document.getElementById("ground");
const width = document.getElementById("width");
const list = document.getElementById("given");
const context = canvas.getContext("2d");

export const given = []; // { name, blob }

export function give(name, blob) {
  given.push({ name, blob });
  show();
}

function show() {
  list.replaceChildren(...given.map((one, number) => {
    const item = document.createElement("li");
    if (one.blob.type.startsWith("image/")) {
      const picture = document.createElement("img");
      picture.alt = "";
      picture.src = URL.createObjectURL(one.blob);
      picture.onload = () => URL.revokeObjectURL(picture.src);
      item.append(picture);
    }
    const name = document.createElement("span");
    name.textContent = one.name;
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "Remove";
    remove.setAttribute("aria-label", `Remove ${one.name}`);
    remove.onclick = () => { given.splice(number, 1); show(); };
    item.append(name, remove);
    return item;
  }));
}

// ---------------------------------------------------------------- drawing

let drawn = false;
let last = null;
const key = { x: 128, y: 128, down: false };

function clear() {
  context.fillStyle = ground.value;
  context.fillRect(0, 0, canvas.width, canvas.height);
  drawn = false;
}

function line(from, to) {
  context.strokeStyle = pen.value;
  context.lineWidth = Number(width.value);
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(to.x, to.y);
  context.stroke();
  drawn = true;
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * canvas.width / box.width, y: (event.clientY - box.top) * canvas.height / box.height };
}

canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); last = place(event); line(last, last); };
canvas.onpointermove = (event) => { if (last) { const next = place(event); line(last, next); last = next; } };
canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
canvas.onkeydown = (event) => {
  const step = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[event.key];
  if (event.key === " ") { key.down = !key.down; if (key.down) line(key, key); }
  if (step) {
    const next = { x: Math.min(256, Math.max(0, key.x + step[0])), y: Math.min(256, Math.max(0, key.y + step[1])) };
    if (key.down) line(key, next);
    Object.assign(key, next);
  }
  if (step || event.key === " ") event.preventDefault();
};

document.getElementById("clear").onclick = clear;
ground.onchange = clear;
document.getElementById("draw").onclick = (event) => {
  board.hidden = !board.hidden;
  event.target.setAttribute("aria-expanded", String(!board.hidden));
  if (!board.hidden) canvas.focus();
};
document.getElementById("use").onclick = () => {
  if (drawn) canvas.toBlob((blob) => { give("drawing.png", blob); clear(); });
};
clear();

// ---------------------------------------------------------------- microphone and files

const recording = document.getElementById("record");
let recorder = null;

recording.onclick = async () => {
  if (recorder) { recorder.stop(); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      give("recording", new Blob(parts, { type: recorder.mimeType }));
      recorder = null;
      recording.textContent = "Record";
    };
    recorder.start();
    recording.textContent = "End the recording";
    setTimeout(() => recorder && recorder.stop(), 7500); // the model hears eight seconds at most
  } catch (error) {
    document.getElementById("status").textContent = `No recording: ${error.message || error.name}`;
  }
};

const file = document.getElementById("file");
file.onchange = () => { for (const one of file.files) give(one.name, one); file.value = ""; };
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  for (const one of event.dataTransfer.files) give(one.name, one);
});
