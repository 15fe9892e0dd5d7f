/**
 * Objectives that the shared set does not record, against torch, PEFT and diffusers: fixtures/training/references (made by
 * scripts/reference/make-training-references.py, which says every rule). Losses, gradients, factors after steps, averages.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Wrongs } from './checks.mjs';
import { apart, openBase, recorded, runtime, within } from './runtime-library.mjs';
import { halfHolds } from './training-half.mjs';
import {
	BARS,
	direction,
	gathered,
	gradientEngines,
	hashed,
	inputName,
	json,
	modelOver,
	peftName,
	rowOf,
	short,
	square,
	trainer,
	worstLine,
} from './training-library.mjs';

const { EmaModel } = trainer;

const HERE = path.join(import.meta.dirname, '../..');
const ROOT = path.join(HERE, 'fixtures/training/references');
const FIXTURES = path.join(HERE, 'fixtures/runtime');
/** torch's square roots are not all the nearest here (MKL); with numpy's in their place its table is ours to the last bit. */
const ALPHAS = 1e-6;
/** Of what torch itself loses in float32. */
const TIMES = 10;
/**
 * sdxl and sd2 lose much in float32, so the float64 engine is held against torch's float64 run. Latents, features of
 * timesteps and what comes back are float32 there too: these bases make 1e-7 of an input some 1e-5 of a gradient.
 */
const EXACT = 1e-4;

/** @param {import('./checks.mjs').Checks} checks @param {string} shared the reference set, for tiny-sd2 */
export async function partTrainingReferences(checks, shared = path.join(HERE, '../shared/reference')) {
	const manifest = json(path.join(ROOT, 'manifest.json'));
	const parameters = json(path.join(ROOT, 'parameters.json'));
	const set = { manifest, parameters, inputs: recorded(path.join(ROOT, 'inputs.safetensors')), bases: new Map() };
	const folders = {
		'tiny-shapes': path.join(FIXTURES, 'tiny-shapes'),
		'tiny-sdxl': path.join(FIXTURES, 'tiny-sdxl-weights'),
		'tiny-sd2': path.join(shared, 'base/tiny-sd2'),
	};
	for (const [name, files] of Object.entries(manifest.bases)) {
		const same = Object.entries(files).every(([file, hash]) => hashOf(path.join(folders[name], file)) === hash);
		if (same) set.bases.set(name, await openBase(folders[name]));
		else console.log(`  references: ${folders[name]} is not the base that these were made on; its scenarios are left out`);
	}
	for (const file of Object.keys(manifest.files)) {
		const bytes = readFileSync(path.join(ROOT, file));
		const hash = createHash('sha256').update(bytes).digest('hex');
		checks.check(`references ${file}`, 'is what the manifest says', hash === manifest.files[file].sha256 ? undefined : hash);
	}
	const only = process.env.PARITY_SCENARIOS?.split(' ');
	for (const [name, engine, most] of await gradientEngines()) {
		const worst = { first: 0, later: 0, gradient: 0, relative: 0, cosine: 0, update: 0, runs: 0, steps: 0 };
		for (const scenario of Object.keys(manifest.scenarios)) {
			const record = json(path.join(ROOT, `${scenario}.json`));
			if (!set.bases.has(record.base) || only?.includes(scenario) === false) continue;
			await checks.run(`references ${scenario} ${name}`, 'runs', () =>
				replay(checks, `references ${scenario} ${name}`, set, scenario, record, engine, most, worst),
			);
		}
		console.log(worstLine(`references ${name}`, worst));
	}
	await exact(checks, set, only);
	await halfHolds(checks, set, only);
	for (const base of set.bases.values()) await base.close();
}

const hashOf = (file) => (existsSync(file) ? createHash('sha256').update(readFileSync(file)).digest('hex') : undefined);

