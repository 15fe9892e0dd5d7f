import { FormatError } from '../errors.js';
import { countBytes, groupDigits } from '../group-digits.js';
import { MAX_COMPUTED_TENSOR_BYTES } from '../limits.js';
import type { Tensor } from '../tensor.js';
import type { ByteSink } from './container.js';
import { planSafetensors, type SafetensorsPlan } from './safetensors-plan.js';
import { tensorStream } from './tensor-stream.js';

export { planSafetensors, type SafetensorsPlan } from './safetensors-plan.js';

/** What can be watched while a file is written. */
export interface WriteOptions {
	/** Called after each piece with the bytes of the file done so far. */
	readonly onProgress?: ((bytesDone: number) => void) | undefined;
	/** Fed with the data section only (everything behind the header), as kohya's model hash wants it. */
	readonly hasher?: { update(bytes: Uint8Array): void } | undefined;
}

/**
 * Write a planned file to a sink, in pieces: memory stays at a few `COPY_CHUNK_BYTES` whatever the size, computed
 * tensors aside.
 * @throws what reading or computing the tensors and the sink throw; the sink is then left as it is.
 */
export async function writeSafetensors(plan: SafetensorsPlan, sink: ByteSink, options: WriteOptions = {}): Promise<void> {
	const { onProgress, hasher } = options;
	await sink.write(plan.header);
	let done = plan.header.byteLength;
	onProgress?.(done);
	for await (const bytes of tensorStream(tensorsOf(plan))) {
		hasher?.update(bytes);
		await sink.write(bytes);
		done += bytes.byteLength;
		onProgress?.(done);
	}
	if (done !== plan.totalBytes) throw new TypeError(`wrote ${done} bytes of a safetensors file of ${plan.totalBytes}`);
}

/**
 * A whole file in memory: for small files and browsers.
 * @throws {FormatError} `E_LIMIT` above `MAX_COMPUTED_TENSOR_BYTES`, and those of `planSafetensors`.
 */
export async function safetensorsBytes(tensors: ReadonlyMap<string, Tensor>, metadata: ReadonlyMap<string, string>): Promise<Uint8Array> {
	const plan = planSafetensors(tensors, metadata);
	if (plan.totalBytes > MAX_COMPUTED_TENSOR_BYTES) {
		throw new FormatError(
			'E_LIMIT',
			`The file would have ${countBytes(plan.totalBytes)} in memory; the limit is ${groupDigits(MAX_COMPUTED_TENSOR_BYTES)}: write it to a sink piece by piece.`,
		);
	}
	const out = new Uint8Array(plan.totalBytes);
	let at = 0;
	await writeSafetensors(plan, {
		write(bytes) {
			out.set(bytes, at);
			at += bytes.byteLength;
		},
	});
	return out;
}

function* tensorsOf(plan: SafetensorsPlan): Generator<Tensor, void, undefined> {
	for (const [, tensor] of plan.order) yield tensor;
}
