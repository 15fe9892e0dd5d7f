import { FormatError, LAYOUTS, createNodeSha256, decodeAdapter, planConversion, writer } from './library.mjs';
import { openBytes } from './inputs.mjs';
import { same } from './checks.mjs';

/** Codes of a refusal that names a loss. Any other error of a conversion is a failure. */
const REFUSALS = new Set(['E_LOSS', 'E_UNSUPPORTED_ADAPTER', 'E_ALPHA_NO_SLOT', 'E_MODULE_UNRESOLVED', 'E_UNKNOWN_KEY', 'E_MODULE_NOT_IN_BASE', 'E_BASE_MISMATCH', 'E_MODULE_ORDER']);

/** Every way to write an adapter: layout and container. */
export const TARGETS = LAYOUTS.filter((layout) => layout.encode !== undefined).map((layout) => ({
	id: layout.id,
	container: layout.id === 'cloneofsimo-list' ? 'torch-zip' : 'safetensors',
}));

/**
 * Write a plan to memory and open it again, with everything beside it.
 *
 * @param {import('../../packages/format/dist/convert.js').ConversionPlan} plan
 * @param {unknown} base
 */
export async function materialise(plan, base) {
	const written = [];
	for (const file of plan.files) {
		const name = `out${file.suffix === '' ? `.${file.container === 'safetensors' ? 'safetensors' : 'pt'}` : file.suffix}`;
		written.push({ file, bytes: await writer.plannedFileBytes(file, { createHash: createNodeSha256 }), name });
	}
	const dicts = [];
	for (const { file, bytes, name } of written) dicts.push({ suffix: file.suffix, dict: await openBytes(bytes, name) });
	const main = dicts.find((d) => d.suffix === '');
	if (main === undefined) throw new Error('the plan has no file for OUT itself');
	const isTextEncoder = (d) => /text_encoder/.test(d.suffix);
	const withOrigins = (dict) => ({
		...dict,
		tensors: new Map([...dict.tensors].map(([key, t]) => [key, { ...t, origin: `${dict.name}:${key}`, read: () => t.read() }])),
	});
	const beside = dicts.filter((d) => d.suffix !== '');
	return {
		file: main.dict,
		textEncoder: beside.filter(isTextEncoder).map((d) => withOrigins(d.dict))[0],
		embeddings: beside.filter((d) => !isTextEncoder(d)).map((d) => withOrigins(d.dict)),
		config: plan.sideFiles.get('adapter_config.json'),
		base,
	};
}

/**
 * input -> target -> back. `exact`: what comes back is the input, bit for bit; `form`: the same, by means of entries of
 * ours in the header; `refused`: the library named a loss; `failed`: anything else.
 *
 * @param {import('../../packages/format/dist/layouts/layout.js').LayoutInput} input
 * @param {{ from: string, to: string, container: 'safetensors' | 'torch-zip', order?: 'old' | 'new' | undefined, alpha?: string }} how
 * @returns {Promise<{ outcome: 'exact' | 'form' | 'refused' | 'failed', why: string, code?: string, middle?: object, back?: object }>}
 */
export async function roundTrip(input, how) {
	let plan;
	try {
		plan = planConversion(input, { to: how.to, container: how.container, order: how.order, ...(how.alpha === undefined ? {} : { alpha: how.alpha }) });
	} catch (error) {
		if (error instanceof FormatError && REFUSALS.has(error.code) && error.message.length > 20) {
			return { outcome: 'refused', code: error.code, why: error.message };
		}
		return { outcome: 'failed', why: `to ${how.to}: ${tell(error)}` };
	}
	try {
		const counted = plan.receipt.tensorCounts ?? plan.receipt.counts?.tensors;
		const inputs = input.file.tensors.size + (input.textEncoder?.tensors.size ?? 0) + input.embeddings.reduce((n, e) => n + e.tensors.size, 0);
		if (counted !== undefined && counted.total !== inputs) return { outcome: 'failed', why: `the receipt to ${how.to} counts ${counted.total} of ${inputs} tensors` };
		const middle = await materialise(plan, input.base);
		const original = decodeAdapter(input, { order: how.order });
		const there = decodeAdapter(middle, { order: how.order });
		if (there.layout.id !== how.to) return { outcome: 'failed', why: `written as ${how.to}, detected as ${there.layout.id}` };
		const changed = await compareAdapters(original.adapter, there.adapter);
		if (changed !== undefined) return { outcome: 'failed', why: `in ${how.to}: ${changed}` };
		const container = input.file.container === 'safetensors' ? 'safetensors' : 'torch-zip';
		const back = await materialise(planConversion(middle, { to: how.from, container, order: how.order }), input.base);
		const difference = await compareInputs(input, back);
		if (difference !== undefined) return { outcome: 'failed', why: `back from ${how.to}: ${difference}` };
		const ours = [...middle.file.metadata.keys()].some((key) => key.startsWith('lorakit.'));
		return { outcome: ours ? 'form' : 'exact', why: '', middle, back };
	} catch (error) {
		return { outcome: 'failed', why: `by way of ${how.to}: ${tell(error)}` };
	}
}