/** One scenario with our gradients, clipping, optimizer and averages. */
async function replay(checks, where, set, scenario, record, engine, most, worst) {
	const file = recorded(path.join(ROOT, `${scenario}.safetensors`));
	const { model, tensors, start } = await prepare(checks, where, set, record, file, engine);
	const { betas, weight_decay, eps } = set.manifest.optimizer;
	const optimizer = trainer.createOptimizer({ kind: 'adamw', betas, weight_decay, eps }, tensors);
	const accumulator = new trainer.GradientAccumulator(tensors, record.accumulate);
	const averages = Object.entries(record.ema ?? {}).map(([kind, facts]) => ({
		kind,
		facts,
		average: new EmaModel(facts.options, tensors),
	}));
	// Where float32 itself loses more than the issue allows, ten times that is the bar.
	const hard = file.has('step0/noisy_f64');
	const rates = {
		unet: record.lr.unet,
		text_encoder: record.lr.text_encoder ?? record.lr.unet,
		tokens: record.lr.tokens ?? record.lr.unet,
	};
	const last = Math.min(record.losses.length, most ?? record.losses.length);
	let done = 0;
	for (const [i, plan] of record.batches.slice(0, last).entries()) {
		const { loss, gradients } = await model.gradients(batchOf(set, record, plan));
		const error = Math.abs(loss / record.losses[i] - 1);
		const bar = Math.max(i === 0 ? BARS.lossFirst : BARS.lossLater, hard ? TIMES * record.f32_vs_f64.loss : 0);
		if (!hard) worst[i === 0 ? 'first' : 'later'] = Math.max(worst[i === 0 ? 'first' : 'later'], error);
		worst.steps++;
		checks.check(where, `loss of micro-batch ${i}`, within(error, bar));
		accumulator.add(loss, gradients);
		if (!accumulator.full) continue;
		const summed = accumulator.take().gradients;
		if (`grad${done}` in record.grad_norms) gradientsHold(checks, where, record, file, done, summed, tensors, hard ? undefined : worst);
		if (record.clip !== undefined) {
			const { norm } = trainer.clipGradients(summed, record.clip);
			const expected = record.grad_norms_before_clip[done];
			const normBar = Math.max(BARS.lossLater, (TIMES * (hard ? record.f32_vs_f64.grad_norm : 0)) / expected);
			checks.check(where, `gradient norm of step ${done}`, within(Math.abs(norm / expected - 1), normBar));
		}
		optimizer.step(summed, rates);
		done++;
		updatesHold(
			checks,
			where,
			record,
			file,
			`after${done}`,
			new Map(tensors.map((t) => [t.name, t.values])),
			start,
			hard ? undefined : worst,
		);
		for (const { kind, facts, average } of averages) {
			average.step();
			checks.check(where, `decay of ${kind} at step ${done}`, within(Math.abs(average.decayAt(done) - facts.decay[done - 1]), 1e-15));
			updatesHold(checks, where, record, file, `${kind}${done}`, average.values, start, worst);
		}
	}
	worst.runs++;
	await model.close();
	return undefined;
}

/** The model of a scenario, its tensors at the start. */
export async function prepare(checks, where, { manifest, parameters, bases }, record, file, engine) {
	const base = bases.get(record.base);
	const { modules, tensors } = await trainables(checks, where, parameters, base, record, file);
	const schedule = runtime.noiseSchedule({ ...manifest.betas, rescale_betas_zero_snr: record.rescale_betas_zero_snr });
	const table = file.get('alphas_cumprod');
	if (table !== undefined) {
		checks.check(where, 'alphas', within(apart(schedule.alphasCumprod, table.data), ALPHAS));
		checks.check(
			where,
			'the last alpha is exactly zero',
			schedule.alphasCumprod.at(-1) === 0 ? undefined : `${schedule.alphasCumprod.at(-1)}`,
		);
	}
	const gamma = record.loss_rule === 'sample_snr' ? Number.POSITIVE_INFINITY : record.batches[0].min_snr_gamma;
	const model = modelOver({ base, schedule }, engine, modules, tensors, {
		prediction: record.prediction_type,
		snrGamma: record.loss_rule === 'prior_min_snr_instance' ? undefined : gamma,
	});
	record.schedule = schedule;
	return { model, tensors, start: new Map(tensors.map(({ name, values }) => [name, values.slice()])) };
}

