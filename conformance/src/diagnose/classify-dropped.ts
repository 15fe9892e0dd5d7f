import type { Code } from './diagnoses.js';

interface Rule {
	readonly code: Code;
	readonly detail?: string;
	gone(key: string): boolean;
}

const isText = (key: string): boolean => key.startsWith('text_encoder');

/**
 * Which codes describe a set of modules that got nothing, by their names alone: a code fits when it says of every module
 * of the adapter what happened to it. @param conv modules whose weight has four dimensions, where that is known
 */
export function classifyDropped(
	all: readonly string[],
	gone: ReadonlySet<string>,
	shapes: ReadonlyMap<string, readonly number[]> = new Map(),
): readonly { readonly code: Code; readonly detail?: string }[] {
	if (gone.size === 0) return [];
	const four = (key: string): boolean => shapes.get(key)?.length === 4;
	const wide = (key: string): boolean => four(key) && (shapes.get(key)?.[2] ?? 1) > 1;
	const rules: Rule[] = [
		{ code: 'adapter-not-applied', gone: () => true },
		{ code: 'text-encoder-dropped', gone: isText },
		{ code: 'unet-dropped', gone: (key) => !isText(key) },
		{ code: 'mid-block-dropped', gone: (key) => key.startsWith('unet.mid_block.') },
		{ code: 'conv-ignored', gone: four },
		{ code: 'conv3x3-ignored', gone: wide },
		{ code: 'to-out-dropped', gone: (key) => key.includes('to_out.0') },
		{ code: 'cross-attention-only', gone: (key) => !isText(key) && !key.includes('attn2') },
		{ code: 'ff-dropped', gone: (key) => /\.(ff|mlp)\./.test(key) },
	];
	const blocks = new Set([...gone].map((key) => /^\w+\.\w+blocks\.\d+\./.exec(key)?.[0] ?? ''));
	const [block] = blocks;
	if (blocks.size === 1 && block !== undefined && block !== '') {
		rules.push({ code: 'block-dropped', detail: block.slice(block.indexOf('.') + 1, -1), gone: (key) => key.startsWith(block) });
	}
	const fitting = rules.filter((rule) => all.every((key) => rule.gone(key) === gone.has(key)));
	return fitting.length > 0
		? fitting.map(({ code, detail }) => (detail === undefined ? { code } : { code, detail }))
		: [{ code: 'modules-dropped' }];
}
