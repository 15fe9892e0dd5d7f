#!/usr/bin/env node
// This project as a subject: @lorakit/format reads, scales and fuses; @lorakit/runtime answers L5 and L6 (runtime.mjs).
// node harness/node/subject.mjs [--precision f32|f16|bf16]
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
	baseInventoryFromTensors,
	baseModel,
	bytesTensor,
	decodeAdapter,
	deltaOf,
	FormatError,
	fusedTensor,
	loadInput,
	openStateDict,
	planFuse,
	renameNaming,
	safetensorsBytes,
} from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.resolve('@lorakit/format/package.json')), 'utf8'));
const precision = process.argv[process.argv.indexOf('--precision') + 1] ?? 'f32';
const PRECISION = ['f32', 'f16', 'bf16'].includes(precision) ? precision : 'f32';
const DTYPE = { f32: 'F32', f16: 'F16', bf16: 'BF16' }[PRECISION];

const open = async (path) => openStateDict(await openFileSource(path));

/** The modules of a base, for files that name none. */
async function inventory(base) {
	if (base === undefined) return undefined;
	const parts = [];
	for (const [component, file] of Object.entries(base.components ?? {})) {
		const { tensors } = await open(file);
		const config = base.configs?.[component];
		parts.push({
			component,
			names: Array.from(tensors, ([name, { shape }]) => [name, shape]),
			...(config === undefined ? {} : { config: JSON.parse(readFileSync(config, 'utf8')) }),
		});
	}
	if (base.names !== undefined) {
		for (const [component, modules] of Object.entries(JSON.parse(readFileSync(base.names, 'utf8')))) {
			parts.push({ component, names: modules.map(([path, shape]) => [`${path}.weight`, shape]) });
		}
	}
	return parts.length === 0 ? undefined : baseInventoryFromTensors(parts, 'base');
}

/** An adapter in diffusers' names, and how its file was read. */
async function read({ file, config, textEncoder }, base) {
	const input = await loadInput({
		main: await openFileSource(file),
		...(textEncoder === undefined ? {} : { textEncoder: await openFileSource(textEncoder) }),
		...(config === undefined ? {} : { config: readFileSync(config, 'utf8') }),
		base: await inventory(base),
	});
	const { adapter, layout } = decodeAdapter(input);
	return { adapter: inDiffusersNames(adapter), layout };
}

/** Models without a table of names (Wan, language models) keep their own. */
function inDiffusersNames(adapter) {
	try {
		return renameNaming(adapter, 'diffusers');
	} catch (error) {
		if (error instanceof FormatError) return adapter;
		throw error;
	}
}

/** Modules that the base has, and the names of the tensors of the others. */
function placed(adapter, known) {
	const modules = [];
	const unmatched = [...adapter.unknown.keys(), ...adapter.dead.keys()];
	for (const module of adapter.modules) {
		const shape = known?.get(keyOf(module));
		const there = known === undefined ? module.resolved : shape !== undefined && fitsShape(module, shape);
		if (there) modules.push(module);
		else
			for (const tensor of [...Object.values(module.factors), module.alphaTensor, module.scaleTensor]) unmatched.push(...originsOf(tensor));
	}
	return { modules, unmatched };
}

/** down runs along the weight's input, up along its output; other families are not looked at. */
function fitsShape({ factors: { down, up } }, [out, inner]) {
	return down === undefined || up === undefined || (up.shape[0] === out && (down.shape[1] === inner || inner === undefined));
}

function originsOf(tensor) {
	if (tensor === undefined) return [];
	return tensor.origin !== undefined ? [tensor.origin] : (tensor.derivation?.from ?? []).flatMap(originsOf);
}

async function shapesOf(base) {
	const known = await inventory(base);
	if (known === undefined) return undefined;
	const out = new Map();
	for (const [component, modules] of known.components) for (const { path, shape } of modules) out.set(`${component}.${path}`, shape);
	return out;
}

const keyOf = ({ component, path }) => `${component}.${path}`;
const strengthOf = (strength, component) => (typeof strength === 'object' ? (strength[component] ?? 1) : (strength ?? 1));

async function save(path, tensors) {
	writeFileSync(path, await safetensorsBytes(tensors, new Map()));
}

