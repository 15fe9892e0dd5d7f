import type { AdapterUse, DoraStrength, Embedding, Warning } from '@lorakit/format';
import { type Base, type ClipTokenizer, createStableDiffusion, type Engine, fuseBase, type StableDiffusion } from '@lorakit/runtime';

/** A base that adapters can be put on, over it or fused into it. */
export interface AdaptedModel {
	/**
	 * The model with these adapters and no others. Over the base this costs no new session for plain low-rank adapters; fused,
	 * the weights are computed and loaded anew when the adapters or their strengths are others than before.
	 */
	use(uses: readonly AdapterUse[]): Promise<{ readonly model: StableDiffusion; readonly warnings: readonly Warning[] }>;
	close(): Promise<void>;
}

export interface AdaptedModelOptions {
	readonly base: Base;
	readonly engine: Engine;
	readonly tokenizers: readonly ClipTokenizer[];
	/** Learned tokens beside those that adapters carry. */
	readonly embeddings: readonly Embedding[];
	readonly fused: boolean;
	readonly doraStrength: DoraStrength;
	readonly onProgress: (component: string, done: number, total: number) => void;
}

/** Nothing is loaded before the first picture. */
export function createAdaptedModel({
	base,
	engine,
	tokenizers,
	embeddings,
	fused,
	doraStrength,
	onProgress,
}: AdaptedModelOptions): AdaptedModel {
	let model: StableDiffusion | undefined;
	let used: readonly AdapterUse[] | undefined;
	let warnings: readonly Warning[] = [];
	return {
		async use(uses) {
			if (model !== undefined && used !== undefined && sameUses(used, uses)) return { model, warnings };
			if (fused) {
				await model?.close();
				const into = await fuseBase(base, uses, { doraStrength });
				model = createStableDiffusion(into.base, engine, { tokenizers, onProgress });
				await model.setEmbeddings([...into.embeddings, ...embeddings]);
				warnings = into.warnings;
			} else {
				if (model === undefined) {
					model = createStableDiffusion(base, engine, { tokenizers, onProgress });
					await model.setEmbeddings(embeddings);
				}
				warnings = await model.setAdapters(uses, { doraStrength });
			}
			used = uses;
			return { model, warnings };
		},
		async close() {
			await model?.close();
		},
	};
}

function sameUses(a: readonly AdapterUse[], b: readonly AdapterUse[]): boolean {
	return (
		a.length === b.length &&
		a.every(
			(use, i) =>
				use.adapter === b[i]?.adapter &&
				use.strength.scale === b[i]?.strength.scale &&
				use.strength.components === b[i]?.strength.components,
		)
	);
}
