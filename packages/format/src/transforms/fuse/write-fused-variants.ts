import type { BaseModel, BaseTensorFile } from '../../bases/base-model.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { type FuseLedgerEntry, type FuseOptions, type FusePlan, planFuse } from './plan-fuse.js';
import type { TouchedTensor } from './touched-tensor.js';

/**
 * The models in a folder that keeps several variants of its weights beside each other (`model.safetensors`,
 * `model.fp16.safetensors`): each holds every component once. Files of a component whose tensors overlap are variants of
 * one another; a component with fewer variants is in all models. Nearly always there is one.
 */
export function variantsOf(base: BaseModel): readonly BaseModel[] {
	const groups = new Map<string | undefined, { readonly files: BaseTensorFile[]; readonly names: Set<string> }[]>();
	for (const file of base.files) {
		const own = groups.get(file.component) ?? [];
		groups.set(file.component, own);
		const names = [...file.state.tensors.keys()];
		let group = own.find((g) => !names.some((name) => g.names.has(name)));
		if (group === undefined) {
			group = { files: [], names: new Set() };
			own.push(group);
		}
		group.files.push(file);
		for (const name of names) group.names.add(name);
	}
	const count = Math.max(1, ...Array.from(groups.values(), (own) => own.length));
	if (count === 1) return [base];
	return Array.from({ length: count }, (_, v) => {
		const files = new Set(Array.from(groups.values(), (own) => own[Math.min(v, own.length - 1)]?.files ?? []).flat());
		return { ...base, files: base.files.filter((file) => files.has(file)) };
	});
}

/** `planFuse` over every variant of a base. @throws {FormatError} as `planFuse`. */
export async function planVariants(base: BaseModel, uses: readonly AdapterUse[], options: FuseOptions = {}): Promise<FusePlan> {
	const [first, ...more] = variantsOf(base);
	const plan = await planFuse(first ?? base, uses, options);
	if (more.length === 0) return plan;
	const byFile = new Map<BaseTensorFile, ReadonlyMap<string, TouchedTensor>>(plan.byFile);
	const ledger = plan.ledger.map((entry) => new Set(entry.tensors));
	let { elements } = plan;
	for (const variant of more) {
		// The adapters' numbers were looked at the first time.
		const other = await planFuse(variant, uses, { ...options, trustValues: true });
		for (const [file, touched] of other.byFile) {
			if (byFile.has(file)) continue;
			byFile.set(file, touched);
			for (const { tensor } of touched.values()) elements += tensor.shape.reduce((product, d) => product * d, 1);
		}
		for (const [i, entry] of other.ledger.entries()) for (const name of entry.tensors) ledger[i]?.add(name);
	}
	// In the order of the base's files again.
	const ordered = new Map(
		base.files.flatMap((file) => {
			const touched = byFile.get(file);
			return touched === undefined ? [] : [[file, touched] as const];
		}),
	);
	return {
		...plan,
		base,
		byFile: ordered,
		touched: Array.from(ordered.values(), (touched) => [...touched.values()]).flat(),
		elements,
		ledger: plan.ledger.map((entry, i): FuseLedgerEntry => ({ ...entry, tensors: [...(ledger[i] ?? [])] })),
	};
}
