import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, Wrongs } from './checks.mjs';
import { openFile } from './inputs.mjs';
import { decodeFloats } from './library.mjs';

/**
 * Bars of the manifest (`schedulers.compare`): timesteps exact, samples, sigmas. Timesteps that are interpolated back
 * from respaced sigmas (Karras' of Euler, Heun, LMS) hang on the last bit of square roots, and torch's are not correctly
 * rounded on CPUs where MKL makes them from `rsqrtps` (AMD; makers differ in that instruction). Ours are;
 * fixtures/runtime/schedulers was made with such roots and is held to the bit. Here they may be off by a few float32
 * steps, and how many are exact is printed.
 */
const BAR = { samples: 2e-5, sigmas: 1e-6, fractional: 4 };

const FROM_SOURCE = process.env.VITEST !== undefined;
const MODULE = new URL(
	`../../packages/runtime/${FROM_SOURCE ? 'src' : 'dist'}/schedulers/index.${FROM_SOURCE ? 'ts' : 'js'}`,
	import.meta.url,
);

/**
 * `inference/schedulers.*`: every recorded trace on the recorded model outputs and noise, the tables for training, the
 * configurations of all recorded pipeline runs, and where image-to-image runs begin.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `inference` of a reference set
 */
export async function partSchedulers(checks, root) {
	if (!existsSync(fileURLToPath(MODULE))) {
		checks.check('schedulers', 'packages/runtime is built', 'packages/runtime/dist is not there: run "npm run build" first');
		return;
	}
	const library = await import(/* @vite-ignore */ MODULE.href);
	const read = (name) => library.parsePythonJson(readFileSync(path.join(root, name), 'utf8').replaceAll(/: NaN\b/gu, ': null'));
	const { traces } = read('schedulers.json');
	const tensor = await tensorsOf(path.join(root, 'schedulers.safetensors'));
	const worst = new Map();
	const fractional = { exact: 0, count: 0, off: 0 };
	for (const [name, trace] of Object.entries(traces)) {
		const where = `schedulers ${name}`;
		try {
			const kind = library.kindOfConfig({ ...trace.config, _class_name: trace.class_name });
			const measured = await runTrace({ checks, where, name, trace, kind, library, tensor });
			if (measured.fractional !== undefined) {
				fractional.exact += measured.fractional.exact;
				fractional.count += measured.fractional.count;
				fractional.off = Math.max(fractional.off, measured.fractional.off);
			}
			const before = worst.get(kind);
			if (before === undefined || measured.error > before.error) worst.set(kind, { ...measured, name });
		} catch (error) {
			checks.check(where, 'the trace can be run', describe(error));
		}
	}
	for (const [kind, { error, name }] of worst) {
		console.log(`schedulers: ${kind}: worst sample ${error.toExponential(2)} of the largest (bar ${BAR.samples}), in ${name}`);
	}
	console.log(
		`schedulers: interpolated timesteps: ${fractional.exact} of ${fractional.count} exact, worst ${fractional.off} float32 steps (bar ${BAR.fractional}); all others exact`,
	);
	const missing = library.SCHEDULER_KINDS.filter((kind) => !worst.has(kind));
	checks.check('schedulers', 'every kind has a trace', missing.length === 0 ? undefined : `none of ${missing.join(', ')}`);
	await checkTables(checks, library, traces, tensor);
	checkConfigs(checks, library, read('pipeline.json').runs, root);
	await checkStarts(checks, library, root);
}

