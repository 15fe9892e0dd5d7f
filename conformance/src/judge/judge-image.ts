import { cosineOf, gainOf } from '@lorakit/format';
import { comparePictures } from './compare-pictures.js';
import { figure } from './measure.js';
import { openTensorFile, sameShape, shapeText, valuesOf } from './tensor-file.js';
import { differs, type ImageMeasure, type JudgeInput, type Verdict } from './verdict.js';

/** What a right f32 runtime may differ by where the case does not say (inference-shapes/README.md). */
const DEFAULT_REL = 5e-4;

/**
 * L6: latents after each step, and the picture. Only f32 can pass: below what a lower precision does by itself the
 * answer is inconclusive, above it failed.
 */
export async function judgeImage(input: JudgeInput): Promise<Verdict> {
	const { expect, file, output, precision, allowance } = input;
	const wanted = await openTensorFile(file(expect.latents ?? ''));
	const without = await openTensorFile(file(expect.without ?? ''));
	try {
		const got = await openTensorFile(output('out'));
		try {
			const exact = wanted.tensors.get('latents');
			const other = got.tensors.get('latents');
			const plain = without.tensors.get('latents');
			if (exact === undefined || plain === undefined) throw new Error('the case has no latents');
			if (other === undefined) return differs('the file has no "latents"', [], 'no-answer');
			if (!sameShape(exact.shape, other.shape)) {
				return differs(`latents have shape ${shapeText(exact.shape)}, the subject's ${shapeText(other.shape)}`, [], 'shape-wrong');
			}
			const decides = precision === 'f32';
			const allowed = decides ? (allowance.rel ?? DEFAULT_REL) : (allowance.inconclusiveBelow ?? 0);
			const steps = exact.shape[0] ?? 1;
			const run = divergence(await valuesOf(exact), await valuesOf(other), await valuesOf(plain), steps);
			const first = run.steps.findIndex((d) => !(d <= allowed));
			const pictures = await comparePictures(file(expect.png ?? ''), output('png'));
			const image: ImageMeasure = { steps: run.steps.map((d) => figure(d) ?? -1), firstStep: first === -1 ? null : first, ...pictures };
			return verdict(input, image, run, allowed);
		} finally {
			await got.close();
		}
	} finally {
		await wanted.close();
		await without.close();
	}
}

interface Run {
	readonly steps: readonly number[];
	readonly gain: number;
	readonly cosine: number;
}

function divergence(exact: Float64Array, got: Float64Array, plain: Float64Array, steps: number): Run {
	const size = exact.length / steps;
	const out: number[] = [];
	let [ae, aa, ee] = [0, 0, 0];
	for (let step = 0; step < steps; step++) {
		let [worst, largest] = [0, 0];
		for (let i = step * size; i < (step + 1) * size; i++) {
			const e = exact[i] ?? 0;
			const g = got[i] ?? 0;
			const off = Number.isFinite(g) ? Math.abs(g - e) : Number.POSITIVE_INFINITY;
			[worst, largest] = [Math.max(worst, off), Math.max(largest, Math.abs(e))];
			// The first step: later ones are no longer a linear function of the weights.
			if (step > 0) continue;
			const p = plain[i] ?? 0;
			[ae, aa, ee] = [ae + (g - p) * (e - p), aa + (g - p) ** 2, ee + (e - p) ** 2];
		}
		out.push(worst / (largest || 1));
	}
	return { steps: out, gain: gainOf({ ee, ae }), cosine: cosineOf({ ee, aa, ae }) };
}

function verdict(input: JudgeInput, image: ImageMeasure, run: Run, allowed: number): Verdict {
	const { precision, expect } = input;
	const worst = Math.max(...run.steps);
	const measure = {
		tensors: 1,
		gain: figure(run.gain),
		cosine: figure(run.cosine),
		error: figure(worst) ?? -1,
		ulps: 0,
		grade: null,
		share: figure(worst / allowed) ?? -1,
	};
	if (image.firstStep !== null) {
		const text = `the latents part at step ${image.firstStep + 1} of ${run.steps.length}, by ${figure(run.steps[image.firstStep] ?? 0)} of the largest (allowed ${figure(allowed)})`;
		return { status: 'failed', message: text, measure, image };
	}
	if (precision !== 'f32') {
		const text = `the latents differ by ${figure(worst)}, no more than ${precision} alone makes (${figure(allowed)}): only weights or single forwards can decide`;
		return { status: 'inconclusive', message: text, measure, image };
	}
	const grey = expect.greyLevels ?? 1;
	if (image.maxGrey === null)
		return { ...differs('the picture was not written, or is no PNG of the right size', [], 'picture'), measure, image };
	if (image.maxGrey > grey) {
		return {
			...differs(`the latents agree, the picture is off by ${image.maxGrey} grey levels (allowed ${grey})`, [], 'picture'),
			measure,
			image,
		};
	}
	return { status: 'passed', message: '', measure, image };
}