function tell(error) {
	if (error instanceof FormatError) return `${error.code} ${error.message}`;
	return error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ') : String(error);
}

/** The same modules, strengths, factor bits and embeddings, whatever the names. Undefined when they are. */
export async function compareAdapters(a, b) {
	const index = new Map(b.modules.map((m) => [`${m.component} ${m.path}`, m]));
	if (index.size !== a.modules.length) return `${a.modules.length} modules became ${index.size}`;
	for (const m of a.modules) {
		const where = `${m.component} ${m.path}`;
		const n = index.get(where);
		if (n === undefined) return `${where} is gone`;
		if (n.scaling !== m.scaling) return `${where} has scaling ${n.scaling} instead of ${m.scaling}`;
		if (n.magnitudeAxis !== m.magnitudeAxis) return `${where} has magnitude axis ${n.magnitudeAxis} instead of ${m.magnitudeAxis}`;
		const roles = Object.keys(m.factors).sort();
		if (!same(roles, Object.keys(n.factors).sort())) return `${where} has ${Object.keys(n.factors)} instead of ${roles}`;
		for (const role of roles) {
			const [x, y] = [m.factors[role], n.factors[role]];
			if (x.dtype !== y.dtype) return `${where} ${role} is ${y.dtype} instead of ${x.dtype}`;
			if (!equalBytes(await x.read(), await y.read())) return `${where} ${role} has other bits`;
		}
	}
	if (a.embeddings.length !== b.embeddings.length) return `${a.embeddings.length} embeddings became ${b.embeddings.length}`;
	for (const e of a.embeddings) {
		const f = b.embeddings.find((x) => x.token === e.token && x.component === e.component);
		if (f === undefined) return `embedding ${e.token} is gone`;
		if (!equalBytes(await e.vectors.read(), await f.vectors.read())) return `embedding ${e.token} has other bits`;
	}
	return undefined;
}

/** The same files: names, dtypes, shapes, bytes, header entries, side files. Undefined when they are. */
export async function compareInputs(a, b) {
	return (
		(await compareDicts('file', a.file, b.file)) ??
		(await compareDicts('text encoder file', a.textEncoder, b.textEncoder)) ??
		(await compareEmbeddings(a.embeddings, b.embeddings)) ??
		(a.config === b.config ? undefined : `adapter_config.json is ${b.config === undefined ? 'gone' : 'another text'}`)
	);
}

async function compareEmbeddings(a, b) {
	if (a.length !== b.length) return `${a.length} embedding files became ${b.length}`;
	for (const [i, dict] of a.entries()) {
		const wrong = await compareDicts(`embedding file ${i}`, dict, b[i]);
		if (wrong !== undefined) return wrong;
	}
	return undefined;
}

async function compareDicts(what, a, b) {
	if (a === undefined || b === undefined) return a === b ? undefined : `the ${what} ${b === undefined ? 'is gone' : 'came from nowhere'}`;
	if (a.top !== b.top) return `the ${what} holds a ${b.top} instead of a ${a.top}`;
	for (const name of a.tensors.keys()) if (!b.tensors.has(name)) return `the ${what} lost ${JSON.stringify(name)}`;
	for (const [name, t] of b.tensors) {
		const u = a.tensors.get(name);
		if (u === undefined) return `the ${what} gained ${JSON.stringify(name)}`;
		if (u.dtype !== t.dtype || !same(u.shape, t.shape)) return `${name} is ${t.dtype} (${t.shape}) instead of ${u.dtype} (${u.shape})`;
		if (!equalBytes(await u.read(), await t.read())) return `${name} has other bits`;
	}
	const keys = new Set([...a.metadata.keys(), ...b.metadata.keys()]);
	for (const key of keys) {
		if (a.metadata.get(key) !== b.metadata.get(key)) {
			return `header entry ${JSON.stringify(key)} is ${JSON.stringify(b.metadata.get(key))?.slice(0, 120)} instead of ${JSON.stringify(a.metadata.get(key))?.slice(0, 120)}`;
		}
	}
	return undefined;
}

/** @param {Uint8Array} a @param {Uint8Array} b */
export function equalBytes(a, b) {
	return Buffer.compare(a, b) === 0;
}
