import { same } from './checks.mjs';
import {
	bytesSource,
	decodeAdapter,
	deltaOf,
	FormatError,
	LAYOUTS,
	loadInput,
	needsBase,
	planConversion,
	plannedFileBytes,
	renameNaming,
	trueMetadata,
} from './library.mjs';

/** Codes of a refusal that names a loss. Any other error of a conversion is a failure. */
const REFUSALS = new Set([
	'E_LOSS',
	'E_UNSUPPORTED_ADAPTER',
	'E_ALPHA_NO_SLOT',
	'E_MODULE_UNRESOLVED',
	'E_UNKNOWN_KEY',
	'E_MODULE_NOT_IN_BASE',
	'E_BASE_MISMATCH',
	'E_MODULE_ORDER',
]);

/** Every way to write an adapter: layout and container. */
export const TARGETS = LAYOUTS.filter((layout) => layout.encode !== undefined).map((layout) => ({
	id: layout.id,
	container: layout.id === 'cloneofsimo-list' ? 'torch-zip' : 'safetensors',
}));

/**
 * Write a plan to memory and open it again, with everything beside it.
 *
 * @param {import('../../packages/format/dist/index.js').ConversionPlan} plan
 * @param {unknown} base
 */
export async function materialise(plan, base) {
	const sources = new Map();
	for (const file of plan.files) {
		const extension = file.container === 'safetensors' ? '.safetensors' : '.pt';
		const name = `out${file.suffix === '' ? extension : file.suffix}`;
		sources.set(file.suffix, bytesSource(await plannedFileBytes(file), name));
	}
	const main = sources.get('');
	if (main === undefined) throw new Error('the plan has no file for OUT itself');
	const beside = [...sources].filter(([suffix]) => suffix !== '');
	return loadInput({
		main,
		textEncoder: beside.find(([suffix]) => suffix.includes('text_encoder'))?.[1],
		embeddings: beside.filter(([suffix]) => !suffix.includes('text_encoder')).map(([, source]) => source),
		config: plan.sideFiles.get('adapter_config.json'),
		base,
	});
}

/**
 * input -> target -> back. `exact`: what comes back is the input, bit for bit; `form`: the same, by means of entries of
 * ours in the header; `rounded`: the same, but in between an alpha could only be said to float32; `respelled`: the same but for the
 * order of a set in the header, or the spelling of names, which a torch list cannot keep and the plan warns of (W_LOSS); `refused`: the library named a loss; `failed`: anything else.
 *
 * @param {import('../../packages/format/dist/layouts/layout.js').LayoutInput} input
 * @param {{ from: string, to: string, container: 'safetensors' | 'torch-zip', order?: 'old' | 'new' | undefined, alpha?: string }} how
 * @returns {Promise<{ outcome: 'exact' | 'form' | 'rounded' | 'respelled' | 'refused' | 'failed', why: string, code?: string, middle?: object, back?: object }>}
 */
export async function roundTrip(input, how) {
	let plan;
	try {
		plan = planConversion(input, {
			to: how.to,
			container: how.container,
			order: how.order,
			...(how.alpha === undefined ? {} : { alpha: how.alpha }),
		});
	} catch (error) {
		if (isRefusal(error)) return { outcome: 'refused', code: error.code, why: error.message };
		return { outcome: 'failed', why: `to ${how.to}: ${tell(error)}` };
	}
	try {
		const original = decodeAdapter(input, { order: how.order });
		const { total } = plan.receipt.counts.tensors;
		const inputs =
			input.file.tensors.size + (input.textEncoder?.tensors.size ?? 0) + input.embeddings.reduce((n, e) => n + e.tensors.size, 0);
		if (total !== inputs) return { outcome: 'failed', why: `the receipt to ${how.to} counts ${total} of ${inputs} tensors` };
		if (plan.receipt.counts.tensors.lost > original.adapter.dead.size)
			return {
				outcome: 'failed',
				why: `to ${how.to}: the receipt names ${plan.receipt.counts.tensors.lost} lost tensors, yet nothing was refused`,
			};
		const middle = await materialise(plan, input.base);
		const there = decodeAdapter(middle, { order: how.order });
		// Without alpha some layouts are spelled alike (diffusers of today and of 0.21): what the file means decides.
		const { changed, rounded } = await compareMeaning(original.adapter, there.adapter);
		if (changed !== undefined) return { outcome: 'failed', why: `in ${how.to}, read as ${there.layout.id}: ${changed}` };
		const container = input.file.container === 'safetensors' ? 'safetensors' : 'torch-zip';
		const back = await materialise(planConversion(middle, { to: how.from, container, order: how.order }), input.base);
		// A torch file has no header: how the source spelled the same content is forgotten, and the plan says so by name.
		const forgotten = plan.warnings.some((w) => w.code === 'W_LOSS' && w.message.includes('spelled'));
		if (forgotten) {
			const gone = (await compareMeaning(original.adapter, decodeAdapter(back, { order: how.order }).adapter)).changed;
			return gone === undefined
				? { outcome: 'respelled', why: '', middle, back }
				: { outcome: 'failed', why: `back from ${how.to}: ${gone}` };
		}
		const { difference, respelled } = await compareInputs(input, back);
		if (difference !== undefined) return { outcome: 'failed', why: `back from ${how.to}: ${difference}` };
		const ours = [...middle.file.metadata.keys()].some((key) => key.startsWith('lorakit.'));
		return { outcome: respelled ? 'respelled' : rounded ? 'rounded' : ours ? 'form' : 'exact', why: '', middle, back };
	} catch (error) {
		return { outcome: 'failed', why: `by way of ${how.to}: ${tell(error)}` };
	}
}

