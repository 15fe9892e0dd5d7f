import { FormatError, nearestName, quote } from '@lorakit/format';
import {
	type Base,
	createScheduler,
	imageToImageStart,
	MAX_SIDE,
	MAX_STEPS,
	pixelsPerLatent,
	type SchedulerConfig,
	type SchedulerKind,
	schedulerConfigFor,
} from '@lorakit/runtime';

/** Everything that decides one picture, beside the base, adapters, embeddings and the picture it starts from. */
export interface PictureSettings {
	readonly prompt: string;
	/** undefined: none was given, which is not the same as an empty one for SDXL. */
	readonly negative: string | undefined;
	/** As torch takes it. */
	readonly seed: bigint;
	readonly steps: number;
	readonly scheduler: SchedulerKind;
	/** Over those of the base's own configuration, by diffusers' names. */
	readonly schedulerOptions: SchedulerConfig;
	readonly guidance: number;
	readonly guidanceRescale: number;
	readonly eta: number;
	/** Layers of the text encoder that are left out. */
	readonly clipSkip: number;
	/** Pixels. */
	readonly width: number;
	readonly height: number;
	/** How far from the picture it starts from; undefined when it starts from noise. */
	readonly strength: number | undefined;
}

/**
 * Refuse what cannot be run, before anything is loaded.
 * @throws {FormatError} `E_USAGE` and `E_CONFIG`, one sentence each.
 */
export function checkSettings(base: Base, settings: PictureSettings): void {
	const { width, height, steps, strength, clipSkip } = settings;
	const factor = pixelsPerLatent(base.vae);
	for (const side of [width, height]) {
		if (side % factor === 0 && side >= factor && side <= MAX_SIDE) continue;
		const nearest = (n: number): number => Math.min(MAX_SIDE, Math.max(factor, Math.round(n / factor) * factor));
		throw new FormatError(
			'E_USAGE',
			`The size is ${width}x${height}, but both sides must be multiples of ${factor} and at most ${MAX_SIDE}; the nearest is ${nearest(width)}x${nearest(height)}.`,
		);
	}
	if (!Number.isInteger(steps) || steps < 1 || steps > MAX_STEPS) {
		throw new FormatError('E_USAGE', `--steps is ${steps}; it is a whole number from 1 to ${MAX_STEPS}.`);
	}
	const layers = Math.min(...base.textEncoders.map((encoder) => encoder.layers));
	// SDXL takes the states before the last layer as it is.
	const most = base.architecture === 'sdxl' ? layers - 2 : layers - 1;
	if (!Number.isInteger(clipSkip) || clipSkip < 0 || clipSkip > most) {
		throw new FormatError('E_USAGE', `--clip-skip ${clipSkip} leaves no layer of the text encoder's ${layers}; use 0 to ${most}.`);
	}
	const begin = strength === undefined ? 0 : imageToImageStart(settings.scheduler, steps, strength).begin;
	createScheduler(settings.scheduler, schedulerConfigOf(base, settings), steps, { eta: settings.eta, begin });
}

/**
 * What the base says, carried to the class of the scheduler, and what the user says over it.
 * @throws {FormatError} `E_USAGE` for an option that the scheduler has not.
 */
function schedulerConfigOf(base: Base, { scheduler, schedulerOptions }: PictureSettings): SchedulerConfig {
	const carried = schedulerConfigFor(scheduler, base.scheduler.config, { stableDiffusion: base.architecture !== 'sdxl' });
	const known = Object.keys(carried);
	for (const name of Object.keys(schedulerOptions)) {
		if (known.includes(name)) continue;
		const near = nearestName(name, known);
		throw new FormatError(
			'E_USAGE',
			`The scheduler ${scheduler} has no option ${quote(name)}; ${near === undefined ? `it has ${known.join(', ')}.` : `did you mean ${near}?`}`,
		);
	}
	return { ...carried, ...schedulerOptions };
}

/**
 * What was asked for and changes no picture of a run, for people.
 * @param weighed texts are weighed against the negative, whatever the guidance
 */
export function idleSettings(base: Base, all: readonly PictureSettings[], weighed: boolean): readonly string[] {
	const told = base.unet.timeCondProjDim !== undefined;
	if (weighed) return [];
	if (!told && all.some(({ guidance }) => guidance > 1)) return [];
	const why = told ? 'This base takes the guidance as a number (LCM), without a second text' : 'The guidance is 1 or less';
	const notes: string[] = [];
	if (all.some(({ negative }) => (negative ?? '') !== '')) notes.push(`${why}, so --negative has no effect.`);
	if (all.some(({ guidanceRescale }) => guidanceRescale > 0)) notes.push(`${why}, so --guidance-rescale has no effect.`);
	return notes;
}

/** What the UNet was trained at; 512 where its configuration does not say. */
export function defaultSize(base: Base): { readonly width: number; readonly height: number } {
	const factor = pixelsPerLatent(base.vae);
	const [height, width] = base.unet.sampleSize ?? [512 / factor, 512 / factor];
	return { width: width * factor, height: height * factor };
}
