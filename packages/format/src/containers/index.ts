import type { ByteSource } from '../byte-source.js';
import type { StateDict } from '../state-dict.js';
import type { ReadOptions } from './container.js';
import { readSafetensors } from './safetensors-read.js';
import { type Sniffed, sniffContainer } from './sniff.js';

export type { ByteSink, ReadOptions } from './container.js';
export { readSafetensors } from './safetensors-read.js';
export { safetensorsBytes } from './safetensors-write.js';
export { type Sniffed, sniffContainer } from './sniff.js';

/**
 * Read what a file holds, whatever container it is in: the bytes decide. The torch readers are loaded only for
 * torch files.
 * @throws {FormatError} those of `sniffContainer` and of the reader.
 */
export async function openStateDict(source: ByteSource, options: ReadOptions = {}): Promise<StateDict> {
	const sniffed = await sniffContainer(source);
	const dict = await readAs(sniffed, source, options);
	return sniffed.warnings.length === 0 ? dict : { ...dict, warnings: [...sniffed.warnings, ...dict.warnings] };
}

async function readAs(sniffed: Sniffed, source: ByteSource, options: ReadOptions): Promise<StateDict> {
	if (sniffed.id === 'safetensors') return readSafetensors(source, options, sniffed.head);
	if (sniffed.id === 'torch-zip') return (await import('./torch-zip.js')).readTorchZip(source, options);
	return (await import('./torch-legacy.js')).readTorchLegacy(source, options);
}
