import { escapeControls, FormatError } from '@lorakit/format';

/**
 * What ONNX Runtime threw, as the error this project shows: `E_LIMIT` when memory ran out, else `E_INTERNAL`, for its
 * inputs were checked before. It names the node; ours are named after the part of the model that made them.
 */
export function ortError(error: unknown, doing: string): FormatError {
	if (error instanceof FormatError) return error;
	const message = error instanceof Error ? error.message : String(error);
	const node = /Name:\s*'([^']*)'/.exec(message)?.[1]?.replace(/#\d+$/, '');
	const where = node === undefined || node === '' ? '' : ` at ${node}`;
	if (OUT_OF_MEMORY.test(message)) {
		return new FormatError(
			'E_LIMIT',
			`Memory ran out while ONNX Runtime was ${doing}${where}; use a smaller picture, fewer pictures at once, or a smaller model.`,
			{ at: node, cause: error },
		);
	}
	const [first = ''] = message.split('\n', 1);
	return new FormatError('E_INTERNAL', `ONNX Runtime failed while ${doing}${where}: ${escapeControls(first)}`, { at: node, cause: error });
}

/** Its CPU arena and devices, C++, WebAssembly and JavaScript say it in these words. */
const OUT_OF_MEMORY =
	/bad_alloc|bad allocation|failed to allocate|out of memory|allocation failed|memory access out of bounds|array buffer allocation|cannot enlarge memory/i;
