import { FormatError } from '../errors.js';

/**
 * Inflate a raw deflate stream whose size is declared. The caller has checked `size` against the limits; the
 * output never grows past it: inflating stops at the first byte too many. Uses the platform's
 * `DecompressionStream`, which browsers and Node 20 both have.
 *
 * @param input compressed bytes, in pieces
 * @param size declared bytes of the result
 * @param what names the entry in messages
 * @throws {FormatError} `E_ZIP` when the stream is damaged or gives another number of bytes.
 */
export async function inflateRaw(input: AsyncIterable<Uint8Array>, size: number, what: string): Promise<Uint8Array> {
	const stream = new DecompressionStream('deflate-raw');
	const writer = stream.writable.getWriter();
	const reader = stream.readable.getReader();
	const feeding = feed(input, writer);
	// A refusal below leaves the feeder with a broken pipe: its own failures are handled where it is awaited.
	feeding.catch(() => {});
	const out = new Uint8Array(size);
	let filled = 0;
	try {
		for (;;) {
			const { done, value } = await reader.read();
			if (done) break;
			if (filled + value.byteLength > size) {
				throw new FormatError(
					'E_ZIP',
					`${what} inflates to more than the ${size} bytes that the zip directory declares; the file is damaged or hostile, do not use it.`,
				);
			}
			out.set(value, filled);
			filled += value.byteLength;
		}
		await feeding;
	} catch (error) {
		reader.cancel().catch(() => {});
		if (error instanceof FormatError) throw error;
		// The feeder's own refusal (the source became shorter) says more than the stream's.
		const fed = await feeding.then(
			() => undefined,
			(e: unknown) => e,
		);
		if (fed instanceof FormatError) throw fed;
		throw new FormatError('E_ZIP', `${what} is no valid deflate stream; the file is damaged, fetch it again.`, { cause: error });
	}
	if (filled !== size) {
		throw new FormatError(
			'E_ZIP',
			`${what} inflates to ${filled} bytes, but the zip directory declares ${size}; the file is damaged, fetch it again.`,
		);
	}
	return out;
}

async function feed(input: AsyncIterable<Uint8Array>, writer: WritableStreamDefaultWriter<BufferSource>): Promise<void> {
	try {
		for await (const piece of input) {
			await writer.ready;
			// The copy gives the stream a plain ArrayBuffer of its own.
			await writer.write(new Uint8Array(piece));
		}
		await writer.close();
	} catch (error) {
		writer.abort(error).catch(() => {});
		throw error;
	}
}
