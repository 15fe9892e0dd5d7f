import type { GuessModule, ShapeGuess } from './guess-base.js';
import { transformerDialect } from './transformer-names.js';

/** Published widths of the hidden state; others only lower the confidence. */
const WIDTHS: ReadonlyMap<string, readonly number[]> = new Map([
	['flux', [3072]],
	['chroma', [3072]],
	['flux2', [6144, 3072, 4096]],
	['sd3', [1536, 2432]],
	['wan', [1536, 3072, 5120]],
	['qwen-image', [3072]],
	['hunyuan-video', [3072]],
	['z-image', [3840, 2304]],
]);
/** Flux.1 has 19 double blocks, SD3 and SD3.5 at most 38 joint ones; Qwen-Image has 60. */
const MOST_FLUX_BLOCKS = 19;
const MOST_SD3_BLOCKS = 38;

/** A diffusion transformer's family from its module names, then its width; undefined without a transformer. */
export function guessTransformer(modules: readonly GuessModule[]): ShapeGuess | undefined {
	const ours = modules.filter((m) => m.component.startsWith('transformer'));
	if (ours.length === 0) return undefined;
	const names = transformerDialect(ours.map((m) => m.path));
	if (names === undefined) return undefined;
	const width = hiddenWidth(ours);
	// Two transformers of one pipeline (Wan 2.2) share their paths.
	const known = ours.filter((m) => names.paths.has(m.path)).length;
	const evidence = [`${known} of ${ours.length} module names are those of ${names.family} in ${names.naming} naming.`];
	const family = names.alternatives.length === 0 ? names.family : decide(names.family, names.alternatives, ours, width, evidence);
	const usual = width === undefined ? undefined : WIDTHS.get(family)?.includes(width);
	if (width !== undefined) evidence.push(`The hidden width is ${width}${usual === false ? ', unusual for it' : ''}.`);
	const all = known === ours.length;
	return { family, confidence: (usual === false ? 0.6 : 0.95) * (all ? 1 : 0.8), evidence };
}

function decide(
	first: string,
	others: readonly string[],
	modules: readonly GuessModule[],
	width: number | undefined,
	evidence: string[],
): string {
	const possible = [first, ...others];
	const blocks = highestBlock(modules) + 1;
	const only = (family: string, why: string): string => {
		evidence.push(why);
		return family;
	};
	if (possible.includes('qwen-image') && blocks > MOST_SD3_BLOCKS) {
		return only('qwen-image', `There are ${blocks} blocks; FLUX.1 and SD3 have fewer.`);
	}
	if (possible.includes('sd3') && width !== undefined && WIDTHS.get('sd3')?.includes(width) === true) {
		return only('sd3', `The width ${width} is that of SD3.`);
	}
	if (
		possible.includes('flux2') &&
		width !== undefined &&
		WIDTHS.get('flux')?.includes(width) === false &&
		WIDTHS.get('flux2')?.includes(width) === true
	) {
		return only('flux2', `The width ${width} is that of FLUX.2; FLUX.1 is 3072 wide.`);
	}
	if (possible.includes('flux') && width === 3072 && blocks <= MOST_FLUX_BLOCKS) {
		return only('flux', `The width 3072 and at most ${MOST_FLUX_BLOCKS} blocks are those of FLUX.1.`);
	}
	evidence.push(`The names are also those of ${others.join(', ')}.`);
	return first;
}

function highestBlock(modules: readonly GuessModule[]): number {
	let highest = 0;
	for (const { path } of modules) {
		const index = /^(?:transformer_blocks|joint_blocks|double_blocks)\.(\d{1,4})\./.exec(path)?.[1];
		if (index !== undefined) highest = Math.max(highest, Number(index));
	}
	return highest;
}

/** Input width of an attention projection: the hidden width in every one of these models. */
function hiddenWidth(modules: readonly GuessModule[]): number | undefined {
	const attention = /(attn\.to_q|attn1\.to_q|attn\.qkv|attn_qkv|self_attn\.q|attention\.(?:qkv|to_q)|linear1|linear1_qkv)$/;
	return (
		modules.find((m) => m.inFeatures !== undefined && attention.test(m.path))?.inFeatures ??
		modules.find((m) => m.inFeatures !== undefined && /attn.*(proj|to_out\.0|\.o|to_k|to_v)$/.test(m.path))?.inFeatures
	);
}
