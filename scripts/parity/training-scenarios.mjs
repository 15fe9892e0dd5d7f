/**
 * Every recorded training scenario, step by step with our gradients and optimizer: losses, gradients, factors after steps.
 * A set is discovered from its manifest; nothing here knows the numbers of one.
 */
import path from 'node:path';
import { Checks } from './checks.mjs';
import { apart, recorded, runtime, within } from './runtime-library.mjs';
import {
	BARS,
	direction,
	gradientEngines,
	inputName,
	json,
	modelOver,
	openTrainingSet,
	pivotalBatch,
	pivotalRecords,
	recordedBatch,
	recordedFactors,
	rowOf,
	short,
	size,
	square,
	trainer,
} from './training-library.mjs';

/** cloneofsimo's runs have no float64 twin: the bar of an entry is that of diffusers' runs of ten steps, whose float32 loses 1.4e-6 and less. */
const PIVOTAL_LOST = 1e-6;

/** @param {import('./checks.mjs').Checks} checks @param {string} root the folder `training` of a set */
export async function partScenarios(checks, root) {
	const set = await openTrainingSet(root);
	for (const [name, engine, most] of await gradientEngines()) {
		const worst = { first: 0, later: 0, gradient: 0, relative: 0, cosine: 0, update: 0, entries: 0, steps: 0, runs: 0 };
		for (const [scenario, facts] of Object.entries(set.manifest.scenarios)) {
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
			`  training ${name}: ${worst.runs} runs, ${worst.steps} steps; loss ${short(worst.first)} at step 0 (bar ${short(BARS.lossFirst)}), ${short(worst.later)} after (${short(BARS.lossLater)}); ` +
				`gradients ${short(worst.gradient)} of the largest (${short(BARS.gradient)}), ${short(worst.relative)} a factor (${short(BARS.relative)}), 1 - cosine ${short(worst.cosine)} (${short(BARS.cosine)}); ` +
				`updates ${short(worst.update)} (${short(BARS.update)}), entries at most ${worst.entries.toFixed(2)} of their bar`,
		);
	}
	await set.base.close();
}

/** Scenarios that diffusers' and PEFT's code made. */
async function factors(checks, where, set, engine, worst, facts, most) {
	const { batches, root } = set;
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
	const { modules, tensors } = recordedFactors(set, text);
	const start = new Map(tensors.map(({ name, values }) => [name, values.slice()]));
	const modelOn = (by) => modelOver(set, by, modules, tensors, { prediction: prediction ?? 'epsilon', snrGamma: gamma });
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
		const batch = recordedBatch(set, own, i, { prior, offset });
		const { loss, gradients } = await model.gradients(batch);
		lossHolds(checks, where, i, loss, record.losses[i], record.losses_f64?.[i], worst);
		if (i === 0) predictionHolds(checks, where, file, batch, set, prediction);
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
		checks.check(where, `gradient norm of step ${done}`, within(Math.abs(norm / record.grad_norms_before_clip[done] - 1), BARS.lossLater));
		const rate = lr * factor(done);
		checks.check(where, `rate of step ${done}`, within(Math.abs(rate - record.lr[done]), BARS.rate));
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

/** Noisy latents and target as the objective makes them, where the scenario has them. */
function predictionHolds(checks, where, file, batch, { schedule }, prediction) {
	const noisy = file.get('step0/noisy');
	if (noisy === undefined) return;
	const n = size(noisy.shape);
	for (const [i, t] of batch.timesteps.entries()) {
		const part = (x) => Float32Array.from(x.data.subarray(i * n, (i + 1) * n));
		const holds = (what, got, expected) => checks.check(where, `${what} of sample ${i}`, within(apart(got, rowOf(expected, i)), 1e-6));
		const drawn = [schedule, part(batch.latents), part(batch.noise), t];
		holds('noisy latents', runtime.addNoise(...drawn), noisy);
		holds('target', prediction === 'v_prediction' ? runtime.velocity(...drawn) : drawn[2], file.get('step0/target'));
	}
}

function lossHolds(checks, where, i, got, expected, exact, worst) {
	const error = Math.abs(got - expected) / Math.abs(expected);
	const bar = i === 0 ? BARS.lossFirst : BARS.lossLater;
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
		checks.check(where, `${name} entry by entry`, within(error / largest, BARS.gradient));
		if (most === 0) checks.check(where, `${name} is exactly zero`, got.every((x) => x === 0) ? undefined : 'it is not');
		else if (most > 1e3 * lost) {
			const { relative, cosine } = direction(got, expected);
			worst.relative = Math.max(worst.relative, relative);
			worst.cosine = Math.max(worst.cosine, cosine);
			checks.check(where, `${name} relative`, within(relative, BARS.relative));
			checks.check(where, `${name} cosine`, within(cosine, BARS.cosine));
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
			checks.check(where, `${prefix}${name} update`, within(relative, BARS.update));
		}
		const bar = Math.max(10 * (lost ?? 0), 1e-7);
		const entry = apart(values, expected);
		worst.entries = Math.max(worst.entries, entry / bar);
		checks.check(where, `${prefix}${name} entries`, within(entry, bar));
	}
}

