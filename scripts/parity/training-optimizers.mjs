import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { clipGradients } from '../../packages/trainer/dist/optimizers/clip-gradients.js';
import { createOptimizer } from '../../packages/trainer/dist/optimizers/create-optimizer.js';
import { learningRateSchedule } from '../../packages/trainer/dist/optimizers/learning-rate-schedule.js';
import { Wrongs } from './checks.mjs';

/** The README's bars for factors: relative L2 of the update, and a multiple of what torch loses in float32. */
const UPDATE_BAR = 1e-3;
const ENTRY_FACTOR = 10;
/**
 * Ours, for steps from torch's own gradients: only torch's square roots stand between (MKL's, which are one bit off for one in
 * six), so an entry may be off by the last bit of its value and a few of its move, at each step.
 */
const VALUE_BITS = 2 ** -23;
const MOVE_BITS = 2 ** -21;
/** torch adds squares in float32. */
const NORM_BAR = 1e-6;
/** Of the manifest: absolute, on rates. */
const RATE_BAR = 1e-12;
/** diffusers' scripts, as the manifest's `optimizer` says it. */
const SETTINGS = { kind: 'adamw', betas: [0.9, 0.999], eps: 1e-8, weight_decay: 1e-2 };
const MAX_NORM = 1;
/** The tables' own note: cycles, power and end of those that have them. */
const SCHEDULE_OPTIONS = { cosine_with_restarts: { cycles: 2 }, polynomial: { power: 2, end: 1e-7 } };

/**
 * `training/`: AdamW and clipping from the recorded gradients to the recorded factors, and the tables of rates.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `training` of a reference set
 */
export async function partTrainingOptimizers(checks, root) {
	const manifest = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const init = readTensors(path.join(root, 'init.safetensors'));
	const tally = { tensors: 0, entries: 0, same: 0, worst: 0 };
	for (const [name, scenario] of Object.entries(manifest.scenarios)) {
		const file = path.join(root, `${name}.safetensors`);
		if (!existsSync(file)) continue;
		const tensors = readTensors(file);
		const facts = JSON.parse(readFileSync(path.join(root, `${name}.json`), 'utf8'));
		if (tensors.has('grad0/new_row') && tensors.has('row/after1')) {
			await checks.run(`training ${name}`, 'AdamW moves the row as torch', () => replayRow(tensors, facts, tally));
		} else if ([...tensors.keys()].some((key) => key.startsWith('after1/'))) {
			await replay(checks, `training ${name}`, tensors, facts, init, scenario.tensors === 'all', tally);
		}
	}
	console.log(
		`training optimizers: ${tally.entries} values of ${tally.tensors} tensors stepped from torch's gradients, ${tally.same} of them torch's to the bit, ` +
			`largest relative L2 distance of an update ${tally.worst.toExponential(2)} (bar ${UPDATE_BAR})`,
	);
	await schedules(checks, path.join(root, 'lr-schedules.json'));
}

/** Step after step, as long as there are gradients for it. */
async function replay(checks, where, tensors, facts, init, whole, tally) {
	const names = [...tensors.keys()].filter((key) => key.startsWith('after1/')).map((key) => key.slice('after1/'.length));
	const held = names.map((name) => {
		const { shape, values } = init.get(name);
		return { name, group: name.startsWith('text_encoder.') ? 'text_encoder' : 'unet', shape, values: values.slice() };
	});
	const optimizer = createOptimizer(SETTINGS, held);
	for (let step = 0; ; step++) {
		const [grad, after] = [`grad${step}/`, `after${step + 1}/`];
		if (!names.every((name) => tensors.has(after + name)) || !names.some((name) => tensors.has(grad + name))) return;
		// those left out are exactly zero (the manifest's grad0_note)
		const gradients = new Map(
			held.map(({ name, values }) => [name, tensors.get(grad + name)?.values.slice() ?? new Float32Array(values.length)]),
		);
		const recorded = facts.grad_norms_before_clip[step];
		if (whole) {
			await checks.run(`${where} step ${step}`, `the norm of all gradients within ${NORM_BAR} of torch's`, () => {
				const { norm } = clipGradients(gradients, MAX_NORM);
				return Math.abs(norm / recorded - 1) <= NORM_BAR ? undefined : `${norm} for ${recorded}`;
			});
		} else {
			const scale = Math.fround(MAX_NORM / (recorded + 1e-6));
			if (scale < 1) for (const gradient of gradients.values()) gradient.set(gradient.map((value) => value * scale));
		}
		const rate = facts.lr[step];
		optimizer.step(gradients, { unet: rate, text_encoder: rate });
		const wrongs = new Wrongs();
		const bar = ENTRY_FACTOR * facts.f32_vs_f64[`after${step + 1}`];
		for (const { name, values } of held) {
			const wrong = compare(values, tensors.get(after + name).values, init.get(name).values, bar, step + 1, tally);
			if (wrong !== undefined) wrongs.add(`${name} ${wrong}`);
		}
		checks.check(`${where} step ${step}`, 'AdamW moves the factors as torch', wrongs.text);
	}
}