const OPS = {
	async open({ file }) {
		const { tensors } = await open(file);
		const out = {};
		for (const [name, tensor] of tensors) {
			const sha256 = createHash('sha256')
				.update(await tensor.read())
				.digest('hex');
			Object.defineProperty(out, name, { value: { dtype: tensor.dtype, shape: tensor.shape, sha256 }, enumerable: true });
		}
		return { tensors: out };
	},
	async describe({ adapter, base }) {
		const { adapter: read_, layout } = await read(adapter, base);
		const { modules, unmatched } = placed(read_, await shapesOf(base));
		return {
			layout: layout.id,
			modules: Object.fromEntries(modules.map((m) => [keyOf(m), m.rank ?? null])),
			unmatched: [...new Set(unmatched)],
		};
	},
	async scaling({ adapter, base }) {
		const { adapter: read_ } = await read(adapter, base);
		return { scaling: Object.fromEntries(read_.modules.map((m) => [keyOf(m), m.scaling * strengthOf(adapter.strength, m.component)])) };
	},
	async delta({ adapter, base, out }) {
		const { adapter: read_ } = await read(adapter, base);
		const weights = await baseWeights(base);
		const shapes = await shapesOf(base);
		const tensors = new Map();
		for (const module of read_.modules) {
			const key = keyOf(module);
			const held = weights.get(`${key}.weight`);
			const shape = held?.shape ?? shapes?.get(key);
			const { weight } = await deltaOf(module, {
				strength: strengthOf(adapter.strength, module.component),
				...(shape === undefined ? {} : { shape }),
				...(held === undefined ? {} : { base: { weight: held.values, shape: held.shape } }),
			});
			if (weight === undefined) continue;
			tensors.set(
				key,
				bytesTensor('F64', weight.shape, new Uint8Array(weight.data.buffer, weight.data.byteOffset, weight.data.byteLength)),
			);
		}
		await save(out, tensors);
		return {};
	},
	async weights({ base, actions }) {
		const model = await openBase(base);
		let loaded = [];
		for (const action of actions) {
			const { name } = action;
			if (action.do === 'load' || action.do === 'swap') {
				const { adapter } = await read(action.adapter, base);
				const old = loaded.find((l) => l.name === name);
				const strength = action.adapter.strength ?? old?.strength ?? 1;
				loaded = [...loaded.filter((l) => l.name !== name), { name, adapter, strength }];
			} else if (action.do === 'strength') {
				loaded = loaded.map((l) => (l.name === name ? { ...l, strength: action.value } : l));
			} else if (action.do === 'unload') {
				loaded = loaded.filter((l) => l.name !== name);
			} else {
				await save(action.out, await fused(model, loaded));
			}
		}
		return {};
	},
};

/** `component.name` -> tensor of base + adapters. The base is never changed, so unloading is exact. */
async function fused(model, loaded) {
	const uses = loaded.map(({ name, adapter, strength }) => {
		const each = typeof strength === 'object';
		return {
			name,
			adapter,
			strength: { scale: each ? 1 : strength, components: new Map(each ? Object.entries(strength) : []), blocks: undefined },
		};
	});
	const plan = uses.length === 0 ? undefined : await planFuse(model, uses);
	const tensors = new Map();
	for (const file of model.files) {
		const touched = plan?.byFile.get(file);
		for (const [name, tensor] of file.state.tensors) {
			const change = touched?.get(name);
			tensors.set(`${file.component}.${name}`, change === undefined ? tensor : fusedTensor(change));
		}
	}
	return tensors;
}

/** The base in the precision that we say we hold weights in. */
async function openBase(base) {
	const files = [];
	const configs = new Map();
	for (const [component, path] of Object.entries(base.components)) {
		const state = await open(path);
		const tensors = new Map();
		for (const [name, tensor] of state.tensors) tensors.set(name, await cast(tensor));
		files.push({ path: `${component}/model.safetensors`, component, state: { ...state, tensors } });
		const config = base.configs?.[component];
		if (config !== undefined) configs.set(component, JSON.parse(readFileSync(config, 'utf8')));
	}
	return baseModel(files, 'folder', 'base', { configs });
}

