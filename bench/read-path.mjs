/**
 * `node bench/read-path.mjs [DIST]`: what reading costs after the header is in memory: detect, decode, inspect, cold (the
 * first call of a fresh process) and warm. Names are made here, tensors are stand-ins without data. DIST defaults to
 * packages/format/dist; another build may be named for a comparison. RUNS=n fresh processes for the cold figures.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { median } from './stats.mjs';

const SELF = fileURLToPath(import.meta.url);
const DIST = path.resolve(process.argv[2] ?? path.join(path.dirname(SELF), '../packages/format/dist'));
const CASES = ['kohya-sdxl-2382', 'kohya-sd15-792', 'diffusers-352', 'cloneofsimo-pt-288'];
const child = process.env.READ_PATH_CASE;
if (child === undefined) parent();
else await measure(child);

function parent() {
	const runs = Number(process.env.RUNS ?? 9);
	console.log(`node ${process.version}, ${DIST}; medians of ${runs} fresh processes (ms)`);
	console.log(`${'case'.padEnd(20)} ${['import', 'cold detect', 'cold decode', 'cold inspect', 'cold all', 'warm detect', 'warm decode', 'warm inspect'].map((h) => h.padStart(12)).join('')}`);
	for (const name of CASES) {
		const rows = [];
		for (let n = 0; n < runs; n++) {
			const { stdout, stderr, status } = spawnSync(process.execPath, [SELF, DIST], { env: { ...process.env, READ_PATH_CASE: name }, encoding: 'utf8' });
			if (status !== 0) throw new Error(stderr);
			rows.push(JSON.parse(stdout));
		}
		const columns = ['import', 'detect', 'decode', 'inspect', 'first', 'warmDetect', 'warmDecode', 'warmInspect'];
		console.log(`${name.padEnd(20)} ${columns.map((c) => median(rows.map((r) => r[c])).toFixed(2).padStart(12)).join('')}`);
	}
}

/** One fresh process: the first inspect (`first`, odd runs) or its parts one after the other, then the warm medians. */
async function measure(name) {
	const load = (file) => import(pathToFileURL(path.join(DIST, file)).href);
	const began = performance.now();
	const { inspect } = await load('inspect.js');
	const imported = performance.now() - began;
	const { decodeAdapter, detectLayout } = await load('detect.js');
	const make = CASES_BY_NAME[name];
	const time = (work) => {
		const start = performance.now();
		work();
		return performance.now() - start;
	};
	// Each call gets an input of its own, so that nothing remembered of a file helps.
	const input = make();
	const first = time(() => inspect(input));
	const report = inspect(make());
	if (report.errors.length > 0 || report.kind !== 'lora') throw new Error(`${name}: ${JSON.stringify(report.errors)}`);
	const parts = spawnSync(process.execPath, ['--input-type=module', '-e', COLD_PARTS, DIST, SELF, name], { encoding: 'utf8', env: { ...process.env, READ_PATH_CASE: '' } });
	if (parts.status !== 0) throw new Error(parts.stderr);
	const warm = (work) => {
		const times = [];
		for (let n = 0; n < 40; n++) {
			const fresh = make();
			times.push(time(() => work(fresh)));
		}
		return median(times.slice(10));
	};
	const out = { import: imported, first, ...JSON.parse(parts.stdout), warmInspect: warm(inspect), warmDetect: warm(detectLayout), warmDecode: warm(decodeAdapter) };
	console.log(JSON.stringify(out));
}
