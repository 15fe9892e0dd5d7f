import { FormatError, quote, type Warning } from '@lorakit/format';

/** File name -> stem, variant, shard. Both places of the variant: diffusers before 0.27 put it behind the shard's number. */
const WEIGHTS =
	/^(?:diffusion_pytorch_model|model|pytorch_model)(?:\.([\w-]+?))?(?:-(\d{5})-of-(\d{5}))?(?:\.([\w-]+))?\.(safetensors|bin)$/;
const INDEX = /^(?:diffusion_pytorch_model|model|pytorch_model)(?:\.([\w-]+?))?\.(safetensors|bin)\.index(?:\.([\w-]+))?\.json$/;

/** The weight files of one component. */
export interface ChosenFiles {
	/** Paths in the tree, sorted. */
	readonly files: readonly string[];
	/** The index of shards, when there is one. */
	readonly index: string | undefined;
	readonly warnings: readonly Warning[];
}

/** What lies in a component folder: variants by name (`''` is the one without), each with its files. */
interface Variant {
	readonly whole: string[];
	readonly shards: string[];
	index: string | undefined;
}

/**
 * Which files of a component folder are its weights: safetensors before torch's; the variant that was asked for (`fp16`),
 * else the files without one, else the only variant there is. Other files (`safety_checker`, ONNX, Flax) are passed over.
 * Source: diffusers pipelines/pipeline_loading_utils.py `variant_compatible_siblings`.
 *
 * @param paths all paths of the model
 * @returns undefined when the folder has no weights
 * @throws {FormatError} `E_AMBIGUOUS` when there are several variants, and none without.
 */
export function chooseWeightFiles(paths: readonly string[], component: string, variant: string | undefined): ChosenFiles | undefined {
	const own = variantsOf(paths, component);
	for (const container of ['safetensors', 'bin'] as const) {
		const variants = own.get(container);
		if (variants === undefined || variants.size === 0) continue;
		const names = [...variants.keys()];
		const warnings: Warning[] = [];
		let chosen = variant !== undefined && variants.has(variant) ? variant : variants.has('') ? '' : undefined;
		if (chosen === undefined) {
			const [only, other] = names;
			if (only === undefined || other !== undefined) {
				throw new FormatError(
					'E_AMBIGUOUS',
					`${quote(component)} has weights only in the variants ${names.map(quote).join(', ')}; say which one is to be used.`,
					{ at: component },
				);
			}
			chosen = only;
		}
		if (variant !== undefined && chosen !== variant) {
			const used = chosen === '' ? 'the weights without one are' : `${quote(chosen)} is`;
			warnings.push({
				code: 'W_FILE_LEFT_OUT',
				message: `${quote(component)} has no variant ${quote(variant)}; ${used} used.`,
				at: component,
			});
		}
		const found = variants.get(chosen);
		if (found === undefined) continue;
		// A whole file is what diffusers looks for first.
		const [whole] = found.whole;
		if (whole !== undefined) return { files: [whole], index: undefined, warnings };
		return { files: found.shards.sort(), index: found.index, warnings };
	}
	return undefined;
}

/** The variants that any of the components has; for the message when one was asked for that none has. */
export function allVariants(paths: readonly string[], components: readonly string[]): ReadonlySet<string> {
	const all = components.flatMap((component) =>
		Array.from(variantsOf(paths, component).values(), (variants) => [...variants.keys()]).flat(),
	);
	return new Set(all.filter((name) => name !== ''));
}

function variantsOf(paths: readonly string[], component: string): ReadonlyMap<string, Map<string, Variant>> {
	const containers = new Map<string, Map<string, Variant>>();
	const variantOf = (container: string, name: string): Variant => {
		const variants = containers.get(container) ?? new Map<string, Variant>();
		containers.set(container, variants);
		const variant = variants.get(name) ?? { whole: [], shards: [], index: undefined };
		variants.set(name, variant);
		return variant;
	};
	for (const path of paths) {
		if (!path.startsWith(`${component}/`)) continue;
		const name = path.slice(component.length + 1);
		const index = INDEX.exec(name);
		if (index !== null) variantOf(index[2] ?? '', index[1] ?? index[3] ?? '').index = path;
		const match = WEIGHTS.exec(name);
		if (match === null) continue;
		const [, before, shard, , after, container = ''] = match;
		if (before !== undefined && after !== undefined) continue;
		const variant = variantOf(container, before ?? after ?? '');
		if (shard === undefined) variant.whole.push(path);
		else variant.shards.push(path);
	}
	return containers;
}
