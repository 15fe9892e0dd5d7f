import { escapeControls } from '@lorakit/format';
import type { Dataset, SkippedPicture, SkipReason } from './dataset.js';

/** Names listed for each reason; the rest is counted. */
const NAMED = 5;
/** Messages in a refusal; the rest is counted. */
const TOLD = 10;

const WORDS: Readonly<Record<SkipReason, string>> = {
	empty: 'without bytes',
	corrupt: 'corrupt',
	unreadable: 'cannot be read',
	'not-a-picture': 'no picture that is decoded',
	huge: 'too large',
	animated: 'animated',
	duplicate: 'there twice',
	'no-caption': 'without caption',
	'no-picture': 'caption without picture',
	'bad-caption': 'with an unreadable caption',
	'bad-mask': 'with an unusable mask',
	'bad-line': 'unreadable line of metadata.jsonl',
	'unsafe-path': 'outside of the folder',
	'too-small': 'too small for a bucket',
};

/** What a set holds and what it left out, one line each, for people. All messages stand in `skipped`. */
export function datasetReport({ name, items, skipped }: Pick<Dataset, 'name' | 'items' | 'skipped'>): readonly string[] {
	const masks = items.filter(({ mask }) => mask !== undefined).length;
	const several = items.filter(({ captions }) => captions.length > 1).length;
	const details = [masks > 0 ? `${masks} with a mask` : '', several > 0 ? `${several} with several captions` : ''].filter((x) => x !== '');
	const head = `${escapeControls(name)}: ${items.length} picture${items.length === 1 ? '' : 's'}${details.length === 0 ? '' : `, ${details.join(', ')}`}`;
	const groups = new Map<SkipReason, SkippedPicture[]>();
	for (const one of skipped) {
		const group = groups.get(one.reason);
		if (group === undefined) groups.set(one.reason, [one]);
		else group.push(one);
	}
	return [
		head,
		...[...groups].map(([reason, list]) => {
			const names = list.slice(0, NAMED).map((one) => escapeControls(one.name));
			const rest = list.length - names.length;
			return `skipped ${list.length} (${WORDS[reason]}): ${names.join(', ')}${rest > 0 ? `, and ${rest} more` : ''}`;
		}),
	];
}

/** Why pictures cannot be used, for a refusal. */
export function listSkipped(skipped: readonly SkippedPicture[]): string {
	const more = skipped.length - TOLD;
	const told = skipped.slice(0, TOLD).map(({ message }) => message);
	return `${told.join(' ')}${more > 0 ? ` And ${more} more.` : ''}`;
}
