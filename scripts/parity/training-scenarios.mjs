/**
 * Every recorded training scenario, step by step with our gradients and optimizer: losses, gradients, factors after steps.
 * A set is discovered from its manifest; nothing here knows the numbers of one.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Checks } from './checks.mjs';
import { apart, openModel, recorded, runtime, within } from './runtime-library.mjs';
import { gradientEngines, trainer } from './training-library.mjs';

/** Bars of the issue. */
const LOSS_FIRST = 1e-6;
const LOSS_LATER = 2e-5;
const GRADIENT_OF_LARGEST = 1e-5;
const GRADIENT_RELATIVE = 1e-4;
const COSINE = 1e-8;
const UPDATE = 1e-3;

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));
const square = (x) => x.reduce((sum, v) => sum + v * v, 0);
const rowOf = ({ shape, data }, i) => data.subarray(i * size(shape), (i + 1) * size(shape));
const size = (shape) => shape.slice(1).reduce((a, b) => a * b, 1);
const inputName = (name) => name.replace(/\.lora_A\.weight$|\.down$/, ':down').replace(/\.lora_B\.weight$|\.up$/, ':up');

/** @param {import('./checks.mjs').Checks} checks @param {string} root the folder `training` of a set */
export async function partScenarios(checks, root) {
	const manifest = json(path.join(root, 'manifest.json'));
	const { base } = await openModel(path.dirname(root), 'tiny-sd');
	const set = {
		root,
		manifest,
		base,
		batches: recorded(path.join(root, manifest.batches.file)),
		init: recorded(path.join(root, manifest.batches.init)),
		schedule: runtime.noiseSchedule(base.scheduler.config),
	};
	for (const [name, engine, most] of await gradientEngines()) {
		const worst = { first: 0, later: 0, gradient: 0, relative: 0, cosine: 0, update: 0, entries: 0, steps: 0, runs: 0 };
		for (const [scenario, facts] of Object.entries(manifest.scenarios)) {
			const where = `training ${scenario} ${name}`;
			try {
				if (facts.files.some((file) => file.startsWith('pti/'))) await pivotal(checks, where, set, engine, worst, facts);
				else if (scenario === 'textual-inversion') await inversion(checks, where, set, engine, worst, facts);
				else await factors(checks, where, set, engine, worst, facts, most);
			} catch (error) {
				checks.check(where, 'runs', error.stack);
			}
		}
		console.log(
			`  training ${name}: ${worst.runs} runs, ${worst.steps} steps; loss ${e(worst.first)} at step 0 (bar ${e(LOSS_FIRST)}), ${e(worst.later)} after (${e(LOSS_LATER)}); ` +
				`gradients ${e(worst.gradient)} of the largest (${e(GRADIENT_OF_LARGEST)}), ${e(worst.relative)} a factor (${e(GRADIENT_RELATIVE)}), 1 - cosine ${e(worst.cosine)} (${e(COSINE)}); ` +
				`updates ${e(worst.update)} (${e(UPDATE)}), entries at most ${worst.entries.toFixed(2)} of their bar`,
		);
	}
	await base.close();
}

const e = (x) => x.toExponential(1);

