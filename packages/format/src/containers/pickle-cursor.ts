import { FormatError } from '../errors.js';
import { MAX_PICKLE_STRING_BYTES } from '../limits.js';

/** The pickle goes on behind the bytes at hand. A reader that holds only a window of a file fetches more. */
export class PickleEndsEarly extends FormatError {}

/** A bounded reader over the bytes of a pickle, with one budget for all strings. */
export class PickleCursor {
	readonly bytes: Uint8Array;
	/** Names the pickle in messages: `data.pkl of x.pt`. */
	readonly what: string;
	at: number;
	#view: DataView;
	#spent = 0;

	constructor(bytes: Uint8Array, at: number, what: string) {
		this.bytes = bytes;
		this.at = at;
		this.what = what;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	}

	/** @throws {PickleEndsEarly} `E_PICKLE_CORRUPT` when fewer than `count` bytes are left. */
	need(count: number): void {
		if (count > this.bytes.byteLength - this.at) {
			throw new PickleEndsEarly(
				'E_PICKLE_CORRUPT',
				`${this.what} ends at byte ${this.bytes.byteLength}, where ${count} more bytes are needed after byte ${this.at}; the file is damaged, fetch it again.`,
			);
		}
	}

	u8(): number {
		this.need(1);
		return this.#view.getUint8(this.at++);
	}

	u16(): number {
		this.need(2);
		this.at += 2;
		return this.#view.getUint16(this.at - 2, true);
	}

	u32(): number {
		this.need(4);
		this.at += 4;
		return this.#view.getUint32(this.at - 4, true);
	}

	i32(): number {
		return this.u32() | 0;
	}

	/** A length of 8 bytes; beyond 2^53 it is rounded, and then larger than any file. */
	u64(): number {
		const low = this.u32();
		return this.u32() * 0x1_0000_0000 + low;
	}

	/** Big-endian double of BINFLOAT. */
	f64(): number {
		this.need(8);
		this.at += 8;
		return this.#view.getFloat64(this.at - 8, false);
	}

	/** `count` bytes, charged to the string budget. A view: copy it to keep it. */
	take(count: number): Uint8Array {
		this.need(count);
		this.charge(count);
		this.at += count;
		return this.bytes.subarray(this.at - count, this.at);
	}

	/** Charge bytes to the string budget. @throws {FormatError} `E_LIMIT`. */
	charge(count: number): void {
		this.#spent += count;
		if (this.#spent > MAX_PICKLE_STRING_BYTES) {
			throw new FormatError(
				'E_LIMIT',
				`${this.what} holds more than ${MAX_PICKLE_STRING_BYTES} bytes of strings; that is no file of weights.`,
			);
		}
	}

	/** UTF-8 text of `count` bytes. @throws {FormatError} `E_PICKLE_CORRUPT` for bytes that are no UTF-8 (lone surrogates too). */
	text(count: number): string {
		return this.decode(this.take(count));
	}

	/** A line of text without its newline, as GLOBAL and the opcodes of protocol 0 have it. */
	line(): Uint8Array {
		const end = this.bytes.indexOf(10, this.at);
		if (end < 0) {
			throw new PickleEndsEarly(
				'E_PICKLE_CORRUPT',
				`${this.what} ends inside the line of text that begins at byte ${this.at}; fetch the file again.`,
			);
		}
		const line = this.take(end - this.at);
		this.at = end + 1;
		return line;
	}

	decode(bytes: Uint8Array): string {
		try {
			return DECODER.decode(bytes);
		} catch (cause) {
			throw new FormatError(
				'E_PICKLE_CORRUPT',
				`${this.what} has a string before byte ${this.at} that is not UTF-8; the file is damaged.`,
				{ cause },
			);
		}
	}
}

/** `ignoreBOM`: a name may begin with U+FEFF, which must not vanish. */
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
