// Compiles every .wgsl file of a folder with Tint, the compiler of Dawn and Chromium: node tint.mjs WEBGPU FOLDER
//
// WEBGPU is the folder of npm's package `webgpu`; its null backend needs no driver. FOLDER holds a folder for each set of needs,
// as `softalign shaders --to wgsl` writes them: `portable` gets a device with WebGPU's default limits and no feature, the others
// the features they are named after and the limits of the adapter. The exit status is 1 if any file fails.
import fs from 'node:fs';
import path from 'node:path';

const [webgpu, folder] = process.argv.slice(2);
const { create, globals } = await import(path.join(path.resolve(webgpu), 'index.js'));
Object.assign(globalThis, globals);

// `memory` is a limit, and no feature; the null backend has but the default one, and then refuses the pipeline, after the module.
const FEATURES = { f16: 'shader-f16', subgroups: 'subgroups', memory: undefined };
const LIMITS = ['maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX'];
// naga does not know the first line. The second: WGSL has no way to say that lanes agree on the result of a vote, so a shuffle
// in a branch on one is a warning here, and an error only if the branch depends on anything else.
const SUBGROUPS = 'enable subgroups; diagnostic(warning, subgroup_uniformity);\n';
const VOTE = 'lanes_any(';

// What Tint has against a module, less the shuffles in a branch on a vote.
function objections(messages, code) {
  const lines = code.split('\n');
  const found = [];
  for (const message of messages) {
    if (message.type !== 'info') found.push({ text: `${message.lineNum}:${message.linePos} ${message.message}`, branches: [] });
    else if (message.message.startsWith('control flow depends')) found.at(-1)?.branches.push(lines[message.lineNum - 1]);
  }
  const onVote = ({ text, branches }) =>
    text.includes('subgroup uniform control flow') && branches.length && branches.every((line) => line.includes(VOTE));
  return found.filter((one) => !onVote(one)).map((one) => one.text);
}

const LIMIT = 'total use of workgroup storage';

async function compile(device, code, needs) {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const wrong = objections((await module.getCompilationInfo()).messages, code);
  try {
    await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  } catch (error) {
    if (!wrong.length) wrong.push(error.message);
  }
  const error = await device.popErrorScope();
  if (error && !wrong.length) wrong.push(error.message);
  return wrong.filter((text) => !(needs.includes('memory') && text.includes(LIMIT)));
}

// Kept: an adapter does not outlive it.
const gpu = create(['backend=null']);
let [files, failed] = [0, 0];
for (const needs of fs.readdirSync(folder).sort()) {
  // WebGPU has neither 64-bit integers nor wgpu's cooperative matrices.
  if (needs.includes('int64') || needs.includes('cooperative')) continue;
  const features = needs === 'portable' ? [] : needs.split('-').map((name) => FEATURES[name]).filter(Boolean);
  const adapter = await gpu.requestAdapter();
  const requiredLimits = needs !== 'portable' ? Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])) : {};
  const device = await adapter.requestDevice({ requiredFeatures: features, requiredLimits });
  const names = fs.readdirSync(path.join(folder, needs), { recursive: true }).filter((name) => name.endsWith('.wgsl'));
  for (const name of names.sort()) {
    const text = fs.readFileSync(path.join(folder, needs, name), 'utf8');
    const wrong = await compile(device, (features.includes('subgroups') ? SUBGROUPS : '') + text, needs);
    files += 1;
    if (!wrong.length) continue;
    failed += 1;
    console.log(`${needs}/${name}: ${wrong.join('; ')}`);
  }
}
console.log(`Tint: ${files - failed} of ${files} files compile`);
process.exit(failed || !files ? 1 : 0);
