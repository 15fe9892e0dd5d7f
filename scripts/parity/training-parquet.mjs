import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createTorchGenerator } from '../../packages/runtime/dist/index.js';
import { encodingWeights, latentKey, textKey, weightsIdentity } from '../../packages/trainer/dist/data/cache-key.js';
import { createLatentSource } from '../../packages/trainer/dist/data/latent-cache.js';
import { planPicture, shorterSideTo } from '../../packages/trainer/dist/data/plan-picture.js';
import { createTextSource } from '../../packages/trainer/dist/data/text-cache.js';
import { createFolderCache } from '../../packages/trainer/dist/io/data/cache-folder.js';
import { openParquetFiles } from '../../packages/trainer/dist/io/data/parquet-files.js';
import { readTrainingPixels } from '../../packages/trainer/dist/io/data/read-training-picture.js';
import { apart, enginesOf, openModel, recorded, runtime, within } from './runtime-library.mjs';

/** The manifest's bar for single forwards of inference: the VAE and the text encoder are run as there. */
const BAR = 3e-5;

/**
 * `training/dataset/parquet` of a reference set: rows against the recorded hashes and captions; then the pictures' latents and
 * the texts' states against `batches.safetensors`, computed and from a cache on disk, which have to be the same bits.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `training` of a reference set
 */
export async function partTrainingParquet(checks, root) {
	const { dataset, parquet } = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const folder = path.join(root, 'dataset/parquet');
	for (const name of Object.values(parquet.files)) {
		await checks.run('training dataset parquet', `${name}: ${parquet.rows} rows as recorded`, () =>
			rows(path.join(folder, name), dataset, parquet),
		);
	}
	const batches = path.join(root, 'batches.safetensors');
	if (!existsSync(batches)) return;
	const want = recorded(batches);
	const cacheFolder = mkdtempSync(path.join(tmpdir(), 'lorakit-parity-'));
	const set = await openParquetFiles(path.join(folder, parquet.files.zstd));
	try {
		for (const [name, engine] of await enginesOf()) {
			const { base, tokenizers } = await openModel(path.dirname(root), 'tiny-sd');
			const model = runtime.createStableDiffusion(base, engine, { tokenizers });
			const setting = { engine: `${engine.id} ${engine.device}`, dtype: 'f32' };
			const cache = createFolderCache(cacheFolder, {
				onWarning: ({ message }) => checks.check('training caches', 'nothing is damaged', message),
			});
			await checks.run(`training caches/${name}`, 'latents as recorded, with and without cache', () =>
				latents(model, set, want, setting, cache),
			);
			await checks.run(`training caches/${name}`, 'text states as recorded, with and without cache', () =>
				texts(model, want, setting, cache),
			);
			await model.close();
			await base.close();
		}
	} finally {
		await set.close();
		rmSync(cacheFolder, { recursive: true, force: true });
	}
}

async function rows(file, dataset, parquet) {
	const set = await openParquetFiles(file, { onBad: 'refuse' });
	const hashes = set.items.map(({ sha256 }) => sha256);
	const captions = set.items.map(({ captions }) => captions.join('|'));
	for (const item of set.items) await item.read();
	await set.close();
	if (String(hashes) !== String(parquet.png_sha256)) return `hashes are ${hashes}`;
	return String(captions) === String(dataset.captions) ? undefined : `captions are ${captions}`;
}

async function latents(model, { items }, want, setting, cache) {
	const vae = await weightsIdentity(model.base.weights, 'vae', model.base.vae, { keep: encodingWeights });
	const requests = items.map((item) => {
		const target = { width: 64, height: 64 };
		const plan = planPicture(
			{ resized: shorterSideTo(64, item), target, crop: 'center', flip: false, filter: 'lanczos' },
			createTorchGenerator(0),
		);
		return {
			key: latentKey({ picture: item.sha256, plan, vae, ...setting }),
			pixels: () => readTrainingPixels(item, plan),
		};
	});
	const encode = (pixels) => model.encode(pixels);
	const plain = await createLatentSource({ encode }).latents(requests);
	await createLatentSource({ encode, cache }).latents(requests);
	const cached = await createLatentSource({ encode: () => Promise.reject(new Error('encoded again')), cache }).latents(requests);
	const errors = [apart(plain.mean.data, want.get('vae_mean').data), apart(plain.logvar.data, want.get('vae_logvar').data)];
	console.log(
		`training latents, ${setting.engine}: mean ${errors[0].toExponential(2)}, log-variance ${errors[1].toExponential(2)} (bar ${BAR})`,
	);
	for (const part of ['mean', 'logvar'])
		if (!sameBits(plain[part], cached[part])) return `${part} out of the cache is not what was computed`;
	return within(Math.max(...errors), BAR);
}

/** `pool_hidden` has the states of the pool's first texts. */
async function texts(model, want, setting, cache) {
	const [config] = model.base.textEncoders;
	const encoder = await weightsIdentity(model.base.weights, config.component, config);
	const hidden = want.get('pool_hidden');
	const ids = want.get('pool_ids');
	const [count, tokens, width] = hidden.shape;
	let worst = 0;
	for (let row = 0; row < count; row++) {
		const own = Int32Array.from(ids.data.subarray(row * tokens, (row + 1) * tokens));
		const key = textKey({ ids: [[...own]], encoders: [encoder], clipSkip: 0, ...setting });
		const encode = (all) => model.encodeIds(all);
		const [plain] = await createTextSource({ encode }).states(key, [own]);
		await createTextSource({ encode, cache }).states(key, [own]);
		const [cached] = await createTextSource({ encode: () => Promise.reject(new Error('encoded again')), cache }).states(key, [own]);
		if (!sameBits(plain.states, cached.states) || !sameBits(plain.pooled, cached.pooled))
			return 'states out of the cache are not what was computed';
		worst = Math.max(worst, apart(plain.states.data, hidden.data.subarray(row * tokens * width, (row + 1) * tokens * width)));
	}
	console.log(`training text states, ${setting.engine}: ${worst.toExponential(2)} (bar ${BAR})`);
	return within(worst, BAR);
}

function sameBits(a, b) {
	const bytes = ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
	return a.shape.join() === b.shape.join() && bytes(a).equals(bytes(b));
}
