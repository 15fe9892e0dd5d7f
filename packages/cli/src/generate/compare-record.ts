import type { Rgb } from '@lorakit/runtime/node';
import type { PictureRecord } from './picture-record.js';

/** How a repeated picture is to the one in the file. */
export interface RepeatReport {
	readonly file: string;
	/** The pictures are equal, pixel by pixel. */
	readonly equal: boolean;
	/** Pixels that differ, and the largest difference of a channel; null when the sizes differ. */
	readonly pixels: { readonly differing: number; readonly of: number; readonly largest: number } | null;
	/** What was made from something else than before: one sentence each. */
	readonly differences: readonly string[];
}

/** Name what differs between a picture of a file and what was made again from its record. */
export function compareWithRecord(
	file: string,
	before: { readonly record: PictureRecord; readonly picture: Rgb },
	now: { readonly record: PictureRecord; readonly picture: Rgb },
): RepeatReport {
	const pixels = comparePixels(before.picture, now.picture);
	return { file, equal: pixels?.differing === 0, pixels, differences: recordDifferences(before.record, now.record) };
}

function recordDifferences(a: PictureRecord, b: PictureRecord): readonly string[] {
	const out: string[] = [];
	const say = (what: string, before: string | number, after: string | number): void => {
		if (before !== after) out.push(`${what} was ${before} and is ${after}.`);
	};
	say('The version of lorakit', a.version, b.version);
	say('The engine', a.engine.id, b.engine.id);
	say('The device', a.engine.device, b.engine.device);
	say('The precision', a.engine.precision, b.engine.precision);
	say('The number of threads', a.engine.threads, b.engine.threads);
	const now = new Map(b.base.files.map(({ path, sha256 }) => [path, sha256]));
	for (const { path, sha256 } of a.base.files) say(`The SHA-256 of ${path} of the base`, sha256, now.get(path) ?? 'missing');
	const was = new Set(a.base.files.map(({ path }) => path));
	for (const { path } of b.base.files) if (!was.has(path)) out.push(`The base has ${path}, which it had not.`);
	say('The hash of what the configuration of the base says', a.base.configuration, b.base.configuration);
	for (const [i, { path, sha256 }] of a.adapters.entries())
		say(`The SHA-256 of the adapter ${path}`, sha256, b.adapters[i]?.sha256 ?? 'missing');
	for (const [i, { path, sha256 }] of a.embeddings.entries())
		say(`The SHA-256 of the embedding ${path}`, sha256, b.embeddings[i]?.sha256 ?? 'missing');
	if (a.init !== null) say(`The SHA-256 of the picture ${a.init.path}`, a.init.sha256, b.init?.sha256 ?? 'missing');
	return out;
}

function comparePixels(a: Rgb, b: Rgb): RepeatReport['pixels'] {
	if (a.width !== b.width || a.height !== b.height) return null;
	let [differing, largest] = [0, 0];
	for (let i = 0; i < a.data.length; i += 3) {
		let most = 0;
		for (let c = i; c < i + 3; c++) most = Math.max(most, Math.abs((a.data[c] ?? 0) - (b.data[c] ?? 0)));
		if (most > 0) differing++;
		largest = Math.max(largest, most);
	}
	return { differing, of: a.width * a.height, largest };
}
