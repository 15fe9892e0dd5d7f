import type { Adapter } from '../adapter.js';
import { FormatError, quote, type Warning } from '../errors.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { clonedLists, ORDER_FORM, orderWarning, TARGETS_FORM } from './cloneofsimo-form.js';
import { type ListReading, type Pair, readList, textSearch } from './cloneofsimo-order.js';
import { headerLosses, headerWarnings } from './diffusers-losses.js';
import type { Claim, DecodeOptions, Encoded, EncodedFile, EncodeOptions, Layout, LayoutInput } from './layout.js';
import { makeAdapter } from './shared.js';
import { embeddingsBeside } from './textual-inversion.js';

/**
 * cloneofsimo's torch lists (LAYOUTS §2.1): `[up0, down0, up1, down1, ...]` in the order of the injector, nothing else.
 * `STEM.text_encoder.pt` and `STEM.ti.pt` (token -> vector) beside it belong to it. Scaling 1.
 * Source: cloneofsimo/lora@d84074b lora_diffusion/lora.py `save_lora_weight`, `save_all`.
 *
 * No header: metadata entries are losses, but for `format` = `pt` and what the order says again
 * (`cloneofsimo.order`, `cloneofsimo.targets`).
 */
export const cloneofsimoList: Layout = {
	id: 'cloneofsimo-list',
	title: 'cloneofsimo/lora .pt list',
	aliases: ['cloneofsimo-pt'],
	namings: ['diffusers'],
	readers: 'cloneofsimo/lora (monkeypatch_or_replace_lora)',
	claim,
	decode,
	encode,
};

function claim(input: LayoutInput): Claim {
	const { file } = input;
	const names = new Set<string>();
	if (file.top !== 'list' || file.tensors.size < 2) return { names, confidence: 0, evidence: [] };
	let fits = 0;
	let pairs = 0;
	for (const { up, down } of pairsOf(file)) {
		pairs++;
		if ((up.shape.length === 2 || up.shape.length === 4) && up.shape.length === down.shape.length && up.shape[1] === down.shape[0]) fits++;
	}
	if (fits * 2 < pairs || pairs === 0) return { names, confidence: 0, evidence: [] };
	for (const name of file.tensors.keys()) names.add(name);
	return {
		names,
		confidence: fits === pairs ? 1 : 0.7,
		evidence: [`a list of ${file.tensors.size} tensors, of which ${fits} pairs are up (out, r) and down (r, in)`],
	};
}

function decode(input: LayoutInput, options: DecodeOptions): Adapter {
	const warnings: Warning[] = [];
	const { file } = input;
	const main = completePairs(file);
	const readings = new Map<string, { readonly pairs: readonly Pair[]; readonly reading: ListReading }>();
	const query = { order: options.order, base: input.base, targets: undefined };
	// A text encoder's list may come alone: all pairs square and of one width, four to a layer.
	const text = input.textEncoder === undefined ? textSearch(main) : undefined;
	if (text?.candidates[0] !== undefined) {
		readings.set('text_encoder', { pairs: main, reading: readList(main, { ...query, what: file.name, component: 'text_encoder' }) });
	} else readings.set('unet', { pairs: main, reading: readList(main, { ...query, what: file.name, component: 'unet' }) });
	if (input.textEncoder !== undefined) {
		const pairs = completePairs(input.textEncoder);
		readings.set('text_encoder', {
			pairs,
			reading: readList(pairs, { ...query, what: input.textEncoder.name, component: 'text_encoder' }),
		});
	}
	const parts: Part[] = [];
	for (const [component, { pairs, reading }] of readings) {
		pairs.forEach((pair, i) => {
			const path = reading.paths[i] ?? '';
			parts.push({ key: pair.upName, component, path, resolved: true, role: 'up', tensor: pair.up });
			parts.push({ key: pair.downName, component, path, resolved: true, role: 'down', tensor: pair.down });
		});
	}
	const modules = assembleModules(parts, {
		file: { small: new Map(), smallComplete: true },
		warn: (w) => warnings.push(w),
		expectAlpha: false,
	});
	const unet = readings.get('unet')?.reading;
	const form = new Map<string, string>();
	if (unet !== undefined && unet.orders.length === 1 && unet.order === 'old') form.set(ORDER_FORM, 'old');
	return makeAdapter({
		layout: 'cloneofsimo-list',
		input,
		naming: 'diffusers',
		modules,
		embeddings: embeddingsBeside(input.embeddings),
		metadata: file.metadata,
		warnings,
		form,
	});
}

