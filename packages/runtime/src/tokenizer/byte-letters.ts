/**
 * Byte-level BPE writes every byte as one printable letter: printable Latin-1 stands for itself, the other 68 bytes
 * for the letters from U+0100 on, in order. Source: openai/gpt-2 src/encoder.py bytes_to_unicode.
 */
export const BYTE_LETTERS: readonly string[] = makeLetters();

/** The byte of each such letter. */
export const LETTER_BYTES: ReadonlyMap<string, number> = new Map(BYTE_LETTERS.map((letter, byte) => [letter, byte]));

function makeLetters(): string[] {
	let moved = 0x100;
	return Array.from({ length: 256 }, (_, byte) => {
		const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
		return String.fromCodePoint(printable ? byte : moved++);
	});
}
