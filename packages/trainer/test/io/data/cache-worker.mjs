// Writes and reads eight keys of a cache again and again: `node cache-worker.mjs FOLDER SEED`. Needs the built package.
import { createFolderCache } from '../../../dist/io/data/cache-folder.js';

const [folder, seed] = process.argv.slice(2);
const cache = createFolderCache(folder, {
	onWarning: ({ message }) => {
		throw new Error(message);
	},
});
const data = (n) => Float32Array.from({ length: 2_000 }, (_, i) => Math.fround(Math.sin(i * (n + 1))));
for (let i = 0; i < 40; i++) {
	const n = (i * 5 + Number(seed)) % 8;
	const key = `${n}${'0'.repeat(63)}`;
	const found = await cache.get(key);
	const expected = data(n);
	if (found !== undefined && !found.x.data.every((x, k) => x === expected[k])) throw new Error('other numbers');
	if (found === undefined || i % 3 === 0) await cache.put(key, { x: { dtype: 'f32', shape: [2_000], data: expected } });
}
console.log('sound');
