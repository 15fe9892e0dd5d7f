import { type Adapter, FormatError, FULL_STRENGTH } from '@lorakit/format';
import { type Base, type ClipTokenizer, createStableDiffusion, createTorchGenerator, type Engine, generate } from '@lorakit/runtime';
import { encodePng } from '@lorakit/runtime/node';
import type { ValidationPicture } from '../../run/run-events.js';

/** A picture to draw. */
export interface DrawRequest {
	readonly prompt: string;
	readonly seed: number;
}

export interface DrawOptions {
	readonly base: Base;
	readonly engine: Engine;
	/** The base's own. */
	readonly tokenizers: readonly ClipTokenizer[];
	/** Over the base; undefined: the base alone. */
	readonly adapter: Adapter | undefined;
	readonly steps: number;
	readonly guidance: number;
	readonly width: number;
	readonly height: number;
	readonly signal?: AbortSignal | undefined;
	readonly onPicture?: ((done: number, total: number) => void) | undefined;
}

/**
 * Draw pictures as `lora generate` does with its defaults (DPM-Solver++), each of its own seed. Everything that is loaded for it is given back at the end.
 * @throws {FormatError} those of generating; `E_INTERRUPTED`
 */
export async function* drawPictures(
	requests: readonly DrawRequest[],
	options: DrawOptions,
): AsyncGenerator<ValidationPicture, void, undefined> {
	const { base, engine, tokenizers, adapter, steps, guidance, width, height, signal } = options;
	const model = createStableDiffusion(base, engine, { tokenizers });
	try {
		if (adapter !== undefined) {
			await model.setEmbeddings(adapter.embeddings);
			const own = { ...adapter, embeddings: [] };
			if (own.modules.length > 0) await model.setAdapters([{ adapter: own, name: 'the adapter that is trained', strength: FULL_STRENGTH }]);
		}
		for (const [i, { prompt, seed }] of requests.entries()) {
			const encoded = await model.encodePrompt(prompt, guidance > 1 ? '' : undefined, { height, width });
			const loop = generate(model, {
				prompt: encoded,
				scheduler: 'dpmsolver++',
				steps,
				guidance,
				height,
				width,
				generators: [createTorchGenerator(seed)],
				signal,
			});
			for (;;) {
				if (signal?.aborted === true) throw new FormatError('E_INTERRUPTED', 'stopped while pictures were drawn.');
				const { value, done } = await loop.next();
				if (done === true) {
					const [data] = value.pictures;
					if (data === undefined) throw new TypeError('a run without a picture');
					yield { prompt, seed, png: encodePng({ width, height, data }), width, height };
					break;
				}
				// Signals are heard here also under engines that never let go of the thread.
				await new Promise((resolve) => setImmediate(resolve));
			}
			options.onPicture?.(i + 1, requests.length);
		}
	} finally {
		await model.close();
	}
}
