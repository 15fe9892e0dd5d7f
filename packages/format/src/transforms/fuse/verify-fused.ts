import type { BaseModel, BaseTensorFile } from '../../bases/base-model.js';
import { segmentName } from '../../bases/stored-part.js';
import { quote } from '../../errors.js';
import { kernel } from '../../kernel/index.js';
import { type Tensor, tensorChunks } from '../../tensor.js';
import { cosineOf, gainOf, totalProducts } from '../gain-cosine.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { planFuse } from './plan-fuse.js';
import { isFusable } from './plan-fuse-touched.js';
import type { FuseLedgerEntry, FuseOptions, FusePlan } from './plan-fuse-types.js';
import type { TouchedTensor } from './touched-tensor.js';
import { diagnose, type Measured } from './verify-fused-causes.js';
import { findOther, type PairBudget } from './verify-fused-other.js';
import { FuseSums } from './verify-fused-sums.js';
import type { VerifyReport } from './verify-fused-types.js';

export type { FuseCause, VerifyModule, VerifyReport } from './verify-fused-types.js';

export interface VerifyOptions extends FuseOptions {
	/** Told after each tensor. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A cosine below this says that the delta is another one, not a multiple. */
const ANOTHER = 0.5;

/**
 * How far FUSED is from base + adapters, tensor by tensor, and why. Streams blocks of rows; one tensor of each model
 * is in memory at a time.
 *
 * @throws {FormatError} what `planFuse` throws; what reading throws.
 */
export async function verifyFused(
	base: BaseModel,
	uses: readonly AdapterUse[],
	fused: BaseModel,
	options: VerifyOptions = {},
): Promise<VerifyReport> {
	const plan = await planFuse(base, uses, options);
	const lookup = tensorLookup(fused);
	const entries = entriesByTensor(plan);
	const total = base.files.reduce((sum, f) => sum + f.state.tensors.size, 0);
	let done = 0;
	const measured: Measured[] = [];
	const changed: string[] = [];
	const missing: string[] = [];
	const seen = new Set<Tensor>();
	const budget: PairBudget = { elements: 100_000_000 };
	for (const file of base.files) {
		const touched = plan.byFile.get(file);
		for (const [name, tensor] of file.state.tensors) {
			const label = segmentName({ file, name });
			const other = lookup(file, name);
			if (other !== undefined) seen.add(other);
			const change = touched?.get(name);
			if (other === undefined) missing.push(label);
			if (change !== undefined) measured.push(await measure(plan, change, other, entries.get(label) ?? [], budget));
			else if (other !== undefined && !(await sameTensor(tensor, other))) changed.push(label);
			done++;
			options.onProgress?.(done, total);
		}
	}
	const extra: string[] = [];
	for (const file of fused.files)
		for (const [name, tensor] of file.state.tensors) if (!seen.has(tensor)) extra.push(segmentName({ file, name }));
	return reportOf(measured, { changed, missing, extra });
}

function reportOf(measured: readonly Measured[], lists: Pick<VerifyReport, 'changed' | 'missing' | 'extra'>): VerifyReport {
	const { each, all } = diagnose(measured);
	let [error, steps] = [0, 0];
	const modules = measured.map(({ tensor, modules: names, sums }, n) => {
		error = Math.max(error, sums.error);
		steps = Math.max(steps, sums.steps);
		const { cause, why } = each[n] ?? { cause: 'unknown' as const, why: undefined };
		return {
			tensor,
			modules: names,
			elements: sums.count,
			gain: sums.gain,
			cosine: sums.cosine,
			expected: Math.sqrt(sums.ee),
			actual: Math.sqrt(sums.aa),
			error: sums.error,
			steps: sums.steps,
			off: sums.off,
			cause,
			why,
		};
	});
	const total = totalProducts(measured.map(({ sums }) => sums));
	const untouched = lists.changed.length + lists.missing.length + lists.extra.length === 0;
	return {
		schema: 'lora.verify/1',
		ok: untouched && modules.every((m) => m.cause === 'right'),
		modules,
		gain: gainOf(total),
		cosine: cosineOf(total),
		error,
		steps,
		cause: all.cause,
		why: all.why ?? whyOthers(lists),
		...lists,
	};
}

/** What is wrong where every touched tensor is right; undefined when nothing is. */
function whyOthers({ changed, missing, extra }: Pick<VerifyReport, 'changed' | 'missing' | 'extra'>): string | undefined {
	const parts: string[] = [];
	for (const [names, what] of [
		[changed, 'that no adapter touches are not those of the base'],
		[missing, 'of the base are missing'],
		[extra, 'are not in the base'],
	] as const) {
		const [first] = names;
		if (first !== undefined) parts.push(`${names.length} tensors ${what} (first: ${quote(first)})`);
	}
	return parts.length === 0 ? undefined : `What the adapters touch is right, but ${parts.join(', and ')}.`;
}

async function measure(
	plan: FusePlan,
	touched: TouchedTensor,
	fused: Tensor | undefined,
	entries: readonly FuseLedgerEntry[],
	budget: PairBudget,
): Promise<Measured> {
	const { tensor, modules } = touched;
	const sums = new FuseSums();
	const label = segmentName(touched);
	const common = { tensor: label, modules, shape: tensor.shape, entries, sums };
	if (fused === undefined || !sameShape(fused, tensor) || !isFusable(fused.dtype) || !isFusable(tensor.dtype)) {
		return { ...common, missing: true, other: undefined };
	}
	const before = await tensor.read();
	const after = await fused.read();
	const rows = tensor.shape[0] ?? 1;
	for (let from = 0; from < rows; from += touched.blockRows) {
		const to = Math.min(rows, from + touched.blockRows);
		const delta = await touched.delta(from, to, before);
		const part = (t: Tensor, bytes: Uint8Array): Uint8Array => bytes.subarray((from * t.nbytes) / rows, (to * t.nbytes) / rows);
		const was = kernel().decode(tensor.dtype, part(tensor, before));
		const is = kernel().decode(fused.dtype, part(fused, after));
		sums.add(fused.dtype, was, delta, is, tensor.dtype);
	}
	const strange = sums.steps > 1 && sums.aa > 0 && sums.nonFinite === 0 && !(Math.abs(sums.cosine) >= ANOTHER * sums.roundedCosine(1));
	const other = strange ? await findOther(plan, touched, { before, after, dtype: fused.dtype }, budget) : undefined;
	return { ...common, missing: false, other };
}

function entriesByTensor(plan: FusePlan): ReadonlyMap<string, readonly FuseLedgerEntry[]> {
	const out = new Map<string, FuseLedgerEntry[]>();
	for (const entry of plan.ledger) {
		for (const tensor of entry.tensors) {
			const known = out.get(tensor);
			if (known === undefined) out.set(tensor, [entry]);
			else known.push(entry);
		}
	}
	return out;
}

/** Finds a base's tensor in FUSED: same file and name, else the same name in the same component, else the only one of that name. */
function tensorLookup(fused: BaseModel): (file: BaseTensorFile, name: string) => Tensor | undefined {
	const byPath = new Map(fused.files.map((f) => [f.path, f]));
	const byName = new Map<string, { readonly component: string | undefined; readonly tensor: Tensor }[]>();
	for (const { component, state } of fused.files) {
		for (const [name, tensor] of state.tensors) {
			const list = byName.get(name);
			if (list === undefined) byName.set(name, [{ component, tensor }]);
			else list.push({ component, tensor });
		}
	}
	return (file, name) => {
		const same = byPath.get(file.path)?.state.tensors.get(name);
		if (same !== undefined) return same;
		const candidates = byName.get(name) ?? [];
		const own = candidates.filter((c) => c.component === file.component);
		const [only] = own.length > 0 ? own : candidates;
		return own.length > 1 || (own.length === 0 && candidates.length > 1) ? undefined : only?.tensor;
	};
}

function sameShape(a: Tensor, b: Tensor): boolean {
	return a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape[i]);
}

async function sameTensor(a: Tensor, b: Tensor): Promise<boolean> {
	if (a.dtype !== b.dtype || !sameShape(a, b)) return false;
	if (a.range === undefined || b.range === undefined) return sameBytes(await a.read(), await b.read());
	const others = tensorChunks(b);
	for await (const chunk of tensorChunks(a)) {
		const other = await others.next();
		if (other.done === true || !sameBytes(chunk, other.value)) return false;
	}
	return true;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
	if (a.byteLength !== b.byteLength) return false;
	let at = 0;
	if (a.byteOffset % 4 === 0 && b.byteOffset % 4 === 0) {
		const count = a.byteLength >>> 2;
		const x = new Uint32Array(a.buffer, a.byteOffset, count);
		const y = new Uint32Array(b.buffer, b.byteOffset, count);
		for (let i = 0; i < count; i++) if (x[i] !== y[i]) return false;
		at = count * 4;
	}
	for (; at < a.byteLength; at++) if (a[at] !== b[at]) return false;
	return true;
}
