import type { CandidateQuery, PairShape, Try } from './cloneofsimo-candidates.js';
import { inferUnetConfig } from './unet-config.js';
import { widthsOf } from './unet-order.js';
import { structureOf, type UnetModule, type UnetStructure, unetModules } from './unet-structure.js';

/** Modules to lay a list along, and what it means when they fit. */
export interface Shape {
	/** For messages: "an SDXL-shaped UNet with targets Attention, GEGLU in new order". */
	readonly label: string;
	readonly widths: ReadonlyMap<string, number>;
	modules(order: 'old' | 'new'): Iterable<UnetModule>;
	/** Undefined: the widths rule this structure out after all. */
	verdict(widths: ReadonlyMap<string, number>): Verdict | undefined;
}

export interface Verdict {
	readonly family: string;
	readonly confidence: number;
	readonly evidence: readonly string[];
}

interface Model {
	readonly name: string;
	readonly structure: UnetStructure;
	readonly widths: ReadonlyMap<string, number>;
	verdict(widths: ReadonlyMap<string, number>): Verdict | undefined;
}

const ATTENTION = ['CrossAttention', 'Attention'];
/** Target sets of cloneofsimo by date (LAYOUTS.md §2.1), newest default first. */
const TARGET_SETS: readonly (readonly string[])[] = [[...ATTENTION, 'GEGLU'], ATTENTION, [...ATTENTION, 'GEGLU', 'ResnetBlock2D']];
/** Deepest transformer that is looked for; SDXL has 10. */
const MAX_DEPTH = 16;
const REFINER_CONTEXT = 1280;

/** Every structure x target set x order that a UNet list may be. */
export function* unetTries(pairs: readonly PairShape[], query: CandidateQuery): Generator<Try> {
	const base = baseModel(query);
	const convolutions = pairs.some(([, down]) => down.length === 4);
	const sets = query.targets === undefined || query.targets.length === 0 ? TARGET_SETS : [query.targets];
	const orders = query.order === undefined ? (['new', 'old'] as const) : ([query.order] as const);
	for (const targets of sets) {
		for (const order of orders) {
			const select = (structure: UnetStructure): Iterable<UnetModule> => selected(structure, order, targets, convolutions);
			const models = base === undefined ? guesses(pairs.length, select) : [base];
			for (const { name, structure, widths, verdict } of models) {
				const label = `${name} with targets ${targets.join(', ')} in ${order} order`;
				yield { label, widths, order, targets, modules: () => select(structure), verdict };
			}
		}
	}
}

/** The modules that cloneofsimo's injector finds: Linear (and Conv2d, in its extended form) inside the target classes. */
function* selected(
	structure: UnetStructure,
	order: 'old' | 'new',
	targets: readonly string[],
	convolutions: boolean,
): Generator<UnetModule> {
	for (const module of unetModules(structure, order)) {
		if (module.kind !== 'linear' && !(convolutions && module.kind === 'conv2d')) continue;
		if (module.classes.some((name) => targets.includes(name))) yield module;
	}
}

function baseModel(query: CandidateQuery): Model | undefined {
	const { base } = query;
	const config = base?.unetConfig ?? inferUnetConfig(base?.components.get('unet') ?? []);
	if (base === undefined || config === undefined) return undefined;
	const verdict = { family: base.family, confidence: 1, evidence: [`Order and widths are those of ${base.name}.`] };
	return { name: `the UNet of ${base.name}`, structure: structureOf(config), widths: widthsOf(config), verdict: () => verdict };
}

/** Structures of published UNets and of the small ones that tests are made with. */
function* guesses(count: number, select: (structure: UnetStructure) => Iterable<UnetModule>): Generator<Model> {
	const none = new Map<string, number>();
	yield { name: 'an SD1/SD2-shaped UNet', structure: levels([1, 1, 1, 0], 1), widths: none, verdict: sd12Verdict };
	yield { name: 'an SDXL-refiner-shaped UNet', structure: levels([0, 4, 4, 0], 4), widths: none, verdict: refinerVerdict };
	for (const depth of [1, 2])
		yield { name: 'a two-level test UNet', structure: levels([0, depth], depth), widths: none, verdict: sd12Verdict };
	for (const [a, b] of depthsFor(count, select)) {
		const structure = levels([0, a, b], b);
		yield { name: `an SDXL-shaped UNet of depths ${a} and ${b}`, structure, widths: none, verdict: (w) => xlVerdict(w, a, b) };
	}
}

