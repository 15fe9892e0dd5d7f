import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createTorchGenerator } from '../../packages/runtime/dist/random/index.js';
import { Wrongs } from './checks.mjs';

/** The bar of the manifest for every number drawn. */
const BAR = 4e-6;
/** Tensors of a set, by what stands behind `seedN/`: how we draw the same. */
const DRAWS = [
	[/^rand\/(\d+)$/, (g, n) => g.rand(n)],
	[/^rand64\/(\d+)$/, (g, n) => g.rand64(n)],
	[/^randn\/([\dx]+)$/, (g, n) => g.randn(n)],
	[/^randn64\/(\d+)$/, (g, n) => g.randn64(n)],
	[/^randn16half\/(\d+)$/, (g, n) => g.randnF16(n)],
	[/^randperm\/(\d+)$/, (g, n) => g.randperm(n)],
	[/^randint(\d+)\/(\d+)$/, (g, high, n) => g.randint(0, high, n)],
	[/^stream\/randn(\d+)_then_randn(\d+)$/, (g, n, m) => Float32Array.of(...g.randn(n), ...g.randn(m))],
];
/** One generator draws these after one another. */
const STREAM2 = [
	['randn256_first4', (g) => g.randn(256).slice(0, 4)],
	['randint4', (g) => g.randint(0, 1000, 4)],
	['randn3', (g) => g.randn(3)],
];

/**
 * `inference/rng.*`: what torch drew from seeded CPU generators, and what we draw. Values within the manifest's bar; where
 * the set gives the sha256 of torch's float32 bytes, those must be ours too.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `inference` of a reference set
 */
export async function partRandom(checks, root) {
	const facts = JSON.parse(readFileSync(path.join(root, 'rng.json'), 'utf8'));
	const tensors = readTensors(readFileSync(path.join(root, 'rng.safetensors')));
	const tally = { tensors: 0, values: 0, worst: 0, exact: 0, hashes: 0, sameHashes: 0 };
	for (const [name, expected] of tensors) {
		const [, seed, rest] = /^seed(\d+)\/(.*)$/.exec(name) ?? [];
		const where = `inference rng ${name}`;
		if (rest === undefined) checks.check(where, 'the name begins with a seed', 'it does not');
		else if (!rest.startsWith('stream2/'))
			await checks.run(where, `within ${BAR} of torch`, () => compare(expected, draw(seed, rest), tally));
	}
	for (const seed of Object.keys(facts)) {
		const where = `inference rng seed ${seed}`;
		const generator = createTorchGenerator(BigInt(seed));
		for (const [name, take] of STREAM2) {
			const expected = tensors.get(`seed${seed}/stream2/${name}`);
			const got = take(generator);
			if (expected !== undefined)
				await checks.run(`${where} stream2/${name}`, `within ${BAR} of torch`, () => compare(expected, got, tally));
		}
		for (const [key, fact] of Object.entries(facts[seed])) {
			if (/^[\dx]+$/.test(key)) await checks.run(where, `randn(${key}) as recorded`, () => compareFact(seed, key, fact, tally));
		}
		const words = [...createTorchGenerator(BigInt(seed)).words(8)];
		const recorded = facts[seed].mt19937_first8;
		checks.check(where, 'the raw words', String(words) === String(recorded) ? undefined : `${words} for ${recorded}`);
	}
	console.log(
		`inference rng: ${tally.values} values of ${tally.tensors} draws, largest difference ${tally.worst.toExponential(2)} (bar ${BAR}), ` +
			`${tally.exact} draws bit for bit; ${tally.sameHashes} of ${tally.hashes} recorded sha256 are ours`,
	);
}

/** Our draw for the tensor of that name. */
function draw(seed, name) {
	for (const [pattern, take] of DRAWS) {
		const found = pattern.exec(name);
		if (found !== null) return take(createTorchGenerator(BigInt(seed)), ...found.slice(1).map(countOf));
	}
	throw new Error(`no rule here draws ${name}`);
}

/** Elements of a shape written `4x8x8`. */
function countOf(text) {
	return text.split('x').reduce((product, d) => product * Number(d), 1);
}

function compare(expected, got, tally) {
	if (got.length !== expected.length) return `${got.length} values for ${expected.length}`;
	const integers = got instanceof Int32Array;
	let worst = 0;
	for (let i = 0; i < got.length; i++) {
		const error = Math.abs(got[i] - expected[i]);
		if (!(error <= worst)) worst = error;
	}
	tally.tensors++;
	tally.values += got.length;
	if (worst === 0) tally.exact++;
	if (!(worst <= tally.worst)) tally.worst = worst;
	return worst <= (integers ? 0 : BAR) ? undefined : `differs by ${worst}`;
}

/** First and last values, and the hash of all. The hash may differ on a set made on another kind of CPU, so only the values decide. */
function compareFact(seed, shape, fact, tally) {
	const got = createTorchGenerator(BigInt(seed)).randn(countOf(shape));
	const hash = createHash('sha256').update(new Uint8Array(got.buffer)).digest('hex');
	tally.hashes++;
	if (hash === fact.sha256_f32le) tally.sameHashes++;
	const wrongs = new Wrongs();
	for (const [which, part] of [
		['first8', got.slice(0, fact.first8.length)],
		['last8', got.slice(-fact.last8.length)],
	]) {
		const wrong = compare(fact[which], part, tally);
		if (wrong !== undefined) wrongs.add(`${which} ${wrong}`);
	}
	return wrongs.text;
}

/** All tensors of a safetensors file of ours, as numbers. */
function readTensors(bytes) {
	const length = Number(bytes.readBigUInt64LE(0));
	const header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
	const readers = { F32: [4, 'getFloat32'], F64: [8, 'getFloat64'], I64: [8, 'getBigInt64'] };
	const tensors = new Map();
	for (const [
		name,
		{
			dtype,
			data_offsets: [begin, end],
		},
	] of Object.entries(header).filter(([key]) => key !== '__metadata__')) {
		const [size, reader] = readers[dtype];
		const view = new DataView(bytes.buffer, bytes.byteOffset + 8 + length + begin, end - begin);
		tensors.set(
			name,
			Array.from({ length: (end - begin) / size }, (_, i) => Number(view[reader](i * size, true))),
		);
	}
	return tensors;
}
