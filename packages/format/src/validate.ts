import type { Adapter } from './adapter.js';
import { type DecodeAdapterOptions, decodeAdapter } from './detect.js';
import { FormatError, quote, type Warning } from './errors.js';
import type { HasherFactory } from './hashes/hasher.js';
import type { LayoutInput } from './layouts/layout.js';
import { strengthDifferences } from './runtimes.js';
import { checkAgainstBase, resolveWithBase } from './transforms/resolve-with-base.js';
import { scanData } from './validate-data.js';
import { metadataWarnings } from './validate-metadata.js';
import { brokenModules } from './validate-modules.js';

export interface ValidateOptions extends DecodeAdapterOptions {
	/** Read all data once (NaN, Inf, zero ups, split qkv, hashes). Default true. */
	readonly data?: boolean | undefined;
	/** SHA-256 for the hashes of the header; without it they are not checked. */
	readonly hasher?: HasherFactory | undefined;
}

/** One thing found. `E_` makes the file invalid, `W_` does not. */
export interface ValidateFinding {
	readonly code: string;
	readonly message: string;
	/** Tensor name, module path or header entry; null for the file. */
	readonly at: string | null;
}

/** Everything wrong with a file. Plain data; schema/validate.schema.json. */
export interface ValidateReport {
	readonly schema: 'lora.validate/1';
	readonly file: string;
	readonly container: string;
	/** Layout it was read as; null when it was not. */
	readonly layout: string | null;
	readonly verdict: 'ok' | 'warnings' | 'invalid';
	readonly errors: readonly ValidateFinding[];
	readonly warnings: readonly ValidateFinding[];
	readonly modules: number;
	/** What was looked at; null when data was not read. */
	readonly data: {
		readonly tensors: number;
		readonly values: number;
		readonly bytes: number;
		readonly nan: number;
		readonly inf: number;
		readonly nonFiniteTensors: readonly string[];
	} | null;
}

/** Unknown tensors named one by one; the rest is counted. */
const MAX_UNKNOWN = 20;

/**
 * Judge a file as strictly as convert does, but list everything: all broken modules, metadata that contradicts
 * the tensors, stale hashes, NaN and Inf. Container faults were thrown before this, by opening the file.
 *
 * @throws {FormatError} only what reading data throws (`E_IO`, `E_TRUNCATED`, ...) and `E_USAGE`.
 */
export async function validate(input: LayoutInput, options: ValidateOptions = {}): Promise<ValidateReport> {
	const errors: ValidateFinding[] = [];
	const warnings: ValidateFinding[] = [];
	const refuse = (error: FormatError): void => {
		if (!errors.some((e) => e.code === error.code && e.at === (error.at ?? null))) {
			errors.push({ code: error.code, message: error.message, at: error.at ?? null });
		}
	};
	let adapter: Adapter | undefined;
	let layout: string | null = null;
	try {
		const decoded = decodeAdapter(input, options);
		adapter = decoded.adapter;
		layout = decoded.layout.id;
	} catch (error) {
		if (!(error instanceof FormatError) || error.code === 'E_USAGE') throw error;
		refuse(error);
		if (error.code.startsWith('E_LORA_')) for (const broken of brokenModules(input.file)) if (!sameFault(error, broken)) refuse(broken);
	}
	if (adapter !== undefined) {
		if (adapter.modules.length === 0) refuse(noModules(adapter));
		const base = baseFault(adapter, input);
		if (base !== undefined) refuse(base);
	}
	const found: Warning[] = [...(adapter?.warnings ?? input.file.warnings), ...metadataWarnings(input.file.metadata, adapter)];
	if (adapter !== undefined) found.push(...adapterWarnings(adapter));
	const data = options.data === false ? undefined : await scanData(input, adapter, options.hasher);
	found.push(...(data?.warnings ?? []));
	const seen = new Set<string>();
	for (const { code, message, at } of found) {
		// Layouts look at the header too: one finding for one entry.
		const id = code.startsWith('W_METADATA_') ? `${code}\u0000${at ?? ''}` : `${code}\u0000${message}`;
		if (seen.has(id)) continue;
		seen.add(id);
		warnings.push({ code, message, at: at ?? null });
	}
	return {
		schema: 'lora.validate/1',
		file: input.file.name,
		container: input.file.container,
		layout,
		verdict: errors.length > 0 ? 'invalid' : warnings.length > 0 ? 'warnings' : 'ok',
		errors,
		warnings,
		modules: adapter?.modules.length ?? 0,
		data:
			data === undefined
				? null
				: {
						tensors: data.tensors,
						values: data.values,
						bytes: data.bytes,
						nan: data.nan,
						inf: data.inf,
						nonFiniteTensors: data.nonFiniteTensors,
					},
	};
}

/** The decoder's own refusal comes back from the groups under the raw module name. */
function sameFault(first: FormatError, other: FormatError): boolean {
	return first.code === other.code && first.at === other.at;
}

function noModules(adapter: Adapter): FormatError {
	const [embedding] = adapter.embeddings;
	return new FormatError(
		'E_NOT_A_LORA',
		embedding === undefined
			? `${quote(adapter.source.name)} has no module that a LoRA could change; it is no LoRA.`
			: `${quote(adapter.source.name)} holds only learned embeddings (first: ${quote(embedding.token)}); it is a textual inversion, not a LoRA.`,
	);
}

function baseFault(adapter: Adapter, input: LayoutInput): FormatError | undefined {
	if (input.base === undefined) return undefined;
	try {
		checkAgainstBase(resolveWithBase(adapter, input.base), input.base);
		return undefined;
	} catch (error) {
		if (error instanceof FormatError) return error;
		throw error;
	}
}

function adapterWarnings(adapter: Adapter): Warning[] {
	const warnings: Warning[] = [];
	if (adapter.unknown.size > 0 && !adapter.warnings.some((w) => w.code === 'W_UNKNOWN_KEY')) {
		let listed = 0;
		for (const name of adapter.unknown.keys()) {
			if (listed++ === MAX_UNKNOWN) {
				warnings.push({ code: 'W_UNKNOWN_KEY', message: `and ${adapter.unknown.size - MAX_UNKNOWN} more tensors that no layout knows.` });
				break;
			}
			warnings.push({
				code: 'W_UNKNOWN_KEY',
				message: `Tensor ${quote(name)} belongs to no module known here; conversions refuse to lose it.`,
				at: name,
			});
		}
	}
	if (adapter.modules.length > 0 && adapter.modules.every((m) => m.component.startsWith('text_encoder'))) {
		warnings.push({
			code: 'W_TEXT_ENCODER_ONLY',
			message: 'Only text encoder modules: "model only" loaders (ComfyUI\'s LoraLoaderModelOnly) apply nothing of it.',
		});
	}
	const differences = strengthDifferences(adapter);
	if (differences.length > 0) {
		warnings.push({
			code: 'W_RUNTIMES_DIFFER',
			message: `Runtimes will not agree on the strength: ${differences.map((d) => d.message.replace(/\.$/, '')).join('; ')}.`,
		});
	}
	return warnings;
}
