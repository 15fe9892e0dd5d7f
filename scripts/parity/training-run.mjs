/**
 * The training loop itself over recorded runs: `trainRun` with rates from a configuration, batches from the set. Losses, norms and rates must be
 * the recorded ones; stopped in the middle, saved as files and resumed, the run must have the same bits as one that went through.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { apart, recorded, within } from './runtime-library.mjs';
import {
	BARS,
	gradientEngines,
	json,
	modelOver,
	openTrainingSet,
	pivotalBatch,
	pivotalRecords,
	recordedBatch,
	recordedFactors,
	short,
	trainer,
} from './training-library.mjs';

const load = (name) => import(new URL(`../../packages/trainer/dist/${name}`, import.meta.url).href);
const { trainRun } = await load('run/train-run.js');
const { runPhases } = await load('run/phases.js');
const { parseRunConfig } = await load('run/config/parse-run-config.js');
const { createCheckpointStore } = await load('io/run/checkpoint-store.js');
const { checkResume, findCheckpoint } = await load('io/run/resume-checkpoint.js');
const { openRunFolder } = await load('io/run/run-folder.js');

/** What differs for the loop: plain, accumulated, another rate each step, clipped, two groups. The objectives are compared in `training-scenarios.mjs`. */
const SCENARIOS = new Set(['t2i', 'accumulate2', 'cosine-warmup', 'lr-1e-2-clipped', 'pivotal-tuning']);

/** Of a row's entries at the end: as in `training-scenarios.mjs`. */
const ROW = 1e-6;

const hex = (values) => [...values].map(([name, v]) => `${name} ${Buffer.from(v.slice().buffer).toString('hex')}`).join('\n');

/** @param {import('./checks.mjs').Checks} checks @param {string} root the folder `training` of a set */
export async function partTrainingRun(checks, root) {
	const set = await openTrainingSet(root);
	// One path: both are compared with the recordings elsewhere, the loop is the same for both.
	const [[name, engine]] = await gradientEngines();
	const worst = { loss: 0, norm: 0, runs: 0, steps: 0 };
	for (const [scenario, facts] of Object.entries(set.manifest.scenarios)) {
		if (!SCENARIOS.has(scenario)) continue;
		const where = `training run ${scenario} ${name}`;
		try {
			if (scenario === 'pivotal-tuning') await inversions(checks, where, set, engine, worst, facts);
			else await factors(checks, where, set, engine, worst, scenario, facts);
		} catch (error) {
			checks.check(where, 'runs', error.stack);
		}
	}
	await set.base.close();
	console.log(
		`  training run ${name}: ${worst.runs} runs, ${worst.steps} steps; loss ${short(worst.loss)}, norm ${short(worst.norm)} (bar ${short(BARS.lossLater)}); each stopped, saved and resumed with the same bits`,
	);
}

/** Scenarios of diffusers' scripts. */
async function factors(checks, where, set, engine, worst, scenario, facts) {
	const { root, schedule } = set;
	const [file, record] = [recorded(path.join(root, facts.files[0])), json(path.join(root, facts.files[1]))];
	const {
		with_te: text = false,
		prior,
		prediction,
		snr_gamma: gamma,
		offset,
		sched = 'constant',
		warmup = 0,
		total = 0,
		accumulate = 1,
		lr = 1e-4,
	} = facts.settings;
	const config = parseRunConfig(
		{
			base: 'tiny-sd',
			data: { path: 'recorded' },
			adapter: { text_encoder: text ? 'attention' : null },
			train: {
				learning_rate: lr,
				lr_scheduler: sched,
				lr_warmup_steps: warmup,
				max_train_steps: total === 0 ? record.grad_norms_before_clip.length : total,
				gradient_accumulation_steps: accumulate,
			},
		},
		'text-to-image',
		{ name: scenario },
	);
	const [phase] = runPhases(config, 'text-to-image', 1e6, schedule.alphasCumprod.length);
	const own = file.has('noise') ? file : set.batches;
	const make = () => {
		const { modules, tensors } = recordedFactors(set, text);
		return {
			model: modelOver(set, engine, modules, tensors, { prediction: prediction ?? 'epsilon', snrGamma: gamma }),
			trained: tensors,
			batches: source((i) => recordedBatch(set, own, i, { prior, offset })),
		};
	};
	const expected = {
		// Of the micro-batches of a step, their mean.
		losses: record.grad_norms_before_clip.map(
			(_, k) => record.losses.slice(k * accumulate, (k + 1) * accumulate).reduce((a, b) => a + b, 0) / accumulate,
		),
		norms: record.grad_norms_before_clip,
		rates: record.lr,
		group: 'unet',
	};
	await compare(checks, where, { config, phase, make, optimizer: config.optimizer, steps: expected.norms.length }, expected, worst);
}