/** Factors in the order of the record: its modules, then rows. */
async function trainables(checks, where, parameters, base, record, file) {
	const rows = file.get('init/added_rows');
	const last = rows === undefined ? [] : [trainer.tokenRows(Float32Array.from(rows.data), rows.shape[0])];
	if (record.modules === undefined) return { modules: [], tensors: last };
	const { list, rank, alpha, others, scaling } = record.modules;
	const names = parameters.lists[list].map((i) => parameters.modules[i]);
	const options = record.adapters.unet ?? record.adapters.text;
	const chosen = trainer.targetModules(trainer.modulesOf(base), {
		rank,
		alpha,
		include: names,
		patterns: Object.entries(others).map(([pattern, own]) => ({ pattern, rank: own.rank, alpha: own.alpha })),
		rankStabilised: options.use_rslora,
		dora: options.use_dora,
	});
	const byName = new Map(chosen.map((m) => [`${m.component}.${m.path}`, m]));
	const wrongs = new Wrongs();
	for (const name of names) {
		const expected = others[name]?.scaling ?? scaling;
		const got = byName.get(name)?.scaling;
		if (got === undefined || Math.abs(got - expected) > 1e-15) wrongs.add(`${name}: ${got} for ${expected}`);
	}
	checks.check(
		where,
		'the modules and their scaling are PEFT’s',
		byName.size === names.length ? wrongs.text : `${byName.size} for ${names.length}`,
	);
	const magnitudes = new Map();
	if (options.use_dora === true) {
		// Ours, from the base; PEFT's stand in the file for some.
		const source = runtime.parameterSource({ parameters: [], values: [] }, base.weights);
		for (const tensor of await trainer.initialTensors(chosen, { seed: 0 }, source)) {
			if (!tensor.name.endsWith(':magnitude')) continue;
			magnitudes.set(tensor.name, tensor);
			const expected = file.get(`init/${peftName(tensor.name)}`);
			if (expected !== undefined) checks.check(where, `${tensor.name} at the start`, within(apart(tensor.values, expected.data), 1e-6));
		}
	}
	const adapter = record.init.endsWith('.safetensors') ? recorded(path.join(FIXTURES, record.init)) : undefined;
	const tensors = names.flatMap((name) => {
		const { component, rank: r, inner, out, dora } = byName.get(name);
		const downShape = [r, ...inner];
		const upShape = [out, r, ...inner.slice(1).map(() => 1)];
		const make = (part, shape) => {
			const count = shape.reduce((a, b) => a * b, 1);
			if (adapter !== undefined) return Float32Array.from(adapter.get(`${name}.lora.${part}.weight`).data);
			if (part === 'down') return hashed(`${name}.lora_A.weight`, count, 1);
			return record.init === 'A and B hashed' ? hashed(`${name}.lora_B.weight`, count, 0.0625) : new Float32Array(count);
		};
		const own = [
			{ name: `${name}:down`, group: component, shape: downShape, values: make('down', downShape) },
			{ name: `${name}:up`, group: component, shape: upShape, values: make('up', upShape) },
		];
		return dora ? [...own, magnitudes.get(`${name}:magnitude`)] : own;
	});
	return { modules: chosen, tensors: [...tensors, ...last] };
}

export function batchOf({ inputs }, record, plan) {
	const prefix = { 'tiny-sdxl': 'sdxl/', 'tiny-sd2': 'sd2/' }[record.base] ?? '';
	const withIds = record.adapters.text !== undefined || record.rows !== undefined;
	// Rows of the states: prompts 0 to 3, then the two of the tag drop-out.
	const text = withIds
		? { ids: plan.prompts.map((p) => [...rowOf(inputs.get('ids'), p)]) }
		: {
				states: gathered(inputs.get(`${prefix}states`), plan.prompts),
				...(prefix === 'sdxl/' ? { added: gathered(inputs.get('sdxl/added'), plan.prompts) } : {}),
			};
	let { weights } = plan;
	if (record.loss_rule === 'prior_min_snr_instance') {
		// The weight is of the instance half alone, so it comes in here.
		weights = weights.map((w, i) => {
			const ratio = runtime.snr(record.schedule, plan.timesteps[i]);
			return i < weights.length / 2 ? (w * Math.min(ratio, plan.min_snr_gamma)) / ratio : w;
		});
	}
	return {
		latents: gathered(inputs.get('latents'), plan.latents),
		noise: gathered(inputs.get('noise'), plan.noise),
		timesteps: plan.timesteps,
		text,
		weights,
		...(plan.mask === undefined ? {} : { mask: gathered(inputs.get('mask'), plan.mask) }),
	};
}

/** @param worst undefined: a scenario whose bars are those of float32 itself */
function gradientsHold(checks, where, record, file, step, gradients, tensors, worst) {
	const prefix = `grad${step}`;
	const lost = record.f32_vs_f64[prefix];
	const largest = record.largest_gradient[prefix];
	const list = [...file]
		.filter(([name]) => name.startsWith(`${prefix}/`))
		.map(([name, t]) => [inputName(name.slice(prefix.length + 1)), t.data]);
	checks.check(`${where} ${prefix}`, 'gradients are recorded', list.length > 0 ? undefined : 'none');
	const bar = Math.max(BARS.gradient, worst === undefined ? (TIMES * lost) / largest : 0);
	for (const [name, expected] of list) {
		const got = gradients.get(name) ?? [];
		const error = apart(got, expected);
		checks.check(`${where} ${prefix}`, `${name} entry by entry`, within(error / largest, bar));
		const most = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
		if (worst === undefined || most <= 1e3 * lost) {
			checks.check(`${where} ${prefix}`, `${name} absolute`, within(error, TIMES * lost));
			continue;
		}
		const { relative, cosine } = direction(got, expected);
		worst.gradient = Math.max(worst.gradient, error / largest);
		worst.relative = Math.max(worst.relative, relative);
		worst.cosine = Math.max(worst.cosine, cosine);
		checks.check(`${where} ${prefix}`, `${name} relative`, within(relative, BARS.relative));
		checks.check(`${where} ${prefix}`, `${name} cosine`, within(cosine, BARS.cosine));
	}
	// Norms of all, seven digits; what is zero is zero to the last entry.
	const wrongs = new Wrongs();
	let zeros = 0;
	for (const [i, expected] of record.grad_norms[prefix].entries()) {
		const { name, values } = tensors[i];
		const got = gradients.get(name) ?? [];
		if (expected === 0) {
			zeros++;
			if (got.length !== values.length || got.some((x) => x !== 0)) wrongs.add(`${name} is not zero`);
			continue;
		}
		const error = Math.abs(Math.sqrt(square(Float64Array.from(got))) - expected);
		const allowed = Math.max(BARS.relative * expected, TIMES * lost * Math.sqrt(values.length));
		if (!(error <= allowed)) wrongs.add(`norm of ${name} is ${short(error)} from ${expected}`);
	}
	checks.check(`${where} ${prefix}`, 'norms of all gradients', wrongs.text);
	checks.check(`${where} ${prefix}`, 'as many are exactly zero', zeros === record.gradients_exactly_zero[prefix] ? undefined : `${zeros}`);
}

