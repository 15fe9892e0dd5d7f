import fs from 'node:fs';
import path from 'node:path';
import { writeError, writeFileAtomic } from '@lorakit/format/node';
import type { PriorConfig } from '../../run/config/run-config.js';
import { streamSeed } from '../../run/random-streams.js';
import { type DrawOptions, drawPictures } from './draw-pictures.js';

export interface ClassPicturesOptions extends Omit<DrawOptions, 'adapter' | 'steps' | 'guidance'> {
	readonly prior: PriorConfig;
	/** Where they are, and where those that are missing go. */
	readonly folder: string;
	readonly seed: number;
}

const PICTURE = /\.(?:png|jpe?g|webp)$/i;

/**
 * The folder of class pictures, filled up to their number by the base itself: `class-0007.png` is that of seed 7 of the run's own, so that
 * a stopped run goes on with the very same ones.
 * @returns how many were drawn
 * @throws {FormatError} those of drawing and writing; what was drawn stays
 */
export async function ensureClassPictures(options: ClassPicturesOptions): Promise<number> {
	const { prior, folder, seed } = options;
	try {
		fs.mkdirSync(folder, { recursive: true });
	} catch (error) {
		throw writeError(error, folder);
	}
	const there = new Set(fs.readdirSync(folder).filter((name) => PICTURE.test(name)));
	const missing: number[] = [];
	for (let i = 0; there.size + missing.length < prior.num_class_images; i++) if (!there.has(nameOf(i))) missing.push(i);
	const requests = missing.map((i) => ({ prompt: prior.class_prompt, seed: streamSeed(seed, `class ${i}`) }));
	let done = 0;
	for await (const { png } of drawPictures(requests, {
		...options,
		adapter: undefined,
		steps: prior.sample_steps,
		guidance: prior.sample_guidance,
	})) {
		await writeFileAtomic(path.join(folder, nameOf(missing[done] ?? 0)), (sink) => sink.write(png), { force: true });
		done++;
	}
	return done;
}

function nameOf(index: number): string {
	return `class-${String(index).padStart(4, '0')}.png`;
}
