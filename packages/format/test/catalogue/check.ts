import { expect } from 'vitest';
import type { TargetModule } from '../../src/adapter.js';
import { type ConversionPlan, planConversion } from '../../src/convert.js';
import { decodeAdapter, detectLayout } from '../../src/detect.js';
import { FormatError } from '../../src/errors.js';
import { inspect } from '../../src/inspect.js';
import { inspectText } from '../../src/inspect-text.js';
import type { LayoutInput } from '../../src/layouts/layout.js';
import { readSmallValues } from '../../src/small-values.js';
import type { StateDict } from '../../src/state-dict.js';
import type { Tensor } from '../../src/tensor.js';

/** What the catalogue says about one file. */
export interface Expected {
	readonly layout: string;
	readonly base: string;
	readonly confidence?: number;
	/** Component -> number of modules. */
	readonly modules: Readonly<Record<string, number>>;
	readonly ranks?: readonly number[];
	readonly scalings?: readonly number[];
	readonly families?: readonly string[];
	/** Names that may stay flat. */
	readonly unresolved?: number;
	readonly embeddings?: number;
	readonly dead?: number;
	/** Target -> names that must be there (a list), or the refusal's code. */
	readonly to?: Readonly<Record<string, readonly string[] | RegExp>>;
	/** False where the layout is read only, or the file has dead tensors. */
	readonly own?: boolean;
}

/** Detect, decode, inspect, convert as far as stated, and come back. */
export async function check(input: LayoutInput, expected: Expected): Promise<void> {
	const detection = detectLayout(input);
	expect(detection.chosen?.layout.id ?? detection.tied.map((r) => r.layout.id)).toBe(expected.layout);
	expect(detection.leftovers).toEqual([]);
	const { adapter } = decodeAdapter(input);
	expect(adapter.unknown.size).toBe(0);
	const counts: Record<string, number> = {};
	for (const m of adapter.modules) counts[m.component] = (counts[m.component] ?? 0) + 1;
	expect(counts).toEqual(expected.modules);
	expect([adapter.base.family, adapter.base.evidence]).toEqual([expected.base, adapter.base.evidence]);
	expect(adapter.base.confidence).toBeGreaterThanOrEqual(expected.confidence ?? 0.7);
	expect(distinct(adapter.modules, (m) => m.rank)).toEqual(expected.ranks ?? [4]);
	expect(distinct(adapter.modules, (m) => m.scaling)).toEqual(expected.scalings ?? [1]);
	expect([...new Set(adapter.modules.map((m) => m.family))].sort()).toEqual(expected.families ?? ['lora']);
	expect(adapter.modules.filter((m) => !m.resolved).length).toBe(expected.unresolved ?? 0);
	expect(adapter.embeddings.length).toBe(expected.embeddings ?? 0);
	expect(adapter.dead.size).toBe(expected.dead ?? 0);
	const report = inspect(input);
	expect(report.kind).toBe('lora');
	expect(report.errors).toEqual([]);
	const text = inspectText(report);
	expect(text).toContain(adapter.base.label);
	if (process.env['CATALOGUE_PRINT'] !== undefined) console.log(`${expect.getState().currentTestName}\n${text}`);
	const container = input.file.container === 'safetensors' ? 'safetensors' : 'torch-zip';
	if (expected.own !== false) {
		const same = planConversion(input, { to: expected.layout, container });
		account(same);
		expect(difference(same.files[0]?.tensors ?? new Map(), input.file.tensors)).toEqual([]);
		await sameBytes(same.files[0]?.tensors ?? new Map(), input.file.tensors);
	}
	for (const [to, wanted] of Object.entries(expected.to ?? {})) {
		if (wanted instanceof RegExp) {
			const error = refusal(() => planConversion(input, { to }));
			expect(`${error.code}: ${error.message}`, to).toMatch(wanted);
			continue;
		}
		const there = planConversion(input, { to });
		account(there);
		const written = there.files[0]?.tensors;
		expect(
			wanted.filter((name) => written?.has(name) !== true),
			`${to} writes ${[...(written?.keys() ?? [])].slice(0, 3).join(', ')}`,
		).toEqual([]);
		if (expected.own === false) continue;
		const back = planConversion(await asInput(there, input.file.name), { to: expected.layout, container });
		account(back);
		expect(
			difference(back.files[0]?.tensors ?? new Map(), input.file.tensors),
			`${expected.layout} -> ${to} -> ${expected.layout}`,
		).toEqual([]);
		await sameBytes(back.files[0]?.tensors ?? new Map(), input.file.tensors);
	}
}

