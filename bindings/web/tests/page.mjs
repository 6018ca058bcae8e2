// The page in Chromium, against figures of the native build: node page.mjs PLAYWRIGHT PAGE NATIVE [PICTURES]
//
// PLAYWRIGHT is the folder of npm's package `playwright-core`, PAGE that of the page, with a model in `model`. NATIVE is a JSON file:
// `losses`, those of the first steps, `texts`, what the model writes for each source, and `beams`, what that in `other` writes with a
// beam of three. PICTURES: a folder for pictures of the page.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const [playwright, folder, figures, pictures] = process.argv.slice(2);
const { chromium } = await import(path.join(path.resolve(playwright), 'index.mjs'));
const native = JSON.parse(fs.readFileSync(figures, 'utf8'));
const TOLERANCE = 1e-4;
const MINUTE = 60_000;

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm', '.json': 'application/json' };
const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://here');
  const file = path.join(folder, pathname.endsWith('/') ? `${pathname}index.html` : pathname);
  if (!fs.existsSync(file)) return response.writeHead(404).end();
  response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
  fs.createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const address = `http://127.0.0.1:${server.address().port}/`;

const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'chromium-'));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader',
  ],
  viewport: { width: 1280, height: 1000 },
});

// A page, with what it throws and complains of.
async function opened(before) {
  const page = await browser.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) complaints.push(message.text()); });
  if (before) await page.addInitScript(before);
  await page.goto(address);
  return { page, complaints };
}

const began = Date.now();
const say = (text) => console.log(`${text} (${((Date.now() - began) / 1000).toFixed(0)} s so far)`);
const picture = (page, name) => pictures && page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });

async function namesWhatIsMissing() {
  const lacks = [
    [() => Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined }), 'navigator.gpu'],
    [() => { GPU.prototype.requestAdapter = async () => null; }, 'offers no adapter'],
    [() => Object.defineProperty(window, 'isSecureContext', { value: false }), 'https'],
  ];
  for (const [before, words] of lacks) {
    const { page, complaints } = await opened(before);
    await page.locator('#missing:not([hidden])').waitFor();
    const text = await page.locator('#missing').textContent();
    assert.ok(text.includes('is missing') && text.includes(words), text);
    assert.ok(await page.locator('#go').isDisabled());
    assert.deepEqual(complaints, []);
    if (words === 'navigator.gpu') await picture(page, 'missing');
    await page.close();
  }
  say('the page names what is missing');
}

// Asks for a text, and waits for it or for what the page has against it.
async function answered(page, source) {
  await page.fill('#source', source);
  await page.locator('#answer').evaluate((answer) => { answer.textContent = ''; });
  await page.click('#generate');
  const there = () => ['answer', 'failed'].some((id) => document.getElementById(id).textContent.trim());
  await page.waitForFunction(there, null, { timeout: 5 * MINUTE });
  assert.equal(await page.locator('#failed').textContent(), '');
  return (await page.locator('#answer').textContent()).trim();
}

async function generates({ page }) {
  await page.fill('#folder', 'model');
  await page.click('#load');
  await page.locator('#loaded', { hasText: 'Loaded' }).waitFor({ timeout: MINUTE });
  for (const [source, text] of Object.entries(native.texts)) {
    assert.equal(await answered(page, source), text, source);
  }
  say(`${Object.keys(native.texts).length} texts as the native build writes them`);
}

async function drawsTheAttention({ page }) {
  const source = Object.keys(native.texts).at(-1);
  const rows = page.locator('#map tr');
  // Each digit and the end of the source; each word and the end of the text.
  assert.equal(await rows.first().locator('th').count(), source.length + 1);
  assert.equal(await rows.count() - 1, native.texts[source].split(' ').length + 1);
  for (const row of (await rows.all()).slice(1)) {
    const weights = await row.locator('td').evaluateAll((cells) => cells.map((cell) => Number(cell.style.getPropertyValue('--weight'))));
    assert.ok(Math.abs(weights.reduce((sum, weight) => sum + weight) - 1) < 0.01, `weights ${weights}`);
  }
  await rows.nth(2).locator('td').nth(1).hover();
  assert.match(await page.locator('#weight').textContent(), /attends to .* with .* %/);
  assert.equal(await page.locator('#map td.here').count(), 1);
  const [columns, lines] = [source.length + 1, await rows.count() - 1];
  assert.equal(await page.locator('#map td.lit').count(), columns + lines - 1);
  await picture(page, 'attention');
  say('the attention is drawn, and follows the pointer');
}