/** Scenarios that diffusers' and PEFT's code made. */
async function factors(checks, where, set, engine, worst, facts, most) {
	const { manifest, batches, init, base, schedule, root } = set;
	const [file, record] = [recorded(path.join(root, facts.files[0])), json(path.join(root, facts.files[1]))];
	const {
		with_te: text = false,
		prior,
		prediction,
		snr_gamma: gamma,
		offset,
		sched,
		warmup = 0,
		total = 0,
		accumulate = 1,
		lr = 1e-4,
	} = facts.settings;
	const own = file.has('noise') ? file : batches;
	const modules = trainer.targetModules(trainer.modulesOf(base), {
		rank: manifest.batches.rank,
		alpha: manifest.batches.alpha,
		unet: 'attention',
		textEncoder: text ? 'attention' : undefined,
	});
	const tensors = modules.flatMap(({ component, path: p }) =>
		[
			['down', 'lora_A'],
			['up', 'lora_B'],
		].map(([part, letter]) => {
			const { shape, data } = init.get(`${component}.${p}.${letter}.weight`);
			return { name: `${component}.${p}:${part}`, group: component, shape, values: Float32Array.from(data) };
		}),
	);
	const start = new Map(tensors.map(({ name, values }) => [name, values.slice()]));
	const modelOn = (by) =>
		trainer.createTrainingModel({
			unet: base.unet,
			weights: base.weights,
			textEncoder: base.textEncoders[0],
			engine: by,
			modules,
			tensors,
			prediction: prediction ?? 'epsilon',
			schedule,
			snrGamma: gamma,
			memory: 'fast',
		});
	const model = modelOn(engine);
	const exactGradients = async (batch) => {
		const oracle = modelOn(trainer.engineGradients(runtime.createFloat64Engine()));
		const { gradients } = await oracle.gradients(batch);
		await oracle.close();
		return gradients;
	};
	const optimizer = trainer.createOptimizer({ kind: 'adamw' }, tensors);
	const factor = trainer.learningRateSchedule({ kind: sched ?? 'constant', warmupSteps: warmup, totalSteps: total });
	const accumulator = new trainer.GradientAccumulator(tensors, accumulate);
	let done = 0;
	const last = Math.min(record.losses.length, most ?? record.losses.length);
	for (let i = 0; i < last; i++) {
		const batch = prior === undefined ? plainBatch(set, own, i, offset) : priorBatch(set, i, prior);
		const { loss, gradients } = await model.gradients(batch);
		lossHolds(checks, where, i, loss, record.losses[i], record.losses_f64?.[i], worst);
		if (i === 0 && prior === undefined) predictionHolds(checks, where, file, batch, set, prediction);
		accumulator.add(loss, gradients);
		if (!accumulator.full) continue;
		const summed = accumulator.take().gradients;
		const lost = record.f32_vs_f64[`grad${done}`];
		if (done === 0) gradientsHold(checks, `${where} step 0`, file, 'grad0/', summed, lost, worst);
		if (done === 1)
			await laterGradientsHold(
				checks,
				`${where} step 1`,
				file,
				summed,
				lost,
				worst,
				accumulate === 1 ? () => exactGradients(batch) : undefined,
			);
		const { norm } = trainer.clipGradients(summed, 1);
		checks.check(where, `gradient norm of step ${done}`, within(Math.abs(norm / record.grad_norms_before_clip[done] - 1), LOSS_LATER));
		const rate = lr * factor(done);
		checks.check(where, `rate of step ${done}`, within(Math.abs(rate - record.lr[done]), 1e-12));
		optimizer.step(summed, { unet: rate, text_encoder: rate });
		done++;
		updatesHold(
			checks,
			where,
			file,
			`after${done}/`,
			tensors,
			start,
			record.f32_vs_f64[`after${done}`] ?? record.f32_vs_f64.factors,
			worst,
		);
	}
	if (last === record.losses.length && typeof record.factor_norms_after_last === 'object') {
		for (const [name, norm] of Object.entries(record.factor_norms_after_last)) {
			const values = tensors.find((t) => t.name === inputName(name)).values;
			checks.check(
				where,
				`norm of ${name}`,
				within(Math.abs(Math.sqrt(square(values)) - norm), Math.max(1e-6 * norm, 10 * rate10(record) * Math.sqrt(values.length))),
			);
		}
	}
	worst.runs++;
	await model.close();
}

const rate10 = (record) =>
	Math.max(...Object.entries(record.f32_vs_f64).flatMap(([k, v]) => (/^(after|factors)/.test(k) ? [v] : [])), 1e-7);

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

const gathered = (pool, rows) =>
	runtime.f32Tensor([rows.length, ...pool.shape.slice(1)], Float32Array.from(rows.flatMap((r) => [...rowOf(pool, r)])));

/**
 * Gradients at step 1 are taken at factors that AdamW's first step moved by the rate whichever sign a gradient of rounding
 * had (the set's first trap): two right programs may stand apart there. Where they do, ours are held against float64 at our factors.
 */
