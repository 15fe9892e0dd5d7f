import type { ByteSource } from '../byte-source.js';

/** A source that can tell whether what it reads from was changed or replaced since it was opened. */
export interface CheckedSource extends ByteSource {
	/** @throws {FormatError} `E_INPUT_CHANGED`. */
	assertUnchanged(): void;
}

/**
 * Check every source that can be checked. A converter calls this after its last read and before its output takes
 * the place of anything (`writeFileAtomic` does it for the sources in `inputs`).
 * @throws {FormatError} `E_INPUT_CHANGED`.
 */
export function assertUnchanged(sources: Iterable<ByteSource>): void {
	for (const source of sources) if (isChecked(source)) source.assertUnchanged();
}

function isChecked(source: ByteSource): source is CheckedSource {
	return 'assertUnchanged' in source && typeof source.assertUnchanged === 'function';
}
