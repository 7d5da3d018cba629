"use strict";
const $ = id => document.getElementById(id);
const READ_BY_SERVER = /^image\/(jpeg|png|webp|bmp|gif|tiff)$/;
const MAX_BYTES = 20 * 1024 * 1024;
const SIDE = 480;
let key = "", stream = null, asked = 0, shownUrl = "", again = null;

const percent = score => (100 * score).toFixed(1) + " %";

async function ask(path, options = {}) {
  const headers = {...options.headers, ...(key ? {"X-Goog-Api-Key": key} : {})};
  const response = await fetch(path, {...options, headers});
  const answer = await response.json();
  if (response.ok) return [answer, response];
  const error = new Error(answer.error.message);
  const details = answer.error.details || [];
  error.locked = response.status === 403
    || details.some(detail => detail.reason === "API_KEY_INVALID");
  error.pause = Number(response.headers.get("Retry-After"));
  throw error;
}

function complain(error, retry) {
  const said = error instanceof TypeError
    ? "The server cannot be reached." : error.message.replace(/^body: /, "");
  $("problem").textContent = said[0].toUpperCase() + said.slice(1);
  $("problem").hidden = false;
  if (error.locked) { again = retry; $("locked").hidden = false; $("key").focus(); }
}

function show(answer, response, began) {
  const spoken = answer.label[0].toUpperCase() + answer.label.slice(1);
  const group = answer.group === answer.label ? "" : ` (${answer.group})`;
  $("answer").classList.remove("waiting");
  // Screen readers say it when it changes.
  if ($("answer").textContent !== spoken + group) $("answer").textContent = spoken + group;
  $("bars").replaceChildren(...Object.entries(answer.scores).map(([label, score]) => {
    const item = document.createElement("li"), line = document.createElement("div");
    const name = document.createElement("span"), figure = document.createElement("b");
    const bar = document.createElement("i");
    name.textContent = label;
    figure.textContent = percent(score);
    bar.style.setProperty("--share", 100 * Math.min(1, score) + "%");
    bar.setAttribute("aria-hidden", "true");
    line.append(name, figure);
    item.append(line, bar);
    return item;
  }));
  const timing = response.headers.get("Server-Timing") || "";
  const stages = Object.fromEntries(
    [...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(found => [found[1], Number(found[2])]));
  const server = (stages.decode + stages.run).toFixed(1);
  const whole = Math.round(performance.now() - began);
  $("time").textContent = `${server} ms: photo ${stages.decode.toFixed(1)}, `
    + `model ${stages.run.toFixed(1)}; ${whole} ms with the way there and back`;
  $("problem").hidden = $("locked").hidden = true;
}

async function classify(blob) {
  const mine = ++asked, began = performance.now();
  const kind = READ_BY_SERVER.test(blob.type) ? blob.type : "application/octet-stream";
  const [answer, response] = await ask(
    "v1/classify", {method: "POST", body: blob, headers: {"Content-Type": kind}});
  if (mine === asked) show(answer, response, began);
}

async function asJpeg(source, width, height, least) {
  const scale = Math.min(1, least / Math.min(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise(done => canvas.toBlob(done, "image/jpeg", 0.92));
}

function preview(blob) {
  URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(blob);
  $("preview").src = shownUrl;
  $("hint").hidden = $("video").hidden = true;
  $("preview").hidden = false;
  $("drop").classList.add("filled");
}

function empty() {
  $("preview").hidden = $("video").hidden = $("snap").hidden = true;
  $("hint").hidden = false;
  $("drop").classList.remove("filled");
}

async function take(blob) {
  stop();
  preview(blob);
  try {
    if (!READ_BY_SERVER.test(blob.type) || blob.size > MAX_BYTES) {
      // The browser reads formats that the server does not, such as AVIF.
      const bitmap = await createImageBitmap(blob).catch(() => null);
      if (bitmap) blob = await asJpeg(bitmap, bitmap.width, bitmap.height, 4 * SIDE);
    }
    await classify(blob);
  } catch (error) {
    forget();
    complain(error, () => take(blob));
  }
}

function forget() {
  $("bars").replaceChildren();
  $("time").textContent = "";
  $("answer").textContent = "No answer";
  $("answer").classList.add("waiting");
}

async function watch() {
  let opened;
  try {
    if (!navigator.mediaDevices)
      throw new Error("Browsers let pages see the camera over https or on the machine itself only; "
        + "take a photo instead.");
    opened = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment"}});
  } catch (error) {
    const reasons = {
      NotAllowedError: "The browser was told not to show the camera to this page.",
      NotFoundError: "No camera was found.",
    };
    complain(error.name in reasons ? new Error(reasons[error.name]) : error);
    return;
  }
  stream = opened;
  $("video").srcObject = stream;
  $("hint").hidden = $("preview").hidden = true;
  $("video").hidden = $("snap").hidden = false;
  $("drop").classList.add("filled");
  $("live").textContent = "Stop";
  $("live").setAttribute("aria-pressed", "true");
  while (stream === opened) {
    let pause = 60;
    try {
      if ($("video").videoWidth && !document.hidden) await classify(await frame());
    } catch (error) {
      complain(error, watch);
      if (error.locked) return stop();
      pause = 1000 * (error.pause || 2);
    }
    await new Promise(done => setTimeout(done, pause));
  }
}

const frame = () => asJpeg($("video"), $("video").videoWidth, $("video").videoHeight, SIDE);

function stop() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  $("video").srcObject = null;
  empty();
  $("live").textContent = "Watch the camera";
  $("live").setAttribute("aria-pressed", "false");
}

async function describe() {
  try {
    const [card] = await ask("v1/model");
    const listed = (record, text) =>
      Object.entries(record || {}).map(([label, value]) => `${label} ${text(value)}`).join(", ");
    const {training, evaluation, verification, made_by: maker} = card;
    const accuracies = Object.entries(evaluation)
      .filter(([name]) => name.startsWith("accuracy_"))
      .map(([name, share]) => [name.slice("accuracy_".length), share]);
    const labels = card.labels.length > 12
      ? `${card.labels.length}, such as ${card.labels.slice(0, 5).join(", ")}`
      : card.labels.join(", ");
    const verified = verification.agreement
      && `agrees with the model it was made from on ${percent(verification.agreement)} `
        + `of ${verification.count} inputs (${verification.inputs})`;
    const rows = {
      Name: card.name, Architecture: card.architecture, Precision: card.precision, Labels: labels,
      Input: `${card.input.width} × ${card.input.height} pixels, ${card.input.resize}`,
      "Trained on": listed(training.photos, count => count.toLocaleString("en")),
      Accuracy: listed(Object.fromEntries(accuracies), percent)
        + (accuracies.length ? `: ${evaluation.data}` : ""),
      Verified: verified,
      "Made by": maker.command, Licence: card.licence, "SHA-256": card.sha256,
    };
    $("model").textContent = card.name;
    const known = Object.entries(rows).filter(row => row[1]);
    $("card").replaceChildren(...known.flatMap(([term, text]) => {
      const name = document.createElement("dt"), value = document.createElement("dd");
      name.textContent = term;
      value.textContent = text;
      return [name, value];
    }));
  } catch (error) {
    complain(error, describe);
  }
}

for (const input of [$("file"), $("shot")]) input.addEventListener("change", () => {
  if (input.files[0]) take(input.files[0]);
  input.value = "";
});
$("live").addEventListener("click", () => stream ? stop() : watch());
$("snap").addEventListener("click", async () => take(await frame()));
$("locked").addEventListener("submit", async event => {
  event.preventDefault();
  key = $("key").value.trim();
  $("locked").hidden = $("problem").hidden = true;
  await describe();
  if (again && again !== describe) again();
});
document.addEventListener("keydown", event => { if (event.key === "Escape") stop(); });
document.addEventListener("paste", event => {
  const blob = [...event.clipboardData.files].find(file => file.type.startsWith("image/"));
  if (blob) take(blob);
  else if (event.target !== $("key")) complain(new Error("No photo was on the clipboard."));
});
for (const name of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(name, event => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name !== "drop") return;
    const file = event.dataTransfer.files[0];
    if (file) take(file);
    else complain(new Error("That was no file; drop a photo."));
  });
$("preview").addEventListener("error", empty);
window.addEventListener("pagehide", stop);
describe();