function levels(downDepths: readonly number[], midDepth: number): UnetStructure {
	return { downDepths, midDepth, upDepths: [...downDepths].reverse(), layersPerBlock: 2, useLinearProjection: true, addEmbedding: false };
}

/**
 * Depths a <= b of the two deeper levels that give so many targets: there are 5a + 6b transformer blocks (down 2a + 2b,
 * mid b, up 3b + 3a). The shallowest two are counted out, the rest is arithmetic; shortcuts may be there or not.
 */
function depthsFor(count: number, select: (structure: UnetStructure) => Iterable<UnetModule>): [number, number][] {
	const one = countOf(select(levels([0, 1, 1], 1)));
	const perBlock = (countOf(select(levels([0, 1, 2], 2))).sure - one.sure) / 6;
	const depths: [number, number][] = [];
	for (let a = 1; a <= MAX_DEPTH; a += 1) {
		for (let b = a; b <= MAX_DEPTH; b += 1) {
			const sure = one.sure + perBlock * (5 * a + 6 * b - 11);
			if (count >= sure && count <= sure + one.perhaps) depths.push([a, b]);
			// Without transformer targets every depth gives the same list.
			if (perBlock === 0) return depths;
		}
	}
	return depths;
}

function countOf(modules: Iterable<UnetModule>): { readonly sure: number; readonly perhaps: number } {
	let sure = 0;
	let perhaps = 0;
	for (const module of modules) {
		if (module.onlyIfChanged) perhaps += 1;
		else sure += 1;
	}
	return { sure, perhaps };
}

function sd12Verdict(widths: ReadonlyMap<string, number>): Verdict {
	const context = widths.get('ctx');
	const published = hasChannels(widths, [320, 640, 1280, 1280]);
	const said = context === undefined ? [] : [`attn2.to_k reads a text context of width ${context}.`];
	if (published && context === 768)
		return { family: 'sd1', confidence: 1, evidence: [...said, 'Channels 320, 640, 1280 and context 768 are those of SD1.'] };
	if (published && context === 1024)
		return { family: 'sd2', confidence: 1, evidence: [...said, 'Channels 320, 640, 1280 and context 1024 are those of SD2.'] };
	return {
		family: 'sd1or2',
		confidence: 0.6,
		evidence: [...said, `An SD1/SD2-shaped UNet of unusual width (channels ${channelText(widths)}).`],
	};
}

function refinerVerdict(widths: ReadonlyMap<string, number>): Verdict | undefined {
	// With equal channels the shapes alone are also those of an SDXL UNet of depths 4 and 4: the context decides.
	if (widths.get('ctx') !== REFINER_CONTEXT) return undefined;
	return { family: 'sdxl-refiner', confidence: 0.9, evidence: ['A text context of width 1280 is that of the SDXL refiner.'] };
}

function xlVerdict(widths: ReadonlyMap<string, number>, a: number, b: number): Verdict | undefined {
	const context = widths.get('ctx');
	if (a === 4 && b === 4 && context === REFINER_CONTEXT) return undefined;
	const published = a === 2 && b === 10 && hasChannels(widths, [320, 640, 1280]) && (context === undefined || context === 2048);
	if (published)
		return { family: 'sdxl', confidence: 1, evidence: ['Depths 2 and 10, channels 640 and 1280 and context 2048 are those of SDXL.'] };
	return {
		family: 'sdxl',
		confidence: 0.6,
		evidence: [`An SDXL-shaped UNet of unusual size (depths ${a} and ${b}, channels ${channelText(widths)}).`],
	};
}

/** Widths that the list shows; those it does not show contradict nothing. */
function hasChannels(widths: ReadonlyMap<string, number>, channels: readonly number[]): boolean {
	return channels.every((n, i) => (widths.get(`c${i}`) ?? n) === n);
}

function channelText(widths: ReadonlyMap<string, number>): string {
	const shown = [...widths].filter(([name]) => /^c\d$/.test(name)).sort(([a], [b]) => a.localeCompare(b));
	return shown.map(([, n]) => n).join(', ');
}