async function runTrace({ checks, where, name, trace, kind, library, tensor }) {
	const scheduler = library.createScheduler(kind, trace.config, Number(name.split('/').at(-1)), { eta: trace.eta });
	const timesteps = await tensor(`${name}/timesteps`);
	const steps = Array.from(timesteps, (t, i) => Math.abs(t - scheduler.timesteps[i]) / float32Step(t));
	const off = Math.max(...steps);
	const { use_karras_sigmas: karras, use_exponential_sigmas: exponential, use_beta_sigmas: beta } = trace.config;
	const exact = !(karras || exponential || beta) || timesteps.every(Number.isInteger);
	const bar = exact ? 0 : BAR.fractional;
	checks.check(
		where,
		exact ? 'timesteps exact' : `fractional timesteps to ${bar} float32 steps`,
		off <= bar ? undefined : `off by ${off} float32 steps`,
	);
	checks.check(
		where,
		'as many calls as recorded',
		trace.calls === scheduler.timesteps.length ? undefined : `${scheduler.timesteps.length}`,
	);
	const sigmas = await tensor(`${name}/sigmas`, true);
	if (sigmas !== undefined) {
		const error = relative(sigmas, scheduler.sigmas ?? [], (x) => Math.abs(x));
		checks.check(where, `sigmas to ${BAR.sigmas}`, error <= BAR.sigmas ? undefined : error.toExponential(2));
	}
	const start = Math.abs(scheduler.initNoiseSigma - trace.init_noise_sigma) / trace.init_noise_sigma;
	checks.check(where, 'init_noise_sigma', start <= BAR.sigmas ? undefined : `${scheduler.initNoiseSigma}`);

	const outputs = await tensor('model_outputs');
	let sample = Float32Array.from(await tensor('init_noise'), (x) => x * scheduler.initNoiseSigma);
	const size = sample.length;
	const recorded = {
		samples: await tensor(`${name}/samples`),
		scaled: await tensor(`${name}/scaled_inputs`, true),
		original: await tensor(`${name}/pred_original`, true),
		noise: await tensor(`${name}/noise`, true),
	};
	const row = (array, i) => Float32Array.from(array.slice(i * size, (i + 1) * size));
	const wrong = new Wrongs();
	let [error, draws] = [0, 0];
	const compare = (what, call, expected, got) => {
		const off = relative(expected, got);
		error = Math.max(error, off);
		if (!(off <= BAR.samples)) wrong.add(`call ${call}: ${what} ${off.toExponential(2)}`);
	};
	for (let call = 0; call < trace.calls; call++) {
		if (recorded.scaled !== undefined) compare('input', call, row(recorded.scaled, call), scheduler.scaleInput(sample, call));
		const output = row(outputs, call);
		if (recorded.original !== undefined) compare('x0', call, row(recorded.original, call), scheduler.predictOriginal(output, call, sample));
		sample = scheduler.step(output, call, sample, () => row(recorded.noise ?? [], draws++));
		compare('sample', call, row(recorded.samples, call), sample);
	}
	checks.check(where, `inputs, x0 and samples to ${BAR.samples} of the largest`, wrong.text);
	checks.check(where, 'as many noise draws as recorded', draws === trace.noise_draws ? undefined : `${draws}, not ${trace.noise_draws}`);
	return { error, fractional: exact ? undefined : { off, exact: steps.filter((x) => x === 0).length, count: steps.length } };
}

/** Alpha tables, SNR, add_noise and velocity. The rescaled table is made of square roots (see BAR). */
async function checkTables(checks, library, traces, tensor) {
	const base = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' };
	const ddim = traces['ddim_trailing_zsnr/v_prediction/10']?.config ?? { ...base, rescale_betas_zero_snr: true };
	const tables = [
		['alphas_cumprod', base],
		['alphas_cumprod_linear', { ...base, beta_schedule: 'linear' }],
		['alphas_cumprod_squaredcos_cap_v2', { ...base, beta_schedule: 'squaredcos_cap_v2' }],
		['alphas_cumprod_zero_snr', ddim],
	];
	for (const [name, config] of tables) {
		const expected = await tensor(name);
		// The linear table's bounds are not recorded: those of the class, or those of the model.
		const candidates = name.endsWith('_linear') ? [config, { beta_schedule: 'linear' }] : [config];
		const errors = candidates.map((c) => relative(expected, library.noiseSchedule(c).alphasCumprod));
		const error = Math.min(...errors);
		console.log(`schedulers: ${name}: ${error.toExponential(2)} of the largest`);
		const bar = name.endsWith('_zero_snr') ? 1e-6 : 0;
		checks.check('schedulers tables', bar === 0 ? `${name} exact` : `${name} to ${bar}`, error <= bar ? undefined : error.toExponential(2));
	}
	const schedule = library.noiseSchedule(base);
	const ratio = relative(await tensor('snr'), schedule.snr, (x) => Math.abs(x));
	console.log(`schedulers: snr: ${ratio.toExponential(2)} relative`);
	checks.check('schedulers tables', 'snr to 1e-6 relative', ratio <= 1e-6 ? undefined : ratio.toExponential(2));

	const [timesteps, x0, noise] = [await tensor('add_noise/timesteps'), await tensor('add_noise/x0'), await tensor('add_noise/noise')];
	for (const [name, made] of [
		['add_noise/ddpm', library.addNoise],
		['add_noise/velocity', library.velocity],
	]) {
		const expected = await tensor(name);
		const size = expected.length / timesteps.length;
		let error = 0;
		timesteps.forEach((t, i) => {
			const [a, b, c] = [x0, noise, expected].map((array) => Float32Array.from(array.slice(i * size, (i + 1) * size)));
			error = Math.max(error, relative(c, made(schedule, a, b, t)));
		});
		console.log(`schedulers: ${name}: ${error.toExponential(2)} of the largest (bar ${BAR.samples})`);
		checks.check('schedulers tables', `${name} to ${BAR.samples}`, error <= BAR.samples ? undefined : error.toExponential(2));
	}
}