/** The FormatError of a refusal; anything else is a bug. */
export function refusal(act: () => unknown): FormatError {
	try {
		act();
	} catch (error) {
		if (error instanceof FormatError) return error;
		throw error;
	}
	throw new Error('it was not refused');
}

/** The refusal of a file, as decode says it and as inspect shows it. */
export function refused(input: LayoutInput): {
	readonly code: string;
	readonly message: string;
	readonly what: string;
	readonly kind: string;
} {
	const error = refusal(() => decodeAdapter(input));
	const report = inspect(input);
	expect(report.errors[0]?.code).toBe(error.code);
	if (process.env['CATALOGUE_PRINT'] !== undefined) console.log(`${expect.getState().currentTestName}\n${inspectText(report)}`);
	return { code: error.code, message: error.message, what: report.what, kind: report.kind };
}

function account(plan: ConversionPlan): void {
	const { tensors: c } = plan.receipt.counts;
	expect(c.carried + c.renamed + c.transformed + c.lost, plan.to).toBe(c.total);
	expect(c.lost - (plan.decoded?.adapter.dead.size ?? 0), plan.to).toBe(0);
}

function distinct(modules: readonly TargetModule[], of: (m: TargetModule) => number | undefined): (number | undefined)[] {
	return [...new Set(modules.map(of))].filter((v) => v !== undefined).sort((a, b) => (a ?? -1) - (b ?? -1));
}

/** Names, dtypes and shapes that are not the same on both sides; the first few. */
function difference(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): string[] {
	const show = (t: Tensor | undefined): string => (t === undefined ? 'none' : `${t.dtype} (${t.shape.join(',')})`);
	const out: string[] = [];
	for (const name of new Set([...a.keys(), ...b.keys()])) {
		const [x, y] = [show(a.get(name)), show(b.get(name))];
		if (x !== y) out.push(`${name}: ${x}, not ${y}`);
	}
	return out.slice(0, 6);
}

/** Every n-th tensor read, so that big files stay cheap. */
async function sameBytes(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): Promise<void> {
	const names = [...b.keys()];
	const step = Math.max(1, Math.floor(names.length / 24));
	for (let n = 0; n < names.length; n += step) {
		const name = names[n] ?? '';
		if ((b.get(name)?.nbytes ?? 0) > 4_000_000) continue;
		const [x, y] = [await a.get(name)?.read(), await b.get(name)?.read()];
		expect(Buffer.compare(Buffer.from(x ?? []), Buffer.from(y ?? [1])), name).toBe(0);
	}
}

/** A plan's files as if they had been written and read. */
export async function asInput(plan: ConversionPlan, name: string): Promise<LayoutInput> {
	const states: StateDict[] = [];
	for (const file of plan.files) {
		const tensors = new Map<string, Tensor>();
		for (const [key, t] of file.tensors)
			tensors.set(key, { ...t, origin: `${file.suffix}${key}`, range: undefined, derivation: undefined, read: () => t.read() });
		const scalars = new Map([...tensors].filter(([, t]) => t.shape.reduce((a, b) => a * b, 1) <= 4));
		states.push({
			container: file.container,
			name: `${name}${file.suffix}`,
			tensors,
			metadata: file.metadata,
			top: file.top,
			wrapper: undefined,
			nonTensors: [],
			small: await readSmallValues(scalars),
			smallComplete: true,
			warnings: [],
		});
	}
	const [main, ...rest] = states;
	if (main === undefined) throw new Error('a plan without files');
	const text = rest.find((s) => s.name.endsWith('.text_encoder.pt'));
	return {
		file: main,
		textEncoder: text,
		embeddings: rest.filter((s) => s !== text),
		config: plan.sideFiles.get('adapter_config.json'),
		base: undefined,
	};
}
