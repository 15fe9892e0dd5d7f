import type { ConversionPlan, ConvertOptions, OutputContainer, PlannedFile } from './convert.js';
import { FormatError, quote, type Warning } from './errors.js';
import type { LayoutInput, Loss } from './layouts/layout.js';
import { repairKeys } from './layouts/repair.js';
import { buildReceipt } from './receipt.js';
import { createTally } from './tally.js';
import { castFloat } from './transforms/cast-adapter.js';

/**
 * `--to keep`: change the container alone. Takes any tensor file, LoRA or not; names stay, a list keeps its
 * indices as names, header entries are carried, Python values that are no tensors are named in a warning.
 *
 * @throws {FormatError} `E_LOSS` when the target container cannot hold the header entries; `E_USAGE` for options that need a layout.
 */
export function convertKeep(input: LayoutInput, options: ConvertOptions & { readonly container: OutputContainer }): ConversionPlan {
	if (options.alpha !== undefined && options.alpha !== 'keep')
		throw new FormatError('E_USAGE', '--alpha needs a layout to write alpha in; give --to.');
	const warnings: Warning[] = [...input.file.warnings];
	let { file } = input;
	if (options.repair === true) {
		const repaired = repairKeys(file);
		const [first] = repaired.repairs;
		if (first !== undefined)
			warnings.push({
				code: 'W_REPAIRED',
				message: `${repaired.repairs.length} names repaired, first: ${quote(first.from)} is now ${quote(first.to)}.`,
				at: first.from,
			});
		file = repaired.file;
	}
	const { dtype } = options;
	const tally = createTally();
	const tensors =
		dtype === undefined
			? file.tensors
			: new Map([...file.tensors].map(([name, t]) => [name, isScalar(t.shape) ? t : castFloat(t, dtype, tally.observe)]));
	const losses: Loss[] = [];
	let { metadata } = file;
	if (options.container === 'torch-zip' && metadata.size > 0) {
		for (const [key, value] of metadata)
			if (!(key === 'format' && value === 'pt')) losses.push({ what: `metadata:${key}`, why: 'a torch file has no header entries.' });
		metadata = new Map();
	}
	const [loss] = losses;
	if (loss !== undefined && options.allowLoss !== true) {
		throw new FormatError(
			'E_LOSS',
			`A torch file has no place for the ${losses.length} header entries of ${file.name} (first: ${quote(loss.what.slice('metadata:'.length))}). Write .safetensors, or pass --allow-loss to go on without.`,
			{ at: loss.what },
		);
	}
	for (const l of losses) warnings.push({ code: 'W_LOSS', message: `Lost: ${quote(l.what)}: ${l.why}`, at: l.what });
	const planned: PlannedFile = {
		suffix: '',
		tensors,
		metadata,
		top: file.top === 'list' ? 'list' : 'dict',
		container: options.container,
		beside: false,
	};
	const solo: LayoutInput = { ...input, file, textEncoder: undefined, embeddings: [], config: undefined };
	const absorbed =
		options.container === 'torch-zip' && file.metadata.get('format') === 'pt'
			? [{ from: 'metadata:format', into: 'the container (torch)', errorBound: 0 }]
			: [];
	const receipt = buildReceipt({
		input: solo,
		layoutFrom: 'keep',
		layoutTo: 'keep',
		adapter: undefined,
		encoded: { absorbed, losses, sideFiles: new Map() },
		files: [planned],
	});
	return { from: 'keep', to: 'keep', files: [planned], sideFiles: new Map(), receipt, warnings, decoded: undefined, tally: tally.warnings };
}

/** Alpha and the like keep their type: see `castAdapter`. */
function isScalar(shape: readonly number[]): boolean {
	return shape.length === 0;
}