/** `from_config`: the base's file and a class give the configuration that the run recorded. */
function checkConfigs(checks, library, runs, root) {
	const file = path.join(root, '../base/tiny-sd/scheduler/scheduler_config.json');
	if (!existsSync(file)) return;
	const base = library.parsePythonJson(readFileSync(file, 'utf8'));
	let compared = 0;
	for (const [name, run] of Object.entries(runs)) {
		const kind = library.kindOfConfig({ ...run.scheduler_config, _class_name: run.scheduler });
		if (kind === undefined) {
			checks.check(`schedulers ${name}`, 'the class is known', run.scheduler);
			continue;
		}
		// What a run switched on itself is not in the base's file.
		const asked = Object.fromEntries(
			['use_karras_sigmas', 'rescale_betas_zero_snr', 'timestep_spacing', 'prediction_type']
				.filter(
					(option) => option in run.scheduler_config && run.scheduler_config[option] !== library.schedulerConfigFor(kind, base)[option],
				)
				.map((option) => [option, run.scheduler_config[option]]),
		);
		const ours = library.schedulerConfigFor(kind, { ...base, ...asked });
		const differ = Object.entries(ours).filter(
			([option, value]) => option in run.scheduler_config && JSON.stringify(value) !== JSON.stringify(run.scheduler_config[option]),
		);
		compared++;
		checks.check(
			`schedulers ${name}`,
			`from_config gives the recorded options (asked for: ${JSON.stringify(asked)})`,
			differ.length === 0 ? undefined : differ.map(([option, value]) => `${option} ${value}`).join(', '),
		);
	}
	console.log(`schedulers: from_config compared with ${compared} recorded configurations`);
}

/** Timesteps of the image-to-image runs, and how many calls a strength leaves. */
async function checkStarts(checks, library, root) {
	const file = path.join(root, 'img2img.safetensors');
	const { img2img } = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	if (!existsSync(file) || img2img === undefined) return;
	const tensor = await tensorsOf(file);
	const base = library.parsePythonJson(readFileSync(path.join(root, '../base/tiny-sd/scheduler/scheduler_config.json'), 'utf8'));
	for (const [name, { calls }] of Object.entries(img2img.runs)) {
		const [scheduler, strength] = name.split('-s');
		const kind = scheduler === 'dpm' ? 'dpmsolver++' : scheduler;
		const { begin } = library.imageToImageStart(kind, img2img.steps, Number(strength));
		const run = library.createScheduler(kind, library.schedulerConfigFor(kind, base), img2img.steps, { begin });
		const timesteps = await tensor(`${name}/timesteps`);
		const same = timesteps.length === run.timesteps.length && timesteps.every((t, i) => t === run.timesteps[i]);
		checks.check(`schedulers img2img ${name}`, 'timesteps exact', same ? undefined : `${[...run.timesteps]}`);
		checks.check(`schedulers img2img ${name}`, `${calls} calls`, run.timesteps.length - begin === calls ? undefined : `from ${begin}`);
	}
}

/** Distance of the float32 numbers at x. */
function float32Step(x) {
	return 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x) || 1)), -126) - 23);
}

/** Tensors of a file by name, as doubles. */
async function tensorsOf(file) {
	const state = await openFile(file);
	return async (name, optional = false) => {
		const tensor = state.tensors.get(name);
		if (tensor === undefined) {
			if (optional) return undefined;
			throw new Error(`${path.basename(file)} has no ${name}`);
		}
		const bytes = await tensor.read();
		if (tensor.dtype !== 'I64') return decodeFloats(tensor.dtype, bytes);
		const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		return Array.from({ length: bytes.byteLength / 8 }, (_, i) => Number(view.getBigInt64(8 * i, true)));
	};
}

/**
 * Largest difference, over the largest magnitude (at least 1), or element by element over `scaleOf` it. What is not
 * finite must be the same: NaN, or infinity of one sign.
 */
function relative(expected, got, scaleOf) {
	if (expected.length !== got.length) return Number.POSITIVE_INFINITY;
	let [worst, largest] = [0, 1];
	for (let i = 0; i < expected.length; i++) {
		const [e, g] = [expected[i], got[i]];
		if (Number.isFinite(e)) largest = Math.max(largest, Math.abs(e));
		if (Object.is(e, g)) continue;
		if (!Number.isFinite(e) || !Number.isFinite(g)) return Number.POSITIVE_INFINITY;
		const difference = Math.abs(e - g);
		worst = Math.max(worst, scaleOf === undefined || difference === 0 ? difference : difference / scaleOf(e));
	}
	return scaleOf === undefined ? worst / largest : worst;
}
