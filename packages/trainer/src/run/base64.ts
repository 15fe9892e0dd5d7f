import { FormatError } from '@lorakit/format';

const PIECE = 0x8000;

/** Standard base64. */
export function toBase64(bytes: Uint8Array): string {
	let text = '';
	for (let i = 0; i < bytes.length; i += PIECE) text += String.fromCharCode(...bytes.subarray(i, i + PIECE));
	return btoa(text);
}

/** @param what for the message @throws {FormatError} `E_FORMAT` for what is no base64 */
export function fromBase64(text: string, what: string): Uint8Array {
	let decoded: string;
	try {
		decoded = atob(text);
	} catch (error) {
		throw new FormatError('E_FORMAT', `${what} is no base64; the file was changed.`, { cause: error });
	}
	return Uint8Array.from(decoded, (c) => c.charCodeAt(0));
}
