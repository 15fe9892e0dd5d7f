import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { checkTarget, type InputRef } from '@lorakit/format/node';

/** Where the pictures go. */
export interface OutputPlan {
	/** One path for each picture; none when nothing is to be written. */
	readonly paths: readonly string[];
	/** Made when the first picture is written, where it is not there. */
	readonly folder: string | undefined;
}

/**
 * A file that ends in `.png`, or a folder that gets `picture-SEED.png` for each seed.
 * @throws {FormatError} `E_USAGE`; `E_OUTPUT_EXISTS`, `E_OUTPUT_IS_INPUT`, `E_IO` as of `checkTarget`.
 */
export function planOutputs(
	out: string | undefined,
	seeds: readonly bigint[],
	sheet: boolean,
	force: boolean,
	inputs: readonly InputRef[],
): OutputPlan {
	if (out === undefined) return { paths: [], folder: undefined };
	if (out === '-') throw new FormatError('E_USAGE', 'generate writes files, not standard output; name a .png file or a folder.');
	const isFolder = fs.statSync(out, { throwIfNoEntry: false })?.isDirectory() === true;
	if (!isFolder && /\.png$/i.test(out)) {
		if (seeds.length > 1 && !sheet) {
			throw new FormatError(
				'E_USAGE',
				`--num makes ${seeds.length} pictures, and ${quote(out)} is one file; name a folder, or use --grid for one sheet.`,
			);
		}
		checkTarget(out, force, inputs);
		return { paths: [out], folder: undefined };
	}
	if (sheet && !isFolder) throw new FormatError('E_USAGE', `--grid writes one file, and ${quote(out)} does not end in .png.`);
	if (!isFolder && /\.[a-z]{2,4}$/i.test(out)) {
		throw new FormatError('E_USAGE', `${quote(out)} is no .png file; pictures are written as PNG, which holds their settings.`);
	}
	const paths = sheet ? [path.join(out, 'grid.png')] : seeds.map((seed) => path.join(out, `picture-${seed}.png`));
	if (isFolder) for (const file of paths) checkTarget(file, force, inputs);
	return { paths, folder: isFolder ? undefined : out };
}
