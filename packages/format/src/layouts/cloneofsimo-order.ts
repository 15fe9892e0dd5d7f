import { FormatError, quote } from '../errors.js';
import { type Candidate, type CandidateQuery, type CandidateSearch, cloneofsimoCandidates, type PairShape } from '../modules/index.js';
import type { Tensor } from '../tensor.js';
import type { LayoutInput } from './layout.js';

/** One pair of a list, with the names its tensors have in the file. */
export interface Pair {
	readonly upName: string;
	readonly downName: string;
	readonly up: Tensor;
	readonly down: Tensor;
}

export interface OrderQuery {
	/** What to call the list in messages. */
	readonly what: string;
	readonly component: string;
	/** Class names that the file's metadata gives. */
	readonly targets: readonly string[] | undefined;
	readonly order: 'old' | 'new' | undefined;
	readonly base: LayoutInput['base'];
}

/** The reading of a list, and whether its target classes contradicted the metadata. */
export interface ListReading extends Candidate {
	readonly targetsContradicted: boolean;
}

/**
 * Which module each pair of a list belongs to: the readings that fit all shapes, of which one must be left.
 *
 * @throws {FormatError} `E_AMBIGUOUS` when several are equally good, naming them and the flag that decides;
 *   `E_MODULE_ORDER` when none fits, with where the nearest failed.
 */
export function readList(pairs: readonly Pair[], query: OrderQuery): ListReading {
	const shapes = pairs.map(({ up, down }): PairShape => [up.shape, down.shape]);
	let search = cloneofsimoCandidates(shapes, { component: query.component, targets: query.targets, order: query.order, base: query.base });
	let targetsContradicted = false;
	if (search.candidates.length === 0 && query.targets !== undefined) {
		// The metadata may name classes that the list does not hold: the shapes decide.
		const without = cloneofsimoCandidates(shapes, { component: query.component, order: query.order, base: query.base });
		if (without.candidates.length > 0) {
			search = without;
			targetsContradicted = true;
		}
	}
	return { ...decide(search, pairs, query), targetsContradicted };
}

/** The readings of a text encoder list; none for lists of any other kind. */
export function textSearch(pairs: readonly Pair[], query: Pick<CandidateQuery, 'base'> = {}): CandidateSearch {
	const square = pairs.every(
		({ up, down }) => up.shape.length === 2 && up.shape[0] === down.shape[1] && up.shape[0] === pairs[0]?.up.shape[0],
	);
	if (!square || pairs.length % 4 !== 0) return { candidates: [], nearest: undefined };
	return cloneofsimoCandidates(
		pairs.map(({ up, down }): PairShape => [up.shape, down.shape]),
		{ component: 'text_encoder', ...query },
	);
}

function decide(search: CandidateSearch, pairs: readonly Pair[], query: OrderQuery): Candidate {
	const [best, second] = search.candidates;
	if (best === undefined) {
		throw new FormatError(
			'E_MODULE_ORDER',
			`${query.what} has ${pairs.length} pairs that fit no known list of modules: ${search.nearest ?? 'nothing is near'}. Give the base model with --base.`,
		);
	}
	if (second !== undefined && second.confidence === best.confidence) {
		const orders = new Set(search.candidates.flatMap((c) => (c.confidence === best.confidence ? c.orders : [])));
		const readings = search.candidates.filter((c) => c.confidence === best.confidence).map(describe);
		const flag = orders.size > 1 ? '--order old (diffusers 0.14 and before) or --order new' : '--base with the model it was trained on';
		throw new FormatError(
			'E_AMBIGUOUS',
			`${query.what} can be read as ${readings.slice(0, 4).join(' or as ')}, equally well; say which with ${flag}.`,
		);
	}
	return best;
}

function describe(candidate: Candidate): string {
	const orders = candidate.orders.length > 1 ? 'either order' : `${candidate.order} order`;
	return `${candidate.family} with ${candidate.targets.map(quote).join(', ')} in ${orders}`;
}
