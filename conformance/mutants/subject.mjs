// A subject that is wrong in one way: node mutants/subject.mjs --fault NAME [--precision f32|f16|bf16]
// Without --fault it is right, in the plainest arithmetic: float32 products, the delta rounded, then the sum rounded.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
	baseInventoryFromTensors,
	bytesTensor,
	decodeAdapter,
	deltaOf,
	loadInput,
	needsBase,
	openStateDict,
	renameNaming,
	safetensorsBytes,
} from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';
import { FAULTS } from './faults.mjs';

const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined);
const precision = option('--precision') ?? 'f32';
const name = option('--fault');
const fault = name === undefined ? {} : FAULTS.get(name);
if (fault === undefined) throw new Error(`no fault ${name}`);

/** Nearest number of the precision, ties to even; always inside float32. */
function round(x, to) {
	if (to === 'f32' || x === 0) return Math.fround(x);
	const [bits, low] = to === 'f16' ? [11, -14] : [8, -126];
	const unit = 2 ** (Math.max(Math.floor(Math.log2(Math.abs(x))), low) - bits + 1);
	const magic = x < 0 ? -(2 ** 52) : 2 ** 52;
	return (x / unit + magic - magic) * unit;
}

const open = async (path) => openStateDict(await openFileSource(path));
const values = async (tensor) => {
	const bytes = await tensor.read();
	if (tensor.dtype === 'F32') return Float64Array.from(new Float32Array(bytes.slice().buffer));
	if (tensor.dtype === 'F64') return new Float64Array(bytes.slice().buffer);
	const wide = new Uint16Array(bytes.slice().buffer);
	if (tensor.dtype === 'BF16') return Float64Array.from(wide, (h) => new Float32Array(Uint32Array.of(h << 16).buffer)[0]);
	return Float64Array.from(wide, (h) => {
		const [sign, e, f] = [h & 0x8000 ? -1 : 1, (h >>> 10) & 31, h & 1023];
		return e === 31
			? f
				? Number.NaN
				: sign * Number.POSITIVE_INFINITY
			: e === 0
				? sign * f * 2 ** -24
				: sign * (1024 + f) * 2 ** (e - 25);
	});
};

const cached = (make) => {
	const known = new Map();
	return (...args) => {
		const key = JSON.stringify(args[0] ?? null);
		if (!known.has(key)) known.set(key, make(...args));
		return known.get(key);
	};
};

const readBase = cached(async (base) => {
	const weights = new Map();
	const parts = [];
	for (const [component, file] of Object.entries(base?.components ?? {})) {
		const { tensors } = await open(file);
		parts.push({
			component,
			names: Array.from(tensors, ([n, { shape }]) => [n, shape]),
			...(base.configs?.[component] === undefined ? {} : { config: JSON.parse(readFileSync(base.configs[component], 'utf8')) }),
		});
		for (const [n, tensor] of tensors) weights.set(`${component}.${n}`, { tensor, shape: tensor.shape });
	}
	for (const [component, modules] of base?.names === undefined ? [] : Object.entries(JSON.parse(readFileSync(base.names, 'utf8')))) {
		parts.push({ component, names: modules.map(([path, shape]) => [`${path}.weight`, shape]) });
		for (const [path, shape] of modules)
			if (!weights.has(`${component}.${path}.weight`)) weights.set(`${component}.${path}.weight`, { shape });
	}
	return { weights, inventory: parts.length === 0 ? undefined : baseInventoryFromTensors(parts, 'base') };
});

/** The base as this subject holds it. */
const startOf = cached(async (ref) => {
	const start = new Map();
	for (const [n, { tensor, shape }] of (await readBase(ref)).weights) {
		const stored = await values(tensor);
		const to = fault.rounding ?? precision;
		start.set(n, { shape, data: to === 'f32' && tensor.dtype === 'F32' ? stored : stored.map((x) => round(x, to)) });
	}
	return start;
});

function inDiffusersNames(adapter) {
	try {
		return renameNaming(adapter, 'diffusers');
	} catch {
		return adapter;
	}
}

/** Modules of an adapter with their delta at scaling 1; a change of a bias is an entry of its own, with its scaling in it. */
async function modulesOf({ file, config, textEncoder }, base) {
	const input = await loadInput({
		main: await openFileSource(file),
		...(textEncoder === undefined ? {} : { textEncoder: await openFileSource(textEncoder) }),
		...(config === undefined ? {} : { config: readFileSync(config, 'utf8') }),
		base: base.inventory,
	});
	const adapter = inDiffusersNames(decodeAdapter(input).adapter);
	const out = [];
	for (const module of adapter.modules) {
		const held = base.weights.get(`${module.component}.${module.path}.weight`);
		const on = needsBase(module) && held?.tensor !== undefined;
		const place = {
			...(held === undefined ? {} : { shape: held.shape }),
			...(on ? { base: { weight: await values(held.tensor), shape: held.shape } } : {}),
		};
		const { weight } = await deltaOf(on ? module : { ...module, scaling: 1 }, place);
		const { bias } = await deltaOf(module, place);
		const { component, path, alpha, rank, rule, scaling } = module;
		const add = (leaf, { shape, data }, more) => out.push({ component, path, leaf, shape, D: data, ...more });
		if (weight !== undefined) add('weight', weight, { alpha, rank, rule, scaling: on ? 1 : scaling, said: scaling });
		if (bias !== undefined) add('bias', bias, { alpha: null, rank: undefined, rule: 'none', scaling: 1 });
	}
	return out;
}

