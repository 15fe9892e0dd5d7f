import path from 'node:path';
import { FormatError, type OutputContainer, quote } from '@lorakit/format';

const CONTAINERS: ReadonlyMap<string, OutputContainer> = new Map([
	['.safetensors', 'safetensors'],
	['.pt', 'torch-zip'],
	['.bin', 'torch-zip'],
	['.ckpt', 'torch-zip'],
	['.pth', 'torch-zip'],
]);

/** The container that an output's extension asks for; `-` (standard output) is safetensors. @throws {FormatError} `E_USAGE`. */
export function containerOf(output: string): OutputContainer {
	if (output === '-') return 'safetensors';
	const extension = path.extname(output).toLowerCase();
	const container = CONTAINERS.get(extension);
	if (container !== undefined) return container;
	throw new FormatError(
		'E_USAGE',
		`${quote(output)} does not say which container to write; end it in .safetensors, or in .pt, .bin, .ckpt or .pth for a torch file.`,
	);
}

/** OUT without its extension: what companions are named after. */
export function stemOf(output: string): string {
	const extension = path.extname(output);
	return extension === '' ? output : output.slice(0, -extension.length);
}

/**
 * Where each input of a batch goes: the stem of its name and the extension of the target's usual container; for PEFT a
 * folder of that name.
 * @throws {FormatError} `E_USAGE` when two inputs would go to one name.
 */
export function batchNames(inputs: readonly string[], outDir: string, to: string): ReadonlyMap<string, string> {
	const extension = to === 'cloneofsimo' || to === 'cloneofsimo-list' ? '.pt' : '.safetensors';
	const names = new Map<string, string>();
	const taken = new Map<string, string>();
	for (const input of inputs) {
		const stem = stemOfInput(input);
		// PEFT's adapter_config.json has a fixed name: each adapter needs a folder of its own.
		const target = to === 'peft' ? path.join(outDir, stem, 'adapter_model.safetensors') : path.join(outDir, `${stem}${extension}`);
		// Many file systems do not tell "A" from "a".
		const key = target.toLowerCase();
		const other = taken.get(key);
		if (other !== undefined) {
			throw new FormatError(
				'E_USAGE',
				`${quote(other)} and ${quote(input)} would both be written to ${quote(target)}; rename one, or convert them apart.`,
			);
		}
		taken.set(key, input);
		names.set(input, target);
	}
	return names;
}

/** Names that every adapter of a kind has: the folder tells them apart. */
const FIXED: ReadonlySet<string> = new Set(['adapter_model', 'pytorch_lora_weights']);

function stemOfInput(input: string): string {
	if (input === '-') return 'stdin';
	const plain = input.includes('://') ? (input.split(/[?#]/)[0] ?? input) : input;
	const base = path.basename(plain.replace(/[/\\]+$/, ''));
	const stem = CONTAINERS.has(path.extname(base).toLowerCase()) ? stemOf(base) : base;
	if (FIXED.has(stem) && !input.includes('://')) {
		const parent = path.basename(path.dirname(path.resolve(input)));
		if (parent !== '') return parent;
	}
	return stem.replace(/[/\\\0]/g, '_') || 'adapter';
}