async function baseWeights(base) {
	const out = new Map();
	for (const [component, path] of Object.entries(base?.components ?? {})) {
		for (const [name, tensor] of (await open(path)).tensors) {
			if (isFloat(tensor.dtype))
				out.set(`${component}.${name}`, { shape: tensor.shape, values: numbers(tensor.dtype, await tensor.read()) });
		}
	}
	return out;
}

const isFloat = (dtype) => ['F64', 'F32', 'F16', 'BF16'].includes(dtype);

async function cast(tensor) {
	if (tensor.dtype === DTYPE || !isFloat(tensor.dtype)) return tensor;
	return bytesTensor(DTYPE, tensor.shape, encode(DTYPE, numbers(tensor.dtype, await tensor.read())), tensor.origin);
}

/** Floats of any width as doubles. */
function numbers(dtype, bytes) {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const size = { F64: 8, F32: 4, F16: 2, BF16: 2 }[dtype];
	const at = {
		F64: (o) => view.getFloat64(o, true),
		F32: (o) => view.getFloat32(o, true),
		BF16: (o) => new Float32Array(Uint32Array.of(view.getUint16(o, true) << 16).buffer)[0],
		F16: (o) => half(view.getUint16(o, true)),
	}[dtype];
	return Float64Array.from({ length: bytes.byteLength / size }, (_, i) => at(i * size));
}

function half(bits) {
	const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >>> 10) & 31, bits & 1023];
	if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
	return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Doubles rounded once to a float dtype, ties to even. */
function encode(dtype, values) {
	if (dtype === 'F32') return new Uint8Array(Float32Array.from(values).buffer);
	const [bits, low, bias] = dtype === 'F16' ? [10, -14, 15] : [7, -126, 127];
	const out = new Uint16Array(values.length);
	for (const [i, x] of values.entries()) {
		const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
		const a = Math.abs(x);
		if (Number.isNaN(x)) out[i] = dtype === 'F16' ? 0x7e00 : 0x7fc0;
		else {
			const exponent = Math.max(a === 0 ? low : Math.floor(Math.log2(a)), low);
			const steps = a / 2 ** (exponent - bits);
			const rounded = steps + 2 ** 52 - 2 ** 52;
			// A carry into the next exponent adds up by itself; above the largest comes the pattern of infinity.
			const code = Number.isFinite(a)
				? exponent === low && rounded < 2 ** bits
					? rounded
					: rounded + (exponent + bias - 1) * 2 ** bits
				: Number.POSITIVE_INFINITY;
			out[i] = sign | Math.min(code, (2 * bias + 1) * 2 ** bits);
		}
	}
	return new Uint8Array(out.buffer);
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
	const { id, op, ...request } = JSON.parse(line);
	if (op === 'stop') process.exit(0);
	const answer = await respond(op, request);
	process.stdout.write(`${JSON.stringify({ id, ...answer })}\n`);
}

/** L5 and L6: a function, or why not. Loaded when first asked: the engine is large. */
async function outputs(op) {
	if (op !== 'forward' && op !== 'image') return undefined;
	if (PRECISION === 'bf16') return 'the runtime computes in f32 or f16, not in bf16';
	try {
		return (await import('./runtime.mjs'))[op];
	} catch (error) {
		return `the runtime cannot be loaded (${error.message}); install @lorakit/runtime, onnxruntime-node and fast-png`;
	}
}

async function respond(op, request) {
	if (op === 'start') {
		return {
			protocol: 1,
			implementation: { name: 'lorakit', version, language: 'TypeScript', homepage: 'https://github.com/lorakit/lorakit' },
			precision: PRECISION,
			device: 'cpu',
		};
	}
	const run = OPS[op] ?? (await outputs(op));
	if (run === undefined) return { skipped: true, message: `lorakit cannot answer "${op}"` };
	if (typeof run === 'string') return { skipped: true, message: run };
	try {
		const answer = await run(request, { open, read });
		return answer.skipped === true ? answer : { ok: true, ...answer };
	} catch (error) {
		if (error instanceof FormatError) return { refused: true, code: error.code, message: error.message };
		return { error: { message: String(error?.message ?? error), trace: String(error?.stack ?? '') } };
	}
}
