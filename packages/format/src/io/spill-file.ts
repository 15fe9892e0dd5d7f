import fs from 'node:fs';
import type { ByteSource } from '../byte-source.js';
import { createFileSink } from './file-sink.js';
import { descriptorSource } from './file-source.js';
import { createTemp, removeTemp } from './temp-files.js';

/** A place on disk for what is made before the file it belongs in can be laid out. */
export interface SpillFile {
	/** Append; returns where it lies. @throws {FormatError} `E_NO_SPACE`, `E_IO`. */
	append(bytes: Uint8Array): Promise<number>;
	/** Everything appended so far, for reading; it is the caller's to close, the spill file's descriptor stays. */
	source(): ByteSource;
	/** Gone from disk. */
	close(): void;
}

/**
 * A nameless temporary file beside `target` (the disk that has to hold the result anyway). It goes away with the
 * process, however that ends; where files cannot be nameless (Windows), at `close`.
 * @throws {FormatError} `E_NO_SPACE`, `E_IO`.
 */
export function createSpill(target: string): SpillFile {
	const { file, fd } = createTemp(target, fs);
	if (process.platform !== 'win32') removeTemp(file, fs);
	const sink = createFileSink(fd, target, fs);
	let open = true;
	return {
		async append(bytes) {
			const at = sink.position;
			await sink.write(bytes);
			return at;
		},
		source() {
			sink.flush();
			// The spill file closes its own descriptor.
			return { ...descriptorSource(fd, '', 'temporary file'), async close() {} };
		},
		close() {
			if (!open) return;
			open = false;
			fs.closeSync(fd);
			removeTemp(file, fs);
		},
	};
}