/** diffusers' textual inversion: one row, decayed as the others are, no clipping. */
async function inversion(checks, where, set, engine, worst, facts) {
	const { root, manifest, batches } = set;
	const [file, record] = [recorded(path.join(root, facts.files[0])), json(path.join(root, facts.files[1]))];
	const rows = trainer.tokenRows(Float32Array.from(file.get('row/initial').data), 1);
	const model = modelOver(set, engine, [], [rows]);
	const { betas, weight_decay, eps } = record.optimizer;
	const optimizer = trainer.createOptimizer({ kind: 'adamw', betas, weight_decay, eps }, [rows]);
	const ids = [...file.get('ids').data];
	for (const [i, expected] of record.losses.entries()) {
		const batch = recordedBatch(set, batches, i, {});
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
	for (const { record, file } of pivotalRecords(set.root, facts)) {
		const here = `${where} accumulation ${record.accum_iter}`;
		const rows = trainer.tokenRows(Float32Array.from(file.get('phase1/row_initial').data), 1);
		const first = modelOver(set, engine, [], [rows]);
		const optimizer = trainer.createOptimizer({ kind: 'adamw', weight_decay: 0 }, [rows]);
		const linear = trainer.learningRateSchedule({ kind: 'linear', warmupSteps: 0, totalSteps: record.steps });
		const sum = new trainer.GradientAccumulator([rows], record.accum_iter);
		let taken = 0;
		for (const [i, expected] of record.losses.entries()) {
			const { loss, gradients } = await first.gradients(pivotalBatch(file, 'phase1', i));
			lossHolds(checks, here, i, loss, expected, undefined, worst);
			sum.add(loss, gradients);
			if (i % record.accum_iter !== 0) continue;
			const { gradients: whole } = sum.take();
			const rate = record.lr * linear(i + 1);
			checks.check(here, `rate of step ${taken}`, within(Math.abs(rate - record.lr_at_optimizer_steps[taken]), BARS.rate));
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
			checks.check(here, `row after AdamW, step ${taken}`, within(apart(rows.values, after), PIVOTAL_LOST));
			trainer.applyNormPrior(rows, rate, 0.4);
			taken++;
		}
		checks.check(here, 'row at the end', within(apart(rows.values, file.get('phase1/row_final').data), PIVOTAL_LOST));
		worst.runs++;
		await first.close();
		if (record.phase2 === undefined) continue;
		await second(checks, here, set, engine, worst, record, file, rows);
	}
}

async function second(checks, where, set, engine, worst, record, file, rows) {
	const { phase2 } = record;
	const modules = trainer.targetModules(trainer.modulesOf(set.base), {
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
	const model = modelOver(set, engine, modules, [...tensors, rows], { frozen: new Set([rows.name]) });
	const optimizer = trainer.createOptimizer({ kind: 'adamw', weight_decay: phase2.weight_decay }, tensors);
	const linear = trainer.learningRateSchedule({ kind: 'linear', warmupSteps: 0, totalSteps: phase2.steps });
	for (const [i, expected] of phase2.losses.entries()) {
		const { loss, gradients } = await model.gradients(pivotalBatch(file, 'phase2', i));
		lossHolds(checks, `${where} phase 2`, i, loss, expected, undefined, worst);
		const { norm } = trainer.clipGradients(gradients, 1);
		checks.check(
			where,
			`gradient norm of step ${i} of phase 2`,
			within(Math.abs(norm / phase2.grad_norms_before_clip[i] - 1), BARS.lossLater),
		);
		const [unet, text] = phase2.lr_unet_text.map((rate) => rate * linear(i + 1));
		checks.check(
			where,
			`rates of step ${i} of phase 2`,
			within(Math.abs(unet - phase2.lr_at_steps[i][0]) + Math.abs(text - phase2.lr_at_steps[i][1]), BARS.rate),
		);
		optimizer.step(gradients, { unet, text_encoder: text });
	}
	updatesHold(checks, `${where} phase 2`, file, 'phase2/final/', tensors, start, PIVOTAL_LOST, worst);
	worst.runs++;
	await model.close();
}
