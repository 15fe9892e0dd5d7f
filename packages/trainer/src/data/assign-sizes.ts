import { FormatError, quote } from '@lorakit/format';
import { MAX_PICTURE_PIXELS } from '@lorakit/runtime';
import type { AspectBuckets, BucketChoice } from './aspect-buckets.js';
import type { DatasetItem, OnBad, SkippedPicture, SkipReason } from './dataset.js';
import { shorterSideTo } from './plan-picture.js';

/** How the pictures of a set are brought to sizes that make batches: one square, or buckets. */
export type SizeRule = { readonly square: number } | { readonly buckets: AspectBuckets };

/** An item with the size that it is trained at. */
export interface SizedItem extends BucketChoice {
	readonly item: DatasetItem;
}

/**
 * Give every item its size. A square of `n` is diffusers' `Resize(n)` and a crop of n x n; buckets are kohya's.
 * Items that cannot be brought to size are left out and named, or refused.
 * @throws {FormatError} `E_USAGE` under `onBad: 'refuse'`
 */
export function assignSizes(
	items: readonly DatasetItem[],
	rule: SizeRule,
	onBad: OnBad = 'skip',
): { readonly items: readonly SizedItem[]; readonly skipped: readonly SkippedPicture[] } {
	const sized: SizedItem[] = [];
	const skipped: SkippedPicture[] = [];
	for (const item of items) {
		const choice = 'square' in rule ? squareChoice(rule.square, item) : rule.buckets.choose(item);
		const wrong = wrongChoice(item, choice);
		if (choice !== undefined && wrong === undefined) {
			sized.push({ item, ...choice });
			continue;
		}
		const message = `${quote(item.name)} is ${item.width}x${item.height}, ${wrong?.why}`;
		if (onBad === 'refuse') throw new FormatError('E_USAGE', message);
		skipped.push({ name: item.name, reason: wrong?.reason ?? 'too-small', message });
	}
	return { items: sized, skipped };
}

interface Wrong {
	readonly reason: SkipReason;
	readonly why: string;
}

function wrongChoice(item: DatasetItem, choice: BucketChoice | undefined): Wrong | undefined {
	if (choice === undefined) {
		return { reason: 'too-small', why: 'smaller than one step of a bucket; take a larger picture, a smaller step, or allow enlarging.' };
	}
	const { width, height } = choice.resized;
	// Resizing goes along the rows first.
	if (width * Math.max(height, item.height) <= MAX_PICTURE_PIXELS) return undefined;
	return { reason: 'huge', why: `so long that it would be resized to ${width}x${height} before it is cut; cut it yourself.` };
}

function squareChoice(side: number, item: DatasetItem): BucketChoice {
	return { bucket: { width: side, height: side }, resized: shorterSideTo(side, item) };
}
