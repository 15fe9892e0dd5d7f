import type { Adapter } from './adapter.js';
import type { Encoded, EncodedFile, LayoutInput, Loss } from './layouts/layout.js';
import { originsOf, type Tensor } from './tensor.js';

/** What became of one input tensor or header entry. */
export type Disposition = 'carried' | 'renamed' | 'transformed' | 'lost';

export interface ReceiptEntry {
	/** Tensor name, header key, or `config:adapter_config.json`; companion files have `FILE:NAME`. */
	readonly name: string;
	readonly disposition: Disposition;
	/** Names in the output, or where its meaning went (`metadata:lora_adapter_metadata`). Empty when lost. */
	readonly to: readonly string[];
	/** What was done, or why it is lost. */
	readonly how: string;
	/** Largest relative error of one element; 0 exact; null known only after the data was seen, or lost. */
	readonly errorBound: number | null;
}

export interface ReceiptCounts {
	readonly total: number;
	readonly carried: number;
	readonly renamed: number;
	readonly transformed: number;
	readonly lost: number;
}

/** The proof that nothing went missing: every input tensor and entry, and what became of it. Schema: receipt.schema.json. */
export interface Receipt {
	readonly schema: 'lora.receipt/1';
	readonly input: { readonly name: string; readonly container: string; readonly layout: string; readonly companions: readonly string[] };
	readonly output: {
		readonly layout: string;
		readonly files: readonly { readonly suffix: string; readonly container: string; readonly tensors: number; readonly bytes: number }[];
	};
	readonly tensors: readonly ReceiptEntry[];
	readonly metadata: readonly ReceiptEntry[];
	readonly counts: { readonly tensors: ReceiptCounts; readonly metadata: ReceiptCounts };
	/** Output tensors that come from no input tensor: alpha tensors written because the target needs them. */
	readonly added: readonly { readonly name: string; readonly how: string }[];
}

/** What `buildReceipt` needs to know. */
export interface ReceiptInput {
	readonly input: LayoutInput;
	readonly layoutFrom: string;
	readonly layoutTo: string;
	/** Undefined for `keep`. */
	readonly adapter: Adapter | undefined;
	readonly encoded: Pick<Encoded, 'absorbed' | 'losses' | 'sideFiles'>;
	readonly files: readonly (EncodedFile & { readonly container: string })[];
}

/**
 * Walk the outputs back to the inputs. An input that is reached by no output, absorbed nowhere and not named as
 * lost is added as lost here: the receipt can be wrong about nothing.
 */
export function buildReceipt(parts: ReceiptInput): Receipt {
	const reached = new Map<string, { to: string[]; tensor: Tensor }>();
	const added: { name: string; how: string }[] = [];
	for (const file of parts.files) {
		for (const [name, tensor] of file.tensors) {
			const shown = file.suffix === '' ? name : `${file.suffix}:${name}`;
			const origins = originsOf(tensor);
			if (origins.size === 0)
				added.push({ name: shown, how: tensor.derivation?.how ?? 'written because the target states alpha in tensors' });
			for (const origin of origins) {
				const entry = reached.get(origin);
				if (entry === undefined) reached.set(origin, { to: [shown], tensor });
				else entry.to.push(shown);
			}
		}
	}
	const lossOf = new Map<string, Loss>();
	for (const loss of parts.encoded.losses) if (!lossOf.has(loss.what)) lossOf.set(loss.what, loss);
	const absorbedOf = new Map(parts.encoded.absorbed.map((a) => [a.from, a]));
	const tensors: ReceiptEntry[] = [];
	for (const name of inputTensorNames(parts.input)) {
		const dead = parts.adapter?.dead.get(name);
		const hit = reached.get(name);
		const absorbed = absorbedOf.get(name);
		if (hit !== undefined) tensors.push(describeTensor(name, hit.to, hit.tensor));
		else if (absorbed !== undefined)
			tensors.push({
				name,
				disposition: 'transformed',
				to: [absorbed.into],
				how: `now said by ${absorbed.into}`,
				errorBound: absorbed.errorBound,
			});
		else
			tensors.push({
				name,
				disposition: 'lost',
				to: [],
				how: lossOf.get(name)?.why ?? dead ?? 'the target has no place for it',
				errorBound: null,
			});
	}
	const metadata = metadataEntries(parts, lossOf, absorbedOf);
	return {
		schema: 'lora.receipt/1',
		input: {
			name: parts.input.file.name,
			container: parts.input.file.container,
			layout: parts.layoutFrom,
			companions: [
				...(parts.input.textEncoder === undefined ? [] : [parts.input.textEncoder.name]),
				...parts.input.embeddings.map((e) => e.name),
				...(parts.input.config === undefined ? [] : ['adapter_config.json']),
			],
		},
		output: {
			layout: parts.layoutTo,
			files: parts.files.map((f) => ({
				suffix: f.suffix,
				container: f.container,
				tensors: f.tensors.size,
				bytes: [...f.tensors.values()].reduce((sum, t) => sum + t.nbytes, 0),
			})),
		},
		tensors,
		metadata,
		counts: { tensors: countEntries(tensors), metadata: countEntries(metadata) },
		added,
	};
}

