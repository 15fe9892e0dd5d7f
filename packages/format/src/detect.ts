import type { Adapter } from './adapter.js';
import { FormatError, quote } from './errors.js';
import { findLayout, LAYOUTS } from './layouts/index.js';
import type { Claim, DecodeOptions, Layout, LayoutInput } from './layouts/layout.js';
import { recogniseNonLora } from './layouts/not-a-lora.js';
import { damagedKeys, repairKeys } from './layouts/repair.js';
import { embeddingsBeside } from './layouts/textual-inversion.js';

/** One layout's claim on a file. */
export interface Reading {
	readonly layout: Layout;
	readonly claim: Claim;
}

/** What the registry says about a file, all layouts asked, every key looked at. */
export interface Detection {
	/** Layouts that claim at least one name: most names first, then confidence. */
	readonly readings: readonly Reading[];
	/** The best reading, unless another is as good. */
	readonly chosen: Reading | undefined;
	/** Readings that are equally good: more than one means that nothing in the file decides. */
	readonly tied: readonly Reading[];
	/** Names that the chosen reading does not claim. */
	readonly leftovers: readonly string[];
	/** A second layout that claims leftovers: the file mixes two. */
	readonly mixedWith: Reading | undefined;
}

/** Ask every layout of the registry. Reads names, shapes and metadata; never data. */
export function detectLayout(input: LayoutInput): Detection {
	const readings: Reading[] = [];
	for (const layout of LAYOUTS) {
		const claim = layout.claim(input);
		if (claim.names.size > 0 && claim.confidence > 0) readings.push({ layout, claim });
	}
	readings.sort((a, b) => b.claim.names.size - a.claim.names.size || b.claim.confidence - a.claim.confidence);
	const [best] = readings;
	if (best === undefined) return { readings, chosen: undefined, tied: [], leftovers: [...input.file.tensors.keys()], mixedWith: undefined };
	const tied = readings.filter((r) => r.claim.names.size === best.claim.names.size && r.claim.confidence === best.claim.confidence);
	const leftovers: string[] = [];
	for (const name of input.file.tensors.keys()) if (!best.claim.names.has(name)) leftovers.push(name);
	const mixedWith =
		leftovers.length === 0 ? undefined : readings.find((r) => r !== best && leftovers.some((name) => r.claim.names.has(name)));
	return { readings, chosen: tied.length === 1 ? best : undefined, tied, leftovers, mixedWith };
}

export interface DecodeAdapterOptions extends DecodeOptions {
	/** Layout id or alias that overrules detection. */
	readonly from?: string | undefined;
	/** What `detectLayout` said of this very input, when the caller has asked already. Not used under `repair`. */
	readonly detection?: Detection | undefined;
}

/** An adapter and how its file was read. */
export interface Decoded {
	readonly adapter: Adapter;
	readonly layout: Layout;
	readonly detection: Detection;
	/** The input that was decoded: the repaired one under `repair`. */
	readonly input: LayoutInput;
}

/**
 * Read a file as an adapter, whatever its layout; never guesses silently.
 *
 * @throws {FormatError} `E_EMPTY_ADAPTER`, `E_NOT_A_LORA`, `E_AMBIGUOUS`, `E_LORA_MIXED_LAYOUT`, `E_NEEDS_REPAIR`,
 *   and what the layout's `decode` throws.
 */
export function decodeAdapter(input: LayoutInput, options: DecodeAdapterOptions = {}): Decoded {
	const repaired = options.repair === true ? repairInput(input) : { input, warnings: [] };
	const detection = (repaired.input === input ? options.detection : undefined) ?? detectLayout(repaired.input);
	const layout = chooseLayout(repaired.input, detection, options);
	const adapter = withEmbeddingsBeside(layout.decode(repaired.input, options), repaired.input);
	return {
		adapter: repaired.warnings.length === 0 ? adapter : { ...adapter, warnings: [...repaired.warnings, ...adapter.warnings] },
		layout,
		detection,
		input: repaired.input,
	};
}

