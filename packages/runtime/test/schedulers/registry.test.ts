import { FormatError } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import {
	createScheduler,
	imageToImageStart,
	kindOfClass,
	kindOfConfig,
	parsePythonJson,
	SCHEDULER_KINDS,
	type SchedulerKind,
	type SchedulerOptions,
	schedulerConfigFor,
} from '../../src/schedulers/index.js';
import { loadFixture } from './fixture.js';

const fixture = await loadFixture();

/** Kinds whose defaults and options can be compared with a class as it is; the stochastic one has its algorithm set. */
const CLASS_KINDS = SCHEDULER_KINDS.filter((kind) => kind !== 'dpmsolver++-sde');

function codeOf(run: () => unknown): string | undefined {
	try {
		run();
	} catch (error) {
		if (error instanceof FormatError) return error.code;
		throw error;
	}
	return undefined;
}

describe('schedulerConfigFor', () => {
	for (const [name, differences] of Object.entries(fixture.carried)) {
		it(`${name} is diffusers'`, () => {
			const [base = '', className = '', how = ''] = name.split('/');
			const kind = kindOfClass(className);
			if (kind === undefined) throw new Error(className);
			const ours = schedulerConfigFor(kind, fixture.bases[base], { stableDiffusion: how === 'pipeline' });
			const expected: Record<string, unknown> = { ...fixture.defaults[className], ...differences };
			// JSON has no infinity. sigma_min and sigma_max are read from any class's configuration, so all of ours by sigmas have them.
			if (expected['lambda_min_clipped'] === '-Infinity') expected['lambda_min_clipped'] = Number.NEGATIVE_INFINITY;
			for (const [option, value] of Object.entries(expected)) {
				// Other classes' names, which diffusers takes for one of its own; here they are looked at when a run is made.
				if (option === 'solver_type' && ours[option] !== value) expect(['bh1', 'bh2', 'midpoint', 'heun']).toContain(ours[option]);
				// diffusers' DDPM with null does what it does with its default.
				else if (option === 'variance_type' && kind === 'ddpm') expect(ours[option]).toBe(value ?? 'fixed_small');
				else expect(ours[option], option).toEqual(value);
			}
			for (const option of Object.keys(ours)) if (!(option in expected)) expect(['sigma_min', 'sigma_max']).toContain(option);
		});
	}

	it('carries the algorithm that goes with the kind', () => {
		const base = { _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'sde-dpmsolver++' };
		expect(schedulerConfigFor('dpmsolver++', base)['algorithm_type']).toBe('dpmsolver++');
		expect(schedulerConfigFor('dpmsolver++-sde', { ...base, algorithm_type: 'dpmsolver++' })['algorithm_type']).toBe('sde-dpmsolver++');
		expect(schedulerConfigFor('dpmsolver++-sde', { algorithm_type: 'dpmsolver' })['algorithm_type']).toBe('sde-dpmsolver');
		expect(schedulerConfigFor('dpmsolver++', { algorithm_type: 'deis' })['algorithm_type']).toBe('dpmsolver++');
	});

	it('does not carry what the file lists as defaults', () => {
		const base = { _class_name: 'DDIMScheduler', clip_sample: false, steps_offset: 1, _use_default_values: ['clip_sample'] };
		const config = schedulerConfigFor('ddim', base);
		expect([config['clip_sample'], config['steps_offset']]).toEqual([true, 1]);
	});

	it('refuses what is no object', () => {
		for (const base of [null, [], 'ddim', 3]) expect(codeOf(() => schedulerConfigFor('ddim', base))).toBe('E_CONFIG');
	});

	it('what it gives makes a scheduler, for every kind and base', () => {
		for (const base of Object.values(fixture.bases)) {
			for (const kind of SCHEDULER_KINDS) expect(createScheduler(kind, schedulerConfigFor(kind, base), 8).kind).toBe(kind);
		}
	});
});

