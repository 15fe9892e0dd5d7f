import type { Architecture, DenoiseStep } from '@lorakit/runtime';
import type { Output } from '../output.js';
import { sizeText } from '../progress.js';
import { wantsColour } from '../terminal.js';
import { previewLines } from './preview.js';

/** Told how a run goes; draws on a terminal only. */
export interface GenerationProgress {
	loading(component: string, done: number, total: number): void;
	/** After one call of the model. The first picture of the batch is shown. @param height and @param width of the latents */
	step(run: number, made: DenoiseStep, height: number, width: number): void;
	end(): void;
}

const REDRAW_MS = 100;
/** Of those VAEs whose colours are known. */
const LATENT_CHANNELS = 4;

/** @param pictures how many will be made */
export function generationProgress(output: Output, architecture: Architecture, pictures: number): GenerationProgress {
	if (!output.canDrawProgress) return { loading() {}, step() {}, end() {} };
	const colours = wantsColour(2);
	let drawn = 0;
	let begun: number | undefined;
	let steps = 0;
	const due = (): boolean => {
		const now = performance.now();
		if (now - drawn < REDRAW_MS) return false;
		drawn = now;
		return true;
	};
	return {
		loading(component, done, total) {
			if (due()) output.progress(`loading ${component}: ${sizeText(done)} of ${sizeText(total)}`);
		},
		step(picture, { call, calls, predicted }, height, width) {
			begun ??= performance.now();
			const left = steps === 0 ? undefined : ((performance.now() - begun) / steps / 1000) * (calls * (pictures - picture) - call - 1);
			steps++;
			if (!due()) return;
			const share = Math.floor((24 * (call + 1)) / calls);
			const which = pictures === 1 ? '' : `picture ${picture + 1} of ${pictures}, `;
			const time = left === undefined ? '' : `  ${Math.ceil(left)} s left`;
			output.progress(
				`${which}step ${call + 1} of ${calls} [${'='.repeat(share)}${' '.repeat(24 - share)}]${time}`,
				colours ? previewLines(predicted().subarray(0, LATENT_CHANNELS * height * width), height, width, architecture) : [],
			);
		},
		end: () => output.progress(''),
	};
}
