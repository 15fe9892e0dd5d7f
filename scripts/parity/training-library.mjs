/** What the training parts share: the built trainer, the gradient engines that run here, the bars, and a set's batches and factors. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { enginesOf, openModel, recorded, runtime } from './runtime-library.mjs';

const load = (name) => import(new URL(`../../packages/trainer/dist/${name}`, import.meta.url).href);

export const trainer = await load('index.js');

/**
 * Both gradient paths: name, engine, most steps of a run (the slow ones do the first few). `PARITY_GRADIENTS` (default
 * "onnx tfjs-cpu:2") chooses: `onnx`, `float64`, `tfjs-cpu`, `tfjs-wasm`, each with `:STEPS` if wanted.
 */
export async function gradientEngines(names = (process.env.PARITY_GRADIENTS ?? 'onnx tfjs-cpu:2').split(' ')) {
	return Promise.all(
		names.map(async (whole) => {
			const [name, steps] = whole.split(':');
			const [kind, backend] = name.split('-');
			if (kind === 'tfjs') {
				const { createTfjsGradientEngine } = await load('gradients/tfjs/index.js');
				return [name, await createTfjsGradientEngine({ backend }), steps && Number(steps)];
			}
			const [[, engine]] = await enginesOf([kind]);
			return [name, trainer.engineGradients(engine), steps && Number(steps)];
		}),
	);
}

/** Bars of the issue: of a loss at step 0 and later, of gradients (of the largest of all; by factor), of a factor's update. */
export const BARS = { lossFirst: 1e-6, lossLater: 2e-5, gradient: 1e-5, relative: 1e-4, cosine: 1e-8, update: 1e-3, rate: 1e-12 };

export const json = (file) => JSON.parse(readFileSync(file, 'utf8'));
export const square = (x) => x.reduce((sum, v) => sum + v * v, 0);
export const short = (x) => x.toExponential(1);
/** Elements of a row, and the row. */
export const size = (shape) => shape.slice(1).reduce((a, b) => a * b, 1);
export const rowOf = ({ shape, data }, i) => data.subarray(i * size(shape), (i + 1) * size(shape));
/** Rows of a pool as a tensor. */
export const gathered = (pool, rows) =>
	runtime.f32Tensor([rows.length, ...pool.shape.slice(1)], Float32Array.from(rows.flatMap((r) => [...rowOf(pool, r)])));

const PARTS = { lora_A: 'down', lora_B: 'up', lora_magnitude_vector: 'magnitude' };
/** PEFT's name of a factor (or cloneofsimo's path) as the input of our graph; and back to PEFT's. */
export const inputName = (name) =>
	name
		.replace(/\.(lora_A|lora_B|lora_magnitude_vector)\.weight$/, (_, part) => `:${PARTS[part]}`)
		.replace(/\.(down|up)$/, (_, part) => `:${part}`);
export const peftName = (name) =>
	name.replace(/:(down|up|magnitude)$/, (_, part) => `.${Object.keys(PARTS).find((key) => PARTS[key] === part)}.weight`);

/** The rule `hashed` of the manifest of fixtures/training/references. */
export function hashed(name, count, scale) {
	let start = 0x811c9dc5;
	for (let i = 0; i < name.length; i++) start = Math.imul(start ^ name.charCodeAt(i), 0x01000193);
	return Float32Array.from({ length: count }, (_, i) => {
		let x = (start + i) >>> 0;
		x ^= x >>> 16;
		x = Math.imul(x, 0x7feb352d);
		x ^= x >>> 15;
		x = Math.imul(x, 0x846ca68b);
		x ^= x >>> 16;
		return ((x >>> 8) / 2 ** 24 - 0.5) * scale;
	});
}

/** The worst of a set's runs, beside the bars, as a line. @param {string} what */
export function worstLine(what, worst) {
	const { runs, steps, first, later, gradient, relative, cosine, update } = worst;
	return (
		`  ${what}: ${runs} runs, ${steps} micro-batches; loss ${short(first)} at step 0 (bar ${short(BARS.lossFirst)}), ${short(later)} after (${short(BARS.lossLater)}); ` +
		`gradients ${short(gradient)} of the largest (${short(BARS.gradient)}), ${short(relative)} a factor (${short(BARS.relative)}), 1 - cosine ${short(cosine)} (${short(BARS.cosine)}); updates ${short(update)} (${short(BARS.update)})`
	);
}

/** How far a gradient lies from the recorded one: relative L2, and 1 - cosine. */
export function direction(got, expected) {
	const norm = Math.sqrt(square(expected));
	return {
		relative: Math.sqrt(expected.reduce((sum, x, i) => sum + (got[i] - x) ** 2, 0)) / norm,
		cosine: 1 - expected.reduce((sum, x, i) => sum + got[i] * x, 0) / norm / Math.sqrt(square(Float64Array.from(got))),
	};
}