async function trains({ page }) {
  await page.click('#go');
  const wanted = native.losses.length;
  const done = (wanted) => window.readings.length >= wanted || document.querySelector('#failed').textContent;
  await page.waitForFunction(done, wanted, { timeout: 15 * MINUTE });
  assert.equal(await page.locator('#failed').textContent(), '');
  // The page answers while it trains.
  const started = Date.now();
  assert.equal(await page.evaluate(() => 6 * 7), 42);
  const waited = Date.now() - started;
  await page.click('#go');
  await page.waitForFunction(() => document.querySelector('#go').textContent === 'Train' && !document.querySelector('#go').disabled, null, { timeout: 2 * MINUTE });
  const readings = await page.evaluate(() => window.readings);
  let worst = 0;
  native.losses.forEach((loss, index) => {
    assert.equal(readings[index].step, index + 1);
    const apart = Math.abs(readings[index].loss - loss);
    assert.ok(apart <= TOLERANCE, `step ${index + 1}: loss ${readings[index].loss}, natively ${loss}`);
    worst = Math.max(worst, apart);
  });
  const paused = await page.evaluate(() => window.readings.length);
  await page.waitForTimeout(500);
  assert.equal(await page.evaluate(() => window.readings.length), paused, 'it goes on although it was told to pause');
  for (const id of ['steps-per-second', 'tokens-per-second']) {
    assert.ok(Number((await page.locator(`#${id}`).textContent()).replace(',', '')) > 0, id);
  }
  assert.equal(await page.locator('#curve polyline').count(), 1);
  assert.equal(await page.locator('#samples tr').count(), 5);
  await picture(page, 'training');
  const speed = `${await page.locator('#steps-per-second').textContent()} steps/s, ${await page.locator('#tokens-per-second').textContent()} tokens/s`;
  say(`${wanted} losses within ${worst.toExponential(1)} of the native ones; ${speed}; answers after ${waited} ms`);
}

async function usesWhatItHasTrained({ page }) {
  await page.check('input[value=trained]');
  await answered(page, '42');
  await page.fill('#folder', 'nowhere');
  await page.click('#load');
  await page.locator('#failed', { hasText: 'nowhere holds no model' }).waitFor();
  say('what was just trained writes, and a folder without a model is named');
}

// What a page of one's own does, with a model of another architecture.
async function searchesWithABeam({ page }) {
  const found = await page.evaluate(async (sources) => {
    const { Gpu, Model } = await import('./softalign_web.js');
    const files = {};
    for (const name of Model.fileNames()) {
      const response = await fetch(`other/${name}`);
      if (response.ok) files[name] = new Uint8Array(await response.arrayBuffer());
    }
    const model = Model.load(await Gpu.open(), files);
    const texts = {};
    for (const source of sources) texts[source] = (await model.generate(source, 3)).text;
    return texts;
  }, Object.keys(native.beams));
  assert.deepEqual(found, native.beams);
  say(`${Object.keys(native.beams).length} texts of a Transformer with a beam of three as the native build writes them`);
}

// The example of the guide, as it stands but for the time that it takes.
async function runsTheExampleOfTheGuide() {
  const guide = fs.readFileSync(new URL('../../../src/guide/browser.md', import.meta.url), 'utf8');
  const [, example] = guide.match(/```js\n([^]*?)```/);
  assert.equal(example.split('step < 100').length, 2);
  const { page, complaints } = await opened();
  const done = "\ndocument.body.dataset.example = text;";
  await page.addScriptTag({ type: 'module', content: example.replace('step < 100', 'step < 2') + done });
  await page.locator('body[data-example]').waitFor({ timeout: 5 * MINUTE });
  assert.equal(await page.locator('body').getAttribute('data-example'), native.texts['1987']);
  assert.deepEqual(complaints.filter((text) => !text.includes('404') && !text.includes('"warm-up"')), []);
  await page.close();
  say('the example of the guide runs');
}

try {
  await namesWhatIsMissing();
  const tab = await opened(() => {
    window.readings = [];
    document.addEventListener('softalign:reading', ({ detail }) => window.readings.push(detail));
  });
  await tab.page.locator('#go:enabled').waitFor({ timeout: MINUTE });
  say(await tab.page.locator('#adapter').textContent());
  await generates(tab);
  await drawsTheAttention(tab);
  await trains(tab);
  await usesWhatItHasTrained(tab);
  await searchesWithABeam(tab);
  await runsTheExampleOfTheGuide();
  // The browser says itself that a file is not there, and that kernels are warmed up with no workgroup at all.
  assert.deepEqual(tab.complaints.filter((text) => !text.includes('404') && !text.includes('"warm-up"')), []);
} finally {
  await browser.close();
  server.close();
  fs.rmSync(profile, { recursive: true, force: true });
}
