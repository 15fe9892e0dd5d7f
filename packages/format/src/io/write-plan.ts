import path from 'node:path';
import type { ConversionPlan, PlannedFile } from '../convert.js';
import { writePlannedFile } from '../write.js';
import { type AtomicOutput, writeFilesAtomic } from './atomic-write.js';
import { createNodeSha256 } from './node-hasher.js';
import type { InputRef } from './output-target.js';

export interface WritePlanOptions {
	/** Replace files that are there. */
	readonly force?: boolean | undefined;
	/** What the plan was made from: never overwritten, and checked for changes before anything is put in place. */
	readonly inputs?: readonly InputRef[] | undefined;
	/** Bytes done and to do, over all files. */
	readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Paths that a plan writes for OUT, in its order: OUT itself, `STEM.text_encoder.pt`, `STEM.ti.pt`,
 * `STEM_emb*.safetensors`, then side files (`adapter_config.json`) in the same folder.
 */
export function planTargets(plan: Pick<ConversionPlan, 'files' | 'sideFiles'>, out: string): readonly string[] {
	const stem = out.slice(0, out.length - path.extname(out).length);
	return [
		...plan.files.map((file) => (file.suffix === '' ? out : `${stem}${file.suffix}`)),
		...[...plan.sideFiles.keys()].map((name) => path.join(path.dirname(out), name)),
	];
}

/**
 * Write all files of a plan, all or none (see `writeFilesAtomic`).
 * @returns the paths written
 * @throws {FormatError} `E_OUTPUT_EXISTS`, `E_OUTPUT_IS_INPUT`, `E_INPUT_CHANGED`, `E_NO_SPACE`, `E_IO`, and what reading the tensors throws.
 */
export async function writePlan(plan: ConversionPlan, out: string, options: WritePlanOptions = {}): Promise<readonly string[]> {
	const targets = planTargets(plan, out);
	const total = plan.files.reduce((sum, file) => sum + dataBytes(file), 0);
	let before = 0;
	const outputs: AtomicOutput[] = plan.files.map((file, i) => {
		const target = targets[i] ?? out;
		return {
			target,
			write: async (sink) => {
				await writePlannedFile(file, sink, {
					hasher: createNodeSha256,
					rootName: path.basename(target, path.extname(target)),
					onProgress: (done) => options.onProgress?.(Math.min(total, before + done), total),
				});
				before += dataBytes(file);
			},
		};
	});
	for (const [i, text] of [...plan.sideFiles.values()].entries()) {
		const target = targets[plan.files.length + i];
		if (target !== undefined) outputs.push({ target, write: (sink) => sink.write(new TextEncoder().encode(text)) });
	}
	await writeFilesAtomic(outputs, { force: options.force, inputs: options.inputs });
	return targets;
}

function dataBytes(file: PlannedFile): number {
	let sum = 0;
	for (const tensor of file.tensors.values()) sum += tensor.nbytes;
	return sum;
}
