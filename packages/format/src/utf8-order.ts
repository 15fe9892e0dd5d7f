/**
 * Compare two strings by their UTF-8 bytes (as Rust's `String` does), which is the order of code points. JavaScript's
 * own order is by UTF-16 units and differs for characters beyond U+FFFF.
 */
export function compareUtf8(a: string, b: string): number {
	const n = Math.min(a.length, b.length);
	for (let i = 0; i < n; i++) {
		const x = a.charCodeAt(i);
		const y = b.charCodeAt(i);
		if (x !== y) return rank(x) - rank(y);
	}
	return a.length - b.length;
}

/** Surrogates stand for code points above every other unit: put them there. */
function rank(unit: number): number {
	return (unit & 0xf800) === 0xd800 ? unit + 0x10000 : unit;
}

/** True when every surrogate has its other half, so that UTF-8 can hold the text. */
export function isWellFormed(text: string): boolean {
	// With the u flag a pair is one character, so this finds only halves.
	return !/[\ud800-\udfff]/u.test(text);
}
