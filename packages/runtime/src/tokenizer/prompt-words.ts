/**
 * How transformers 5 prepares a text for CLIP (src/transformers/models/clip/tokenization_clip.py): NFC, white space to
 * one space, lower case; no ftfy and no HTML unescaping, in which it departs from openai/CLIP. Where JavaScript's idea
 * of a rule differs from that of Rust's tokenizers, theirs is written out.
 */

/** White_Space of Unicode. JavaScript's \s takes U+FEFF in addition and lacks U+0085. */
const WHITE_SPACE = /[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/gu;
const LONE_SURROGATE = /\p{Surrogate}/gu;
const WORDS = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^ \p{L}\p{N}]+/gu;
const MARKER = /^(<\|)(startoftext|endoftext)(\|>)$/;

/** The text as the vocabulary knows it. A lone surrogate becomes U+FFFD, since no UTF-8 holds it. */
export function normalizePrompt(text: string): string {
	const composed = text.replace(LONE_SURROGATE, '\ufffd').normalize('NFC').replace(WHITE_SPACE, ' ');
	// Letter by letter: toLowerCase would make the sigma at the end of a word another letter.
	return composed.replaceAll('\u03a3', '\u03c3').toLowerCase();
}

/** Words of a normalized text: what no merge reaches across. White space is dropped. */
export function promptWords(normalized: string): string[] {
	const words: string[] = [];
	for (const [word] of normalized.matchAll(WORDS)) {
		// A marker that is no added token here is split once more, by the byte-level rule, into symbols and letters.
		const marker = word.length > 10 ? MARKER.exec(word) : null;
		if (marker === null) words.push(word);
		else words.push(...marker.slice(1));
	}
	return words;
}
