import fs from 'node:fs';
import path from 'node:path';
import type { ByteSource, Tensor } from '@lorakit/format';
import type { ExternalRange } from './onnx-model.js';

/**
 * Where a stored tensor lies for ONNX Runtime, relative to the root of the file system of `folder`; undefined when
 * it is in no local file, or not on a whole element, or on another drive. Links are resolved, because ONNX Runtime
 * follows none (the Hub's cache is made of them).
 *
 * The function throws {FormatError} `E_INPUT_CHANGED` when the file is not the one that was opened.
 */
export function createFileLocator(folder: string): (tensor: Tensor) => ExternalRange | undefined {
	const locations = new Map<ByteSource, string | undefined>();

	function locationOf(source: ByteSource): string | undefined {
		if (!isFileSource(source)) return undefined;
		source.assertUnchanged();
		// A file whose name is gone can still be read by those who opened it, not by ONNX Runtime.
		if (!fs.existsSync(source.path)) return undefined;
		const relative = path.relative(folder, fs.realpathSync(source.path));
		return path.isAbsolute(relative) ? undefined : relative.split(path.sep).join('/');
	}

	return ({ dtype, range, nbytes }) => {
		if (range === undefined || range.offset % (dtype === 'F32' ? 4 : 2) !== 0) return undefined;
		if (!locations.has(range.source)) locations.set(range.source, locationOf(range.source));
		const location = locations.get(range.source);
		return location === undefined ? undefined : { location, offset: range.offset, length: nbytes };
	};
}

/** As `openFileSource` of `@lorakit/format/node` makes them. */
function isFileSource(source: ByteSource): source is ByteSource & { readonly path: string; assertUnchanged(): void } {
	return 'path' in source && typeof source.path === 'string' && 'assertUnchanged' in source && typeof source.assertUnchanged === 'function';
}
