import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import {
	bytesSource,
	decodeAdapter,
	decodeFloats,
	loadInput,
	readSafetensors,
	writePlannedFile,
} from '../../packages/format/dist/index.js';
import { planResult } from '../../packages/trainer/dist/result/plan-result.js';
import { trainedAdapter } from '../../packages/trainer/dist/result/trained-adapter.js';
import { Wrongs } from './checks.mjs';

/**
 * The files that diffusers and cloneofsimo saved after training, written again by the trainer from the factors: names, types,
 * shapes, bytes, and their header entries.
 *
 * - `t2i-saved`: from the recorded factors after ten steps
 * - `shapes/RUN/pytorch_lora_weights.safetensors`, `learned_embeds.safetensors`, `pti/final_lora.safetensors`: from the factors in them
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `training` of a reference set
 */
export async function partTrainingResult(checks, root) {
	const tally = { files: 0, tensors: 0 };
	const recorded = path.join(root, 't2i.safetensors');
	const saved = path.join(root, 't2i-saved/pytorch_lora_weights.safetensors');
	if (existsSync(recorded) && existsSync(saved)) {
		await checks.run('training t2i-saved', 'the recorded factors give the file of diffusers', async () => {
			const { tensors } = await read(recorded);
			const last = [...tensors.keys()].map((name) => Number(/^after(\d+)\//.exec(name)?.[1] ?? 0)).sort((a, b) => b - a)[0];
			const factors = new Map();
			for (const [name, tensor] of tensors) {
				const found = new RegExp(`^after${last}/(.*)\\.lora_([AB])\\.weight$`).exec(name);
				if (found !== null) factors.set(`${found[1]}:${found[2] === 'A' ? 'down' : 'up'}`, tensor);
			}
			return compare(saved, await planOf(factors, [], {}), tally);
		});
	}
	for (const [file, options] of savedFiles(root)) {
		const where = `training ${path.relative(root, file)}`;
		await checks.run(where, 'its factors give it again', async () => {
			const { adapter } = decodeAdapter(await loadInput({ main: bytesSource(new Uint8Array(readFileSync(file)), file) }), { order: 'new' });
			const factors = new Map();
			for (const m of adapter.modules) {
				factors.set(`${m.component}.${m.path}:down`, m.factors.down);
				factors.set(`${m.component}.${m.path}:up`, m.factors.up);
			}
			return compare(file, await planOf(factors, adapter.embeddings, options), tally);
		});
	}
	for (const file of tokenFiles(root)) {
		await checks.run(`training ${path.relative(root, file)}`, 'its rows give it again', async () => {
			const { tensors } = await read(file);
			const embeddings = [...tensors].map(([token, vectors]) => ({ token, vectors }));
			return compare(file, await planOf(new Map(), embeddings, {}), tally);
		});
	}
	return `${tally.files} files with ${tally.tensors} tensors, byte for byte`;
}

function savedFiles(root) {
	const found = [];
	const shapes = path.join(root, 'shapes');
	for (const run of existsSync(shapes) ? readdirSync(shapes).sort() : []) {
		const file = path.join(shapes, run, 'pytorch_lora_weights.safetensors');
		if (existsSync(file)) found.push([file, {}]);
	}
	const pti = path.join(root, 'pti/final_lora.safetensors');
	if (existsSync(pti)) found.push([pti, { layout: 'cloneofsimo', dtype: 'F16', embeddings: 'inside' }]);
	return found;
}

function tokenFiles(root) {
	const own = [path.join(root, 'learned_embeds.safetensors')];
	const shapes = path.join(root, 'shapes');
	for (const run of existsSync(shapes) ? readdirSync(shapes).sort() : []) own.push(path.join(shapes, run, 'learned_embeds.safetensors'));
	return own.filter((file) => existsSync(file));
}

async function planOf(factors, embeddings, options) {
	const tensors = [];
	const modules = new Map();
	for (const [name, tensor] of factors) {
		const [full, part] = name.split(':');
		const dot = full.indexOf('.');
		tensors.push({ name, group: 'unet', shape: tensor.shape, values: await floats(tensor) });
		const rank = part === 'down' ? tensor.shape[0] : tensor.shape[1];
		modules.set(full, { component: full.slice(0, dot), path: full.slice(dot + 1), rank, alpha: rank });
	}
	const tokens = embeddings.map(({ token, vectors }) => ({ token, vectors: vectors.shape.length === 1 ? 1 : vectors.shape[0] }));
	if (embeddings.length > 0) {
		const rows = [];
		for (const { vectors } of embeddings) rows.push(...(await floats(vectors)));
		const count = tokens.reduce((sum, { vectors }) => sum + vectors, 0);
		tensors.push({ name: 'added_rows', group: 'tokens', shape: [count, rows.length / count], values: Float32Array.from(rows) });
	}
	const adapter = trainedAdapter(tensors, { name: 'parity', architecture: 'sd1', modules: [...modules.values()], tokens });
	return planResult(adapter, options);
}

async function compare(file, plan, tally) {
	const theirs = await read(file);
	const [planned] = plan.files;
	const parts = [];
	await writePlannedFile(planned.content, { write: async (bytes) => void parts.push(bytes.slice()) });
	const ours = await readSafetensors(bytesSource(new Uint8Array(Buffer.concat(parts))));
	const wrongs = new Wrongs();
	for (const [name, tensor] of theirs.tensors) {
		const own = ours.tensors.get(name);
		if (own === undefined) wrongs.add(`${name} is missing`);
		else if (own.dtype !== tensor.dtype || own.shape.join() !== tensor.shape.join())
			wrongs.add(`${name} is ${own.dtype} (${own.shape}), not ${tensor.dtype} (${tensor.shape})`);
		else if (Buffer.compare(Buffer.from(await own.read()), Buffer.from(await tensor.read())) !== 0) wrongs.add(`${name} has other bytes`);
		tally.tensors++;
	}
	for (const name of ours.tensors.keys()) if (!theirs.tensors.has(name)) wrongs.add(`${name} is in ours alone`);
	for (const [key, value] of theirs.metadata) {
		const own = ours.metadata.get(key);
		// cloneofsimo writes its target classes in the random order of a set.
		if (own !== value && !sameNames(own, value)) wrongs.add(`${key} is ${own}, not ${value}`);
	}
	tally.files++;
	return wrongs.text;
}

function sameNames(a, b) {
	if (a === undefined || !a.startsWith('[') || !b.startsWith('[')) return false;
	return JSON.stringify(JSON.parse(a).sort()) === JSON.stringify(JSON.parse(b).sort());
}

async function read(file) {
	return readSafetensors(bytesSource(new Uint8Array(readFileSync(file)), file));
}

async function floats(tensor) {
	return Float32Array.from(decodeFloats(tensor.dtype, await tensor.read()));
}
