/** Bytes that are appended, in a buffer that doubles. */
export class ByteList {
	#bytes = new Uint8Array(4096);
	#length = 0;

	get length(): number {
		return this.#length;
	}

	/** A view of what was appended; valid until the next append. */
	bytes(): Uint8Array {
		return this.#bytes.subarray(0, this.#length);
	}

	/** An integer from 0 to 2^32 - 1: seven bits a byte, lowest first, the high bit set on all but the last. */
	varint(value: number): void {
		let rest = value >>> 0;
		this.#reserve(5);
		while (rest >= 0x80) {
			this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
			rest >>>= 7;
		}
		this.#bytes[this.#length++] = rest;
	}

	/** The same for 0 to 2^64 - 1. */
	bigVarint(value: bigint): void {
		let rest = value;
		this.#reserve(10);
		while (rest >= 0x80n) {
			this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
			rest >>= 7n;
		}
		this.#bytes[this.#length++] = Number(rest);
	}

	#reserve(more: number): void {
		if (this.#length + more <= this.#bytes.byteLength) return;
		const larger = new Uint8Array(this.#bytes.byteLength * 2);
		larger.set(this.#bytes);
		this.#bytes = larger;
	}
}

/** Reads what `ByteList` wrote. */
export interface VarintReader {
	/** True when every byte was read. */
	readonly done: boolean;
	/** The next integer; undefined when it is cut short or too large. */
	varint(): number | undefined;
	bigVarint(): bigint | undefined;
}

/** Varints of `bytes`, from the start. */
export function varintReader(bytes: Uint8Array): VarintReader {
	let at = 0;
	return {
		get done() {
			return at >= bytes.byteLength;
		},
		varint() {
			let value = 0;
			for (let shift = 0; shift < 35; shift += 7) {
				const byte = bytes[at++];
				if (byte === undefined) return undefined;
				value += (byte & 0x7f) * 2 ** shift;
				if (byte < 0x80) return value <= 0xffffffff ? value : undefined;
			}
			return undefined;
		},
		bigVarint() {
			let value = 0n;
			for (let shift = 0n; shift < 70n; shift += 7n) {
				const byte = bytes[at++];
				if (byte === undefined) return undefined;
				value += BigInt(byte & 0x7f) << shift;
				if (byte < 0x80) return value < 1n << 64n ? value : undefined;
			}
			return undefined;
		},
	};
}
