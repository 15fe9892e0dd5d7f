import type { TorchGenerator } from '@lorakit/runtime';

/** What happens to a caption each time it is used. */
export interface CaptionRules {
	/** Part of the captions that become the empty one (classifier-free guidance needs some). */
	readonly dropout: number;
	readonly shuffleTags: boolean;
	/** Tags at the front that stay where they are and are never dropped. */
	readonly keepTags: number;
	/** Part of the other tags that are left out. */
	readonly tagDropout: number;
	readonly separator: string;
}

export const PLAIN_CAPTIONS: CaptionRules = { dropout: 0, shuffleTags: false, keepTags: 0, tagDropout: 0, separator: ',' };

/**
 * One of the captions of a picture, changed as the rules say. The choice is drawn from `captions`, drops from `dropout`;
 * what is switched off draws nothing there. Tags are trimmed and joined by the separator and a space only where tags are
 * shuffled or dropped; else the caption is as it is. (sd-scripts library/train_util.py process_caption has the same steps.)
 */
export function drawCaption(
	captions: readonly string[],
	rules: CaptionRules,
	{ captions: choose, dropout: drop }: { readonly captions: TorchGenerator; readonly dropout: TorchGenerator },
): string {
	const [picked = 0] = choose.randint(0, Math.max(1, captions.length), 1);
	const caption = captions[picked] ?? '';
	if (rules.dropout > 0 && (drop.rand(1)[0] ?? 0) < rules.dropout) return '';
	if (!rules.shuffleTags && rules.tagDropout === 0) return caption;
	const tags = caption
		.split(rules.separator)
		.map((tag) => tag.trim())
		.filter((tag) => tag !== '');
	const kept = tags.slice(0, rules.keepTags);
	let rest = tags.slice(rules.keepTags);
	if (rules.shuffleTags) rest = Array.from(choose.randperm(rest.length), (i) => rest[i] ?? '');
	if (rules.tagDropout > 0) {
		const drawn = drop.rand(rest.length);
		rest = rest.filter((_, i) => (drawn[i] ?? 0) >= rules.tagDropout);
	}
	return [...kept, ...rest].join(`${rules.separator} `);
}