/** The folder `training` of a set, opened. @param {string} root */
export async function openTrainingSet(root) {
	const manifest = json(path.join(root, 'manifest.json'));
	const { base } = await openModel(path.dirname(root), 'tiny-sd');
	return {
		root,
		manifest,
		base,
		batches: recorded(path.join(root, manifest.batches.file)),
		init: recorded(path.join(root, manifest.batches.init)),
		schedule: runtime.noiseSchedule(base.scheduler.config),
	};
}

/** A model over a base: what differs from a plain run is in `more`. */
export function modelOver({ base, schedule }, engine, modules, tensors, more = {}) {
	return trainer.createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: base.textEncoders[0],
		engine,
		modules,
		tensors,
		prediction: 'epsilon',
		schedule,
		memory: 'fast',
		...more,
	});
}

/** The modules of diffusers' scenarios, and their recorded starting factors. */
export function recordedFactors({ base, manifest, init }, text) {
	const modules = trainer.targetModules(trainer.modulesOf(base), {
		rank: manifest.batches.rank,
		alpha: manifest.batches.alpha,
		unet: 'attention',
		textEncoder: text ? 'attention' : undefined,
	});
	const tensors = modules.flatMap(({ component, path: p }) =>
		['down', 'up'].map((part) => {
			const name = `${component}.${p}:${part}`;
			const { shape, data } = init.get(peftName(name));
			return { name, group: component, shape, values: Float32Array.from(data) };
		}),
	);
	return { modules, tensors };
}

/** Micro-batch i of a scenario: DreamBooth's where there is a prior weight. @param own where its draws are */
export function recordedBatch(set, own, i, { prior, offset }) {
	return prior === undefined ? plainBatch(set, own, i, offset) : priorBatch(set, i, prior);
}

function plainBatch({ batches }, own, i, offset) {
	const [index, timesteps, noise] = ['index', 'timesteps', 'noise'].map((k) => own.get(k));
	const rows = [...rowOf(index, i)];
	const draws = Float32Array.from(rowOf(noise, i));
	const shape = noise.shape.slice(1);
	if (offset !== undefined) {
		const more = rowOf(batches.get('offset_noise'), i);
		const plane = shape[2] * shape[3];
		// torch: noise + offset * randn(b, c, 1, 1), in float32
		for (let k = 0; k < draws.length; k++) draws[k] = Math.fround(draws[k] + Math.fround(offset * more[Math.floor(k / plane)]));
	}
	return {
		latents: gathered(batches.get('pool_latents'), rows),
		noise: runtime.f32Tensor(shape, draws),
		timesteps: [...rowOf(timesteps, i)],
		text: { ids: rows.map((r) => [...rowOf(batches.get('pool_ids'), r)]) },
		weights: rows.map(() => 1 / rows.length),
	};
}

function priorBatch({ batches }, i, prior) {
	const [instances, classes] = ['db_index', 'db_class_index'].map((k) => [...rowOf(batches.get(k), i)]);
	const noise = batches.get('db_noise');
	const ids = (row) => [...rowOf(batches.get('db_ids'), row)];
	return {
		latents: gathered(batches.get('pool_latents'), [...instances, ...classes]),
		noise: runtime.f32Tensor(noise.shape.slice(1), Float32Array.from(rowOf(noise, i))),
		timesteps: [...rowOf(batches.get('db_timesteps'), i)],
		text: { ids: [...instances.map(() => ids(0)), ...classes.map(() => ids(1))] },
		weights: [...instances.map(() => 1 / instances.length), ...classes.map(() => prior / classes.length)],
	};
}

/** Micro-batch i of a phase of cloneofsimo's pivotal tuning. @param {'phase1' | 'phase2'} phase */
export function pivotalBatch(file, phase, i) {
	return {
		latents: gathered(file.get('phase1/latents'), [i]),
		noise: gathered(file.get(`${phase}/noise`), [i]),
		timesteps: [file.get(`${phase}/timesteps`).data[i]],
		text: { ids: [[...file.get('phase1/ids').data]] },
		weights: [1],
	};
}

/** The records of pivotal tuning: one for each accumulation. */
export function pivotalRecords(root, facts) {
	return facts.files
		.filter((file) => /pti-accum.*\.json$/.test(file))
		.map((name) => ({
			name,
			record: json(path.join(root, name)),
			file: recorded(path.join(root, name.replace(/json$/, 'safetensors'))),
		}));
}