async function laterGradientsHold(checks, where, file, gradients, lost, worst, exact) {
	const trial = new Checks();
	trial.check = (_, __, wrong) => {
		trial.failed += wrong === undefined ? 0 : 1;
	};
	const figures = { ...worst };
	gradientsHold(trial, where, file, 'grad1/', gradients, lost, figures);
	if (trial.failed === 0 || exact === undefined) return gradientsHold(checks, where, file, 'grad1/', gradients, lost, worst);
	const own = await exact();
	const names = [...file.keys()].filter((name) => name.startsWith('grad1/'));
	const at = new Map(names.map((name) => [name, { data: Float64Array.from(own.get(inputName(name.slice('grad1/'.length)))) }]));
	console.log(`  ${where}: factors stand apart after step 0; gradients are held against float64 at the same factors`);
	gradientsHold(checks, where, at, 'grad1/', gradients, lost, worst);
}

/** Noisy latents and target as the objective makes them. */
function predictionHolds(checks, where, file, batch, { schedule }, prediction) {
	const noisy = file.get('step0/noisy_latents') ?? file.get('step0/noisy');
	if (noisy === undefined) return;
	const n = size(noisy.shape);
	for (const [i, t] of batch.timesteps.entries()) {
		const part = (x) => Float32Array.from(x.data.subarray(i * n, (i + 1) * n));
		checks.check(
			where,
			`noisy latents of sample ${i}`,
			within(apart(runtime.addNoise(schedule, part(batch.latents), part(batch.noise), t), rowOf(noisy, i)), 1e-6),
		);
		if (prediction !== 'v_prediction') continue;
		checks.check(
			where,
			`velocity of sample ${i}`,
			within(apart(runtime.velocity(schedule, part(batch.latents), part(batch.noise), t), rowOf(file.get('step0/target'), i)), 1e-6),
		);
	}
}

function lossHolds(checks, where, i, got, expected, exact, worst) {
	const error = Math.abs(got - expected) / Math.abs(expected);
	const bar = i === 0 ? LOSS_FIRST : LOSS_LATER;
	const key = i === 0 ? 'first' : 'later';
	worst[key] = Math.max(worst[key], error);
	worst.steps++;
	checks.check(where, `loss of step ${i}`, within(error, bar) && `${within(error, bar)} (float64 ${exact})`);
}

