import { HandControl } from "./hand.js";
import { Plot } from "./plots.js";
import { Screen, decodesH264, drawHands, unpack } from "./streams.js";

const $ = (id) => document.getElementById(id);
const RECONNECT_MS = 1000;
const UPLOAD_PX = 1600;

const page = { socket: null, scene: null, mode: "photo", hello: null, screens: {}, ownName: null, paused: false, frameTimes: [], live: {} };

const plots = {
  latency: new Plot($("latency-plot"), $("latency"), " ms", 60),
  rate: new Plot($("rate-plot"), $("rate"), "", 16),
  disagreement: new Plot($("disagreement-plot"), $("disagreement"), "", 10),
};
const hand = new HandControl($("prediction-frame"), $("target"), $("sliders"), say, () => ($("invitation").hidden = true));

function say(message) {
  if (page.socket?.readyState === WebSocket.OPEN) page.socket.send(JSON.stringify(message));
}

function seed() {
  return Math.max(0, Math.floor(Number($("seed").value)) || 0);
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  page.socket = socket;
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : look(data));
  socket.onclose = ({ reason }) => {
    veil(reason || "The page's server does not answer. Is h2w preview still running? Trying again.");
    setTimeout(connect, RECONNECT_MS);
  };
}

// Words from the server.

const hearers = {
  async hello(message) {
    page.hello = message;
    hand.setLimits(message.limits);
    const h264 = await decodesH264(message.h264);
    for (const [name, canvas] of [["prediction", $("prediction")], ["camera", $("camera")]]) {
      page.screens[name] = new Screen(canvas, message.h264, isWanted, (about) => shown(name, about), () => say({ type: "video", codec: "jpeg" }));
    }
    if (h264 && !new URLSearchParams(location.search).has("jpeg")) say({ type: "video", codec: "h264" });
    showScenes(message.scenes);
    showFacts();
    const wanted = page.scene?.name ?? message.scenes[0].name;
    choose(wanted);
    if (page.mode === "live") lookAt("live");
  },
  begun({ wish, scene }) {
    if (scene) {
      page.scene = scene;
      $("notice").textContent = scene.notice;
      $("notice").hidden = !scene.notice;
      for (const button of $("scenes").children) button.setAttribute("aria-pressed", String(button.dataset.name === scene.name));
    }
    hand.begin(wish);
    setPaused(false);
    $("refused").hidden = true;
  },
  phase({ phase, text }) {
    page.phase = phase;
    page.phaseText = text;
    if (page.mode === "photo") showPhase();
  },
  live(status) {
    page.live = status;
    if (typeof status.disagreement === "number") plots.disagreement.add(status.disagreement);
    if (page.mode === "live") showLive();
  },
  note({ text }) {
    tellRefusal(text, true);
  },
  refused({ text }) {
    tellRefusal(text);
    // A picture of one's own is forgotten when the server begins anew.
    if (page.scene?.name.startsWith("own-") && page.hello) choose(page.hello.scenes[0].name);
  },
};

function hear(message) {
  hearers[message.type]?.(message);
}

function showPhase() {
  const { phase, phaseText } = page;
  if (phase === "running") {
    setStatus("good", page.hello?.model ? `${page.hello.model.name} answers` : "running");
    veil(null);
  } else if (phase === "error") {
    setStatus("bad", "no answer");
    veil(`${capital(phaseText)}.`);
  } else if (phase === "paused" || phase === "resting") {
    setStatus("wait", phase);
    veil(phase === "paused" ? "Paused" : "Resting. Move the hand to go on.", true);
  }
}

function showLive() {
  const { problem, absence } = { absence: page.hello?.live.absence, ...page.live };
  const trouble = absence || problem;
  setStatus(trouble ? (page.live.is_error || absence ? "bad" : "wait") : "good", trouble ? "no live session" : "live");
  veil(trouble ? `${capital(trouble)}.` : null, false, Boolean(absence));
  $("ground").disabled = $("reset").disabled = Boolean(absence);
  showFacts();
}

function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1).replace(/\.$/, "") : "";
}

function setStatus(tone, text) {
  $("status").dataset.tone = tone;
  $("status").lastElementChild.textContent = text;
}

function veil(text, isQuiet = false, isFinal = false) {
  $("veil").classList.toggle("final", isFinal);
  $("veil").hidden = text === null;
  $("veil").classList.toggle("quiet", isQuiet);
  if (text !== null) $("veil").lastElementChild.textContent = text;
  if (text !== null && !isQuiet) $("status").dataset.tone === "good" && setStatus("bad", "no answer");
}

let refusalTimer = 0;
function tellRefusal(text, isNote = false) {
  $("refused").textContent = `${capital(text)}.`;
  $("refused").classList.toggle("notice", isNote);
  $("refused").hidden = false;
  clearTimeout(refusalTimer);
  refusalTimer = setTimeout(() => ($("refused").hidden = true), 8000);
}

