/**
 * Training over SDXL against torch, diffusers and PEFT: fixtures/training/sdxl (made by scripts/reference/make-sdxl-training-references.py,
 * which says every rule). Both text encoders with the pooled state, learned tokens in both, sizes and cuts by picture, two shapes of latents.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Wrongs } from './checks.mjs';
import { apart, openBase, recorded, runtime, within } from './runtime-library.mjs';
import {
	BARS,
	direction,
	gathered,
	gradientEngines,
	hashed,
	inputName,
	json,
	peftName,
	rowOf,
	short,
	square,
	trainer,
	worstLine,
} from './training-library.mjs';

const ROOT = path.join(import.meta.dirname, '../../fixtures/training/sdxl');
/** Of what torch itself loses in float32. */
const TIMES = 10;

/** @param {import('./checks.mjs').Checks} checks */
export async function partTrainingSdxl(checks) {
	const manifest = json(path.join(ROOT, 'manifest.json'));
	for (const [file, { sha256 }] of Object.entries(manifest.files)) {
		const hash = createHash('sha256')
			.update(readFileSync(path.join(ROOT, file)))
			.digest('hex');
		checks.check(`sdxl ${file}`, 'is what the manifest says', hash === sha256 ? undefined : hash);
	}
	cutsHold(checks);
	const base = await openBase(path.join(ROOT, 'base'));
	const set = { manifest, base, inputs: recorded(path.join(ROOT, 'inputs.safetensors')) };
	const only = process.env.PARITY_SCENARIOS?.split(' ');
	for (const [name, engine, most] of await gradientEngines()) {
		const worst = { first: 0, later: 0, gradient: 0, relative: 0, cosine: 0, update: 0, runs: 0, steps: 0 };
		for (const scenario of Object.keys(manifest.scenarios)) {
			if (only?.includes(scenario) === false) continue;
			for (const memory of name === 'onnx' ? ['fast', 'lean'] : ['fast']) {
				const where = `sdxl ${scenario} ${name} ${memory}`;
				await checks.run(where, 'runs', () => replay(checks, where, set, scenario, engine, memory, most, worst));
			}
		}
		console.log(worstLine(`sdxl ${name}`, worst));
	}
	await base.close();
}

/** The script's own cuts, mirrored and not: what the model is told, and the pixels. */
function cutsHold(checks) {
	const { resolution, filter, cases } = json(path.join(ROOT, 'cuts.json'));
	const target = { width: resolution, height: resolution };
	for (const { size, center, flip, seed, time_ids: expected, sha256 } of cases) {
		const [width, height] = size;
		const where = `sdxl cut of ${width}x${height}${center ? ' in the middle' : ''}${flip ? ', mirrored' : ''}`;
		const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
			const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
			return (7 * x + 13 * y + 29 * c + x * y) % 256;
		});
		const options = {
			resized: trainer.shorterSideTo(resolution, { width, height }),
			target,
			crop: center ? 'center' : 'random',
			flip: false,
			filter,
		};
		const drawn = trainer.planPicture(options, runtime.createTorchGenerator(seed));
		const plan = flip ? trainer.mirroredPlan(drawn, true) : drawn;
		const told = trainer.timeIdsOf({ width, height }, plan);
		checks.check(where, 'time ids', told.join() === expected.join() ? undefined : `${told.join()} for ${expected.join()}`);
		const pixels = trainer.picturePixels({ width, height, channels: 3, data }, plan).data;
		const area = resolution * resolution;
		const bytes = Uint8Array.from({ length: 3 * area }, (_, i) => Math.round(((pixels[(i % 3) * area + Math.floor(i / 3)] + 1) / 2) * 255));
		const hash = createHash('sha256').update(bytes).digest('hex');
		checks.check(where, 'pixels', hash === sha256 ? undefined : hash);
	}
}