/** @param {unknown} error */
function isRefusal(error) {
	return error instanceof FormatError && REFUSALS.has(error.code) && error.message.length > 20;
}

function tell(error) {
	if (error instanceof FormatError) return `${error.code} ${error.message}`;
	return error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ') : String(error);
}

/**
 * `compareAdapters` where the target names (and cuts) modules otherwise: Flux' fused qkv against three modules. Names are
 * then brought together by the library's own renaming, and, so that it does not judge itself alone, the sum and the sum
 * of squares over all deltas must agree, which no cutting changes.
 */
async function compareMeaning(a, b) {
	if (a.naming === b.naming) return compareAdapters(a, b);
	const moments = [await momentsOf(a), await momentsOf(b)];
	for (const key of ['sum', 'squares']) {
		const [x, y] = moments.map((m) => m[key]);
		if (!(Math.abs(x - y) <= 1e-9 * Math.max(Math.abs(x), moments[0].squares)))
			return { changed: `the ${key} of all deltas is ${y} instead of ${x}`, rounded: false };
	}
	return compareAdapters(renameNaming(a, b.naming), b);
}

async function momentsOf(adapter) {
	let [sum, squares] = [0, 0];
	for (const module of adapter.modules) {
		if (needsBase(module)) continue;
		for (const x of (await deltaOf(module)).weight?.data ?? []) {
			sum += x;
			squares += x * x;
		}
	}
	return { sum, squares };
}

/**
 * The same modules, strengths, factor bits and embeddings, whatever the names.
 *
 * @returns {Promise<{ changed: string | undefined, rounded: boolean }>} `rounded`: a strength differs by less than float32 shows
 */
export async function compareAdapters(a, b) {
	const index = new Map(b.modules.map((m) => [`${m.component} ${m.path}`, m]));
	let rounded = false;
	const changed = (text) => ({ changed: text, rounded });
	if (index.size !== a.modules.length) return changed(`${a.modules.length} modules became ${index.size}`);
	for (const m of a.modules) {
		const where = `${m.component} ${m.path}`;
		const n = index.get(where);
		if (n === undefined) return changed(`${where} is gone`);
		if (n.scaling !== m.scaling) {
			// alpha = scaling * rank is no float32 number under rsLoRA; the receipt states the bound.
			if (!(Math.abs(n.scaling - m.scaling) <= 2 ** -24 * Math.abs(m.scaling)))
				return changed(`${where} has scaling ${n.scaling} instead of ${m.scaling}`);
			rounded = true;
		}
		if (n.magnitudeAxis !== m.magnitudeAxis) return changed(`${where} has magnitude axis ${n.magnitudeAxis} instead of ${m.magnitudeAxis}`);
		const roles = Object.keys(m.factors).sort();
		if (!same(roles, Object.keys(n.factors).sort())) return changed(`${where} has ${Object.keys(n.factors)} instead of ${roles}`);
		for (const role of roles) {
			const [x, y] = [m.factors[role], n.factors[role]];
			if (x.dtype !== y.dtype) return changed(`${where} ${role} is ${y.dtype} instead of ${x.dtype}`);
			if (!equalBytes(await x.read(), await y.read())) return changed(`${where} ${role} has other bits`);
		}
	}
	if (a.embeddings.length !== b.embeddings.length) return changed(`${a.embeddings.length} embeddings became ${b.embeddings.length}`);
	for (const e of a.embeddings) {
		const f = b.embeddings.find((x) => x.token === e.token && x.component === e.component);
		if (f === undefined) return changed(`embedding ${e.token} is gone`);
		if (!equalBytes(await e.vectors.read(), await f.vectors.read())) return changed(`embedding ${e.token} has other bits`);
	}
	return { changed: undefined, rounded };
}

