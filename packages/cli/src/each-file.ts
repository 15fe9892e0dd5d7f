import { FormatError } from '@lorakit/format';
import { expandInputs, type FolderLister, rememberingLister } from '@lorakit/format/node';
import { type Output, toRefusal } from './output.js';

/** One file of a batch. */
export interface FileTask {
	readonly spec: string;
	/** True when the command line means this file only: then JSON is indented and messages need no name. */
	readonly alone: boolean;
	/** The name to put before messages; undefined when alone. */
	readonly scope: string | undefined;
	readonly list: FolderLister;
}

/**
 * Do something with every file that the arguments mean, one after the other. A file that is refused does not stop
 * the rest; wrong usage does. Stops early when nobody reads the output any more.
 *
 * @throws {FormatError} of expanding the arguments, and `E_USAGE`.
 */
export async function eachFile(args: readonly string[], output: Output, work: (task: FileTask) => Promise<void>): Promise<void> {
	const specs = await expandInputs(args);
	const list = rememberingLister();
	const alone = specs.length === 1;
	for (const spec of specs) {
		if (output.stdoutGone) return;
		try {
			await work({ spec, alone, scope: alone ? undefined : spec, list });
		} catch (error) {
			if (error instanceof FormatError && error.code === 'E_USAGE') throw error;
			reportFailure(output, spec, error, alone);
		}
	}
}

/** A refused file: the code on standard error, and under `--json` a document in the place of the one that is missing. */
export function reportFailure(output: Output, spec: string, error: unknown, alone: boolean): void {
	output.fail(error, alone ? undefined : spec);
	if (output.mode.json !== true) return;
	const { code, message, at } = toRefusal(error);
	output.document({ schema: 'lora.error/1', file: spec, error: { code, message, at: at ?? null } }, alone);
}
