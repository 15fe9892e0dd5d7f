import type { Adapter } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import { nearestName } from '../../nearest-name.js';
import type { Strength } from './adapter-use.js';
import { parseBlockWeights } from './block-weights.js';

/** `PATH[@scale][:unet=0.5,te=0,lbw=…]`, taken apart. */
export interface AdapterSpec {
	/** Path, address or `hf://` name: everything that is neither scale nor options. */
	readonly path: string;
	/** The number behind the last `@`; 1 without. */
	readonly scale: number;
	/** Numbers by key as written: `unet`, `te`, `te1`, `text_encoder_2`, ... */
	readonly parts: ReadonlyMap<string, number>;
	/** Text of the block weights; undefined for none. */
	readonly blocks: string | undefined;
}

/** Short keys and the components they stand for. `te` is any text encoder. */
const SHORT: ReadonlyMap<string, string> = new Map([
	['te1', 'text_encoder'],
	['te2', 'text_encoder_2'],
	['te3', 'text_encoder_3'],
	['te4', 'text_encoder_4'],
]);

/** Components that have no short name, or are their own. */
const COMPONENTS: readonly string[] = [
	'unet',
	'transformer',
	'transformer_2',
	'text_encoder',
	'text_encoder_2',
	'text_encoder_3',
	'text_encoder_4',
	'prior',
	'decoder',
	'controlnet',
];

/** Keys of the options of an adapter: for help and for messages. */
export const ADAPTER_SPEC_KEYS: readonly string[] = ['te', ...SHORT.keys(), ...COMPONENTS, 'lbw'];

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const WORD = /^[a-z][a-z0-9_]*$/i;

/**
 * Take `PATH[@scale][:key=value,…]` apart. The options are what follows the last `:` where that reads as `key=value`
 * (so `C:\a.safetensors` and `https://host:8080/a` are paths); the scale is what then follows the last `@` where that is a
 * number (so `hf://owner/name@main/file` is a path). `lbw` takes a name or numbers separated by `,` or `/`.
 *
 * @throws {FormatError} `E_USAGE`: no path, an unknown or doubled key (the nearest known one is named), a value that is no number.
 */
export function parseAdapterSpec(text: string): AdapterSpec {
	const { head, options } = splitOptions(text);
	const { path, scale } = splitScale(head, text);
	if (path === '') throw new FormatError('E_USAGE', `${quote(text)} names no file; write PATH@scale, for example my-lora.safetensors@0.8.`);
	const parts = new Map<string, number>();
	let blocks: string | undefined;
	let last: string | undefined;
	for (const piece of options === undefined ? [] : options.split(',')) {
		const cut = piece.indexOf('=');
		if (cut < 0) {
			// A comma inside lbw: the numbers go on.
			if (last !== 'lbw' || blocks === undefined)
				throw new FormatError(
					'E_USAGE',
					`${quote(piece)} in ${quote(text)} is no key=value; the keys are ${ADAPTER_SPEC_KEYS.join(', ')}.`,
				);
			blocks = `${blocks},${piece}`;
			continue;
		}
		const key = piece.slice(0, cut).trim().toLowerCase();
		const value = piece.slice(cut + 1).trim();
		last = key;
		if (!ADAPTER_SPEC_KEYS.includes(key)) throw unknownKey(key, text);
		if (parts.has(key) || (key === 'lbw' && blocks !== undefined))
			throw new FormatError('E_USAGE', `${quote(text)} says ${key} twice; say it once.`);
		if (key === 'lbw') blocks = value;
		else parts.set(key, numberOf(value, `${key} in ${quote(text)}`));
	}
	return { path, scale, parts, blocks };
}

/**
 * The strength that a spec asks for, for an adapter that is now known. A key for one component wins over `te`.
 *
 * @throws {FormatError} `E_USAGE`: a component that the adapter does not have, or block weights that do not fit its base.
 */
export function strengthFor(spec: Omit<AdapterSpec, 'path'>, adapter: Adapter): Strength {
	const components = new Map<string, number>();
	const present = new Set<string>();
	for (const { component } of adapter.modules) present.add(component);
	for (const { component } of adapter.embeddings) present.add(component);
	const all = spec.parts.get('te');
	// Whoever turns every text encoder down need not know whether there is one.
	if (all !== undefined) for (const component of present) if (component.startsWith('text_encoder')) components.set(component, all);
	for (const [key, value] of spec.parts) {
		if (key === 'te') continue;
		const component = SHORT.get(key) ?? key;
		if (!present.has(component)) {
			throw new FormatError(
				'E_USAGE',
				`${key}=${value} is for ${component}, but ${quote(adapter.source.name)} has ${[...present].sort().join(', ') || 'no modules'}; leave ${key} out.`,
			);
		}
		components.set(component, value);
	}
	const blocks = spec.blocks === undefined ? undefined : parseBlockWeights(spec.blocks, adapter);
	return { scale: spec.scale, components, blocks };
}

/** A number as users write it. @throws {FormatError} `E_USAGE`. */
export function numberOf(text: string, what: string): number {
	const value = NUMBER.test(text) ? Number(text) : Number.NaN;
	if (Number.isFinite(value)) return value;
	throw new FormatError('E_USAGE', `${what} must be a number, but is ${quote(text)}.`);
}

function splitOptions(text: string): { readonly head: string; readonly options: string | undefined } {
	const cut = text.lastIndexOf(':');
	const options = text.slice(cut + 1);
	const equals = options.indexOf('=');
	const key = cut < 0 || equals <= 0 ? '' : options.slice(0, equals).trim().toLowerCase();
	// One letter before the colon is a drive, unless what follows can only be an option.
	const isOptions = cut === 1 ? ADAPTER_SPEC_KEYS.includes(key) : WORD.test(key);
	return isOptions ? { head: text.slice(0, cut), options } : { head: text, options: undefined };
}

function splitScale(head: string, text: string): { readonly path: string; readonly scale: number } {
	const cut = head.lastIndexOf('@');
	const behind = cut < 0 ? '' : head.slice(cut + 1);
	if (!NUMBER.test(behind)) return { path: head, scale: 1 };
	return { path: head.slice(0, cut), scale: numberOf(behind, `The scale of ${quote(text)}`) };
}

function unknownKey(key: string, text: string): FormatError {
	const near = nearestName(key, ADAPTER_SPEC_KEYS);
	return new FormatError(
		'E_USAGE',
		`${quote(key)} in ${quote(text)} is no part of an adapter; ${near === undefined ? `the keys are ${ADAPTER_SPEC_KEYS.join(', ')}` : `did you mean ${near}?`}${near === undefined ? '.' : ''}`,
	);
}
