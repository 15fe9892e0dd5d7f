/** tiny-shapes on the built runtime, drawing pictures the way the recorded runs did: DPM-Solver++, 20 steps, guidance 5, 64 x 64. */
import path from 'node:path';
import { openInput } from '../parity/inputs.mjs';
import { enginesOf, openBase, runtime, useOf } from '../parity/runtime-library.mjs';
import { SIDE } from './classifier.mjs';

const BASE = path.join(import.meta.dirname, '../../fixtures/runtime/tiny-shapes');
const STEPS = 20;
const GUIDANCE = 5;
/** The recorded runs made the scheduler anew, with diffusers' default; the base's own file says `leading`. Their sheets show it to a grey level. */
const SCHEDULER_CONFIG = { timestep_spacing: 'linspace' };
/** Pictures at once; noise comes from a generator of each picture's own, so their number changes nothing. */
const BATCH = 8;

/** @param {string} engineName `onnx`, `tfjs` or `float64` */
export async function openShapesModel(engineName = 'onnx') {
	const [[, engine]] = await enginesOf([engineName]);
	const base = await openBase(BASE);
	const tokenizers = base.tokenizers.map((t) =>
		runtime.createClipTokenizer({
			vocab: t.vocab,
			merges: t.merges,
			config: t.tokenizerConfig,
			specialTokens: t.specialTokensMap,
			addedTokens: t.addedTokens,
		}),
	);
	const model = runtime.createStableDiffusion(base, engine, { tokenizers });
	const { embeddingsAsAdapter } = await import('../../packages/format/dist/index.js');

	return {
		/** @param {string | undefined} file @param {number} scale */
		async useAdapter(file, scale) {
			await model.setAdapters(file === undefined ? [] : [await useOf(file, scale)]);
		},
		/** @param {string | undefined} file learned tokens */
		async useEmbeddings(file) {
			if (file === undefined) return model.setEmbeddings([]);
			const embeddings = embeddingsAsAdapter(await openInput(file))?.embeddings ?? [];
			if (embeddings.length === 0) throw new Error(`${file} has no learned tokens`);
			return model.setEmbeddings(embeddings);
		},
		/**
		 * One picture for each prompt, (64, 64, 3) bytes.
		 * @param {readonly string[]} prompts @param {readonly number[]} seeds
		 */
		async draw(prompts, seeds) {
			const pictures = [];
			for (let from = 0; from < prompts.length; from += BATCH) {
				const some = prompts.slice(from, from + BATCH);
				const encoded = [];
				for (const prompt of some) encoded.push(await model.encodePrompt(prompt, undefined, { height: SIDE, width: SIDE }));
				const loop = runtime.generate(model, {
					prompt: runtime.joinPrompts(encoded),
					scheduler: 'dpmsolver++',
					schedulerConfig: SCHEDULER_CONFIG,
					steps: STEPS,
					guidance: GUIDANCE,
					height: SIDE,
					width: SIDE,
					count: some.length,
					generators: seeds.slice(from, from + BATCH).map((seed) => runtime.createTorchGenerator(seed)),
				});
				for (;;) {
					const { value, done } = await loop.next();
					if (!done) continue;
					pictures.push(...value.pictures);
					break;
				}
			}
			return pictures;
		},
		async close() {
			await model.close();
			await base.close();
		},
	};
}
