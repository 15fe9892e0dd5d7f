import type { ByteSource } from '../../byte-source.js';
import type { ByteSink } from '../../containers/container.js';
import { FormatError, quote } from '../../errors.js';
import { groupDigits } from '../../group-digits.js';
import { FUSE_BUFFER_BYTES, FUSE_WINDOW_BYTES, MAX_COMPUTED_TENSOR_BYTES } from '../../limits.js';
import type { StateDict } from '../../state-dict.js';
import { createBufferPool } from './write-fused-buffers.js';

/** A tensor that changes on its way, and where it lies in its window. */
export interface ChangedTensor {
	readonly name: string;
	/** Byte offset in the window. */
	readonly at: number;
	readonly nbytes: number;
}

/** A piece of a data section that is read, changed and written at once. */
export interface DataWindow {
	/** Byte offset in the file that is read. */
	readonly offset: number;
	readonly length: number;
	/** Whole tensors in it that change, in the order of the data. */
	readonly changed: readonly ChangedTensor[];
}

/**
 * Cut the data section of a safetensors file into windows of at most `FUSE_WINDOW_BYTES`, such that every tensor that
 * changes lies whole in one (a larger one makes a window of its own). Together they are the whole section, in order.
 *
 * @param state a safetensors file as read: tensors in the order of the data, without holes
 * @throws {FormatError} `E_LIMIT` for a changing tensor above `MAX_COMPUTED_TENSOR_BYTES`.
 */
export function dataWindows(state: StateDict, changes: { has(name: string): boolean }): readonly DataWindow[] {
	const windows: DataWindow[] = [];
	let begin: number | undefined;
	let end = 0;
	let changed: ChangedTensor[] = [];
	const flush = (): void => {
		if (begin !== undefined && end > begin) windows.push({ offset: begin, length: end - begin, changed });
		begin = undefined;
		changed = [];
	};
	for (const [name, { range, nbytes }] of state.tensors) {
		if (range === undefined) throw new TypeError(`${name} does not lie in a file`);
		if (nbytes === 0) continue;
		if (begin === undefined) begin = end = range.offset;
		if (changes.has(name)) {
			if (nbytes > MAX_COMPUTED_TENSOR_BYTES) {
				throw new FormatError(
					'E_LIMIT',
					`Tensor ${quote(name)} has ${groupDigits(nbytes)} bytes; the limit for one that is changed is ${groupDigits(MAX_COMPUTED_TENSOR_BYTES)}.`,
					{ at: name },
				);
			}
			if (end + nbytes - begin > FUSE_WINDOW_BYTES) flush();
			begin ??= range.offset;
			changed.push({ name, at: range.offset - begin, nbytes });
			end = range.offset + nbytes;
			continue;
		}
		// What does not change may be cut anywhere.
		end = range.offset + nbytes;
		while (end - begin > FUSE_WINDOW_BYTES) {
			const length = Math.max(FUSE_WINDOW_BYTES, lengthOf(changed));
			windows.push({ offset: begin, length, changed });
			begin += length;
			changed = [];
		}
	}
	flush();
	return windows;
}

/** Where the last changing tensor of a window ends. */
function lengthOf(changed: readonly ChangedTensor[]): number {
	const last = changed[changed.length - 1];
	return last === undefined ? 0 : last.at + last.nbytes;
}

/** Windows that are read, or waiting to be, before the one that is being changed is done. */
const WINDOWS_AHEAD = 3;

/** A source that can fill memory of the caller's, so that buffers are used again: files. */
interface FillingSource extends ByteSource {
	readAhead(offset: number, target: Uint8Array): Promise<void>;
}

export interface StreamOptions {
	/** Told the bytes as they are in the source, in order; they change when the promise is settled. */
	readonly onRead?: ((bytes: Uint8Array) => Promise<void>) | undefined;
	/** Read into memory that another thread can see: for an `onRead` that hashes there. */
	readonly shared?: boolean | undefined;
	/** Told the bytes as they are written, in order. */
	readonly onChanged?: ((bytes: Uint8Array) => void) | undefined;
	/** Told after each window is in the sink: bytes of the data section done so far. */
	readonly onWritten?: ((done: number) => void) | undefined;
}

/**
 * Read windows, change them, write them: the next is being read and the last ones written while one is changed.
 * Memory stays near `FUSE_BUFFER_BYTES`, single tensors larger than that aside.
 *
 * @param change changes `bytes` of the window in place
 * @throws what the source, `change` and the sink throw; nothing is under way any more then.
 */
export async function streamWindows(
	source: ByteSource,
	windows: readonly DataWindow[],
	sink: ByteSink,
	change: (window: DataWindow, bytes: Uint8Array) => Promise<void>,
	options: StreamOptions = {},
): Promise<void> {
	const pool = createBufferPool(FUSE_BUFFER_BYTES, FUSE_WINDOW_BYTES, options.shared === true);
	const writing = new Set<Promise<void>>();
	const ahead: Promise<Uint8Array>[] = [];
	let failed: unknown;
	let done = 0;

	/** `after` keeps the order: pieces are asked for, and told, one after the other. */
	const load = async (window: DataWindow, after: Promise<unknown> | undefined): Promise<Uint8Array> => {
		await after;
		const bytes = await pool.take(window.length);
		try {
			if (canFill(source)) await source.readAhead(window.offset, bytes);
			else bytes.set(await source.read(window.offset, window.length));
			await options.onRead?.(bytes);
			return bytes;
		} catch (error) {
			pool.give(bytes);
			throw error;
		}
	};
	const store = async (bytes: Uint8Array): Promise<void> => {
		try {
			await sink.write(bytes);
			done += bytes.byteLength;
			options.onWritten?.(done);
		} catch (error) {
			failed ??= error;
		} finally {
			pool.give(bytes);
		}
	};

	let next = 0;
	try {
		for (const window of windows) {
			while (ahead.length < WINDOWS_AHEAD && next < windows.length) {
				const piece = load(windows[next++] ?? window, ahead[ahead.length - 1]);
				// A failure is seen when it is awaited.
				piece.catch(() => {});
				ahead.push(piece);
			}
			const bytes = await ahead[0];
			ahead.shift();
			if (bytes === undefined) break;
			try {
				if (window.changed.length > 0) await change(window, bytes);
				options.onChanged?.(bytes);
				if (failed !== undefined) throw failed;
			} catch (error) {
				// The next read may be waiting for this memory.
				pool.give(bytes);
				throw error;
			}
			const work = store(bytes);
			writing.add(work);
			void work.then(() => writing.delete(work));
		}
		await Promise.all(writing);
		if (failed !== undefined) throw failed;
	} finally {
		// The caller closes files next: nothing may be using them.
		await Promise.all(writing);
		for (const piece of ahead) {
			const bytes = await piece.catch(() => undefined);
			if (bytes !== undefined) pool.give(bytes);
		}
	}
}

function canFill(source: ByteSource): source is FillingSource {
	return 'readAhead' in source && typeof source.readAhead === 'function';
}