/**
 * Write with `--alpha fold` and read back: the largest difference of a delta, in units of max(1, its largest element).
 *
 * @param {(component: string, path: string) => Promise<object | undefined>} [weightOf] the base, for DoRA
 * @returns {Promise<number | string>} text: what is wrong; 0 where another loss is named
 */
export async function foldedError(input, how, weightOf) {
	let plan;
	try {
		plan = planConversion(input, { to: how.to, container: how.container, order: how.order, alpha: 'fold' });
	} catch (error) {
		// Something else than the alpha has no place there either: named, so refused as it should be.
		if (isRefusal(error)) return 0;
		throw error;
	}
	const before = decodeAdapter(input, { order: how.order }).adapter;
	const after = decodeAdapter(await materialise(plan, input.base), { order: how.order }).adapter;
	const index = new Map(after.modules.map((m) => [`${m.component} ${m.path}`, m]));
	if (index.size !== before.modules.length) return `${before.modules.length} modules became ${index.size}`;
	let worst = 0;
	for (const m of before.modules) {
		const n = index.get(`${m.component} ${m.path}`);
		if (n === undefined) return `${m.component} ${m.path} is gone`;
		if (n.scaling !== 1) return `${m.path} still has scaling ${n.scaling}`;
		const base = needsBase(m) ? await weightOf?.(m.component, m.path) : undefined;
		const [x, y] = [(await deltaOf(m, { base })).weight?.data ?? [], (await deltaOf(n, { base })).weight?.data ?? []];
		let largest = 1;
		for (const value of x) largest = Math.max(largest, Math.abs(value));
		for (let i = 0; i < x.length; i++) worst = Math.max(worst, Math.abs(x[i] - y[i]) / largest);
	}
	return worst;
}

/**
 * The same files: names, dtypes, shapes, bytes, header entries, side files.
 *
 * @returns {Promise<{ difference: string | undefined, respelled: boolean }>}
 */
export async function compareInputs(a, b) {
	const notes = { respelled: false };
	const difference =
		(await compareDicts('file', a.file, b.file, notes)) ??
		(await compareDicts('text encoder file', a.textEncoder, b.textEncoder, notes)) ??
		(await compareEmbeddings(a.embeddings, b.embeddings, notes)) ??
		(a.config === b.config ? undefined : `adapter_config.json is ${b.config === undefined ? 'gone' : 'another text'}`);
	return { difference, respelled: notes.respelled };
}

/** Two header strings that are JSON lists of the same names in another order: cloneofsimo's target sets. */
function sameSet(x, y) {
	const lists = [x, y].map((text) => {
		try {
			return JSON.parse(text ?? '');
		} catch {
			return undefined;
		}
	});
	return (
		lists.every((list) => Array.isArray(list) && list.every((v) => typeof v === 'string')) && same(...lists.map((list) => [...list].sort()))
	);
}

async function compareEmbeddings(a, b, notes) {
	if (a.length !== b.length) return `${a.length} embedding files became ${b.length}`;
	for (const [i, dict] of a.entries()) {
		const wrong = await compareDicts(`embedding file ${i}`, dict, b[i], notes);
		if (wrong !== undefined) return wrong;
	}
	return undefined;
}

async function compareDicts(what, a, b, notes) {
	if (a === undefined || b === undefined) return a === b ? undefined : `the ${what} ${b === undefined ? 'is gone' : 'came from nowhere'}`;
	if (a.top !== b.top) return `the ${what} holds a ${b.top} instead of a ${a.top}`;
	for (const name of a.tensors.keys()) if (!b.tensors.has(name)) return `the ${what} lost ${JSON.stringify(name)}`;
	for (const [name, t] of b.tensors) {
		const u = a.tensors.get(name);
		if (u === undefined) return `the ${what} gained ${JSON.stringify(name)}`;
		if (u.dtype !== t.dtype || !same(u.shape, t.shape)) return `${name} is ${t.dtype} (${t.shape}) instead of ${u.dtype} (${u.shape})`;
		if (!equalBytes(await u.read(), await t.read())) return `${name} has other bits`;
	}
	// A file cut from another keeps the other's hash: writing makes such entries true, so that is what must come back.
	const wanted = await trueMetadata(a);
	for (const key of new Set([...wanted.keys(), ...b.metadata.keys()])) {
		const [x, y] = [wanted.get(key), b.metadata.get(key)];
		if (x === y) continue;
		if (!sameSet(x, y))
			return `header entry ${JSON.stringify(key)} is ${JSON.stringify(y)?.slice(0, 120)} instead of ${JSON.stringify(x)?.slice(0, 120)}`;
		notes.respelled = true;
	}
	return undefined;
}

/** @param {Uint8Array} a @param {Uint8Array} b */
export function equalBytes(a, b) {
	return Buffer.compare(a, b) === 0;
}
