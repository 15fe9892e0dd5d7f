import { textEncoderTries } from './cloneofsimo-text.js';
import { type Shape, unetTries } from './cloneofsimo-unet.js';
import { fitModules, type PairShape } from './fit-modules.js';
import type { BaseInventory } from './inventory.js';

export type { PairShape } from './fit-modules.js';

export interface CandidateQuery {
	/** `unet` or a text encoder (`text_encoder`, `text_encoder_2`). */
	readonly component: string;
	/** Class names of the targets, when metadata says them. */
	readonly targets?: readonly string[] | undefined;
	readonly order?: 'old' | 'new' | undefined;
	readonly base?: BaseInventory | undefined;
}

/** One reading of a list without names. */
export interface Candidate {
	/** `sd1`, `sd2`, `sd1or2` (SD1/2-shaped, unusual width), `sdxl`, `sdxl-refiner`, or the base's own. */
	readonly family: string;
	/** The order it is read in; `new` where both give the same list. */
	readonly order: 'old' | 'new';
	/** All orders that give this list. */
	readonly orders: readonly ('old' | 'new')[];
	/** Class names, as cloneofsimo's metadata has them. */
	readonly targets: readonly string[];
	/** Module path of each pair. */
	readonly paths: readonly string[];
	/** 1: the widths are those of a published model or of the given base; less for unusual ones. */
	readonly confidence: number;
	readonly evidence: readonly string[];
}

export interface CandidateSearch {
	/** Different readings that fit, best first; more than one is ambiguous. */
	readonly candidates: readonly Candidate[];
	/** When none fits: where the nearest one failed. */
	readonly nearest: string | undefined;
}

/** One structure, target set and order to try. */
export interface Try extends Shape {
	readonly order: 'old' | 'new';
	readonly targets: readonly string[];
}

/**
 * The readings of a cloneofsimo list that fit its shapes. Widths are unknowns that must agree, so that models of
 * any size are recognised; published sizes only raise the confidence. Readings with identical paths are one
 * (attention alone has the same list in both orders). Source: cloneofsimo/lora@d84074b lora_diffusion/lora.py
 * `_find_modules`; orders LAYOUTS.md §2.1.
 */
export function cloneofsimoCandidates(pairs: readonly PairShape[], query: CandidateQuery): CandidateSearch {
	if (pairs.length === 0) return { candidates: [], nearest: 'the list is empty' };
	const tries: Iterable<Try> = query.component === 'unet' ? unetTries(pairs, query) : textEncoderTries(pairs, query);
	const found = new Map<string, Candidate>();
	const failed: { readonly attempt: Try; readonly at: number; readonly why: string }[] = [];
	for (const attempt of tries) {
		const fit = fitModules(attempt.modules(attempt.order), pairs, attempt.widths);
		if (!fit.fits) {
			failed.push({ attempt, at: fit.at, why: fit.why });
			continue;
		}
		const verdict = attempt.verdict(fit.widths);
		if (verdict === undefined) continue;
		const key = fit.paths.join('\n');
		const known = found.get(key);
		if (known === undefined) {
			const { order, targets } = attempt;
			const evidence = [`All ${pairs.length} pairs fit ${attempt.label}.`, ...verdict.evidence];
			found.set(key, {
				family: verdict.family,
				order,
				orders: [order],
				targets,
				paths: fit.paths,
				confidence: verdict.confidence,
				evidence,
			});
		} else if (!known.orders.includes(attempt.order)) {
			found.set(key, { ...known, order: 'new', orders: ['old', 'new'] });
		}
	}
	const candidates = [...found.values()].sort((a, b) => b.confidence - a.confidence);
	return { candidates, nearest: candidates.length > 0 ? undefined : nearestOf(failed, pairs.length) };
}

/** The failure to show: of a reading with the right number of targets if there is one, and the one that got furthest. */
function nearestOf(failed: readonly { readonly attempt: Try; readonly at: number; readonly why: string }[], count: number): string {
	let best: { readonly score: number; readonly text: string } | undefined;
	for (const { attempt, at, why } of failed) {
		let sure = 0;
		let perhaps = 0;
		for (const module of attempt.modules(attempt.order)) {
			if (module.onlyIfChanged) perhaps += 1;
			else sure += 1;
		}
		const counts = count >= sure && count <= sure + perhaps;
		const score = counts ? at + count : at;
		if (best === undefined || score > best.score) best = { score, text: `read as ${attempt.label}, ${why}` };
	}
	return best?.text ?? 'no known model has that many targets';
}