/** Even places are up, odd are down. An odd end is left out here and refused by `completePairs`. */
function pairsOf(file: StateDict): readonly Pair[] {
	const list: (readonly [string, Tensor])[] = [...file.tensors].sort(([a], [b]) => Number(a) - Number(b));
	const pairs: Pair[] = [];
	for (let i = 0; i + 1 < list.length; i += 2) {
		const [up, down] = [list[i], list[i + 1]];
		if (up !== undefined && down !== undefined) pairs.push({ upName: up[0], downName: down[0], up: up[1], down: down[1] });
	}
	return pairs;
}

function completePairs(file: StateDict): readonly Pair[] {
	if (file.top !== 'list') {
		throw new FormatError('E_MODULE_ORDER', `${file.name} is no list of tensors, which is what cloneofsimo/lora saves as .pt.`);
	}
	if (file.tensors.size % 2 !== 0) {
		throw new FormatError('E_LORA_UNPAIRED', `${file.name} is a list of ${file.tensors.size} tensors; up and down must come in pairs.`);
	}
	for (let i = 0; i < file.tensors.size; i++) {
		if (!file.tensors.has(String(i)))
			throw new FormatError('E_LORA_UNPAIRED', `${file.name} has no tensor at place ${quote(String(i))} of its list.`);
	}
	return pairsOf(file);
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const cloned = clonedLists(adapter, options, 'cloneofsimo');
	const { lists, order, losses, warnings } = cloned;
	const files: EncodedFile[] = [];
	const header = new Map<string, string>();
	for (const component of ['unet', 'text_encoder']) {
		const list = lists.get(component);
		if (list === undefined) continue;
		const tensors = new Map<string, Tensor>();
		for (const { factors } of list.modules) {
			for (const tensor of [factors.up, factors.down]) if (tensor !== undefined) tensors.set(String(tensors.size), tensor);
		}
		if (list.needsOrder) warnings.push(orderWarning(component, order));
		files.push({ suffix: files.length === 0 ? '' : '.text_encoder.pt', tensors, metadata: header, top: 'list' });
	}
	for (const [component, list] of lists) {
		if (component === 'unet' || component === 'text_encoder') continue;
		for (const m of list.modules) {
			for (const tensor of [m.factors.up, m.factors.down]) {
				losses.push({
					what: tensor?.origin ?? `${component}.${m.path}`,
					why: `cloneofsimo has no .pt file for ${component}; write .safetensors.`,
				});
			}
		}
	}
	if (files.length === 0) files.push({ suffix: '', tensors: new Map(), metadata: header, top: 'list' });
	if (cloned.holdsEmbeddings && adapter.embeddings.length > 0) {
		files.push({ suffix: '.ti.pt', tensors: new Map(adapter.embeddings.map((e) => [e.token, e.vectors])), metadata: header, top: 'dict' });
	}
	losses.push(...headerLosses(adapter));
	warnings.push(...headerWarnings(adapter, [ORDER_FORM, TARGETS_FORM]));
	return {
		files,
		sideFiles: new Map(),
		absorbed: cloned.absorbed,
		losses,
		embeddingsBeside: !cloned.holdsEmbeddings && adapter.embeddings.length > 0,
		warnings,
	};
}