/** Textual inversion steps the whole table and puts the other rows back; each row is by itself. */
function replayRow(tensors, facts, tally) {
	const { shape, values: initial } = tensors.get('row/initial');
	const row = { name: 'added_rows', group: 'tokens', shape: [1, ...shape], values: initial.slice() };
	const optimizer = createOptimizer(
		{ ...SETTINGS, betas: facts.optimizer.betas, eps: facts.optimizer.eps, weight_decay: facts.optimizer.weight_decay },
		[row],
	);
	optimizer.step(new Map([['added_rows', tensors.get('grad0/new_row').values]]), { tokens: facts.lr });
	return compare(row.values, tensors.get('row/after1').values, initial, ENTRY_FACTOR * facts.f32_vs_f64['row/after1'], 1, tally);
}

/**
 * @param {Float32Array} start before all steps
 * @param {number} bar for single entries
 * @param {number} steps taken so far
 */
function compare(got, expected, start, bar, steps, tally) {
	let [distance, update, worst, bits] = [0, 0, 0, 0];
	for (let i = 0; i < expected.length; i++) {
		const apart = Math.abs(got[i] - expected[i]);
		const move = Math.abs(expected[i] - start[i]);
		if (apart === 0) tally.same++;
		if (!(apart <= worst)) worst = apart;
		if (!(apart <= steps * (VALUE_BITS * Math.abs(expected[i]) + MOVE_BITS * move))) bits++;
		distance += apart ** 2;
		update += move ** 2;
	}
	// at the rate 0 nothing moves: then only the very same will do
	const relative = distance === 0 ? 0 : Math.sqrt(distance / update);
	tally.tensors++;
	tally.entries += expected.length;
	tally.worst = Math.max(tally.worst, relative);
	if (got.length !== expected.length) return `${got.length} values for ${expected.length}`;
	if (!(relative <= UPDATE_BAR)) return `update off by ${relative} (relative L2)`;
	if (!(worst <= bar)) return `an entry off by ${worst} (bar ${bar})`;
	return bits === 0 ? undefined : `${bits} entries off by more than ${steps} last bits`;
}

async function schedules(checks, file) {
	const { base_lr: rate, table } = JSON.parse(readFileSync(file, 'utf8'));
	let [worst, count] = [0, 0];
	for (const [key, rates] of Object.entries(table)) {
		await checks.run(`training lr ${key}`, `within ${RATE_BAR} of diffusers`, () => {
			const [, kind, warmup, total] = /^(\w+)\/warmup(\d+)\/total(\d+)$/.exec(key) ?? [];
			if (kind === undefined) return 'a key of no form known here';
			const factor = learningRateSchedule({
				kind,
				warmupSteps: Number(warmup),
				totalSteps: Number(total),
				rate,
				...SCHEDULE_OPTIONS[kind],
			});
			const apart = rates.map((expected, step) => Math.abs(factor(step) * rate - expected));
			count += rates.length;
			worst = Math.max(worst, ...apart);
			const wrong = apart.findIndex((distance) => !(distance <= RATE_BAR));
			return wrong < 0 ? undefined : `step ${wrong} off by ${apart[wrong]}`;
		});
	}
	console.log(
		`training lr: ${count} rates of ${Object.keys(table).length} tables, largest difference ${worst.toExponential(2)} (bar ${RATE_BAR})`,
	);
}

/** @returns {Map<string, { shape: number[], values: Float32Array }>} the float32 tensors of a safetensors file of ours */
function readTensors(file) {
	const bytes = readFileSync(file);
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
	const floats = Object.entries(header).filter(([key, { dtype }]) => key !== '__metadata__' && dtype === 'F32');
	return new Map(
		floats.map(
			([
				name,
				{
					shape,
					data_offsets: [begin, end],
				},
			]) => {
				const part = bytes.subarray(8 + length + begin, 8 + length + end);
				return [name, { shape, values: new Float32Array(new Uint8Array(part).buffer) }];
			},
		),
	);
}