async function replay(checks, where, { manifest, base, inputs }, scenario, engine, memory, most, worst) {
	const record = json(path.join(ROOT, `${scenario}.json`));
	const file = recorded(path.join(ROOT, `${scenario}.safetensors`));
	const { modules, tensors } = await trainables(checks, where, base, record, file);
	const frozen = trainer.unreachedFactors(modules, base.textEncoders);
	const without = record.without_gradient.map(inputName).sort();
	const ours = tensors.map(({ name }) => name).filter((name) => frozen.has(name));
	checks.check(where, 'what has no gradient is torch’s', ours.sort().join() === without.join() ? undefined : ours.join());
	const trained = tensors.filter(({ name }) => !frozen.has(name));
	const withIds = record.adapters.text !== undefined || record.rows !== undefined;
	const model = trainer.createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: withIds ? base.textEncoders[0] : undefined,
		textEncoder2: withIds ? base.textEncoders[1] : undefined,
		engine,
		modules,
		tensors,
		frozen,
		prediction: 'epsilon',
		schedule: runtime.noiseSchedule(manifest.betas),
		memory,
	});
	const start = new Map(tensors.map(({ name, values }) => [name, values.slice()]));
	const { betas, weight_decay, eps, rates } = manifest.optimizer;
	const optimizer = trainer.createOptimizer({ kind: 'adamw', betas, weight_decay, eps }, trained);
	const last = Math.min(record.losses.length, most ?? record.losses.length);
	for (const [i, plan] of record.batches.slice(0, last).entries()) {
		const { loss, gradients } = await model.gradients(batchOf(base, inputs, plan, withIds));
		const error = Math.abs(loss / record.losses[i] - 1);
		const key = i === 0 ? 'first' : 'later';
		worst[key] = Math.max(worst[key], error);
		worst.steps++;
		checks.check(where, `loss of step ${i}`, within(error, i === 0 ? BARS.lossFirst : BARS.lossLater));
		if (`grad${i}` in record.grad_norms) gradientsHold(checks, `${where} grad${i}`, record, file, `grad${i}`, gradients, worst);
		if (record.clip !== undefined) {
			const { norm } = trainer.clipGradients(gradients, record.clip);
			checks.check(where, `gradient norm of step ${i}`, within(Math.abs(norm / record.grad_norms_before_clip[i] - 1), BARS.lossLater));
		}
		optimizer.step(gradients, { unet: rates.unet, text_encoder: rates.text_encoder, tokens: rates.added_rows });
		updatesHold(checks, where, record, file, `after${i + 1}`, tensors, start, worst);
	}
	worst.runs++;
	await model.close();
	return undefined;
}

async function trainables(checks, where, base, record, file) {
	const names = (record.modules ?? []).map(({ module }) => module);
	const options = record.adapters.unet ?? record.adapters.text ?? {};
	const modules =
		names.length === 0
			? []
			: trainer.targetModules(trainer.modulesOf(base), {
					rank: options.r,
					alpha: options.lora_alpha,
					include: names,
					dora: options.use_dora,
				});
	checks.check(
		where,
		'the modules are PEFT’s',
		modules
			.map((m) => `${m.component}.${m.path}`)
			.sort()
			.join() === names.join()
			? undefined
			: 'others',
	);
	const source = runtime.parameterSource({ parameters: [], values: [] }, base.weights);
	const tensors = (await trainer.initialTensors(modules, { seed: 0 }, source)).map((tensor) => {
		const peft = peftName(tensor.name);
		const scale = tensor.name.endsWith(':down') ? 1 : record.init === 'A and B hashed' ? 0.125 : 0;
		if (!tensor.name.endsWith(':magnitude')) return { ...tensor, values: hashed(peft, tensor.values.length, scale) };
		const expected = file.get(`init/${peft}`);
		if (expected !== undefined) checks.check(where, `${tensor.name} at the start`, within(apart(tensor.values, expected.data), 1e-6));
		return tensor;
	});
	const rows = [trainer.TOKEN_ROWS, trainer.TOKEN_ROWS_2].flatMap((name) => {
		const values = file.get(`init/${name}`);
		return values === undefined ? [] : [trainer.tokenRows(Float32Array.from(values.data), values.shape[0], name)];
	});
	return { modules, tensors: [...tensors, ...rows] };
}

function batchOf(base, inputs, plan, withIds) {
	const { pool, prompts, time_ids: timeIds, timesteps, weights } = plan;
	const ids = (name) => prompts.map((p) => [...rowOf(inputs.get(name), p)]);
	return {
		latents: gathered(inputs.get(`${pool}/latents`), plan.latents),
		noise: gathered(inputs.get(`${pool}/noise`), plan.noise),
		timesteps,
		text: withIds ? { ids: ids('ids'), ids2: ids('ids2'), timeIds } : frozenText(base, inputs, prompts, timeIds),
		weights,
	};
}