function gradientsHold(checks, where, file, prefix, gradients, lost = 0, worst) {
	const list = [...file]
		.filter(([name]) => name.startsWith(prefix))
		.map(([name, tensor]) => [inputName(name.slice(prefix.length)), tensor.data]);
	const largest = Math.max(...list.map(([, data]) => data.reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
	for (const [name, expected] of list) {
		const got = gradients.get(name);
		if (got === undefined) {
			checks.check(where, `a gradient of ${name}`, 'there is none');
			continue;
		}
		const error = apart(got, expected);
		const most = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
		worst.gradient = Math.max(worst.gradient, error / largest);
		checks.check(where, `${name} entry by entry`, within(error / largest, GRADIENT_OF_LARGEST));
		if (most === 0) checks.check(where, `${name} is exactly zero`, got.every((x) => x === 0) ? undefined : 'it is not');
		else if (most > 1e3 * lost) {
			const norm = Math.sqrt(square(expected));
			const relative = Math.sqrt(expected.reduce((sum, x, i) => sum + (got[i] - x) ** 2, 0)) / norm;
			const cosine = 1 - expected.reduce((sum, x, i) => sum + got[i] * x, 0) / norm / Math.sqrt(square(Float64Array.from(got)));
			worst.relative = Math.max(worst.relative, relative);
			worst.cosine = Math.max(worst.cosine, cosine);
			checks.check(where, `${name} relative`, within(relative, GRADIENT_RELATIVE));
			checks.check(where, `${name} cosine`, within(cosine, COSINE));
		} else checks.check(where, `${name} absolute`, within(error, 10 * lost));
	}
	// With B = 0 nothing reaches A.
	if (prefix === 'grad0/') {
		const zero = [...gradients].filter(([name]) => name.endsWith(':down'));
		checks.check(where, 'gradients of A are exactly zero', zero.every(([, g]) => g.every((x) => x === 0)) ? undefined : 'they are not');
	}
}

function updatesHold(checks, where, file, prefix, tensors, start, lost, worst) {
	for (const tensor of tensors) {
		const { name, values } = tensor;
		const recordedName = [...file.keys()].find((k) => k.startsWith(prefix) && inputName(k.slice(prefix.length)) === name);
		if (recordedName === undefined) continue;
		const expected = file.get(recordedName).data;
		const before = start.get(name);
		let [apartSum, updateSum] = [0, 0];
		for (let i = 0; i < values.length; i++) {
			apartSum += (values[i] - expected[i]) ** 2;
			updateSum += (expected[i] - before[i]) ** 2;
		}
		const relative = Math.sqrt(apartSum) / Math.max(Math.sqrt(updateSum), 1e-12);
		if (updateSum > 0) {
			worst.update = Math.max(worst.update, relative);
			checks.check(where, `${prefix}${name} update`, within(relative, UPDATE));
		}
		const bar = Math.max(10 * (lost ?? 0), 1e-7);
		const entry = apart(values, expected);
		worst.entries = Math.max(worst.entries, entry / bar);
		checks.check(where, `${prefix}${name} entries`, within(entry, bar));
	}
}

/** diffusers' textual inversion: one row, decayed as the others are, no clipping. */
async function inversion(checks, where, set, engine, worst, facts) {
	const { root, manifest, batches, base, schedule } = set;
	const [file, record] = [recorded(path.join(root, facts.files[0])), json(path.join(root, facts.files[1]))];
	const rows = trainer.tokenRows(Float32Array.from(file.get('row/initial').data), 1);
	const model = trainer.createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		textEncoder: base.textEncoders[0],
		engine,
		modules: [],
		tensors: [rows],
		prediction: 'epsilon',
		schedule,
		memory: 'fast',
	});
	const { betas, weight_decay, eps } = record.optimizer;
	const optimizer = trainer.createOptimizer({ kind: 'adamw', betas, weight_decay, eps }, [rows]);
	const ids = [...file.get('ids').data];
	for (const [i, expected] of record.losses.entries()) {
		const batch = plainBatch(set, batches, i, undefined);
		const { loss, gradients } = await model.gradients({ ...batch, text: { ids: batch.weights.map(() => ids) } });
		lossHolds(checks, where, i, loss, expected, record.losses_f64?.[i], worst);
		if (i === 0)
			gradientsHold(
				checks,
				where,
				new Map([['row/added_rows', file.get('grad0/new_row')]]),
				'row/',
				gradients,
				record.f32_vs_f64['grad0/new_row'],
				worst,
			);
		optimizer.step(gradients, { tokens: record.lr });
		const after = file.get(`row/after${i + 1}`);
		if (after === undefined) continue;
		const before = file.get('row/initial').data;
		updatesHold(
			checks,
			where,
			new Map([['row/added_rows', after]]),
			'row/',
			[rows],
			new Map([['added_rows', before]]),
			record.f32_vs_f64[`row/after${i + 1}`],
			worst,
		);
	}
	checks.check(where, 'the manifest names the token', manifest.profile.token === record.token ? undefined : record.token);
	worst.runs++;
	await model.close();
}

