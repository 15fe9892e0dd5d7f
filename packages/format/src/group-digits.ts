/** A count for people: 1234567 -> "1,234,567". For whole numbers; locale-free, so that messages are the same everywhere. */
export function groupDigits(n: number | bigint): string {
	return String(n).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 byte`, `1,028 bytes`. */
export function countBytes(n: number | bigint): string {
	return `${groupDigits(n)} ${n === 1 ? 'byte' : 'bytes'}`;
}