const strengthOf = (s, component) => {
	const said = fault.strength === undefined ? s : fault.strength(s);
	return typeof said === 'object' ? (said[component] ?? 1) : (said ?? 1);
};

function added(m, all, strength) {
	const s = strengthOf(strength, m.component);
	const k = fault.k === undefined ? s * m.scaling : fault.k(m, s, all);
	const D = fault.D === undefined || s === 0 ? m.D : fault.D(m, all);
	return D.map((d) => round(k * d, fault.rounding ?? precision));
}

const save = async (path, entries) => {
	const tensors = new Map(
		[...entries].map(([key, { shape, data }]) => [key, bytesTensor('F32', shape, new Uint8Array(Float32Array.from(data).buffer))]),
	);
	writeFileSync(path, await safetensorsBytes(tensors, new Map()));
};

const key = (m) => `${m.component}.${m.path}`;

const OPS = {
	async open({ file }) {
		const tensors = {};
		for (const [n, t] of (await open(file)).tensors)
			tensors[n] = {
				dtype: t.dtype,
				shape: t.shape,
				sha256: createHash('sha256')
					.update(await t.read())
					.digest('hex'),
			};
		return { tensors };
	},
	async scaling({ adapter, base }) {
		const all = (await modulesOf(adapter, await readBase(base))).filter((m) => m.leaf === 'weight').map((m) => ({ ...m, scaling: m.said }));
		const k = (m, s) => (fault.k === undefined ? s * m.scaling : fault.k(m, s, all));
		return { scaling: Object.fromEntries(all.map((m) => [key(m), k(m, strengthOf(adapter.strength, m.component))])) };
	},
	async delta({ adapter, base, out }) {
		const all = await modulesOf(adapter, await readBase(base));
		await save(
			out,
			all.filter((m) => m.leaf === 'weight').map((m) => [key(m), { shape: m.shape, data: added(m, all, adapter.strength) }]),
		);
		return {};
	},
	async weights({ base: ref, actions }) {
		const base = await readBase(ref);
		const start = await startOf(ref);
		let loaded = [];
		let weights = start;
		const { lifecycle } = fault;
		const apply = (from, { all, strength }, sign) => {
			const next = new Map(from);
			for (const m of all) {
				const n = `${key(m)}.${m.leaf}`;
				const { shape, data } = next.get(n) ?? {};
				if (data === undefined) throw new Error(`the base has no ${n}`);
				const delta = added(m, all, strength);
				next.set(n, { shape, data: data.map((w, i) => round(w + sign * delta[i], fault.rounding ?? precision)) });
			}
			return next;
		};
		for (const action of actions) {
			const { name: n } = action;
			const old = loaded.find((l) => l.name === n);
			if (action.do === 'load' || action.do === 'swap') {
				const entry = { name: n, all: await modulesOf(action.adapter, base), strength: action.adapter.strength ?? old?.strength ?? 1 };
				if (lifecycle === 'subtract' && old !== undefined) weights = apply(weights, old, -1);
				if (lifecycle !== 'swap-adds') loaded = loaded.filter((l) => l.name !== n);
				loaded.push(entry);
				if (lifecycle === 'subtract') weights = apply(weights, entry, 1);
			} else if (action.do === 'strength') {
				if (lifecycle === 'subtract' && old !== undefined) weights = apply(apply(weights, old, -1), { ...old, strength: action.value }, 1);
				if (lifecycle === 'add-strength') loaded.push({ ...old, strength: action.value });
				else if (lifecycle !== 'first-strength') loaded = loaded.map((l) => (l.name === n ? { ...l, strength: action.value } : l));
			} else if (action.do === 'unload') {
				if (lifecycle === 'subtract' && old !== undefined) weights = apply(weights, old, -1);
				if (lifecycle !== 'keep') loaded = loaded.filter((l) => l.name !== n);
			} else if (lifecycle === 'subtract') await save(action.out, weights);
			else {
				// Anew from the base each time, in one order: exact to unload, independent of the order of loading.
				const acting = lifecycle === 'last' ? loaded.slice(-1) : [...loaded].sort((a, b) => (a.name < b.name ? -1 : 1));
				await save(
					action.out,
					acting.reduce((w, l) => apply(w, l, 1), start),
				);
			}
		}
		return {};
	},
};

for await (const line of createInterface({ input: process.stdin })) {
	const { id, op, ...request } = JSON.parse(line);
	if (op === 'stop') process.exit(0);
	let answer;
	if (op === 'start')
		answer = { protocol: 1, implementation: { name: `mutant ${name ?? 'none'}`, version: '1' }, precision, levels: ['L2', 'L3', 'L4'] };
	else {
		try {
			answer = { ok: true, ...(await OPS[op](request)) };
		} catch (error) {
			answer = error?.code?.startsWith?.('E_')
				? { refused: true, code: error.code, message: error.message }
				: { error: { message: String(error?.stack ?? error) } };
		}
	}
	process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}