/** cloneofsimo's two phases. The schedule moves before the optimizer, which steps when the count of micro-batches is a multiple. */
async function pivotal(checks, where, set, engine, worst, facts) {
	const { root, base, schedule } = set;
	for (const name of facts.files.filter((file) => /pti-accum.*\.json$/.test(file))) {
		const record = json(path.join(root, name));
		const file = recorded(path.join(root, name.replace(/json$/, 'safetensors')));
		const here = `${where} accumulation ${record.accum_iter}`;
		const rows = trainer.tokenRows(Float32Array.from(file.get('phase1/row_initial').data), 1);
		const make = (modules, tensors) =>
			trainer.createTrainingModel({
				unet: base.unet,
				weights: base.weights,
				textEncoder: base.textEncoders[0],
				engine,
				modules,
				tensors,
				frozen: modules.length > 0 ? new Set(['added_rows']) : undefined,
				prediction: 'epsilon',
				schedule,
				memory: 'fast',
			});
		const batch = (phase, i) => {
			const one = (key) => runtime.f32Tensor([1, ...file.get(key).shape.slice(1)], Float32Array.from(rowOf(file.get(key), i)));
			return {
				latents: one('phase1/latents'),
				noise: one(`${phase}/noise`),
				timesteps: [file.get(`${phase}/timesteps`).data[i]],
				text: { ids: [[...file.get('phase1/ids').data]] },
				weights: [1],
			};
		};
		const first = make([], [rows]);
		const optimizer = trainer.createOptimizer({ kind: 'adamw', weight_decay: 0 }, [rows]);
		const linear = trainer.learningRateSchedule({ kind: 'linear', warmupSteps: 0, totalSteps: record.steps });
		const sum = new trainer.GradientAccumulator([rows], record.accum_iter);
		let taken = 0;
		for (const [i, expected] of record.losses.entries()) {
			const { loss, gradients } = await first.gradients(batch('phase1', i));
			lossHolds(checks, here, i, loss, expected, undefined, worst);
			sum.add(loss, gradients);
			if (i % record.accum_iter !== 0) continue;
			const { gradients: whole } = sum.take();
			const rate = record.lr * linear(i + 1);
			checks.check(here, `rate of step ${taken}`, within(Math.abs(rate - record.lr_at_optimizer_steps[taken]), 1e-12));
			gradientsHold(
				checks,
				`${here} step ${taken}`,
				new Map([['row/added_rows', { data: rowOf(file.get('phase1/grad_at_optimizer_steps'), taken) }]]),
				'row/',
				whole,
				0,
				worst,
			);
			optimizer.step(whole, { tokens: rate });
			const after = rowOf(file.get('phase1/row_after_adamw_before_decay'), taken);
			checks.check(here, `row after AdamW, step ${taken}`, within(apart(rows.values, after), 1e-6));
			trainer.applyNormPrior(rows, rate, 0.4);
			taken++;
		}
		checks.check(here, 'row at the end', within(apart(rows.values, file.get('phase1/row_final').data), 1e-6));
		worst.runs++;
		await first.close();
		if (record.phase2 === undefined) continue;
		await second(checks, here, set, worst, record, file, rows, make, batch);
	}
}

async function second(checks, where, { base }, worst, record, file, rows, make, batch) {
	const { phase2 } = record;
	const modules = trainer.targetModules(trainer.modulesOf(base), {
		rank: phase2.rank,
		include: [...file.keys()].flatMap((k) =>
			/^phase2\/initial\/.*\.down$/.test(k) ? [k.slice('phase2/initial/'.length, -'.down'.length)] : [],
		),
	});
	const tensors = modules.flatMap(({ component, path: p, out, rank }) => {
		const { shape, data } = file.get(`phase2/initial/${component}.${p}.down`);
		return [
			{ name: `${component}.${p}:down`, group: component, shape, values: Float32Array.from(data) },
			{ name: `${component}.${p}:up`, group: component, shape: [out, rank], values: new Float32Array(out * rank) },
		];
	});
	const start = new Map(tensors.map(({ name, values }) => [name, values.slice()]));
	const model = make(modules, [...tensors, rows]);
	const optimizer = trainer.createOptimizer({ kind: 'adamw', weight_decay: phase2.weight_decay }, tensors);
	const linear = trainer.learningRateSchedule({ kind: 'linear', warmupSteps: 0, totalSteps: phase2.steps });
	for (const [i, expected] of phase2.losses.entries()) {
		const { loss, gradients } = await model.gradients(batch('phase2', i));
		lossHolds(checks, `${where} phase 2`, i, loss, expected, undefined, worst);
		const { norm } = trainer.clipGradients(gradients, 1);
		checks.check(where, `gradient norm of step ${i} of phase 2`, within(Math.abs(norm / phase2.grad_norms_before_clip[i] - 1), LOSS_LATER));
		const [unet, text] = phase2.lr_unet_text.map((rate) => rate * linear(i + 1));
		checks.check(
			where,
			`rates of step ${i} of phase 2`,
			within(Math.abs(unet - phase2.lr_at_steps[i][0]) + Math.abs(text - phase2.lr_at_steps[i][1]), 1e-12),
		);
		optimizer.step(gradients, { unet, text_encoder: text });
	}
	updatesHold(checks, `${where} phase 2`, file, 'phase2/final/', tensors, start, 1e-6, worst);
	worst.runs++;
	await model.close();
}
