import { FormatError, quote } from '@lorakit/format';
import type { SchedulerClass } from './config.js';
import { ddim } from './ddim.js';
import { ddpm } from './ddpm.js';
import { dpmsolver, dpmsolverSde } from './dpmsolver.js';
import { euler } from './euler.js';
import { eulerAncestral } from './euler-ancestral.js';
import { heun } from './heun.js';
import { lcm } from './lcm.js';
import { lms } from './lms.js';
import { pndm } from './pndm.js';
import { SCHEDULER_KINDS, type Scheduler, type SchedulerConfig, type SchedulerKind, type SchedulerOptions } from './scheduler.js';
import { unipc } from './unipc.js';

const CLASSES: readonly SchedulerClass[] = [dpmsolver, dpmsolverSde, ddim, pndm, euler, eulerAncestral, heun, lms, ddpm, unipc, lcm];

/**
 * One sampling run.
 *
 * @param config options by diffusers' names; those left out have the class's defaults
 * @param steps whole number from 1
 * @throws {FormatError} E_CONFIG: options that the kind does not have or that do not go together; E_USAGE: steps, eta,
 *   begin or kind out of range
 */
export function createScheduler(kind: SchedulerKind, config: SchedulerConfig, steps: number, options: SchedulerOptions = {}): Scheduler {
	return classOf(kind).create(config, steps, options);
}

export interface SchedulerConfigOptions {
	/**
	 * Also what StableDiffusionPipeline and its image-to-image sister do to a base's scheduler (not those of SDXL):
	 * `steps_offset` becomes 1, `clip_sample` false, whatever the file says (pipeline_stable_diffusion.py, `__init__`).
	 */
	readonly stableDiffusion?: boolean;
}

/**
 * diffusers' `from_config`: what a base's `scheduler_config.json` says in so many words is carried to another class as
 * far as that has such an option; the rest are the class's own defaults, not the defaults of the base's class
 * (src/diffusers/configuration_utils.py, `extract_init_dict`). The kind decides between the deterministic and the
 * stochastic algorithm of DPM-Solver; `dpmsolver` without ++ stays what it is.
 *
 * @param base the parsed file (`parsePythonJson`, since diffusers writes -Infinity into it)
 * @returns every option of the class
 * @throws {FormatError} E_CONFIG as {@link createScheduler}, or when `base` is no object
 */
export function schedulerConfigFor(kind: SchedulerKind, base: unknown, options: SchedulerConfigOptions = {}): SchedulerConfig {
	const target = classOf(kind);
	const said = saidBy(base);
	const carried: Record<string, unknown> = {};
	for (const name of target.options) if (said.has(name)) carried[name] = said.get(name);
	if (options.stableDiffusion === true) {
		const own = said.get('_class_name') === target.className;
		if (target.options.includes('steps_offset') && (own || said.has('steps_offset'))) carried['steps_offset'] = 1;
		if (target.options.includes('clip_sample') && (own || said.has('clip_sample'))) carried['clip_sample'] = false;
	}
	if (kind === 'dpmsolver++' || kind === 'dpmsolver++-sde') {
		const plain = carried['algorithm_type'] === 'dpmsolver' || carried['algorithm_type'] === 'sde-dpmsolver';
		carried['algorithm_type'] = (kind === 'dpmsolver++' ? '' : 'sde-') + (plain ? 'dpmsolver' : 'dpmsolver++');
	}
	return target.resolve(carried);
}

/** The kind of a diffusers class name; DPMSolverMultistepScheduler is `dpmsolver++`, see {@link kindOfConfig}. */
export function kindOfClass(className: string): SchedulerKind | undefined {
	return CLASSES.find((c) => c.className === className)?.kind;
}

/**
 * The kind that a `scheduler_config.json` itself names, by class and, for DPM-Solver, algorithm.
 *
 * @returns undefined when the class is none of ours
 * @throws {FormatError} E_CONFIG when `base` is no object
 */
export function kindOfConfig(base: unknown): SchedulerKind | undefined {
	const said = saidBy(base);
	const kind = kindOfClass(String(said.get('_class_name')));
	const stochastic = String(said.get('algorithm_type')).startsWith('sde-');
	return kind === 'dpmsolver++' && stochastic ? 'dpmsolver++-sde' : kind;
}

/** Where an image-to-image run of a strength begins. */
export interface ImageToImageStart {
	/** For {@link SchedulerOptions.begin}; also the call for `addNoise`. */
	readonly begin: number;
	/** Steps that run: min(trunc(steps x strength), steps). Model calls may be more (Heun, PNDM). */
	readonly steps: number;
}

/**
 * `StableDiffusionImg2ImgPipeline.get_timesteps`: the last min(trunc(steps x strength), steps) steps run.
 *
 * @param strength in [0, 1]: how much of the picture is drawn anew
 * @throws {FormatError} E_USAGE: strength out of range, or so low that no step runs
 */
export function imageToImageStart(kind: SchedulerKind, steps: number, strength: number): ImageToImageStart {
	if (!(strength >= 0 && strength <= 1)) throw new FormatError('E_USAGE', `The strength is ${strength}; it goes from 0 to 1.`);
	const run = Math.min(Math.trunc(steps * strength), steps);
	if (run < 1)
		throw new FormatError('E_USAGE', `A strength of ${strength} leaves none of ${steps} steps; use a strength of at least ${1 / steps}.`);
	return { begin: (steps - run) * (kind === 'heun' ? 2 : 1), steps: run };
}

function classOf(kind: SchedulerKind): SchedulerClass {
	const found = CLASSES.find((c) => c.kind === kind);
	if (found !== undefined) return found;
	throw new FormatError('E_USAGE', `There is no scheduler ${quote(String(kind))}; there are ${SCHEDULER_KINDS.join(', ')}.`);
}

/** What a configuration says in so many words. */
function saidBy(base: unknown): ReadonlyMap<string, unknown> {
	if (typeof base !== 'object' || base === null || Array.isArray(base)) {
		throw new FormatError(
			'E_CONFIG',
			'The scheduler configuration of the base is no JSON object; expected what scheduler/scheduler_config.json holds.',
		);
	}
	const entries = new Map(Object.entries(base));
	const defaults = entries.get('_use_default_values');
	if (Array.isArray(defaults)) for (const name of defaults) entries.delete(String(name));
	return entries;
}
