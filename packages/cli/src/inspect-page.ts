import { adapterEnergy, decodeAdapter, type InspectReport, inspectHtml, loadKernel } from '@lorakit/format';
import { checkTarget, writeFilesAtomic } from '@lorakit/format/node';
import { openInput } from './open-input.js';
import type { ReadFlags } from './options.js';
import type { Output } from './output.js';
import { createProgress } from './progress.js';

export interface InspectPageRequest extends ReadFlags {
	/** The adapter. */
	readonly spec: string;
	/** The page. */
	readonly file: string;
	readonly force?: boolean | undefined;
}

/**
 * `lora inspect --html`: read all factors and write the page with pictures, whole or not at all.
 * @throws {FormatError} of decoding (a page is made of what convert would accept), `E_NONFINITE`, and those of writing.
 */
export async function writeInspectPage(request: InspectPageRequest, report: InspectReport, output: Output): Promise<void> {
	await loadKernel();
	const opened = await openInput(request.spec, { values: true });
	try {
		const inputs = [...opened.sources, ...opened.companions];
		checkTarget(request.file, request.force ?? false, inputs);
		const { adapter } = decodeAdapter(opened.input, { from: request.from, order: request.order, repair: request.repair });
		const progress = createProgress(output, request.spec);
		const energy = await adapterEnergy(adapter, { onProgress: progress.update }).finally(() => progress.end());
		const bytes = new TextEncoder().encode(inspectHtml(report, energy));
		await writeFilesAtomic([{ target: request.file, write: (sink) => sink.write(bytes) }], { force: request.force, inputs });
		output.warn(energy.warnings);
	} finally {
		await opened.close();
	}
}
