import path from 'node:path';
import { type Adapter, type ConversionPlan, FormatError, planAdapter, plannedBytes, type Warning } from '@lorakit/format';
import { checkTarget, type InputRef, planTargets, writePlan } from '@lorakit/format/node';
import type { OpenedInput } from './open-input.js';
import { containerOf } from './output-names.js';
import type { Progress } from './progress.js';

/** An adapter in memory and where it goes. */
export interface WriteAdapterRequest {
	readonly output: string;
	/** Layout id or alias. */
	readonly to: string;
	readonly allowLoss?: boolean | undefined;
	readonly force?: boolean | undefined;
	readonly dryRun?: boolean | undefined;
	/** Never overwritten, and checked for changes before anything is put in place. */
	readonly inputs: readonly OpenedInput[];
	readonly onProgress?: Progress | undefined;
}

/** What was written, or would be. */
export interface WrittenAdapter {
	readonly plan: ConversionPlan;
	readonly outputs: readonly { readonly path: string; readonly container: string; readonly bytes: number | null }[];
	readonly warnings: readonly Warning[];
}

/** Refuse an output that may not be written, before any work. @throws {FormatError} `E_USAGE`, `E_OUTPUT_EXISTS`, `E_OUTPUT_IS_INPUT`, `E_IO`. */
export function checkOutput(output: string, force: boolean | undefined, inputs: readonly OpenedInput[]): void {
	if (output === '-') throw new FormatError('E_USAGE', 'This command writes a file, not standard output; name OUT.');
	containerOf(output);
	checkTarget(output, force ?? false, refsOf(inputs));
}

/**
 * Write an adapter by a layout, all its files or none.
 * @param make the adapter; asked a second time with `fold` where the layout has no slot for its scalings
 * @throws {FormatError} of planning, computing and writing.
 */
export async function writeAdapter(
	make: (scaling: 'auto' | 'fold') => Promise<Adapter> | Adapter,
	request: WriteAdapterRequest,
): Promise<WrittenAdapter> {
	const { output } = request;
	const options = { to: request.to, container: containerOf(output), allowLoss: request.allowLoss };
	let plan: ConversionPlan;
	try {
		plan = planAdapter(await make('auto'), options);
	} catch (error) {
		if (!(error instanceof FormatError) || error.code !== 'E_ALPHA_NO_SLOT') throw error;
		plan = planAdapter(await make('fold'), options);
	}
	return writePlanned(plan, request);
}

/** The same for a plan that is there already. */
export async function writePlanned(plan: ConversionPlan, request: Omit<WriteAdapterRequest, 'to' | 'allowLoss'>): Promise<WrittenAdapter> {
	const { output, dryRun, force } = request;
	const inputs = refsOf(request.inputs);
	const paths = planTargets(plan, output);
	if (dryRun === true) for (const file of paths) checkTarget(file, force ?? false, inputs);
	else await writePlan(plan, output, { force, inputs, onProgress: request.onProgress });
	const sides = [...plan.sideFiles.values()];
	return {
		plan,
		outputs: paths.map((file, i) => {
			const planned = plan.files[i];
			const side = sides[i - plan.files.length];
			return planned === undefined
				? { path: file, container: 'text', bytes: side === undefined ? null : Buffer.byteLength(side) }
				: {
						path: file,
						container: planned.container,
						bytes: plannedBytes({ files: [planned], sideFiles: new Map() }, [path.basename(file, path.extname(file))]),
					};
		}),
		warnings: [...plan.warnings, ...(dryRun === true ? [] : plan.tally())],
	};
}

function refsOf(inputs: readonly OpenedInput[]): readonly InputRef[] {
	return inputs.flatMap((opened) => [...opened.sources, ...opened.companions]);
}