// Pictures from the server.

function look(buffer) {
  const [about, data] = unpack(buffer);
  page.screens[about.stream]?.take(about, data);
}

// Only pictures of photos say when their hand was sent: one that comes after the visitor has turned to the live half is not shown there.
function isWanted(about) {
  return (page.mode === "photo") === "sent_ms" in about;
}

function shown(stream, about) {
  say({ type: "shown", stream, number: about.number });
  if (!isWanted(about)) return;
  document.body.dataset.frames = String(Number(document.body.dataset.frames ?? 0) + (stream === "prediction"));
  if (stream === "camera") {
    $("camera-empty").hidden = true;
    drawHands($("camera-hands"), $("show-hand").checked ? about.hands ?? [] : []);
    return;
  }
  drawHands($("prediction-hands"), $("show-hand").checked ? about.hands ?? [] : []);
  const now = performance.now();
  page.frameTimes = [...page.frameTimes.filter((time) => time > now - 1000), now];
  plots.rate.add(page.frameTimes.length);
  if (typeof about.sent_ms === "number") plots.latency.add(now - about.sent_ms);
  if (typeof about.latency_ms === "number") plots.latency.add(about.latency_ms + about.line_ms);
  page.codec = about.codec;
}

// What the visitor does.

function showScenes(scenes) {
  $("scenes").replaceChildren(...scenes.map(({ name, title }) => {
    const button = document.createElement("button");
    button.dataset.name = name;
    button.title = title;
    button.setAttribute("aria-label", title);
    const picture = new Image();
    picture.src = `scenes/${encodeURIComponent(name)}`;
    picture.alt = "";
    button.append(picture);
    button.onclick = () => choose(name);
    return button;
  }));
}

function choose(name) {
  say({ type: "scene", scene: name, seed: seed() });
}

function reset() {
  say({ type: "reset", seed: seed() });
}

function setPaused(isPaused) {
  page.paused = isPaused;
  $("pause").setAttribute("aria-pressed", String(isPaused));
  $("pause").lastElementChild.textContent = isPaused ? "Go on" : "Pause";
}

function pause() {
  setPaused(!page.paused);
  say({ type: "pause", paused: page.paused });
}

function lookAt(mode) {
  page.mode = document.body.dataset.mode = mode;
  for (const name of ["photo", "live"]) $(`tab-${name}`).setAttribute("aria-selected", String(name === mode));
  for (const canvas of [$("prediction"), $("camera")]) canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  drawHands($("prediction-hands"), []);
  $("camera-empty").hidden = false;
  $("reset").disabled = false;
  $("notice").hidden = mode !== "photo" || !page.scene?.notice;
  Object.values(plots).forEach((plot) => plot.clear());
  setPaused(false);
  veil(null);
  say({ type: "mode", mode });
  if (mode === "live") showLive();
  else showFacts();
}

async function useOwn(file) {
  let body = file;
  try {
    const picture = await createImageBitmap(file);
    const scale = Math.min(1, UPLOAD_PX / Math.max(picture.width, picture.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    body = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  } catch {
    // What this browser can't read goes to the server as it is, which says what is wrong with it.
  }
  const answer = await fetch("picture", { method: "POST", body });
  if (!answer.ok) return tellRefusal(await answer.text());
  const { name, title } = await answer.json();
  showScenes([...page.hello.scenes.slice(0, 5), { name, title }]);
  choose(name);
}

function showFacts() {
  const model = page.hello?.model;
  const facts = [];
  if (page.mode === "photo" && model) {
    facts.push(["Model", model.name], ["Pictures", `${model.width_px}×${model.height_px}, ${model.rate_hz} a second`]);
    if (page.codec) facts.push(["Video", page.codec === "h264" ? "H.264" : "JPEG"]);
  } else {
    for (const [name, value] of Object.entries(page.live.facts ?? {})) facts.push([name, value]);
  }
  $("facts").replaceChildren(...facts.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  $("facts").hidden = !facts.length;
}

function element(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text });
}

function drawPlots() {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  Object.values(plots).forEach((plot) => plot.draw(ink));
  showFacts();
}

$("reset").onclick = reset;
$("pause").onclick = pause;
$("ground").onclick = () => say({ type: "ground" });
$("seed").onchange = reset;
$("tab-photo").onclick = () => lookAt("photo");
$("tab-live").onclick = () => lookAt("live");
$("lay-over").onchange = () => $("frames").classList.toggle("over", $("lay-over").checked);
$("own").onchange = () => $("own").files[0] && useOwn($("own").files[0]);
window.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
window.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) useOwn(event.dataTransfer.files[0]);
});
window.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey) return;
  if (event.code === "KeyP") pause();
  if (event.code === "Digit0") reset();
});
$("invitation").hidden = false;
setInterval(drawPlots, 250);
connect();
