import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { TargetModule } from '../../src/adapter.js';
import { planConversion } from '../../src/convert.js';
import { decodeAdapter, detectLayout } from '../../src/detect.js';
import { FormatError } from '../../src/errors.js';
import { findCompanions } from '../../src/io/companions.js';
import { openFileSource } from '../../src/io/file-source.js';
import { LAYOUTS } from '../../src/layouts/index.js';
import type { LayoutInput } from '../../src/layouts/layout.js';
import { loadInput } from '../../src/load.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';

/**
 * What every layout must do, present and future: run over every file that a `fixtures/adapters/NAME/manifest.json`
 * lists. A new layout needs its file, its registry line and its fixture folder; nothing here.
 */
const FIXTURES = path.resolve(import.meta.dirname, '../../../../fixtures/adapters');

interface FixtureFile {
	readonly file: string;
	readonly sha256: string;
	/** Layout that detection must choose; default: the manifest's, then the folder's name. */
	readonly layout?: string;
	/** Part of another entry (a companion): not decoded alone. */
	readonly companionOf?: string;
	/** All modules of the file, where `modules` lists only some. */
	readonly moduleCount?: number;
	/** `component.path` -> what the real tool says of it; some or all. */
	readonly modules?: Readonly<
		Record<
			string,
			{ readonly rank?: number; readonly alpha?: number | null; readonly scaling?: number; readonly down?: string; readonly up?: string }
		>
	>;
}

interface Case extends FixtureFile {
	readonly folder: string;
	readonly path: string;
	readonly expectedLayout: string;
}

function cases(): Case[] {
	const found: Case[] = [];
	for (const folder of fs.readdirSync(FIXTURES).sort()) {
		const manifest = path.join(FIXTURES, folder, 'manifest.json');
		if (!fs.existsSync(manifest)) continue;
		const { files, layout } = JSON.parse(fs.readFileSync(manifest, 'utf8')) as { files: FixtureFile[]; layout?: string };
		for (const entry of files) {
			if (!/\.(safetensors|pt|bin)$/.test(entry.file) || entry.companionOf !== undefined) continue;
			found.push({ ...entry, folder, path: path.join(FIXTURES, folder, entry.file), expectedLayout: entry.layout ?? layout ?? folder });
		}
	}
	return found;
}

async function open(file: string): Promise<LayoutInput> {
	const companions = await findCompanions(file);
	return loadInput({
		main: await openFileSource(file),
		textEncoder: companions.textEncoder === undefined ? undefined : await openFileSource(companions.textEncoder),
		embeddings: await Promise.all(companions.embeddings.map((e) => openFileSource(e))),
		config: companions.config === undefined ? undefined : fs.readFileSync(companions.config, 'utf8'),
	});
}

async function sha256(tensor: Tensor): Promise<string> {
	return createHash('sha256')
		.update(await tensor.read())
		.digest('hex');
}

/** name -> dtype, shape, hash: everything a reader can see of a state dict. */
async function visible(tensors: ReadonlyMap<string, Tensor>): Promise<Record<string, string>> {
	const out: Record<string, string> = {};
	for (const [name, tensor] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1)))
		out[name] = `${tensor.dtype} (${tensor.shape.join(',')}) ${await sha256(tensor)}`;
	return out;
}

/** The outputs of a plan as if they had been written and found again. */
function asInput(plan: ReturnType<typeof planConversion>, name: string): LayoutInput {
	const [main, ...rest] = plan.files;
	if (main === undefined) throw new Error('a plan without files');
	const stateOf = (file: (typeof plan.files)[number], container: StateDict['container']): StateDict => ({
		container,
		name,
		tensors: new Map(
			[...file.tensors].map(([key, t]) => [
				key,
				{ ...t, origin: file.suffix === '' ? key : `${file.suffix}:${key}`, range: undefined, derivation: undefined, read: () => t.read() },
			]),
		),
		metadata: file.metadata,
		top: file.top,
		wrapper: undefined,
		nonTensors: [],
		small: new Map(),
		smallComplete: true,
		warnings: [],
	});
	const te = rest.find((f) => f.suffix === '.text_encoder.pt');
	return {
		file: stateOf(main, main.container),
		textEncoder: te === undefined ? undefined : stateOf(te, te.container),
		embeddings: rest.filter((f) => f !== te).map((f) => stateOf(f, f.container)),
		config: plan.sideFiles.get('adapter_config.json'),
		base: undefined,
	};
}

