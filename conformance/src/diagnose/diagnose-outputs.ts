import { openTensorFile, valuesOf } from '../judge/tensor-file.js';
import type { JudgeInput, Verdict } from '../judge/verdict.js';
import type { Finding } from './diagnose-case.js';
import { diagnoseModuleOutput } from './diagnose-module-output.js';
import { CODES, type Code } from './diagnoses.js';

/** A recorded wrong output is met when it is this near, relative to the difference that the adapter makes. */
const MET = { f32: 2e-3, f16: 1e-2, bf16: 5e-2 } as const;

/** A gain below this is that of rounding alone: no part of the difference came. */
const NOTHING = { f32: 1e-3, f16: 1e-2, bf16: 5e-2 } as const;

/** L5, L6: recorded outputs of wrong implementations, else what gain and cosine alone can say. */
export async function diagnoseOutputs(verdict: Verdict, input: JudgeInput): Promise<Finding> {
	const image = input.case.request.op === 'image';
	const evidenceLevel = image ? 'image' : 'outputs';
	if (image && verdict.hint === 'picture') return { code: 'picture', runnersUp: [], evidenceLevel };
	const met = await recorded(input, image);
	const [first] = met;
	if (first !== undefined) return { code: first, runnersUp: met, evidenceLevel };
	const formula = image ? undefined : await diagnoseModuleOutput(input);
	if (formula !== undefined) return formula;
	const gain = verdict.measure?.gain ?? Number.NaN;
	const cosine = verdict.measure?.cosine ?? Number.NaN;
	if (Math.abs(gain) < NOTHING[input.precision]) {
		const component = input.case.request.op === 'forward' ? input.case.request.component : '';
		const runnersUp: readonly Code[] =
			component === 'unet' ? ['unet-dropped'] : component.startsWith('text') ? ['text-encoder-dropped'] : [];
		return { code: 'adapter-not-applied', runnersUp, evidenceLevel };
	}
	if (cosine < -0.9) return { code: 'sign-flipped', runnersUp: ['factor-wrong'], evidenceLevel };
	if (!image && cosine > 0.9999 && Math.abs(gain - 1) > 1e-3) return { code: 'factor-wrong', runnersUp: [], evidenceLevel };
	return { code: 'unexplained', runnersUp: [], evidenceLevel };
}

/** Codes whose recorded outputs the subject gave, the nearest first. */
async function recorded({ expect, file, output, precision }: JudgeInput, image: boolean): Promise<readonly Code[]> {
	if (expect.faults === undefined) return [];
	const faults = await openTensorFile(file(expect.faults));
	const without = await openTensorFile(file(expect.without ?? ''));
	const got = await openTensorFile(output('out'));
	const found: { readonly code: Code; readonly off: number }[] = [];
	for (const code of CODES) {
		let [off, size, seen] = [0, 0, 0];
		for (const [key, tensor] of faults.tensors) {
			if (!key.startsWith(`${code}/`)) continue;
			const name = key.slice(code.length + 1);
			const other = got.tensors.get(name);
			const plain = without.tensors.get(name);
			if (other === undefined || plain === undefined) continue;
			const wrong = await valuesOf(tensor);
			// The last step of the latents is what was recorded.
			const mine = (await valuesOf(other)).slice(image ? -wrong.length : 0);
			const base = (await valuesOf(plain)).slice(image ? -wrong.length : 0);
			if (mine.length !== wrong.length) continue;
			seen++;
			for (let i = 0; i < wrong.length; i++) {
				off += ((mine[i] ?? 0) - (wrong[i] ?? 0)) ** 2;
				size += (((wrong[i] ?? 0) - (base[i] ?? 0)) ** 2 + ((mine[i] ?? 0) - (base[i] ?? 0)) ** 2) / 2;
			}
		}
		const relative = size === 0 ? (off === 0 ? 0 : Number.POSITIVE_INFINITY) : Math.sqrt(off / size);
		if (seen > 0 && relative <= MET[precision]) found.push({ code, off: relative });
	}
	await faults.close();
	await without.close();
	await got.close();
	return found.sort((a, b) => a.off - b.off).map((f) => f.code);
}