/**
 * Whether a tensor's gradient is nothing but torch's rounding: queries and keys of the mid block, which has one position, so
 * that its softmax is 1 whatever they are. AdamW makes steps of it all the same.
 */
function isNoise(file, record, name) {
	const recordedOnes = Object.keys(record.grad_norms).flatMap((prefix) => {
		const gradient = file.get(`${prefix}/${name}`);
		return gradient === undefined ? [] : [gradient.data.every((x) => Math.abs(x) <= TIMES * record.f32_vs_f64[prefix])];
	});
	return recordedOnes.length > 0 && recordedOnes.every((noise) => noise);
}

/** Factors (or their averages) after steps: as far from the start as torch's, to the bars. */
function updatesHold(checks, where, record, file, prefix, values, start, worst) {
	const lost = record.f32_vs_f64[prefix];
	for (const [key, expected] of file) {
		if (!key.startsWith(`${prefix}/`)) continue;
		const name = inputName(key.slice(prefix.length + 1));
		const got = values.get(name);
		const before = start.get(name);
		const entry = apart(got, expected.data);
		checks.check(`${where} ${prefix}`, `${name} entries`, within(entry, Math.max(TIMES * lost, 1e-7)));
		const moved = Math.sqrt(expected.data.reduce((sum, x, i) => sum + (x - before[i]) ** 2, 0));
		if (worst === undefined || moved === 0 || isNoise(file, record, key.slice(prefix.length + 1))) continue;
		const relative = Math.sqrt(expected.data.reduce((sum, x, i) => sum + (x - got[i]) ** 2, 0)) / moved;
		worst.update = Math.max(worst.update, relative);
		checks.check(`${where} ${prefix}`, `${name} update`, within(relative, BARS.update));
	}
	const norms = record[`update_norms_${prefix}`];
	if (norms === undefined) return;
	const wrongs = new Wrongs();
	for (const [i, name] of [...start.keys()].entries()) {
		const before = start.get(name);
		const norm = Math.sqrt(values.get(name).reduce((sum, x, k) => sum + (x - before[k]) ** 2, 0));
		const allowed = Math.max(BARS.update * norms[i], TIMES * lost * Math.sqrt(before.length));
		if (!(Math.abs(norm - norms[i]) <= allowed)) wrongs.add(`${name} moved by ${norm}, recorded ${norms[i]}`);
	}
	checks.check(`${where} ${prefix}`, 'how far all tensors moved', wrongs.text);
}

/** What float32 cannot show: gradients of the first step by the float64 engine, against torch's in float64. */
async function exact(checks, set, only) {
	let most = 0;
	let runs = 0;
	for (const scenario of Object.keys(set.manifest.scenarios)) {
		const record = json(path.join(ROOT, `${scenario}.json`));
		const file = recorded(path.join(ROOT, `${scenario}.safetensors`));
		if (!file.has('step0/noisy_f64') || !set.bases.has(record.base) || only?.includes(scenario) === false) continue;
		const where = `references ${scenario} float64`;
		await checks.run(where, 'runs', async () => {
			const { model } = await prepare(checks, where, set, record, file, trainer.engineGradients(runtime.createFloat64Engine()));
			const { loss, gradients } = await model.gradients(batchOf(set, record, record.batches[0]));
			checks.check(where, 'loss', within(Math.abs(loss / record.losses_f64[0] - 1), EXACT));
			for (const [key, expected] of file) {
				if (!key.startsWith('grad0_f64/')) continue;
				const error = apart(gradients.get(inputName(key.slice('grad0_f64/'.length))), expected.data) / record.largest_gradient.grad0;
				most = Math.max(most, error);
				checks.check(where, key, within(error, EXACT));
			}
			await model.close();
			runs++;
		});
	}
	if (runs > 0) console.log(`  references float64: ${runs} runs, gradients ${short(most)} of the largest (bar ${short(EXACT)})`);
}