/** Scalars are read with the header; a state dict made in memory needs that done by hand. */
async function withSmall(input: LayoutInput): Promise<LayoutInput> {
	const { readSmallValues } = await import('../../src/small-values.js');
	const fill = async (s: StateDict): Promise<StateDict> => ({ ...s, small: await readSmallValues(s.tensors) });
	return {
		...input,
		file: await fill(input.file),
		textEncoder: input.textEncoder === undefined ? undefined : await fill(input.textEncoder),
		embeddings: await Promise.all(input.embeddings.map(fill)),
	};
}

const ALL = cases();
/** Files whose recorded layout is none of the registry: companions that are no adapter by themselves. */
const NOT_ADAPTERS = ALL.filter((c) => !LAYOUTS.some((l) => l.id === c.expectedLayout));
const CASES = ALL.filter((c) => !NOT_ADAPTERS.includes(c));

test.each(NOT_ADAPTERS)('$folder/$file ($expectedLayout) is refused by name when it stands alone', async (c) => {
	const input = await loadInput({ main: await openFileSource(c.path) });
	expect(() => decodeAdapter(input)).toThrow(expect.objectContaining({ code: 'E_NOT_A_LORA' }));
});

test('every layout of the registry has a fixture', () => {
	const covered = new Set(CASES.map((c) => c.expectedLayout));
	expect(LAYOUTS.map((l) => l.id).filter((id) => !covered.has(id))).toEqual([]);
});

test('ids and aliases are unique', () => {
	const names = LAYOUTS.flatMap((l) => [l.id, ...l.aliases]);
	expect(new Set(names).size).toBe(names.length);
});

