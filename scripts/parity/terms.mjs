import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, Wrongs } from './checks.mjs';
import { decodeWithHelp, openFile, openInput, orderOf } from './inputs.mjs';
import { bytesTensor, decodeFloats, deltaOf, needsBase } from './library.mjs';
import { baseModel, FULL_STRENGTH, loadKernel, planFuse } from './library-fuse.mjs';

/** The built library's public entry; under vitest the sources, as `library.mjs` has it. */
const FROM_SOURCE = process.env.VITEST !== undefined;
const ENTRY = new URL(`../../packages/format/${FROM_SOURCE ? 'src/index.ts' : 'dist/index.js'}`, import.meta.url);
const HALF = new URL(FROM_SOURCE ? 'half.ts' : 'half.js', ENTRY);
const [{ planTerms }, { encodeFloats }] = await Promise.all([ENTRY, HALF].map((url) => import(/* @vite-ignore */ url.href)));

/** Rounding to the stored type is the last step everywhere; these are the spacings of its numbers. */
const TYPES = new Map([
	['F16', { bits: 11, least: -14 }],
	['BF16', { bits: 8, least: -126 }],
	['F32', { bits: 24, least: -126 }],
	['F64', { bits: 53, least: -1022 }],
]);
/** `inference`'s manifest: diffusers_fused_weights_equal_hand_merged_within_2e-6. */
const FUSED_BAR = 2e-6;
/** Of the largest weight of a tensor: doubles summed in another order. */
const EXACT = 1e-12;

/** Spacing of the numbers of a type at `x`. */
function spacing(dtype, x) {
	const { bits, least } = TYPES.get(dtype);
	let exponent = Math.floor(Math.log2(Math.abs(x)));
	if (2 ** exponent > Math.abs(x)) exponent--;
	return 2 ** (Math.max(Number.isFinite(exponent) ? exponent : least, least) - bits + 1);
}

/** What was seen over many weights. */
class Seen {
	weights = 0;
	/** Largest distance of base + terms from base + delta, of the largest weight. */
	exact = 0;
	/** Largest distance of rounded base + terms from the exact sum, in rounding steps of the stored type. */
	steps = 0;
	/** Largest distance of rounded base + terms from what the real tool made; undefined where it left nothing. */
	theirs;
	/** Modules by the form of their terms. */
	forms = new Map();

	/** @param {Seen} other */
	add(other) {
		this.weights += other.weights;
		for (const key of ['exact', 'steps', 'theirs']) this[key] = Math.max(this[key] ?? 0, other[key] ?? 0);
		for (const [form, n] of other.forms) this.forms.set(form, (this.forms.get(form) ?? 0) + n);
	}

	toString() {
		const tool = this.theirs === undefined ? '' : `, ${this.theirs.toExponential(2)} from the real tool`;
		const forms = [...this.forms].sort().map(([form, n]) => `${n} ${form}`);
		return `${this.weights} weights: ${this.exact.toExponential(2)} from base + delta (bar ${EXACT}); rounded ${this.steps.toFixed(3)} steps from it (bar 1)${tool}; modules: ${forms.join(', ')}`;
	}
}

/**
 * Base + terms, as a runtime applies them over an unmodified base, against the weights that the real tools fused.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `adapters` of a reference set; `inference` beside it is read where it is there
 */
export async function partTerms(checks, root) {
	const manifest = JSON.parse(readFileSync(path.join(root, 'manifest.json'), 'utf8'));
	const { id } = await loadKernel();
	console.log(`terms: computed by the ${id} kernel`);
	const base = await folderOf(
		Object.entries(manifest.base ?? {}).flatMap(([component, entry]) =>
			typeof entry?.file === 'string' ? [[component, path.join(root, entry.file)]] : [],
		),
		'base',
	);
	const all = new Seen();
	let compared = 0;
	for (const spec of manifest.cases) {
		const where = `terms ${spec.case}`;
		try {
			const input = await openInput(path.join(root, spec.files[0].file));
			const { adapter } = decodeWithHelp(input, { base: base.inventory, order: orderOf(spec.producer) }).decoded;
			const fused = spec.fused === undefined ? undefined : await openFile(path.join(root, spec.fused.file));
			const deltas = spec.deltas === undefined ? undefined : await openFile(path.join(root, spec.deltas));
			const bar = spec.fused?.max_abs_diff_to_base_plus_delta_float64;
			const seen = await compare({ checks, where, base, adapter, fused: byName(fused), bar, deltas: byName(deltas) });
			all.add(seen);
			if (fused === undefined) continue;
			compared += fused.tensors.size;
			console.log(`${where}: ${seen}; the tool's own error is ${bar.toExponential(2)}`);
		} catch (error) {
			checks.check(where, 'the case can be run', describe(error));
		}
	}
	checks.check('terms', 'some fused weights of a real tool are compared', compared > 0 ? undefined : 'none');
	console.log(`terms: ${compared} fused tensors of real tools, and every module of ${manifest.cases.length} cases: ${all}`);
	await inference(checks, path.join(root, '..', 'inference'));
}

