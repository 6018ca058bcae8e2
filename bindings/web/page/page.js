// The page: what its buttons do with the classes of the browser door.
import init, { Gpu, Model, Training } from './softalign_web.js';

const $ = (id) => document.getElementById(id);
const TASK = 'numbers';
// Steps between looks at what the model in training writes.
const LOOK_EVERY = 25;
const SAMPLES = 5;
// Readings that a speed is taken over.
const RECENT = 20;

let gpu;
let training;
let running = false;
// The models by their choice, and what each is.
const models = {};
// One thing at a time is asked of a model.
let asked = Promise.resolve();

class Missing extends Error {}

// What keeps a page from using WebGPU, in a sentence.
async function missing() {
  if (!window.isSecureContext) {
    return 'WebGPU is missing: browsers give it to secure pages alone. Serve this folder over https, or open it as http://localhost.';
  }
  if (!navigator.gpu) {
    return 'WebGPU is missing: this browser has no navigator.gpu. Chrome and Edge have it from version 113 on, Safari from 26 on, ' +
      'Firefox from 141 on Windows; on Linux it may have to be switched on in the settings of the browser.';
  }
  if (!(await navigator.gpu.requestAdapter())) {
    return 'A GPU adapter is missing: this browser has WebGPU and offers no adapter. Its page about the GPU (chrome://gpu, ' +
      'about:support) says why, as a rule an old driver, or acceleration that is switched off.';
  }
  return null;
}

