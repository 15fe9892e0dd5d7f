import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createTorchGenerator } from '../../packages/runtime/dist/index.js';
import { decodePicture } from '../../packages/runtime/dist/io/index.js';
import { picturePixels } from '../../packages/trainer/dist/data/picture-pixels.js';
import { planPicture, shorterSideTo } from '../../packages/trainer/dist/data/plan-picture.js';
import { openImageFolder } from '../../packages/trainer/dist/io/data/image-folder.js';
import { readTrainingPixels } from '../../packages/trainer/dist/io/data/read-training-picture.js';
import { same } from './checks.mjs';

/** Of the manifest: resized pictures are compared to one grey level. */
const GREY_LEVELS = 1;

/**
 * `training/dataset` of a reference set: the image folder's names, captions and bytes, the pixel values of its first picture, and
 * torchvision's resize and crop.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `training` of a reference set
 */
export async function partTrainingData(checks, root) {
	const { dataset, parquet } = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const where = 'training dataset';
	await checks.run(`${where} imagefolder`, 'captions and bytes as recorded', async () => {
		const set = await openImageFolder(path.join(root, 'dataset/imagefolder'), { onBad: 'refuse' });
		if (set.skipped.length > 0) return `skipped ${set.skipped.map(({ message }) => message).join(' ')}`;
		const captions = set.items.map(({ captions }) => captions.join('|'));
		if (String(captions) !== String(dataset.captions)) return `captions are ${captions}`;
		const hashes = set.items.map(({ sha256 }) => sha256);
		return String(hashes) === String(parquet.png_sha256) ? undefined : `hashes are ${hashes}`;
	});
	const shapes = path.join(root, 'shapes');
	const sets = existsSync(shapes) ? readdirSync(shapes).filter((name) => existsSync(path.join(shapes, name, 'metadata.jsonl'))) : [];
	for (const name of sets) {
		await checks.run(`training shapes/${name}`, 'every picture has its caption', () => wholeSet(path.join(shapes, name)));
	}
	await checks.run(`${where} pixel_values_0`, 'bit for bit', () => firstPicture(root));
	for (const filter of ['bilinear', 'bicubic', 'lanczos']) {
		await checks.run(`${where} resize ${filter}`, `within ${GREY_LEVELS} grey level`, () => resized(root, dataset.resize, filter));
	}
}

async function wholeSet(folder) {
	const lines = readFileSync(path.join(folder, 'metadata.jsonl'), 'utf8')
		.trim()
		.split('\n')
		.map((line) => JSON.parse(line));
	const { items } = await openImageFolder(folder, { onBad: 'refuse', duplicates: 'keep' });
	const found = items.map(({ name, captions }) => [name, ...captions]);
	const expected = lines.map(({ file_name, text }) => [file_name, text]).sort();
	return same(found, expected) ? undefined : `${JSON.stringify(found)} for ${JSON.stringify(expected)}`;
}

async function firstPicture(root) {
	const expected = tensorOf(readFileSync(path.join(root, 'batches.safetensors')), 'pixel_values_0');
	const [item] = (await openImageFolder(path.join(root, 'dataset/imagefolder'))).items;
	const side = expected.shape.at(-1);
	const options = {
		resized: shorterSideTo(side, item),
		target: { width: side, height: side },
		crop: 'center',
		flip: false,
		filter: 'lanczos',
	};
	const pixels = await readTrainingPixels(item, planPicture(options, createTorchGenerator(0)));
	if (pixels.data.length !== expected.data.length) return `${pixels.data.length} values for ${expected.data.length}`;
	const wrong = pixels.data.reduce((n, x, i) => n + (x === expected.data[i] ? 0 : 1), 0);
	return wrong === 0 ? undefined : `${wrong} of ${expected.data.length} values differ`;
}

/** Compared as they go to the VAE: a grey level is 2 / 255 there. */
async function resized(root, rule, filter) {
	const folder = path.join(root, 'dataset/resize');
	const input = await decodePicture(path.join(folder, 'input-130x100.png'));
	const expected = await decodePicture(path.join(folder, `${filter}-64.png`));
	const size = shorterSideTo(64, input);
	if (String([size.width, size.height]) !== String(rule.resized))
		return `resized to ${size.width}x${size.height}, recorded ${rule.resized}`;
	const options = { resized: size, target: { width: 64, height: 64 }, crop: 'center', flip: false, filter };
	const made = picturePixels(input, planPicture(options, createTorchGenerator(0)));
	const whole = { resized: { width: 64, height: 64 }, target: { width: 64, height: 64 }, crop: 'center', flip: false, filter };
	const recorded = picturePixels(expected, planPicture(whole, createTorchGenerator(0)));
	const worst = made.data.reduce((most, x, i) => Math.max(most, Math.abs(x - recorded.data[i])), 0) * 127.5;
	console.log(`training dataset resize ${filter}: largest difference ${Math.round(worst)} grey levels`);
	return worst < GREY_LEVELS + 0.5 ? undefined : `differs by ${worst} grey levels`;
}

/** One float32 tensor of a safetensors file. */
function tensorOf(bytes, name) {
	const length = Number(bytes.readBigUInt64LE(0));
	const { shape, data_offsets } = JSON.parse(bytes.toString('utf8', 8, 8 + length))[name];
	const [begin, end] = data_offsets;
	const part = Uint8Array.from(bytes.subarray(8 + length + begin, 8 + length + end));
	return { shape, data: new Float32Array(part.buffer) };
}
