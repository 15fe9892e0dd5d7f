import type { Adapter, Embedding, MetadataNote } from '../adapter.js';
import { FormatError, quote, type Warning } from '../errors.js';
import { packMetadata, unpackMetadata } from '../metadata/carry.js';
import { pythonJsonLine } from '../metadata/python-json.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { clonedLists, EMBED_FLAG, ORDER_FORM, parseNames, parseTargets, TARGETS_FORM } from './cloneofsimo-form.js';
import { type Pair, readList } from './cloneofsimo-order.js';
import { usualOrder } from './cloneofsimo-targets.js';
import type { Claim, DecodeOptions, Encoded, EncodeOptions, Layout, LayoutInput } from './layout.js';
import { makeAdapter } from './shared.js';
import { embeddingsBeside, isTokenTensor } from './textual-inversion.js';

/**
 * cloneofsimo's safetensors (LAYOUTS §2.2): `unet:12:up`, `unet:12:down`, metadata `unet` = JSON list of target classes,
 * `unet:12:rank`, and tokens of pivotal tuning under their own names with the metadata `<embed>`. Scaling 1.
 * Source: cloneofsimo/lora@d84074b lora_diffusion/lora.py `save_safeloras_with_embeds`, `parse_safeloras`.
 *
 * Form entries: `cloneofsimo.order`, `cloneofsimo.targets` (cloneofsimo-form.ts).
 */
export const cloneofsimoSafetensors: Layout = {
	id: 'cloneofsimo-safetensors',
	title: 'cloneofsimo/lora .safetensors',
	aliases: [],
	namings: ['diffusers'],
	readers: 'cloneofsimo/lora (monkeypatch_or_replace_safeloras)',
	claim,
	decode,
	encode,
};

const KEY = /^(.+):(\d{1,7}):(up|down)$/;

function claim(input: LayoutInput): Claim {
	const names = new Set<string>();
	let factors = 0;
	const { tensors } = input.file;
	// Nearly every file has none: no pattern is tried on its names.
	let any = false;
	for (const name of tensors.keys()) {
		any = name.endsWith(':up');
		if (any) break;
	}
	if (!any) return { names, confidence: 0, evidence: [] };
	for (const [name, tensor] of tensors) {
		if (KEY.test(name)) factors++;
		else if (input.file.metadata.get(name) !== EMBED_FLAG || !isTokenTensor(tensor)) continue;
		names.add(name);
	}
	if (factors === 0) return { names: new Set(), confidence: 0, evidence: [] };
	return { names, confidence: 1, evidence: [`${factors} names are component:index:up or :down`] };
}

function decode(input: LayoutInput, options: DecodeOptions): Adapter {
	const warnings: Warning[] = [];
	const { file } = input;
	const unpacked = unpackMetadata(file.metadata);
	const form = new Map(unpacked.form);
	const metadata = new Map(unpacked.metadata);
	const consumed: MetadataNote[] = [];
	const consume = (key: string, note: string): string | undefined => {
		const value = metadata.get(key);
		if (value !== undefined) consumed.push({ key, how: 'consumed', note });
		metadata.delete(key);
		return value;
	};
	const said = form.get(ORDER_FORM);
	form.delete(ORDER_FORM);
	form.delete(TARGETS_FORM);

	const halves = new Map<string, Map<number, { up?: readonly [string, Tensor]; down?: readonly [string, Tensor] }>>();
	const embeddings: Embedding[] = [];
	const unknown = new Map<string, Tensor>();
	for (const [name, tensor] of file.tensors) {
		const found = KEY.exec(name);
		if (found !== null) {
			const [, component = '', index, side] = found;
			let own = halves.get(component);
			if (own === undefined) {
				own = new Map();
				halves.set(component, own);
			}
			const half = own.get(Number(index)) ?? {};
			if ((side === 'up' ? half.up : half.down) !== undefined) {
				throw new FormatError('E_LORA_DUPLICATE_MODULE', `${quote(name)} is the second ${side} of ${component} ${Number(index)}.`, {
					at: name,
				});
			}
			own.set(Number(index), side === 'up' ? { ...half, up: [name, tensor] } : { ...half, down: [name, tensor] });
		} else if (metadata.get(name) === EMBED_FLAG && isTokenTensor(tensor)) {
			embeddings.push({ token: name, slot: '', component: 'text_encoder', vectors: tensor });
			consume(name, 'marks the tensor as a token');
		} else unknown.set(name, tensor);
	}

	const parts: Part[] = [];
	const spelled = new Map<string, readonly string[]>();
	let lies = 0;
	let lie = '';
	for (const [component, own] of halves) {
		const pairs = pairsOf(component, own);
		const text = consume(component, 'target classes');
		const targets = text === undefined ? undefined : parseNames(text);
		if (text !== undefined && targets === undefined) {
			warnings.push({
				code: 'W_METADATA_PARSE',
				message: `The metadata entry ${quote(component)} is no JSON list of class names; the shapes alone decide.`,
				at: component,
			});
		}
		const reading = readList(pairs, {
			what: `The list of ${component}`,
			component: component === 'unet' ? 'unet' : component,
			targets,
			order: options.order ?? (said === 'old' || said === 'new' ? said : undefined),
			base: input.base,
		});
		if (reading.targetsContradicted) {
			warnings.push({
				code: 'W_METADATA_CONTRADICTS',
				message: `The metadata names the classes ${(targets ?? []).map(quote).join(', ')} for ${component}, but its pairs are those of ${reading.targets.join(', ')}.`,
				at: component,
			});
		}
		if (component === 'unet' && reading.orders.length === 1 && reading.order === 'old') form.set(ORDER_FORM, 'old');
		if (targets !== undefined && !reading.targetsContradicted && pythonJsonLine(targets) !== pythonJsonLine(usualOrder(reading.targets))) {
			spelled.set(component, targets);
		}
		pairs.forEach((pair, i) => {
			const rank = consume(`${component}:${i}:rank`, 'rank');
			if (rank !== undefined && rank.trim() !== String(pair.down.shape[0]) && lies++ === 0) {
				lie = `${component}:${i}:rank says ${quote(rank)}, the tensor has ${pair.down.shape[0]}`;
			}
			const path = reading.paths[i] ?? '';
			parts.push({ key: pair.upName, component, path, resolved: true, role: 'up', tensor: pair.up });
			parts.push({ key: pair.downName, component, path, resolved: true, role: 'down', tensor: pair.down });
		});
	}
	if (lies > 0) {
		warnings.push({
			code: 'W_METADATA_CONTRADICTS',
			message: `${lies} rank entries contradict the tensors (${lie}); the tensors are right.`,
		});
	}
	if (spelled.size > 0) form.set(TARGETS_FORM, JSON.stringify(Object.fromEntries([...spelled].sort(([a], [b]) => (a < b ? -1 : 1)))));
	return makeAdapter({
		layout: 'cloneofsimo-safetensors',
		input,
		naming: 'diffusers',
		modules: assembleModules(parts, { file, warn: (w) => warnings.push(w), expectAlpha: false }),
		embeddings: [...embeddings, ...embeddingsBeside(input.embeddings)],
		metadata,
		warnings,
		consumed,
		form,
		unknown,
	});
}

