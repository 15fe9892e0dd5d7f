import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { checkTarget, type InputRef } from '@lorakit/format/node';
import { ONE_PICTURE, type PictureView } from './picture-view.js';

/** A file of a run, and what of the run it shows. */
export interface PlannedFile {
	/** undefined: compared only. */
	readonly path: string | undefined;
	readonly view: PictureView;
}

/** Where the pictures go. */
export interface OutputPlan {
	/** By run, in the order of the seeds; a grid is one. */
	readonly runs: readonly (readonly PlannedFile[])[];
	/** Made when the first picture is written, where it is not there. */
	readonly folder: string | undefined;
}

/** What is to be planned for. */
export interface OutputWishes {
	readonly seeds: readonly bigint[];
	/** One sheet of all. */
	readonly grid: boolean;
	/** Edits of each seed. */
	readonly edits: number;
	/** A sheet of attention for each seed. */
	readonly attention: boolean;
	/** Only this of the run (a repeat). */
	readonly view: PictureView | undefined;
	readonly force: boolean;
	readonly inputs: readonly InputRef[];
}

/**
 * A file that ends in `.png`, or a folder. For each seed a folder gets `picture-SEED.png`; with edits `edit-SEED.png` (all
 * side by side) and `edit-SEED-N.png` (0 is the source); with attention maps `…-attention.png` beside them, as a file does.
 * @throws {FormatError} `E_USAGE`; `E_OUTPUT_EXISTS`, `E_OUTPUT_IS_INPUT`, `E_IO` as of `checkTarget`.
 */
export function planOutputs(out: string | undefined, wishes: OutputWishes): OutputPlan {
	const { seeds, grid, view, force, inputs } = wishes;
	if (out === undefined) return { runs: seeds.slice(0, 1).map(() => [{ path: undefined, view: view ?? ONE_PICTURE }]), folder: undefined };
	if (out === '-') throw new FormatError('E_USAGE', 'generate writes files, not standard output; name a .png file or a folder.');
	const isFolder = fs.statSync(out, { throwIfNoEntry: false })?.isDirectory() === true;
	const isFile = !isFolder && /\.png$/i.test(out);
	if (isFile && seeds.length > 1 && !grid) {
		throw new FormatError(
			'E_USAGE',
			`--num makes ${seeds.length} pictures, and ${quote(out)} is one file; name a folder, or use --grid for one sheet.`,
		);
	}
	if (grid && !isFile && !isFolder) throw new FormatError('E_USAGE', `--grid writes one file, and ${quote(out)} does not end in .png.`);
	if (!isFile && !isFolder && /\.[a-z]{2,4}$/i.test(out)) {
		throw new FormatError('E_USAGE', `${quote(out)} is no .png file; pictures are written as PNG, which holds their settings.`);
	}
	const runs = grid
		? [[{ path: isFile ? out : path.join(out, 'grid.png'), view: view ?? ONE_PICTURE }]]
		: seeds.map((seed) => filesOf(isFile ? out : path.join(out, `${wishes.edits > 0 ? 'edit' : 'picture'}-${seed}.png`), wishes, isFile));
	if (isFile || isFolder) for (const file of runs.flat()) checkTarget(file.path, force, inputs);
	return { runs, folder: isFile || isFolder ? undefined : out };
}

/** The files of one seed, the first of which has this name. */
function filesOf(
	first: string,
	{ edits, attention, view }: OutputWishes,
	alone: boolean,
): readonly (PlannedFile & { readonly path: string })[] {
	if (view !== undefined) return [{ path: first, view }];
	const beside = (name: string): string => `${first.replace(/\.png$/i, '')}-${name}.png`;
	const pictures = Array.from({ length: edits + 1 }, (_, picture) => ({
		path: beside(String(picture)),
		view: { shows: 'picture', picture } as const,
	}));
	return [
		{ path: first, view: edits > 0 ? { shows: 'edits', picture: 0 } : ONE_PICTURE },
		...(edits > 0 && !alone ? pictures : []),
		...(attention ? [{ path: beside('attention'), view: { shows: 'attention', picture: 0 } as const }] : []),
	];
}
