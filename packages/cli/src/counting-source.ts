import type { ByteSource } from '@lorakit/format';
import type { Progress } from './progress.js';

/** A source that tells how many bytes were read of it so far. Returns the source itself when nobody wants to know. */
export function countingSource(source: ByteSource, tell: Progress | undefined): ByteSource {
	if (tell === undefined) return source;
	let done = 0;
	return {
		name: source.name,
		size: source.size,
		remote: source.remote,
		async read(offset, length) {
			const bytes = await source.read(offset, length);
			done += length;
			tell(Math.min(done, source.size), source.size);
			return bytes;
		},
		close: () => source.close(),
	};
}
