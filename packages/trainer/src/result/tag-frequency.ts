/**
 * How often each tag stands in captions: their parts between commas, trimmed, in lower case, in the order of the first sight. What kohya's
 * `ss_tag_frequency` holds for a folder. Source: kohya-ss/sd-scripts library/train_util.py `set_tag_frequency`.
 */
export function tagFrequency(captions: Iterable<string>): ReadonlyMap<string, number> {
	const counts = new Map<string, number>();
	for (const caption of captions) {
		for (const part of caption.split(',')) {
			const tag = part.trim().toLowerCase();
			if (tag !== '') counts.set(tag, (counts.get(tag) ?? 0) + 1);
		}
	}
	return counts;
}