function show(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

// Asks one after the other, and puts what goes wrong where it is seen.
function ask(work) {
  const done = asked.then(work);
  asked = done.catch((error) => show('failed', error.message));
  return asked;
}

// ---- Training

const losses = [];
let recent = [];

function begin() {
  // What is on the GPU goes at once, and not when the browser gets to it.
  models.trained?.model.free();
  training?.free();
  training = new Training(gpu, TASK, 1);
  models.trained = { model: training.model(), what: 'the model of this page' };
  losses.length = 0;
  recent = [];
  draw();
  for (const id of ['loss', 'steps-per-second', 'tokens-per-second']) $(id).textContent = '–';
  $('step').textContent = '0';
  $('samples').tBodies[0].replaceChildren();
}

function take(readings) {
  const now = performance.now();
  for (const { step, loss, norm } of readings) {
    losses.push(loss);
    document.dispatchEvent(new CustomEvent('softalign:reading', { detail: { step, loss, norm } }));
  }
  if (!readings.length) return;
  recent.push({ step: losses.length, tokens: training.tokens, time: now });
  recent = recent.slice(-RECENT - 1);
  $('step').textContent = losses.length;
  $('loss').textContent = losses.at(-1).toFixed(3);
  const [first, last] = [recent[0], recent.at(-1)];
  if (last.time > first.time) {
    const per = (count) => (count / (last.time - first.time)) * 1000;
    $('steps-per-second').textContent = per(last.step - first.step).toFixed(1);
    $('tokens-per-second').textContent = Math.round(per(last.tokens - first.tokens)).toLocaleString('en');
  }
  draw();
}

async function train() {
  running = true;
  $('go').textContent = 'Pause';
  $('anew').disabled = true;
  show('failed', '');
  try {
    if (!training) begin();
    while (running) {
      take(await training.advance());
      if (losses.length && losses.length % LOOK_EVERY === 0) await ask(look);
      // The page answers and draws between two steps.
      await new Promise((resolve) => setTimeout(resolve));
    }
    take(await training.settle());
    await ask(look);
  } catch (error) {
    show('failed', error.message);
  }
  running = false;
  // Pauses are no steps.
  recent = [];
  $('go').textContent = 'Train';
  $('go').disabled = $('anew').disabled = false;
}

// A few numbers that no step has learnt from, other ones at each look.
let seen = 0;
async function look() {
  const rows = [];
  for (let sample = 0; sample < SAMPLES; sample += 1, seen += 1) {
    const { source, target } = training.unseen(seen);
    const { text } = await models.trained.model.generate(source, 1);
    const row = document.createElement('tr');
    for (const content of [source, text, text === target ? '✓' : '✗']) row.insertCell().textContent = content;
    rows.push(row);
  }
  $('samples').tBodies[0].replaceChildren(...rows);
}

// The curve of the loss, on a scale of logarithms.
function draw() {
  const [width, height, left, bottom, top] = [640, 220, 46, 24, 12];
  const svg = (name, attributes, text = '') => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };
  const ticks = [10, 1, 0.1, 0.01, 0.001];
  const lowest = Math.min(0.1, ...losses);
  const [high, low] = [Math.log(10), Math.log(ticks.find((tick) => tick <= lowest) ?? 0.001)];
  const x = (index) => left + (index / Math.max(1, losses.length - 1)) * (width - left - 10);
  const y = (loss) => top + ((high - Math.log(Math.max(loss, 1e-3))) / (high - low)) * (height - top - bottom);
  const parts = [];
  for (const tick of ticks.filter((tick) => Math.log(tick) >= low - 1e-9)) {
    parts.push(svg('line', { x1: left, x2: width - 10, y1: y(tick), y2: y(tick) }));
    parts.push(svg('text', { x: left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, String(tick)));
  }
  parts.push(svg('text', { x: left, y: height - 6 }, losses.length ? '1' : 'no step yet'));
  if (losses.length > 1) {
    parts.push(svg('text', { x: width - 10, y: height - 6, 'text-anchor': 'end' }, `step ${losses.length}`));
    // No more points than the curve is wide.
    const stride = Math.ceil(losses.length / width);
    const points = losses.flatMap((loss, index) => (index % stride && index < losses.length - 1 ? [] : [`${x(index).toFixed(1)},${y(loss).toFixed(1)}`]));
    parts.push(svg('polyline', { points: points.join(' ') }));
  }
  $('curve').replaceChildren(...parts);
}

// ---- Generation

const chosen = () => document.querySelector('input[name=model]:checked').value;

// The files of a model folder; a server that has no such file says so.
async function fetched(folder) {
  const files = {};
  await Promise.all(Model.fileNames().map(async (name) => {
    const response = await fetch(new URL(name, new URL(folder.replace(/\/?$/, '/'), location.href)));
    if (response.ok) files[name] = new Uint8Array(await response.arrayBuffer());
    else if (response.status !== 404) throw new Error(`${response.url}: the server answers ${response.status}`);
  }));
  if (!Object.keys(files).length) throw new Error(`${folder} holds no model: the server has none of ${Model.fileNames().join(', ')}`);
  return files;
}

async function load() {
  show('failed', '');
  $('loaded').textContent = 'Loading …';
  try {
    const model = Model.load(gpu, await fetched($('folder').value));
    models.folder?.model.free();
    models.folder = { model, what: model.description };
    $('loaded').textContent = `Loaded: ${model.description}`;
    document.querySelector('input[value=folder]').checked = true;
  } catch (error) {
    $('loaded').textContent = '';
    throw error;
  }
}

async function generate() {
  show('failed', '');
  if (chosen() === 'folder' && !$('loaded').textContent) await load();
  if (chosen() === 'trained' && !training) begin();
  const answer = await models[chosen()].model.generate($('source').value, 1);
  drawAnswer(answer);
}

function drawAnswer({ text, source, target, attention }) {
  const attended = attention.length > 0;
  const weight = (row, column) => attention[row * source.length + column];
  // The words of the text can be pointed at where they are its tokens.
  const words = text.split(' ');
  const apart = attended && words.length === target.length - 1;
  const shown = apart ? words : [text || '(nothing)'];
  $('answer').replaceChildren(...shown.flatMap((word, row) => {
    const span = document.createElement('span');
    span.textContent = word;
    if (apart) point(span, row, null);
    return [span, ' '];
  }));
  $('alignment').hidden = !attended;
  $('weight').textContent = '';
  if (!attended) return;

  const head = document.createElement('tr');
  head.append(document.createElement('td'));
  head.firstChild.style.visibility = 'hidden';
  source.forEach((token, column) => head.append(heading(token, 'col', null, column)));
  const rows = target.map((token, row) => {
    const line = document.createElement('tr');
    line.append(heading(token, 'row', row, null));
    source.forEach((_, column) => {
      const cell = line.insertCell();
      cell.style.setProperty('--weight', weight(row, column).toFixed(3));
      point(cell, row, column);
    });
    return line;
  });
  $('map').replaceChildren(head, ...rows);

  function heading(token, scope, row, column) {
    const element = document.createElement('th');
    element.scope = scope;
    element.textContent = token;
    point(element, row, column);
    return element;
  }

  // Lights the row and the column of what the pointer is at.
  function point(element, row, column) {
    element.addEventListener('pointerenter', () => light(row, column));
    element.addEventListener('pointerleave', () => light(null, null));
  }

  function light(row, column) {
    [...$('map').rows].forEach((line, at) => [...line.cells].forEach((cell, place) => {
      const [r, c] = [at - 1, place - 1];
      cell.classList.toggle('lit', r === row || c === column);
      cell.classList.toggle('here', r === row && c === column);
    }));
    if (apart) [...$('answer').children].forEach((span, at) => span.classList.toggle('lit', at === row));
    const most = (values) => values.indexOf(Math.max(...values));
    if (row !== null && column !== null) {
      $('weight').textContent = `${target[row]} attends to ${source[column]} with ${(100 * weight(row, column)).toFixed(1)} %`;
    } else if (row !== null) {
      const place = most(source.map((_, at) => weight(row, at)));
      $('weight').textContent = `${target[row]} attends most to ${source[place]}, with ${(100 * weight(row, place)).toFixed(1)} %`;
    } else if (column !== null) {
      const place = most(target.map((_, at) => weight(at, column)));
      $('weight').textContent = `${source[column]} is attended to most by ${target[place]}, with ${(100 * weight(place, column)).toFixed(1)} %`;
    } else {
      $('weight').textContent = '';
    }
  }
}

// ---- The page

async function open() {
  const lack = await missing();
  if (lack) throw new Missing(lack);
  await init();
  gpu = await Gpu.open();
  // Browsers tell of an adapter what they like to.
  const { description, vendor, architecture } = (await navigator.gpu.requestAdapter()).info;
  $('adapter').textContent = `WebGPU on ${description || [vendor, architecture].filter(Boolean).join(' ') || 'an adapter without a name'}`;
  draw();
  $('go').addEventListener('click', () => {
    if (!running) return train();
    // Once more would begin before the last steps are read.
    running = false;
    $('go').disabled = true;
  });
  $('anew').addEventListener('click', () => ask(begin));
  $('load').addEventListener('click', () => ask(load));
  $('folder').addEventListener('input', () => {
    $('loaded').textContent = '';
    document.querySelector('input[value=folder]').checked = true;
  });
  $('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    ask(generate);
  });
  for (const id of ['go', 'load', 'generate']) $(id).disabled = false;
}

try {
  await open();
} catch (error) {
  $('adapter').textContent = 'No GPU is open.';
  show('missing', error instanceof Missing ? error.message : `The GPU could not be opened: ${error.message}`);
}
