import type { BaseGuess, Naming } from '../adapter.js';
import { quote } from '../errors.js';
import { baseHints } from './base-hints.js';
import { guessTransformer } from './guess-transformer.js';
import { guessUnet } from './guess-unet.js';

/** What is known of one target module. */
export interface GuessModule {
	readonly component: string;
	readonly path: string;
	readonly naming: Naming;
	readonly inFeatures?: number | undefined;
	readonly outFeatures?: number | undefined;
}

export interface GuessInput {
	readonly modules: readonly GuessModule[];
	/** Header entries; only hints, never believed against the shapes. */
	readonly metadata: ReadonlyMap<string, string>;
}

/** What shapes and names say, before anyone asks the metadata. */
export interface ShapeGuess {
	readonly family: string;
	readonly confidence: number;
	readonly evidence: readonly string[];
}

const LABELS: ReadonlyMap<string, string> = new Map([
	['sd1', 'Stable Diffusion 1.x'],
	['sd2', 'Stable Diffusion 2.x'],
	['sd1or2', 'Stable Diffusion 1.x or 2.x'],
	['sdxl', 'Stable Diffusion XL'],
	['sdxl-refiner', 'Stable Diffusion XL refiner'],
	['sd3', 'Stable Diffusion 3'],
	['flux', 'FLUX.1'],
	['flux2', 'FLUX.2'],
	['chroma', 'Chroma'],
	['wan', 'Wan video'],
	['qwen-image', 'Qwen-Image'],
	['hunyuan-video', 'HunyuanVideo'],
	['z-image', 'Z-Image or Lumina 2'],
	['hidream', 'HiDream'],
	['anima', 'Anima'],
	['mochi', 'Mochi video'],
	['stable-cascade', 'Stable Cascade (its prior)'],
	['dit', 'diffusion transformer with plain blocks (PixArt, LTX, ...)'],
	['llm', 'language model'],
	['unknown', 'unknown'],
]);

/** Families that a hint may name more exactly than shapes can, without contradiction. */
const COMPATIBLE: ReadonlyMap<string, readonly string[]> = new Map([
	['sd1or2', ['sd1', 'sd2']],
	['flux', ['chroma']],
	['dit', ['wan', 'pixart', 'ltx']],
]);

/** For people: "Stable Diffusion 1.x". An id that is not ours is its own label. */
export function baseLabel(family: string): string {
	return LABELS.get(family) ?? family;
}

/**
 * Which base model the modules fit: block structure and widths first, header entries only as a hint. A hint that
 * contradicts the shapes is named in the evidence and not followed. Never throws.
 */
export function guessBase(input: GuessInput): BaseGuess {
	const shapes =
		guessLanguageModel(input.modules) ?? guessPrior(input.modules) ?? guessTransformer(input.modules) ?? guessUnet(input.modules);
	const hints = baseHints(input.metadata);
	if (shapes === undefined) {
		const [hint] = hints;
		if (hint === undefined)
			return { family: 'unknown', label: 'unknown', confidence: 0, evidence: ['No module name or width is that of a known model.'] };
		const evidence = [`No module name or width is that of a known model; only the header entry ${hint.key} says ${quote(hint.value)}.`];
		return { family: hint.family, label: baseLabel(hint.family), confidence: 0.3, evidence };
	}
	let { family, confidence } = shapes;
	const evidence = [...shapes.evidence];
	for (const hint of hints) {
		const says = `The header entry ${hint.key} says ${quote(hint.value)}`;
		if (hint.family === family) evidence.push(`${says}, which agrees.`);
		else if (COMPATIBLE.get(family)?.includes(hint.family) === true) {
			evidence.push(`${says}, which the shapes allow.`);
			family = hint.family;
		} else {
			evidence.push(`${says}, which contradicts the shapes; the shapes are followed.`);
			confidence = Math.min(confidence, 0.8);
		}
	}
	return { family, label: baseLabel(family), confidence, evidence };
}

/** `lora_prior_unet_` and `prior.` are said by Stable Cascade's tools alone. */
function guessPrior(modules: readonly GuessModule[]): ShapeGuess | undefined {
	const n = modules.filter((m) => m.component === 'prior').length;
	return n === 0
		? undefined
		: { family: 'stable-cascade', confidence: 0.7, evidence: [`${n} modules are those of a prior, which Stable Cascade has.`] };
}

function guessLanguageModel(modules: readonly GuessModule[]): ShapeGuess | undefined {
	const ours = modules.filter(
		(m) =>
			m.path.endsWith('_proj') &&
			!m.component.startsWith('text_encoder') &&
			/(^|\.)layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)$/.test(m.path),
	);
	const [first] = ours;
	if (first === undefined || ours.length * 2 < modules.length) return undefined;
	return {
		family: 'llm',
		confidence: 0.9,
		evidence: [`${ours.length} modules are those of a decoder language model, first ${quote(first.path)}.`],
	};
}
