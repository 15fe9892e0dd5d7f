import fs from 'node:fs';
import path from 'node:path';
import { writeFileAtomic } from '@lorakit/format/node';
import type { ValidationPicture } from '../../run/run-events.js';

/** Folder of validation pictures below the run's. */
export const PICTURES_FOLDER = 'validation';

/**
 * Write validation pictures, each whole or not at all. A resumed run writes those of its steps again.
 * @returns their paths below the run folder, `/` between parts
 * @throws {FormatError} `E_IO`, `E_NO_SPACE`
 */
export async function writePictures(folder: string, step: number, pictures: readonly ValidationPicture[]): Promise<readonly string[]> {
	fs.mkdirSync(path.join(folder, PICTURES_FOLDER), { recursive: true });
	const names: string[] = [];
	for (const [i, { png }] of pictures.entries()) {
		const name = `${PICTURES_FOLDER}/step-${String(step).padStart(6, '0')}-${String(i).padStart(2, '0')}.png`;
		await writeFileAtomic(path.join(folder, name), (sink) => sink.write(png), { force: true });
		names.push(name);
	}
	return names;
}