/** `inference/merged_weights`: adapter a at scale 1 as diffusers' fuse_lora leaves it. And every adapter beside it against fuse. */
async function inference(checks, home) {
	if (!existsSync(path.join(home, 'manifest.json'))) {
		console.log('terms inference: this set has none');
		return;
	}
	const manifest = JSON.parse(readFileSync(path.join(home, 'manifest.json'), 'utf8'));
	const folder = path.join(home, '..', manifest.base?.folder ?? '');
	const base = await folderOf(
		[
			['unet', path.join(folder, 'unet/diffusion_pytorch_model.safetensors')],
			['text_encoder', path.join(folder, 'text_encoder/model.safetensors')],
		],
		'base',
	);
	const [merged] = String(manifest.unet?.merged ?? '').split(' ');
	for (const [name, file] of Object.entries(manifest.unet?.lora ?? {})) {
		const where = `terms inference ${name}`;
		await checks.run(where, 'the case can be run', async () => {
			const { adapter } = decodeWithHelp(await openInput(path.join(home, 'lora', file)), {
				base: base.inventory,
				order: undefined,
			}).decoded;
			const theirs = name === 'a' && merged ? byName(await openFile(path.join(home, merged)), 'merged_weight/') : undefined;
			const seen = await compare({ checks, where, base, adapter, fused: theirs, bar: FUSED_BAR });
			console.log(`${where}: ${seen}`);
			return seen.weights > 0 ? undefined : 'no weight';
		});
	}
}

/**
 * One adapter at strength 1.
 * @param fused what the real tool made, by `component.path.weight`
 * @param bar the tool's own error against float64, as the set records it
 * @param deltas the recorded deltas (float32) by the same names
 */
async function compare({ checks, where, base, adapter, fused, bar, deltas }) {
	const seen = new Seen();
	const uses = [{ adapter, name: where, strength: FULL_STRENGTH }];
	const plan = await planTerms(base, uses);
	const fuse = await planFuse(base, uses);
	checks.check(
		where,
		'the modules are those that fuse changes',
		JSON.stringify(plan.ledger) === JSON.stringify(fuse.ledger) && plan.modules.length === fuse.modules
			? undefined
			: `${plan.modules.length} of ${fuse.modules}`,
	);
	const modules = new Map(adapter.modules.map((m) => [`${m.component}.${m.path}`, m]));
	const wrongs = { exact: new Wrongs(), step: new Wrongs(), theirs: new Wrongs(), recorded: new Wrongs() };
	const open = new Set(fused?.keys() ?? []);
	// Weights that the adapter leaves alone may be stored as well: then they must be the base's.
	for (const key of [...open]) {
		const [tensor, theirs] = [tensorOf(base, key), fused.get(key)];
		if (tensor === undefined || plan.modules.some((m) => key === `${m.component}.${m.path}.weight`)) continue;
		const [before, after] = [decodeFloats(tensor.dtype, await tensor.read()), decodeFloats(theirs.dtype, await theirs.read())];
		if (before.every((x, i) => x === after[i])) open.delete(key);
	}
	for (const terms of plan.modules) {
		const name = `${terms.component}.${terms.path}`;
		const key = `${name}.weight`;
		const module = modules.get(name);
		const tensor = tensorOf(base, key);
		if (module === undefined || tensor === undefined) {
			wrongs.exact.add(`${key} is not there`);
			continue;
		}
		const weight = decodeFloats(tensor.dtype, await tensor.read());
		const got = await applied(terms, weight);
		const delta = (await deltaOf(module, needsBase(module) ? { base: { weight, shape: tensor.shape } } : { shape: tensor.shape })).weight
			.data;
		const largest = weight.reduce((m, w, i) => Math.max(m, Math.abs(w), Math.abs(delta[i])), 0);
		const theirs = fused?.get(key);
		const b = theirs === undefined ? undefined : decodeFloats(theirs.dtype, await theirs.read());
		const recorded = deltas?.get(key);
		const d = recorded === undefined ? undefined : decodeFloats(recorded.dtype, await recorded.read());
		open.delete(key);
		const form = formOf(terms);
		seen.forms.set(form, (seen.forms.get(form) ?? 0) + 1);
		const rounded = decodeFloats(tensor.dtype, encodeFloats(tensor.dtype, got));
		for (let i = 0; i < weight.length; i++) {
			const exact = weight[i] + delta[i];
			const off = Math.abs(got[i] - exact) / largest;
			if (!(off <= seen.exact)) seen.exact = off;
			if (!(off <= EXACT)) wrongs.exact.add(`${key}[${i}]: ${off}`);
			const step = spacing(tensor.dtype, exact);
			const ours = Math.abs(rounded[i] - exact) / step;
			if (!(ours <= seen.steps)) seen.steps = ours;
			if (!(ours <= 1)) wrongs.step.add(`${key}[${i}]: ${ours} steps`);
			if (b !== undefined) {
				// The tool rounds more than once: the error that the set records of it, and a step for ours.
				const apart = Math.abs(rounded[i] - b[i]);
				if (!(apart <= (seen.theirs ?? 0))) seen.theirs = apart;
				seen.theirs ??= 0;
				if (!(apart <= bar + step)) wrongs.theirs.add(`${key}[${i}]: ${apart}`);
			}
			// The recorded delta is float32: its own rounding is added to the step.
			if (d !== undefined && !(Math.abs(rounded[i] - (weight[i] + d[i])) <= step + Math.abs(d[i]) * 2 ** -23))
				wrongs.recorded.add(`${key}[${i}]`);
			seen.weights++;
		}
	}
	checks.check(where, `base + terms is base + delta to ${EXACT} of the largest weight`, wrongs.exact.text);
	checks.check(where, 'every weight from terms within one rounding step of float64', wrongs.step.text);
	if (deltas !== undefined) checks.check(where, 'every weight from terms within one step of base + recorded delta', wrongs.recorded.text);
	if (fused !== undefined) {
		checks.check(where, 'every fused weight of the real tool is reproduced within its recorded error and one step', wrongs.theirs.text);
		checks.check(where, 'every fused weight has terms', open.size === 0 ? undefined : `${open.size} have none, first ${[...open][0]}`);
	}
	return seen;
}