describe.each(CASES)('$folder/$file', (c) => {
	test('is the file that the manifest describes', () => {
		expect(createHash('sha256').update(fs.readFileSync(c.path)).digest('hex')).toBe(c.sha256);
	});

	test(`is detected as ${c.expectedLayout}, and nothing is left over`, async () => {
		const detection = detectLayout(await open(c.path));
		expect(detection.chosen?.layout.id).toBe(c.expectedLayout);
		expect(detection.leftovers).toEqual([]);
	});

	test('decodes to the recorded modules', async () => {
		const { adapter } = decodeAdapter(await open(c.path));
		expect(adapter.unknown.size).toBe(0);
		if (c.modules === undefined) return;
		const byName = new Map<string, TargetModule>(adapter.modules.map((m) => [`${m.component}.${m.path}`, m]));
		expect([...byName.keys()]).toEqual(expect.arrayContaining(Object.keys(c.modules)));
		if (c.moduleCount !== undefined) expect(byName.size).toBe(c.moduleCount);
		for (const [name, expected] of Object.entries(c.modules)) {
			const module = byName.get(name);
			if (expected.rank !== undefined) expect(module?.rank, name).toBe(expected.rank);
			if (expected.scaling !== undefined) expect(module?.scaling, name).toBe(expected.scaling);
			if (expected.alpha !== undefined && expected.alpha !== null) expect(module?.alpha, name).toBe(expected.alpha);
			for (const role of ['down', 'up'] as const) {
				const tensor = module?.factors[role];
				if (expected[role] === undefined) continue;
				expect(tensor, `${name} has no ${role}`).toBeDefined();
				if (tensor !== undefined) expect(await sha256(tensor), `${name} ${role}`).toBe(expected[role]);
			}
		}
	});

	test('encodes back to the same names, dtypes, shapes, bytes and header', async () => {
		const input = await open(c.path);
		const { layout } = decodeAdapter(input);
		if (layout.encode === undefined) return;
		const container = input.file.container === 'safetensors' ? 'safetensors' : 'torch-zip';
		const plan = planConversion(input, { to: layout.id, container });
		const [main] = plan.files;
		expect(await visible(main?.tensors ?? new Map())).toEqual(await visible(input.file.tensors));
		if (container === 'safetensors') expect(new Map(main?.metadata)).toEqual(new Map(input.file.metadata));
		expect(plan.receipt.counts.tensors).toMatchObject({ lost: 0, transformed: 0 });
	});

	test('every other layout holds it exactly and gives it back, or refuses by name', async () => {
		const input = await open(c.path);
		const before = await visible(input.file.tensors);
		const { layout } = decodeAdapter(input);
		const container = input.file.container === 'safetensors' ? 'safetensors' : 'torch-zip';
		let held = 0;
		for (const target of LAYOUTS) {
			if (target.encode === undefined || target === layout) continue;
			let there: ReturnType<typeof planConversion>;
			try {
				there = planConversion(input, { to: target.id });
			} catch (error) {
				if (!(error instanceof FormatError)) throw error;
				expect(error.code, `${target.id}: ${error.message}`).toMatch(
					/^E_(LOSS|UNSUPPORTED_ADAPTER|ALPHA_NO_SLOT|MODULE_ORDER|MODULE_UNRESOLVED|UNKNOWN_KEY)$/,
				);
				continue;
			}
			held++;
			const { tensors: counts } = there.receipt.counts;
			expect(counts.carried + counts.renamed + counts.transformed + counts.lost, target.id).toBe(counts.total);
			expect(counts.lost, target.id).toBe(0);
			if (layout.encode === undefined) continue;
			const back = planConversion(await withSmall(asInput(there, c.file)), { to: layout.id, from: target.id, container, alpha: 'keep' });
			expect(await visible(back.files[0]?.tensors ?? new Map()), `${layout.id} -> ${target.id} -> ${layout.id}`).toEqual(before);
			if (container === 'safetensors')
				expect(new Map(back.files[0]?.metadata), `header, ${target.id}`).toEqual(new Map(input.file.metadata));
		}
		expect(held).toBeGreaterThan(0);
	});

	test('a stray key is refused, by name', async () => {
		const input = await open(c.path);
		const stray = bytesTensor('F32', [3, 5, 7], new Uint8Array(420), 'stray.thing');
		const file = { ...input.file, tensors: new Map([...input.file.tensors, ['stray.thing', stray]]) };
		expect(() => planConversion({ ...input, file }, { to: 'diffusers' })).toThrow(FormatError);
		if (input.file.top === 'dict') expect(() => planConversion({ ...input, file }, { to: 'diffusers' })).toThrow(/stray\.thing/);
	});

	test('a lost tensor is refused or leaves a whole module out', async () => {
		const input = await open(c.path);
		const { adapter } = decodeAdapter(input);
		const names = [...input.file.tensors.keys()];
		for (let i = 0; i < names.length; i += Math.max(1, Math.floor(names.length / 5))) {
			const file = { ...input.file, tensors: new Map([...input.file.tensors].filter(([key]) => key !== names[i])) };
			try {
				const less = decodeAdapter({ ...input, file }).adapter;
				// Alpha and magnitude may be absent in a sound file; a factor may not.
				const gone =
					adapter.modules.reduce((n, m) => n + Object.keys(m.factors).length, 0) -
					less.modules.reduce((n, m) => n + Object.keys(m.factors).length, 0);
				const optional =
					/alpha|dora_scale|magnitude|bias|scale$/.test(names[i] ?? '') ||
					adapter.embeddings.length !== less.embeddings.length ||
					adapter.modules.length !== less.modules.length;
				expect(gone === 0 || optional, names[i]).toBe(true);
			} catch (error) {
				expect(error, names[i]).toBeInstanceOf(FormatError);
			}
		}
	});

	test('a header-only read claims no strength that it has not seen', async () => {
		const input = await open(c.path);
		const without = { ...input, file: { ...input.file, small: new Map(), smallComplete: false } };
		const { adapter } = decodeAdapter(without);
		const full = decodeAdapter(input).adapter;
		for (const [i, module] of adapter.modules.entries()) {
			const seen = full.modules[i];
			// What is said must be what the values say; what is not known is NaN under rule `unread`.
			if (module.rule === 'unread') expect(module.scaling, module.path).toBeNaN();
			else expect(module.scaling, module.path).toBe(seen?.scaling);
		}
	});

	test('reading and planning leave the input as it was', async () => {
		const input = await open(c.path);
		const before = [...input.file.tensors.keys()];
		const metadata = [...input.file.metadata];
		for (const target of LAYOUTS) {
			try {
				planConversion(input, { to: target.id, allowLoss: true });
			} catch (error) {
				expect(error).toBeInstanceOf(FormatError);
			}
		}
		expect([...input.file.tensors.keys()]).toEqual(before);
		expect([...input.file.metadata]).toEqual(metadata);
	});
});