/** The first phase of pivotal tuning: the schedule before the optimizer, which steps after the first micro-batch, and the norm prior. */
async function inversions(checks, where, set, engine, worst, facts) {
	for (const { name, record, file } of pivotalRecords(set.root, facts)) {
		const config = parseRunConfig(
			{
				base: 'tiny-sd',
				data: { path: 'recorded' },
				token: { placeholder_token: record.token, initializer_token: record.init_word },
				inversion: { steps: record.steps, learning_rate: record.lr, gradient_accumulation_steps: record.accum_iter },
			},
			'pivotal',
			{ name },
		);
		const [phase] = runPhases(config, 'pivotal', 1e6, set.schedule.alphasCumprod.length);
		const make = () => {
			const rows = trainer.tokenRows(Float32Array.from(file.get('phase1/row_initial').data), 1);
			return {
				model: modelOver(set, engine, [], [rows]),
				batches: source((i) => pivotalBatch(file, 'phase1', i)),
				trained: [rows],
				afterStep: (rates) => trainer.applyNormPrior(rows, rates.tokens, config.token.norm_prior_target),
			};
		};
		const micro = (k) => (k === 0 ? [0] : Array.from({ length: record.accum_iter }, (_, j) => (k - 1) * record.accum_iter + 1 + j));
		const expected = {
			losses: record.lr_at_optimizer_steps.map((_, k) => micro(k).reduce((sum, i) => sum + record.losses[i], 0) / micro(k).length),
			norms: undefined,
			rates: record.lr_at_optimizer_steps,
			group: 'tokens',
		};
		const here = `${where} accumulation ${record.accum_iter}`;
		const optimizer = { ...config.optimizer, weight_decay: config.inversion.weight_decay };
		const values = await compare(checks, here, { config, phase, make, optimizer, steps: expected.rates.length }, expected, worst);
		checks.check(here, 'row at the end', within(apart(values.get('added_rows'), file.get('phase1/row_final').data), ROW));
	}
}

/** Once through against the recording; then stopped, saved, resumed, against the first. @returns the values at the end */
async function compare(checks, where, { config, phase, make, optimizer, steps }, expected, worst) {
	checks.check(
		where,
		'steps of the configuration',
		phase.optimizerSteps >= steps ? undefined : `${phase.optimizerSteps}, recorded are ${steps}`,
	);
	const options = (parts, more) => ({
		model: parts.model,
		optimizer: trainer.createOptimizer(optimizer, parts.trained),
		batches: parts.batches,
		steps,
		timing: phase.timing,
		rates: phase.rates,
		maxGradNorm: phase.maxGradNorm,
		afterStep: parts.afterStep,
		...more,
	});
	const whole = make();
	const { events, result } = await finish(trainRun(options(whole)));
	await whole.model.close();
	for (const [k, { loss, gradientNorm, rates }] of events.entries()) {
		const error = Math.abs(loss / expected.losses[k] - 1);
		worst.loss = Math.max(worst.loss, error);
		checks.check(where, `loss of step ${k}`, within(error, BARS.lossLater));
		checks.check(where, `rate of step ${k}`, within(Math.abs(rates[expected.group] - expected.rates[k]), BARS.rate));
		if (expected.norms === undefined) continue;
		const off = Math.abs(gradientNorm / expected.norms[k] - 1);
		worst.norm = Math.max(worst.norm, off);
		checks.check(where, `gradient norm of step ${k}`, within(off, BARS.lossLater));
	}
	worst.steps += events.length;
	worst.runs++;

	const folder = mkdtempSync(path.join(os.tmpdir(), 'lorakit-parity-'));
	const open = openRunFolder(folder);
	try {
		const run = { objective: 'text-to-image', config, data: {}, base: {}, engine: { id: 'x', device: 'cpu', threads: 1 }, versions: {} };
		const save = createCheckpointStore({ folder, run, adapter: () => ({ files: [] }) });
		const stop = new AbortController();
		const first = make();
		await finish(
			trainRun(options(first, { checkpoints: { save }, signal: stop.signal })),
			(done) => done === Math.floor(steps / 2) && stop.abort(),
		);
		await first.model.close();
		const found = await findCheckpoint(folder);
		checks.check(
			where,
			'stopped half-way',
			found?.record.step === Math.floor(steps / 2) && found.record.reason === 'stopped' ? undefined : JSON.stringify(found?.record.reason),
		);
		checkResume(found, run, false);
		const second = make();
		const rest = await finish(trainRun(options(second, { resume: found.snapshot })));
		await second.model.close();
		checks.check(where, 'resumed, the same bits', hex(rest.result.adapter) === hex(result.adapter) ? undefined : 'other bits');
		const tail = (list) =>
			JSON.stringify(list.slice(-rest.events.length).map(({ step, loss, gradientNorm }) => [step, loss, gradientNorm]));
		checks.check(where, 'resumed, the same losses', tail(rest.events) === tail(events) ? undefined : 'other losses');
	} finally {
		open.close();
		rmSync(folder, { recursive: true, force: true });
	}
	return result.adapter;
}

async function finish(run, onStep) {
	const events = [];
	for (;;) {
		const { value, done } = await run.next();
		if (done) return { events, result: value };
		if (value.type !== 'step') continue;
		events.push(value);
		onStep?.(value.step);
	}
}

/** Batches of a recording: where it is is its whole state. */
function source(batchOf) {
	let at = 0;
	return {
		next: async () => ({ batch: batchOf(at++), names: [], epoch: 0, lastOfEpoch: false }),
		state: () => ({ at }),
		restore: (state) => {
			at = state.at;
		},
	};
}
