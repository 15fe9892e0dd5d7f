import { inflateRaw } from '../../containers/inflate.js';
import { FormatError } from '../../errors.js';
import { ByteList } from './residual-bytes.js';
import { type CodeWidth, differ, reader, writeBack } from './residual-codes.js';

export type { CodeWidth } from './residual-codes.js';

/** Bytes before the two streams: sizes of runs and values as they are, and of runs as packed (three u32, little-endian). */
const FRAME_BYTES = 12;

/**
 * What turns `guess` into `truth`: the differences of their integer codes, where they differ. The codes are put in
 * the order of the numbers they stand for first (sign folded), so that neighbours differ by 1 also across zero, and
 * every pattern, NaN payloads and -0 too, comes back.
 *
 * Two streams, each deflated by itself: how many equal elements come before each difference, and the difference
 * (zigzag), both as variable-length integers. Apart they compress by a third better than mixed (measured).
 *
 * @param width bytes of one element, little-endian
 * @returns nothing at all when the two are equal
 */
export async function encodeResidual(truth: Uint8Array, guess: Uint8Array, width: CodeWidth): Promise<Uint8Array> {
	if (truth.byteLength !== guess.byteLength) throw new TypeError(`${truth.byteLength} bytes against ${guess.byteLength}`);
	const runs = new ByteList();
	const values = new ByteList();
	differ(truth, guess, width, runs, values);
	if (runs.length === 0) return new Uint8Array(0);
	const packedRuns = await deflateRaw(runs.bytes());
	const packedValues = await deflateRaw(values.bytes());
	const out = new Uint8Array(FRAME_BYTES + packedRuns.byteLength + packedValues.byteLength);
	const view = new DataView(out.buffer);
	view.setUint32(0, runs.length, true);
	view.setUint32(4, values.length, true);
	view.setUint32(8, packedRuns.byteLength, true);
	out.set(packedRuns, FRAME_BYTES);
	out.set(packedValues, FRAME_BYTES + packedRuns.byteLength);
	return out;
}

/**
 * Turn `guess` into what `encodeResidual` was given, in place.
 * @param what names the tensor in messages
 * @throws {FormatError} `E_SIDECAR` for anything that is no residual of a tensor of this size; `guess` may then be half changed.
 */
export async function applyResidual(guess: Uint8Array, residual: Uint8Array, width: CodeWidth, what: string): Promise<void> {
	if (residual.byteLength === 0) return;
	const broken = (why: string, cause?: unknown): FormatError =>
		new FormatError('E_SIDECAR', `The sidecar's residual of ${what} ${why}; the sidecar is damaged, fuse again from the original base.`, {
			cause,
		});
	if (residual.byteLength < FRAME_BYTES) throw broken('is cut short');
	const view = new DataView(residual.buffer, residual.byteOffset, FRAME_BYTES);
	const runBytes = view.getUint32(0, true);
	const valueBytes = view.getUint32(4, true);
	const split = FRAME_BYTES + view.getUint32(8, true);
	const elements = guess.byteLength / width;
	// Each difference has one run, all runs together are no longer than the tensor; both bound the streams before inflating.
	if (runBytes > 2 * elements || valueBytes > MAX_VALUE_BYTES[width] * elements || split > residual.byteLength) {
		throw broken('is larger than the tensor allows');
	}
	let runs: Uint8Array;
	let values: Uint8Array;
	try {
		runs = await inflateRaw(once(residual.subarray(FRAME_BYTES, split)), runBytes, 'The list of runs');
		values = await inflateRaw(once(residual.subarray(split)), valueBytes, 'The list of differences');
	} catch (error) {
		throw broken('cannot be unpacked', error);
	}
	if (!writeBack(guess, width, reader(runs), reader(values))) throw broken('does not fit the tensor');
}

/** Bytes that one difference can take: 7 bits a byte. */
const MAX_VALUE_BYTES: Readonly<Record<CodeWidth, number>> = { 2: 3, 4: 5, 8: 10 };

async function deflateRaw(bytes: Uint8Array): Promise<Uint8Array> {
	const stream = new CompressionStream('deflate-raw');
	const writer = stream.writable.getWriter();
	// A failure is seen where the other end is read.
	writer.write(new Uint8Array(bytes)).catch(() => {});
	writer.close().catch(() => {});
	return new Uint8Array(await new Response(stream.readable).arrayBuffer());
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
	yield bytes;
}
