import type { BaseModel } from '../../bases/base-model.js';
import { moduleKey } from '../../bases/find-modules.js';
import { numel } from '../../dtype.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { matchAdapters } from './match-adapters.js';
import { touchedTensors } from './plan-fuse-touched.js';
import type { FuseEmbeddings, FuseOptions, FusePlan } from './plan-fuse-types.js';
import { checkFactors } from './plan-fuse-values.js';
import type { TouchedTensor } from './touched-tensor.js';

export type { FuseEmbeddings, FuseLedgerEntry, FuseOptions, FusePlan } from './plan-fuse-types.js';

/**
 * Decide which tensors of the base change and by what. Reads the adapters' factors (for NaN and Inf), nothing of the base.
 *
 * @throws {FormatError} of `matchAdapters` (`E_BASE_MISMATCH`, `E_MODULE_NOT_IN_BASE`, `E_AMBIGUOUS`, `E_UNSUPPORTED_DTYPE`,
 *   `E_UNKNOWN_KEY`, `E_LORA_ALPHA`, `E_USAGE`); `E_NONFINITE`, `E_LORA_SHAPE`, `E_UNSUPPORTED_ADAPTER`; `E_EMPTY_ADAPTER`
 *   when no adapter has a module; and what reading throws.
 */
export async function planFuse(base: BaseModel, uses: readonly AdapterUse[], options: FuseOptions = {}): Promise<FusePlan> {
	const { jobs, ledger, embeddings, warnings } = matchAdapters(base, uses, options);
	if (ledger.length === 0) {
		const names = uses.map((u) => quote(u.name)).join(', ');
		throw new FormatError(
			'E_EMPTY_ADAPTER',
			`${names === '' ? 'No adapter was given' : `${names} has no module`}; there is nothing to fuse.`,
		);
	}
	if (options.trustValues !== true) for (const { job } of jobs) await checkFactors(job);
	const touched = touchedTensors(base.files, jobs);
	let elements = 0;
	for (const { tensor } of touched) elements += numel(tensor.shape) ?? 0;
	return {
		base,
		touched,
		byFile: byFile(touched),
		modules: new Set(jobs.map(({ job }) => moduleKey(job.module))).size,
		elements,
		ledger,
		embeddings,
		warnings: [...warnings, ...embeddings.map(beside)],
	};
}

function beside({ adapter, embeddings }: FuseEmbeddings): Warning {
	const tokens = embeddings.slice(0, 4).map((e) => quote(e.token));
	const rest = embeddings.length > tokens.length ? ` and ${embeddings.length - tokens.length} more` : '';
	return {
		code: 'W_EMBEDDING_BESIDE',
		message: `${quote(adapter)} carries embeddings (${tokens.join(', ')}${rest}), which no weight of the base holds: they go to files beside OUT.`,
	};
}

function byFile(touched: readonly TouchedTensor[]): FusePlan['byFile'] {
	const out = new Map<TouchedTensor['file'], Map<string, TouchedTensor>>();
	for (const tensor of touched) {
		const known = out.get(tensor.file);
		if (known === undefined) out.set(tensor.file, new Map([[tensor.name, tensor]]));
		else known.set(tensor.name, tensor);
	}
	return out;
}