describe('kinds', () => {
	it('go by class name and algorithm', () => {
		expect(CLASS_KINDS.map((kind) => kindOfClass(classNames[kind] ?? ''))).toEqual(CLASS_KINDS);
		expect(kindOfClass('KDPM2DiscreteScheduler')).toBeUndefined();
		expect(kindOfConfig({ _class_name: 'DPMSolverMultistepScheduler', algorithm_type: 'sde-dpmsolver++' })).toBe('dpmsolver++-sde');
		expect(kindOfConfig({ _class_name: 'DPMSolverMultistepScheduler' })).toBe('dpmsolver++');
		expect(kindOfConfig({})).toBeUndefined();
	});

	it('an unknown one is refused by name', () => {
		expect(() => createScheduler('k_euler' as SchedulerKind, {}, 5)).toThrow(/no scheduler "k_euler"; there are dpmsolver\+\+, /);
	});
});

const classNames: Readonly<Partial<Record<SchedulerKind, string>>> = {
	'dpmsolver++': 'DPMSolverMultistepScheduler',
	ddim: 'DDIMScheduler',
	pndm: 'PNDMScheduler',
	euler: 'EulerDiscreteScheduler',
	euler_a: 'EulerAncestralDiscreteScheduler',
	heun: 'HeunDiscreteScheduler',
	lms: 'LMSDiscreteScheduler',
	ddpm: 'DDPMScheduler',
	unipc: 'UniPCMultistepScheduler',
	lcm: 'LCMScheduler',
};

describe('configurations that are refused', () => {
	it.each<[SchedulerKind, Record<string, unknown>, RegExp]>([
		['dpmsolver++', { use_flow_sigmas: true }, /use_flow_sigmas: flow matching is not supported; set it to false/],
		['unipc', { use_flow_sigmas: true }, /flow matching is not supported/],
		['unipc', { use_dynamic_shifting: true }, /dynamic shifting is not supported/],
		['unipc', { solver_p: {} }, /solver_p/],
		['dpmsolver++', { solver_order: 4 }, /solver_order is 4/],
		['dpmsolver++', { algorithm_type: 'sde-dpmsolver++' }, /algorithm_type is "sde-dpmsolver\+\+"; of this kind are/],
		['dpmsolver++', { algorithm_type: 'dpmsolver' }, /cannot go to noise level zero; set final_sigmas_type to "sigma_min"/],
		['dpmsolver++-sde', { algorithm_type: 'sde-dpmsolver', final_sigmas_type: 'sigma_min', solver_order: 3 }, /no solver_order 3/],
		['dpmsolver++', { variance_type: 'learned_range' }, /variance_type "learned_range"/],
		['dpmsolver++', { use_karras_sigmas: true, use_beta_sigmas: true }, /exclude each other/],
		['dpmsolver++', { prediction_type: 'flow_prediction' }, /prediction_type is "flow_prediction"; supported is/],
		['dpmsolver++', { lambda_min_clipped: 100 }, /lambda_min_clipped is 100/],
		['euler', { sigma_max: -1, use_karras_sigmas: true }, /sigma_max is -1; it is positive/],
		['euler', { timestep_spacing: 'even' }, /timestep_spacing is "even"; supported is .*leading/],
		['euler', { clip_sample: false }, /no option "clip_sample"/],
		['euler_a', { prediction_type: 'sample' }, /prediction_type is "sample"/],
		['pndm', { prediction_type: 'sample' }, /prediction_type is "sample"/],
		['ddpm', { variance_type: 'fixed_large_log' }, /fixed_large_log/],
		['ddim', { num_train_timesteps: 3 }, /5 steps; the model was trained with 3 timesteps/],
		['ddim', { steps_offset: 300 }, /ask for timestep 1100, and timesteps go from 0 to 999/],
		['lcm', { original_inference_steps: 4 }, /5 steps; at most original_inference_steps, 4/],
		['lcm', { original_inference_steps: 2000 }, /at most num_train_timesteps/],
		['ddim', { clip_sample: 'yes' }, /clip_sample is "yes"/],
	])('%s %j', (kind, config, message) => {
		const run = () => createScheduler(kind, config, 5);
		expect(run).toThrow(message);
		expect(codeOf(run)).toBe('E_CONFIG');
	});

	it('pndm with its Runge-Kutta start and three steps', () => {
		expect(() => createScheduler('pndm', {}, 3)).toThrow(/3 steps; without skip_prk_steps it takes at least 4/);
	});
});