/** A module's weight with its terms, by their definition. */
async function applied({ shape, rowScale, columnScale, lowRank, dense }, weight) {
	if (dense !== undefined) return dense();
	const [rows, inner] = shape;
	const columns = weight.length / rows;
	const taps = columns / inner;
	return weight.map((w, at) => {
		const [i, j] = [Math.floor(at / columns), at % columns];
		let x = w * (rowScale?.[i] ?? 1) * (columnScale?.[Math.floor(j / taps)] ?? 1);
		for (let r = 0; r < (lowRank?.rank ?? 0); r++) x += lowRank.up[i * lowRank.rank + r] * lowRank.down[r * columns + j];
		return x;
	});
}

function formOf({ rowScale, columnScale, lowRank, dense }) {
	if (dense !== undefined) return 'dense';
	const parts = [rowScale && 'rows', columnScale && 'columns', lowRank && 'low rank'].filter((p) => p !== undefined);
	return parts.join(' + ') || 'bias alone';
}

/** Tensors by `component.path.weight`; `prefix` goes, and what has no leaf is a weight. */
function byName(state, prefix = '') {
	if (state === undefined) return undefined;
	const named = [...state.tensors].filter(([name]) => name.startsWith(prefix));
	return new Map(named.map(([name, tensor]) => [`${name.slice(prefix.length).replace(/\.weight$/, '')}.weight`, tensor]));
}

async function folderOf(files, name) {
	const open = [];
	const configs = new Map();
	for (const [component, file] of files) {
		open.push({ path: `${component}/${path.basename(file)}`, component, state: await widened(await openFile(file)) });
		const config = path.join(path.dirname(file), 'config.json');
		if (existsSync(config)) configs.set(component, JSON.parse(readFileSync(config, 'utf8')));
	}
	return baseModel(open, 'folder', name, { configs });
}

/** Half precision in float32, as the real tools of the set computed. */
async function widened(state) {
	const tensors = new Map();
	for (const [name, tensor] of state.tensors) {
		const half = tensor.dtype === 'F16' || tensor.dtype === 'BF16';
		const values = half ? Float32Array.from(decodeFloats(tensor.dtype, await tensor.read())) : undefined;
		tensors.set(name, values === undefined ? tensor : bytesTensor('F32', tensor.shape, new Uint8Array(values.buffer), name));
	}
	return { ...state, tensors };
}

function tensorOf(model, key) {
	const dot = key.indexOf('.');
	return model.files.find((f) => f.component === key.slice(0, dot))?.state.tensors.get(key.slice(dot + 1));
}