/** Names of all input tensors as receipts print them (origins). */
export function inputTensorNames(input: LayoutInput): readonly string[] {
	const names: string[] = [];
	for (const file of [input.file, ...(input.textEncoder === undefined ? [] : [input.textEncoder]), ...input.embeddings]) {
		for (const [name, tensor] of file.tensors) names.push(tensor.origin ?? name);
	}
	return names;
}

function describeTensor(name: string, to: readonly string[], tensor: Tensor): ReceiptEntry {
	if (tensor.origin === name) {
		const same = to.length === 1 && to[0] === name;
		return { name, disposition: same ? 'carried' : 'renamed', to, how: same ? 'as it is' : 'renamed', errorBound: 0 };
	}
	const { how, bound } = chain(tensor);
	return { name, disposition: 'transformed', to, how, errorBound: bound };
}

/** All steps that made a tensor, last first, and their bounds added up. */
function chain(tensor: Tensor): { how: string; bound: number | null } {
	const steps: string[] = [];
	let bound: number | null = 0;
	let at: Tensor | undefined = tensor;
	while (at?.derivation !== undefined) {
		steps.unshift(at.derivation.how);
		bound = bound === null || at.derivation.errorBound === undefined ? null : bound + at.derivation.errorBound;
		at = at.derivation.from[0];
	}
	return { how: steps.join(', then '), bound };
}

function metadataEntries(
	parts: ReceiptInput,
	losses: ReadonlyMap<string, Loss>,
	absorbedOf: ReadonlyMap<string, { readonly into: string; readonly errorBound: number }>,
): ReceiptEntry[] {
	const out: ReceiptEntry[] = [];
	const written = new Map<string, string>();
	for (const file of parts.files) for (const [key, value] of file.metadata) written.set(key, value);
	const consumed = new Map((parts.adapter?.consumed ?? []).map((c) => [c.key, c.note]));
	const sources: (readonly [string, string])[] = [...parts.input.file.metadata];
	for (const [key, value] of sources) {
		const carriedKey = `lorakit.carried.${key}`;
		const bare = key.startsWith('lorakit.carried.') ? key.slice('lorakit.carried.'.length) : key;
		const absorbed = absorbedOf.get(`metadata:${key}`);
		if (written.get(key) === value) out.push({ name: key, disposition: 'carried', to: [key], how: 'as it is', errorBound: 0 });
		else if (written.get(carriedKey) === value)
			out.push({
				name: key,
				disposition: 'renamed',
				to: [carriedKey],
				how: "renamed so that the target's readers do not obey it",
				errorBound: 0,
			});
		else if (written.get(bare) === value)
			out.push({ name: key, disposition: 'renamed', to: [bare], how: 'taken back under its own name', errorBound: 0 });
		else if (absorbed !== undefined)
			out.push({
				name: key,
				disposition: 'transformed',
				to: [absorbed.into],
				how: `now said by ${absorbed.into}`,
				errorBound: absorbed.errorBound,
			});
		else if (written.has(key))
			out.push({ name: key, disposition: 'transformed', to: [key], how: 'rewritten for the new file', errorBound: 0 });
		else if (consumed.has(key))
			out.push({ name: key, disposition: 'transformed', to: ['modules'], how: consumed.get(key) ?? '', errorBound: 0 });
		else if (key === 'format' && value === 'pt')
			out.push({
				name: key,
				disposition: 'transformed',
				to: ['container'],
				how: 'says nothing that the container does not',
				errorBound: 0,
			});
		else if (key === 'lorakit.form')
			out.push({ name: key, disposition: 'transformed', to: ['names'], how: 'used to write the file as it once was', errorBound: 0 });
		else
			out.push({
				name: key,
				disposition: 'lost',
				to: [],
				how: losses.get(`metadata:${key}`)?.why ?? 'the target has no place for it',
				errorBound: null,
			});
	}
	if (parts.input.config !== undefined) {
		const name = 'config:adapter_config.json';
		const side = parts.encoded.sideFiles.get('adapter_config.json');
		const loss = losses.get(name);
		if (side === parts.input.config)
			out.push({ name, disposition: 'carried', to: ['adapter_config.json'], how: 'as it is', errorBound: 0 });
		else if (loss !== undefined) out.push({ name, disposition: 'lost', to: [], how: loss.why, errorBound: null });
		else if (parts.adapter === undefined)
			out.push({ name, disposition: 'lost', to: [], how: 'only the container was changed', errorBound: null });
		else
			out.push({
				name,
				disposition: 'transformed',
				to: [side === undefined ? 'alpha of the modules' : 'adapter_config.json'],
				how: absorbedOf.get(name)?.into ?? 'its alphas and ranks are in the modules',
				errorBound: 0,
			});
	}
	return out;
}

function countEntries(entries: readonly ReceiptEntry[]): ReceiptCounts {
	let carried = 0;
	let renamed = 0;
	let transformed = 0;
	let lost = 0;
	for (const { disposition } of entries) {
		if (disposition === 'carried') carried++;
		else if (disposition === 'renamed') renamed++;
		else if (disposition === 'transformed') transformed++;
		else lost++;
	}
	return { total: entries.length, carried, renamed, transformed, lost };
}
