import fs from 'node:fs';
import { FormatError, quote } from '@lorakit/format';
import { type InputRef, writeFileAtomic } from '@lorakit/format/node';
import { encodePng, type Rgb } from '@lorakit/runtime/node';
import { a1111Parameters } from './a1111-parameters.js';
import { comfyWorkflow } from './comfy-workflow.js';
import type { OutputPlan } from './output-plan.js';
import { type PictureRecord, RECORD_KEYWORD } from './picture-record.js';

export interface WritePictureOptions {
	/** First 10 hex of the SHA-256 of the model, for A1111's text. */
	readonly modelHash: string | undefined;
	readonly force: boolean;
	readonly inputs: readonly InputRef[];
	readonly folder: OutputPlan['folder'];
}

/**
 * A picture as PNG with its settings three times: as A1111 and as ComfyUI write them, and exactly, for `--repeat`. Whole or
 * not at all.
 * @returns bytes of the file
 * @throws {FormatError} as `writeFileAtomic`.
 */
export async function writePicture(path: string, picture: Rgb, record: PictureRecord, options: WritePictureOptions): Promise<number> {
	const png = encodePng(picture, [
		['parameters', a1111Parameters(record, options.modelHash)],
		['prompt', comfyWorkflow(record)],
		[RECORD_KEYWORD, JSON.stringify(record)],
	]);
	if (options.folder !== undefined) makeFolder(options.folder);
	await writeFileAtomic(path, async (sink) => sink.write(png), { force: options.force, inputs: options.inputs });
	return png.byteLength;
}

function makeFolder(folder: string): void {
	try {
		fs.mkdirSync(folder, { recursive: true });
	} catch (cause) {
		throw new FormatError(
			'E_IO',
			`The folder ${quote(folder)} cannot be made: ${cause instanceof Error ? cause.message : String(cause)}.`,
			{
				cause,
			},
		);
	}
}