function pairsOf(
	component: string,
	own: ReadonlyMap<number, { readonly up?: readonly [string, Tensor]; readonly down?: readonly [string, Tensor] }>,
): readonly Pair[] {
	const pairs: Pair[] = [];
	for (let i = 0; i < own.size; i++) {
		const half = own.get(i);
		if (half?.up === undefined || half.down === undefined) {
			const lacking = half === undefined ? 'pair' : half.up === undefined ? 'up' : 'down';
			const at = lacking === 'pair' ? `${component}:${i}` : `${component}:${i}:${lacking}`;
			throw new FormatError(
				'E_LORA_UNPAIRED',
				`${quote(at)} is missing from the list of ${component}; the pairs behind it could not be told apart.`,
				{ at },
			);
		}
		pairs.push({ upName: half.up[0], downName: half.down[0], up: half.up[1], down: half.down[1] });
	}
	return pairs;
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const cloned = clonedLists(adapter, options, 'cloneofsimo');
	const form = new Map(adapter.form);
	const spelled = parseTargets(form.get(TARGETS_FORM));
	form.delete(ORDER_FORM);
	form.delete(TARGETS_FORM);
	const tensors = new Map<string, Tensor>();
	const own = new Map<string, string>();
	for (const [component, list] of cloned.lists) {
		const before = spelled.get(component);
		const same = before !== undefined && pythonJsonLine(usualOrder(before)) === pythonJsonLine(list.targets);
		own.set(component, pythonJsonLine(same ? before : list.targets));
		list.modules.forEach(({ factors }, i) => {
			if (factors.up !== undefined) tensors.set(`${component}:${i}:up`, factors.up);
			if (factors.down !== undefined) tensors.set(`${component}:${i}:down`, factors.down);
			own.set(`${component}:${i}:rank`, String(factors.down?.shape[0] ?? 0));
		});
		// Only where neither shapes nor classes show it, so that cloneofsimo's own files come back as they were.
		if (list.needsOrder) form.set(ORDER_FORM, cloned.order);
	}
	if (cloned.holdsEmbeddings) {
		for (const { token, vectors } of adapter.embeddings) {
			tensors.set(token, vectors);
			own.set(token, EMBED_FLAG);
		}
	}
	const metadata = packMetadata(adapter.metadata, form, (key) => own.has(key));
	for (const [key, value] of own) metadata.set(key, value);
	return {
		files: [{ suffix: '', tensors, metadata, top: 'dict' }],
		sideFiles: new Map(),
		absorbed: cloned.absorbed,
		losses: cloned.losses,
		embeddingsBeside: !cloned.holdsEmbeddings && adapter.embeddings.length > 0,
		warnings: cloned.warnings,
	};
}