/** States and pooled states as they were encoded, each with the features of its picture's time ids. */
function frozenText({ unet }, inputs, prompts, timeIds) {
	const states = gathered(inputs.get('states'), prompts);
	const rows = prompts.map((p, i) => {
		const pooled = gathered(inputs.get('pooled'), [p]);
		const conditions = { pooled, negativePooled: undefined, timeIds: timeIds[i] };
		return runtime.conditioningOf(unet, states, undefined, conditions).added(false);
	});
	const data = Float32Array.from(rows.flatMap((row) => [...row.data]));
	return { states, added: runtime.f32Tensor([rows.length, data.length / rows.length], data) };
}

function gradientsHold(checks, where, record, file, prefix, gradients, worst) {
	const lost = record.f32_vs_f64[prefix];
	const largest = record.largest_gradient[prefix];
	const list = [...file].filter(([name]) => name.startsWith(`${prefix}/`));
	checks.check(where, 'gradients are recorded', list.length > 0 ? undefined : 'none');
	for (const [key, { data: expected }] of list) {
		const name = inputName(key.slice(prefix.length + 1));
		const got = gradients.get(name) ?? [];
		const error = got.length === expected.length ? apart(got, expected) : Number.POSITIVE_INFINITY;
		worst.gradient = Math.max(worst.gradient, error / largest);
		checks.check(where, `${name} entry by entry`, within(error / largest, BARS.gradient));
		const most = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
		if (most <= 1e3 * lost) {
			checks.check(where, `${name} absolute`, within(error, TIMES * lost));
			continue;
		}
		const { relative, cosine } = direction(got, expected);
		worst.relative = Math.max(worst.relative, relative);
		worst.cosine = Math.max(worst.cosine, cosine);
		const allowed = Math.max(BARS.relative, (TIMES * lost * Math.sqrt(expected.length)) / Math.sqrt(square(expected)));
		checks.check(where, `${name} relative`, within(relative, allowed));
		checks.check(where, `${name} cosine`, within(cosine, Math.max(BARS.cosine, allowed ** 2)));
	}
	// Norms of all in float64, seven digits; what is zero is zero to the last entry.
	const wrongs = new Wrongs();
	const norms = Object.entries(record.grad_norms[prefix]);
	for (const [peft, expected] of norms) {
		const got = gradients.get(inputName(peft));
		if (got === undefined) wrongs.add(`${peft} has none`);
		else if (expected === 0) {
			if (got.some((x) => x !== 0)) wrongs.add(`${peft} is not zero`);
		} else {
			const error = Math.abs(Math.sqrt(square(Float64Array.from(got))) - expected);
			if (!(error <= Math.max(BARS.relative * expected, TIMES * lost * Math.sqrt(got.length)))) {
				wrongs.add(`norm of ${peft} is ${short(error)} from ${expected}`);
			}
		}
	}
	checks.check(where, 'norms of all gradients', gradients.size === norms.length ? wrongs.text : `${gradients.size} for ${norms.length}`);
}

function updatesHold(checks, where, record, file, prefix, tensors, start, worst) {
	const lost = record.f32_vs_f64[prefix];
	if (lost === undefined) return;
	const values = new Map(tensors.map((tensor) => [tensor.name, tensor.values]));
	for (const [key, { data: expected }] of file) {
		if (!key.startsWith(`${prefix}/`)) continue;
		const name = inputName(key.slice(prefix.length + 1));
		const got = values.get(name);
		const before = start.get(name);
		if (record.without_gradient.includes(key.slice(prefix.length + 1))) {
			checks.check(`${where} ${prefix}`, `${name} stays`, got.every((x, i) => x === before[i]) ? undefined : 'it does not');
			continue;
		}
		checks.check(`${where} ${prefix}`, `${name} entries`, within(apart(got, expected), Math.max(TIMES * lost, 1e-7)));
		const moved = Math.sqrt(expected.reduce((sum, x, i) => sum + (x - before[i]) ** 2, 0));
		const relative = Math.sqrt(expected.reduce((sum, x, i) => sum + (x - got[i]) ** 2, 0)) / moved;
		if (moved === 0) continue;
		worst.update = Math.max(worst.update, relative);
		checks.check(`${where} ${prefix}`, `${name} update`, within(relative, BARS.update));
	}
}
