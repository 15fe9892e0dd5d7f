import type { Adapter, TargetModule } from './adapter.js';
import { numel } from './dtype.js';
import { quote, type Warning } from './errors.js';
import { recordedHashes } from './hashes/file-hashes.js';
import { EMPTY_SHA256, type HasherFactory } from './hashes/hasher.js';
import { legacyHeader } from './hashes/legacy-header.js';
import { sshsHasher } from './hashes/sshs.js';
import type { LayoutInput } from './layouts/layout.js';
import { scanValues, type ValueCounts } from './scan-values.js';
import { isBlockDiagonal, possibleSplit, type QkvSplit } from './split-qkv.js';
import { originsOf, tensorChunks } from './tensor.js';

/** What reading all data once tells. */
export interface DataFindings {
	readonly warnings: readonly Warning[];
	readonly tensors: number;
	/** Numbers looked at. */
	readonly values: number;
	readonly bytes: number;
	readonly nan: number;
	readonly inf: number;
	readonly nonFiniteTensors: readonly string[];
}

/** Names listed at most. */
const MAX_NAMES = 100;

/**
 * Read every tensor once, in the order of the files: NaN and Inf, ups that are all zero, fused projections that
 * were trained apart, and the hashes that the header promises. At most one chunk is held, or one fused `up`.
 *
 * @throws {FormatError} whatever reading throws.
 */
export async function scanData(input: LayoutInput, adapter: Adapter | undefined, create: HasherFactory | undefined): Promise<DataFindings> {
	const roles = upRoles(adapter);
	const recorded = create === undefined || input.file.container !== 'safetensors' ? [] : recordedHashes(input.file.metadata);
	const sshs =
		create === undefined || recorded.length === 0 ? undefined : sshsHasher(legacyHeader(input.file.tensors, input.file.metadata), create);
	const nonFinite: string[] = [];
	const zeroUps: TargetModule[] = [];
	const splits: { readonly module: TargetModule; readonly parts: number }[] = [];
	let tensors = 0;
	let values = 0;
	let bytes = 0;
	let nan = 0;
	let inf = 0;
	let ups = 0;
	for (const file of [input.file, ...(input.textEncoder === undefined ? [] : [input.textEncoder]), ...input.embeddings]) {
		for (const [key, tensor] of file.tensors) {
			const name = tensor.origin ?? key;
			const up = roles.get(name);
			const counts: ValueCounts = { nan: 0, inf: 0, nonzero: 0 };
			let scanned = false;
			const feed = (chunk: Uint8Array): void => {
				if (file === input.file) sshs?.update(chunk);
				scanned = scanValues(tensor.dtype, chunk, counts) || scanned;
			};
			if (up?.split === undefined) for await (const chunk of tensorChunks(tensor)) feed(chunk);
			else {
				const whole = await tensor.read();
				feed(whole);
				if (isBlockDiagonal(up.module, up.split, whole)) splits.push({ module: up.module, parts: up.split.rows.length });
			}
			tensors++;
			bytes += tensor.nbytes;
			if (scanned) values += numel(tensor.shape) ?? 0;
			nan += counts.nan;
			inf += counts.inf;
			if (counts.nan + counts.inf > 0) nonFinite.push(name);
			if (up !== undefined && scanned) {
				ups++;
				if (counts.nonzero === 0) zeroUps.push(up.module);
			}
		}
	}
	const warnings: Warning[] = [];
	const [firstBad] = nonFinite;
	if (firstBad !== undefined) {
		warnings.push({
			code: 'W_NONFINITE',
			message: `${nan} NaN and ${inf} infinite numbers in ${nonFinite.length} ${nonFinite.length === 1 ? 'tensor' : 'tensors'} (first: ${quote(firstBad)}); the training broke, and any picture made with it will be black or noise.`,
			at: firstBad,
		});
	}
	warnings.push(...zeroUpWarning(zeroUps, ups), ...splitWarning(splits));
	if (sshs !== undefined) warnings.push(...hashWarnings(recorded, sshs.digest()));
	return { warnings, tensors, values, bytes, nan, inf, nonFiniteTensors: nonFinite.slice(0, MAX_NAMES) };
}

interface UpRole {
	readonly module: TargetModule;
	readonly split: QkvSplit | undefined;
}

/** Names of the tensors that are an `up`, and which of them may be split_qkv's. */
function upRoles(adapter: Adapter | undefined): ReadonlyMap<string, UpRole> {
	const roles = new Map<string, UpRole>();
	for (const module of adapter?.modules ?? []) {
		const { up } = module.factors;
		if (up === undefined) continue;
		for (const name of originsOf(up)) if (adapter?.dead.has(name) !== true) roles.set(name, { module, split: possibleSplit(module) });
	}
	return roles;
}

function zeroUpWarning(zero: readonly TargetModule[], ups: number): Warning[] {
	const [first] = zero;
	if (first === undefined) return [];
	const toOut = zero.every((m) => m.path.endsWith('to_out.0'));
	const why = toOut
		? 'cloneofsimo/lora before 2022-12-24 never trained to_out, so this is no damage'
		: zero.length === ups
			? 'the whole adapter does nothing: it was saved before training began, or lost its weights'
			: 'they do nothing: they were not trained';
	return [
		{
			code: 'W_ZERO_UP',
			message: `up is all zero in ${zero.length} of ${ups} modules (first: ${first.component} ${quote(first.path)}): ${why}.`,
			at: first.path,
		},
	];
}

function splitWarning(splits: readonly { readonly module: TargetModule; readonly parts: number }[]): Warning[] {
	const [first] = splits;
	if (first === undefined) return [];
	return [
		{
			code: 'W_SPLIT_QKV',
			message: `${splits.length} fused projections were trained as ${first.parts} separate parts (first: ${quote(first.module.path)}); sd-scripts left alpha as it was, so every reader applies them ${first.parts} times weaker than in training (sd-scripts #2204).`,
			at: first.module.path,
		},
	];
}

function hashWarnings(
	recorded: readonly (readonly [string, string])[],
	actual: { readonly modelHash: string; readonly legacyHash: string },
): Warning[] {
	const warnings: Warning[] = [];
	for (const [key, value] of recorded) {
		const computed = key === 'sshs_legacy_hash' ? actual.legacyHash : actual.modelHash;
		if (value.toLowerCase().replace(/^0x/, '') === computed) continue;
		warnings.push({
			code: 'W_METADATA_HASH',
			message:
				value === EMPTY_SHA256
					? `Header entry ${quote(key)} is the hash of nothing, which some tools write by mistake; the tensors give ${computed.slice(0, 16)}...`
					: `Header entry ${quote(key)} is ${quote(value)}, but the tensors give ${computed}; the file was changed after it was hashed. "lora meta set" or any conversion writes it anew.`,
			at: key,
		});
	}
	return warnings;
}