/** Embeddings that lie beside belong to the adapter whatever its layout; layouts need not know of them. */
function withEmbeddingsBeside(adapter: Adapter, input: LayoutInput): Adapter {
	const taken = new Set(adapter.embeddings.map((e) => e.vectors));
	const missing = input.embeddings.filter((file) => ![...file.tensors.values()].some((tensor) => taken.has(tensor)));
	if (missing.length === 0) return adapter;
	return { ...adapter, embeddings: [...adapter.embeddings, ...embeddingsBeside(missing)] };
}

function repairInput(input: LayoutInput): { readonly input: LayoutInput; readonly warnings: Adapter['warnings'] } {
	const { file, repairs } = repairKeys(input.file);
	const [first] = repairs;
	if (first === undefined) return { input, warnings: [] };
	return {
		input: { ...input, file },
		warnings: [
			{
				code: 'W_REPAIRED',
				message: `${repairs.length} names repaired (${first.what}), first: ${quote(first.from)} is read as ${quote(first.to)}.`,
				at: first.from,
			},
		],
	};
}

function chooseLayout(input: LayoutInput, detection: Detection, options: DecodeAdapterOptions): Layout {
	const { file } = input;
	if (options.from !== undefined) return findLayout(options.from);
	if (file.tensors.size === 0) {
		throw new FormatError('E_EMPTY_ADAPTER', `${file.name} holds no tensors; there is no adapter in it.`);
	}
	const other = detection.chosen === undefined || detection.leftovers.length > 0 ? recogniseNonLora(file) : undefined;
	if (detection.readings.length === 0 || (other !== undefined && detection.leftovers.length * 2 > file.tensors.size)) {
		const [first] = file.tensors.keys();
		throw new FormatError(
			'E_NOT_A_LORA',
			other === undefined
				? `${file.name} has ${file.tensors.size} tensors and no layout knows their names (first: ${quote(first ?? '')}); it is no LoRA, or one of a kind this version does not know. Use "--to keep" to change the container alone.`
				: `${file.name} is ${other.what}, not a LoRA: ${other.why}. ${other.advice}`,
			{ at: first },
		);
	}
	if (options.repair !== true) refuseDamage(input, detection);
	const { chosen, tied, mixedWith } = detection;
	if (chosen === undefined) {
		const names = tied.map((r) => `${r.layout.id} (${r.claim.evidence[0] ?? 'by its names'})`);
		throw new FormatError(
			'E_AMBIGUOUS',
			`${file.name} can be read as ${names.join(' or as ')}, equally well; say which with --from ${tied.map((r) => r.layout.id).join(' or --from ')}.`,
		);
	}
	if (mixedWith !== undefined) {
		const own = [...chosen.claim.names][0] ?? '';
		const foreign = detection.leftovers.find((name) => mixedWith.claim.names.has(name)) ?? '';
		throw new FormatError(
			'E_LORA_MIXED_LAYOUT',
			`${file.name} mixes two layouts: ${chosen.claim.names.size} names are ${chosen.layout.id} (${quote(own)}) and ${detection.leftovers.length} are ${mixedWith.layout.id} (${quote(foreign)}); split it, or read one part with --from and --allow-loss.`,
			{ at: foreign },
		);
	}
	return chosen.layout;
}

function refuseDamage(input: LayoutInput, detection: Detection): void {
	const damaged = damagedKeys(input.file);
	const [first] = damaged;
	if (first === undefined) return;
	// Damage only counts where the names as they stand are not fully understood.
	if (
		detection.chosen !== undefined &&
		detection.leftovers.length === 0 &&
		!damaged.some((d) => !detection.chosen?.claim.names.has(d.from))
	) {
		if (!damaged.some((d) => d.certain)) return;
	}
	throw new FormatError(
		'E_NEEDS_REPAIR',
		`${damaged.length} names in ${input.file.name} were damaged by another tool (${first.what}), first: ${quote(first.from)} should be ${quote(first.to)}; pass --repair to read them so.`,
		{ at: first.from },
	);
}
