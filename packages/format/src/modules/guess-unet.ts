import type { GuessModule, ShapeGuess } from './guess-base.js';

/** Widths of published models' text contexts. */
const CONTEXT: ReadonlyMap<number, string> = new Map([
	[768, 'sd1'],
	[1024, 'sd2'],
	[2048, 'sdxl'],
	[1280, 'sdxl-refiner'],
]);

/** A UNet's family from its block structure, then its text context; text encoders alone from their width. */
export function guessUnet(modules: readonly GuessModule[]): ShapeGuess | undefined {
	const unet = modules.filter((m) => m.component === 'unet');
	const second = modules.some((m) => m.component === 'text_encoder_2');
	if (unet.length === 0) return guessTextEncoders(modules, second);
	const context = unet.find((m) => m.inFeatures !== undefined && /\.attn2\.to_[kv]$/.test(m.path))?.inFeatures;
	const deep = deepest(unet);
	const evidence: string[] = [];
	let xl = false;
	let four = false;
	if (deep > 0) {
		xl = true;
		evidence.push(`A transformer has ${deep + 1} blocks one behind the other, as in SDXL; SD1 and SD2 have one.`);
	}
	for (const { path } of unet) {
		four ||= /^(down_blocks|up_blocks)\.3\./.test(path) || path.startsWith('down_blocks.0.attentions.');
	}
	if (second) {
		xl = true;
		evidence.push('There is a second text encoder, which SDXL has and SD1 and SD2 lack.');
	}
	if (!xl && four) evidence.push('The UNet has four levels with attention at the first, as SD1 and SD2.');
	if (context !== undefined) evidence.push(`attn2.to_k and to_v read a text context of width ${context}.`);
	const published = context === undefined ? undefined : CONTEXT.get(context);
	if (xl) {
		if (published === 'sdxl-refiner') return { family: 'sdxl-refiner', confidence: 0.9, evidence };
		if (published === 'sdxl' || context === undefined) return { family: 'sdxl', confidence: published === 'sdxl' ? 1 : 0.9, evidence };
		return { family: 'sdxl', confidence: 0.6, evidence: [...evidence, 'An SDXL-shaped UNet of unusual width.'] };
	}
	if (published === 'sdxl' || published === 'sdxl-refiner') return { family: published, confidence: 0.9, evidence };
	if (published !== undefined && !unusual(unet)) return { family: published, confidence: 1, evidence };
	if (
		context === undefined &&
		!unusual(unet) &&
		unet.some((m) => m.outFeatures === 320 || m.outFeatures === 640 || m.outFeatures === 1280)
	) {
		return {
			family: 'sd1or2',
			confidence: 0.6,
			evidence: [...evidence, 'No module reads the text context, so that SD1 and SD2 look alike.'],
		};
	}
	return { family: 'sd1or2', confidence: 0.5, evidence: [...evidence, 'SD1/2-shaped UNet of unusual width.'] };
}

function deepest(unet: readonly GuessModule[]): number {
	let deep = 0;
	for (const { path } of unet) {
		// Block 0 says nothing: most names end here.
		const at = path.indexOf('.transformer_blocks.');
		if (at < 0 || path.startsWith('0.', at + 20)) continue;
		const index = /\.transformer_blocks\.(\d{1,4})\./.exec(path)?.[1];
		if (index !== undefined) deep = Math.max(deep, Number(index));
	}
	return deep;
}

/** Channels of the published models are multiples of 320. */
function unusual(unet: readonly GuessModule[]): boolean {
	return unet.some((m) => m.outFeatures !== undefined && m.outFeatures % 320 !== 0 && /\.attn[12]\.to_(q|k|v)$/.test(m.path));
}

function guessTextEncoders(modules: readonly GuessModule[], second: boolean): ShapeGuess | undefined {
	const first = modules.find((m) => m.component === 'text_encoder');
	if (first === undefined && !second) return undefined;
	if (second) return { family: 'sdxl', confidence: 0.6, evidence: ['Only text encoders are changed, the second one of SDXL among them.'] };
	const width = modules.find((m) => m.path.endsWith('.q_proj'))?.outFeatures ?? first?.outFeatures;
	const only = `Only a text encoder is changed, of width ${width ?? 'unknown'}.`;
	if (width === 768)
		return { family: 'sd1', confidence: 0.5, evidence: [only, 'SD1 has such a one; so have SDXL, SD3 and FLUX.1 as their first.'] };
	if (width === 1024) return { family: 'sd2', confidence: 0.7, evidence: [only, 'SD2 has such a one.'] };
	return { family: 'sd1or2', confidence: 0.3, evidence: [only] };
}