describe('runs that are refused', () => {
	it.each<[SchedulerKind, number, SchedulerOptions, RegExp]>([
		['ddim', 0, {}, /steps is 0/],
		['ddim', 2.5, {}, /steps is 2.5/],
		['euler', 1e6, {}, /steps is 1000000; it is a whole number from 1 to 10000/],
		['ddim', 5, { eta: 2 }, /eta is 2/],
		['ddim', 5, { eta: Number.NaN }, /eta is NaN/],
		['euler', 5, { eta: 1 }, /has no eta/],
		['euler', 5, { begin: 5 }, /begin is 5, and the last of 5 calls is 4/],
		['euler', 5, { begin: -1 }, /begin is -1/],
		['euler', 5, { batch: 0 }, /batch is 0/],
	])('%s, %d steps, %j', (kind, steps, options, message) => {
		const run = () => createScheduler(kind, {}, steps, options);
		expect(run).toThrow(message);
		expect(codeOf(run)).toBe('E_USAGE');
	});

	it('a strength that leaves no step, or is none', () => {
		expect(() => imageToImageStart('euler', 10, 0.05)).toThrow(/leaves none of 10 steps; use a strength of at least 0.1/);
		for (const strength of [-0.1, 1.1, Number.NaN]) expect(codeOf(() => imageToImageStart('euler', 10, strength))).toBe('E_USAGE');
		expect(imageToImageStart('heun', 10, 0.35)).toEqual({ begin: 14, steps: 3 });
	});
});

describe('calls', () => {
	const sample = Float32Array.of(1, 2, 3, 4);

	it('go in order, once', () => {
		const scheduler = createScheduler('euler', {}, 3, { begin: 1 });
		expect(() => scheduler.step(sample, 0, sample)).toThrow(/step got call 0; call 1 is next/);
		scheduler.step(sample, 1, sample);
		expect(() => scheduler.step(sample, 1, sample)).toThrow(/call 2 is next/);
		scheduler.step(sample, 2, sample);
		expect(() => scheduler.step(sample, 3, sample)).toThrow(/the run is over/);
		expect(codeOf(() => scheduler.scaleInput(sample, 3))).toBe('E_USAGE');
	});

	it('need arrays of one length', () => {
		const scheduler = createScheduler('euler_a', {}, 3);
		expect(codeOf(() => scheduler.step(sample.subarray(1), 0, sample, () => sample))).toBe('E_SHAPE');
		expect(codeOf(() => scheduler.step(sample, 0, sample, () => sample.subarray(1)))).toBe('E_SHAPE');
		expect(codeOf(() => scheduler.addNoise(sample, sample.subarray(1), 0))).toBe('E_SHAPE');
		expect(codeOf(() => createScheduler('ddim', {}, 3, { batch: 3 }).step(sample, 0, sample))).toBe('E_SHAPE');
	});

	it.each<SchedulerKind>(['euler_a', 'dpmsolver++-sde', 'ddpm', 'lcm'])('of %s need noise', (kind) => {
		const run = () => createScheduler(kind, {}, 3).step(sample, 0, sample);
		expect(run).toThrow(/call 0 draws noise, and none is given/);
		expect(codeOf(run)).toBe('E_USAGE');
	});

	it('two runs keep nothing of each other', () => {
		const run = () => {
			const scheduler = createScheduler('unipc', {}, 4);
			return [0, 1, 2, 3].reduce<Float32Array>((x, call) => scheduler.step(sample, call, x), sample);
		};
		expect(run()).toEqual(run());
	});
});

describe('parsePythonJson', () => {
	it('takes infinities outside strings only', () => {
		expect(parsePythonJson('{"a": -Infinity, "b": [Infinity, 1], "c": "Infinity \\" -Infinity"}')).toEqual({
			a: Number.NEGATIVE_INFINITY,
			b: [Number.POSITIVE_INFINITY, 1],
			c: 'Infinity " -Infinity',
		});
	});

	it('refuses NaN and what is broken', () => {
		for (const text of ['{"a": NaN}', '{"a": 1', '"abc']) expect(() => parsePythonJson(text)).toThrow(SyntaxError);
	});
});
