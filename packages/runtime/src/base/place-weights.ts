import { type BaseTensorFile, FormatError, placeBaseTensor, quote, type Tensor, type Warning } from '@lorakit/format';
import { countUpBlocks, ldmVaePath, linearShape, presentVaePath } from './ldm-vae-names.js';
import { isWeightDType } from './read-weight.js';
import { isStray, isWeightName } from './weight-names.js';
import type { WeightPlace } from './weights.js';

export interface PlacedWeights {
	/** Component -> diffusers' name -> place. */
	readonly places: ReadonlyMap<string, ReadonlyMap<string, WeightPlace>>;
	/** Entries that are no weights (EMA copies, schedules, position ids), left out. */
	readonly skipped: number;
	readonly warnings: readonly Warning[];
}

/** Unknown names that one warning lists. */
const NAMED = 8;
/** Prefixes of the VAE in single files. Source: diffusers loaders/single_file_utils.py LDM_VAE_KEYS. */
const VAE_PREFIXES: readonly string[] = ['first_stage_model.', 'vae.'];

/**
 * Every weight of the base's files under its diffusers name. Values are not read.
 *
 * @throws {FormatError} `E_AMBIGUOUS` when two tensors are the same weight; `E_UNSUPPORTED_DTYPE` for weights that are no
 * numbers this runtime computes with.
 */
export function placeWeights(files: readonly BaseTensorFile[]): PlacedWeights {
	const places = new Map<string, Map<string, WeightPlace>>();
	const warnings: Warning[] = [];
	let skipped = 0;
	for (const file of files) {
		const unknown: string[] = [];
		const upBlocks = file.component === undefined ? countUpBlocks(vaeNames(file.state.tensors.keys())) : 0;
		for (const [stored, tensor] of file.state.tensors) {
			if (isStray(stored)) {
				skipped += 1;
				continue;
			}
			const found = placeOne(file.component, stored, tensor, upBlocks).filter(({ component, name }) => isWeightName(component, name));
			if (found.length === 0) unknown.push(stored);
			for (const { component, name, ...how } of found) {
				const place: WeightPlace = { file: file.path, name: stored, tensor, ...how };
				checkDType(place);
				const own = places.get(component) ?? new Map<string, WeightPlace>();
				places.set(component, own);
				const known = own.get(name);
				if (known !== undefined) throw twice(component, name, known, place);
				own.set(name, place);
			}
		}
		if (unknown.length > 0) warnings.push(unknownWarning(file.path, unknown));
	}
	return { places, skipped, warnings };
}

interface Found extends Omit<WeightPlace, 'file' | 'name' | 'tensor'> {
	readonly component: string;
	/** diffusers' name. */
	readonly name: string;
}

function placeOne(component: string | undefined, stored: string, { shape }: Tensor, upBlocks: number): readonly Found[] {
	if (component === 'vae') return placeVae(stored, shape, (path) => presentVaePath(path));
	if (component === undefined) {
		const prefix = VAE_PREFIXES.find((p) => stored.startsWith(p));
		if (prefix !== undefined) {
			return placeVae(stored.slice(prefix.length), shape, (path) => ldmVaePath(path, upBlocks) ?? presentVaePath(path));
		}
	}
	return placeBaseTensor(component, stored, shape)
		.map((placed): Found => {
			const found: Found = { component: placed.component, name: `${placed.path}.${placed.leaf}`, shape: placed.shape };
			if (placed.transposed) return { ...found, transposed: true };
			return placed.rows === undefined ? found : { ...found, rows: [placed.rows[0], placed.rows[1] - placed.rows[0]] };
		})
		.filter(({ shape: own, rows }) => [...own, ...(rows ?? [])].every(Number.isInteger));
}

function placeVae(name: string, shape: readonly number[], pathOf: (path: string) => string): readonly Found[] {
	const dot = name.lastIndexOf('.');
	if (dot < 0) return [];
	const path = pathOf(name.slice(0, dot));
	const leaf = name.slice(dot + 1);
	return [{ component: 'vae', name: `${path}.${leaf}`, shape: leaf === 'weight' ? linearShape(path, shape) : shape }];
}

function* vaeNames(names: Iterable<string>): Generator<string> {
	for (const name of names) for (const prefix of VAE_PREFIXES) if (name.startsWith(prefix)) yield name.slice(prefix.length);
}

function checkDType({ file, name, tensor }: WeightPlace): void {
	if (isWeightDType(tensor.dtype)) return;
	throw new FormatError(
		'E_UNSUPPORTED_DTYPE',
		`${quote(`${file}:${name}`)} has dtype ${tensor.dtype}; a base model has F32, F16 or BF16 weights: convert it first.`,
		{ at: name },
	);
}

function twice(component: string, name: string, first: WeightPlace, second: WeightPlace): FormatError {
	return new FormatError(
		'E_AMBIGUOUS',
		`${quote(`${component} ${name}`)} is two tensors of the base: ${quote(`${first.file}:${first.name}`)} and ${quote(`${second.file}:${second.name}`)}; leave one of them out.`,
		{ at: second.name },
	);
}

function unknownWarning(file: string, unknown: readonly string[]): Warning {
	const listed = unknown.slice(0, NAMED).map(quote).join(', ');
	const rest = unknown.length > NAMED ? ` and ${unknown.length - NAMED} more` : '';
	return {
		code: 'W_UNKNOWN_KEY',
		message: `${quote(file)} holds tensors that no Stable Diffusion model has; they are not used: ${listed}${rest}.`,
		at: unknown[0],
	};
}
