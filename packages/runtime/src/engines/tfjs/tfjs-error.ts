import { escapeControls, FormatError } from '@lorakit/format';
import type { TfjsBackend } from './kernel.js';

/** What TensorFlow.js threw, as the error this project shows: `E_LIMIT` when memory gave out, `E_DEVICE` when the device did, else `E_INTERNAL`. */
export function tfjsError(error: unknown, backend: TfjsBackend, at: string | undefined): unknown {
	// What was aborted says so itself.
	if (error instanceof FormatError) return error;
	const message = error instanceof Error ? error.message : String(error);
	const where = at === undefined || at === '' ? '' : ` at ${at}`;
	if (DEVICE_LOST.test(message)) {
		const text = `The graphics device was lost while TensorFlow.js (${backend}) was computing${where}: its driver was reset, or its memory ran out. Start again, with a smaller picture or another engine.`;
		return new FormatError('E_DEVICE', text, { at, cause: error });
	}
	if (OUT_OF_MEMORY.test(message)) {
		const text = `Memory ran out while TensorFlow.js (${backend}) was computing${where}; use a smaller picture, fewer pictures at once, or a smaller model.`;
		return new FormatError('E_LIMIT', text, { at, cause: error });
	}
	const [first = ''] = message.split('\n', 1);
	return new FormatError('E_INTERNAL', `TensorFlow.js (${backend}) failed${where}: ${escapeControls(first)}`, { at, cause: error });
}

const DEVICE_LOST = /device (is|was) lost|lost device|device has been lost/i;
/** JavaScript, WebAssembly, TensorFlow and WebGPU say it in these words. */
const OUT_OF_MEMORY =
	/out of memory|\boom\b|resource exhausted|allocation failed|memory access out of bounds|cannot enlarge memory|bad_alloc/i;
