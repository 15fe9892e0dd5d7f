import { FormatError, quote } from '@lorakit/format';
import { chooseWeightFiles } from '../../base/choose-weight-files.js';

/** Components with weights, and those of texts alone. */
const WEIGHTED: readonly string[] = ['unet', 'vae', 'text_encoder', 'text_encoder_2'];
const TEXTS: readonly string[] = ['scheduler', 'tokenizer', 'tokenizer_2'];
/** The index of a diffusers model. */
export const MODEL_INDEX = 'model_index.json';

/** Paths of what inference reads of a base. */
export interface BaseFiles {
	readonly texts: readonly string[];
	readonly weights: readonly string[];
}

/**
 * The files of a diffusers model that inference needs: of each component its configuration and one set of weights
 * (safetensors before torch's, the variant that was asked for before the one without), tokenizers, the scheduler. Not: the
 * safety checker, other variants, ONNX, Flax and OpenVINO weights, single-file checkpoints beside.
 *
 * @param index text of model_index.json: which components there are
 * @throws {FormatError} `E_HUB` when it is no Stable Diffusion model or a component has no weights; as `chooseWeightFiles`.
 */
export function baseFiles(paths: readonly string[], index: string, repo: string, variant: string | undefined): BaseFiles {
	const components = componentsOf(index, repo);
	for (const component of ['unet', 'vae', 'text_encoder']) {
		if (!components.has(component)) {
			throw new FormatError(
				'E_HUB',
				`${repo} has no ${component}: it is no Stable Diffusion 1.x, 2.x or XL model, and others are not supported; name another with --base.`,
			);
		}
	}
	const texts: string[] = [];
	const weights: string[] = [];
	for (const component of WEIGHTED.filter((name) => components.has(name))) {
		const chosen = chooseWeightFiles(paths, component, variant);
		if (chosen === undefined) {
			throw new FormatError('E_HUB', `${repo} has no weights for ${component} (.safetensors or .bin); name another base with --base.`);
		}
		weights.push(...chosen.files);
		if (chosen.index !== undefined) texts.push(chosen.index);
		texts.push(...paths.filter((path) => path === `${component}/config.json`));
	}
	for (const component of TEXTS) texts.push(...paths.filter((path) => TEXT_FILE.test(path) && path.startsWith(`${component}/`)));
	return { texts, weights };
}

/** `component/name.json`, no deeper. */
const TEXT_FILE = /^[^/]+\/[^/]+\.(?:json|txt)$/;

/** Names of the components that are there: `[null, null]` means none. */
function componentsOf(index: string, repo: string): ReadonlySet<string> {
	let value: unknown;
	try {
		value = JSON.parse(index);
	} catch (error) {
		throw new FormatError('E_HUB', `${repo}: ${quote(MODEL_INDEX)} is no JSON.`, { cause: error });
	}
	if (typeof value !== 'object' || value === null) throw new FormatError('E_HUB', `${repo}: ${quote(MODEL_INDEX)} is no object.`);
	return new Set(
		Object.entries(value)
			.filter(([, entry]) => Array.isArray(entry) && typeof entry[0] === 'string')
			.map(([name]) => name),
	);
}
