/** An incremental hash. */
export interface Hasher {
	update(bytes: Uint8Array): void;
	/** Lower-case hex. Nothing may be added afterwards. */
	digestHex(): string;
}

/** How a caller hands in a faster hash (node:crypto) than the one below. */
export type HasherFactory = () => Hasher;

/** Fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
const K = new Uint32Array([
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);

/**
 * SHA-256 (FIPS 180-4) that takes its input in pieces: the browser's own digest wants everything at once, and a
 * 2 GB file is not to sit in memory.
 */
export function createSha256(): Hasher {
	const state = new Uint32Array([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]);
	const schedule = new Uint32Array(64);
	const block = new Uint8Array(64);
	let filled = 0;
	let total = 0;
	let done = false;
	const update = (bytes: Uint8Array): void => {
		if (done) throw new TypeError('the hash is already finished');
		total += bytes.byteLength;
		let at = 0;
		if (filled > 0) {
			at = Math.min(64 - filled, bytes.byteLength);
			block.set(bytes.subarray(0, at), filled);
			filled += at;
			if (filled < 64) return;
			compress(state, schedule, block, 0);
			filled = 0;
		}
		for (; at + 64 <= bytes.byteLength; at += 64) compress(state, schedule, bytes, at);
		block.set(bytes.subarray(at));
		filled = bytes.byteLength - at;
	};
	return {
		update,
		digestHex() {
			const bits = total * 8;
			const tail = new Uint8Array(filled < 56 ? 64 - filled : 128 - filled);
			tail[0] = 0x80;
			const view = new DataView(tail.buffer);
			view.setUint32(tail.byteLength - 8, Math.floor(bits / 2 ** 32));
			view.setUint32(tail.byteLength - 4, bits >>> 0);
			update(tail);
			done = true;
			return Array.from(state, (word) => word.toString(16).padStart(8, '0')).join('');
		},
	};
}

function compress(state: Uint32Array, w: Uint32Array, bytes: Uint8Array, at: number): void {
	const word = (array: Uint32Array, i: number): number => array[i] as number;
	for (let i = 0; i < 16; i++) {
		const p = at + i * 4;
		w[i] = ((bytes[p] as number) << 24) | ((bytes[p + 1] as number) << 16) | ((bytes[p + 2] as number) << 8) | (bytes[p + 3] as number);
	}
	for (let i = 16; i < 64; i++) {
		const x = word(w, i - 15);
		const y = word(w, i - 2);
		const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
		const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
		w[i] = (word(w, i - 16) + s0 + word(w, i - 7) + s1) | 0;
	}
	let a = word(state, 0) | 0;
	let b = word(state, 1) | 0;
	let c = word(state, 2) | 0;
	let d = word(state, 3) | 0;
	let e = word(state, 4) | 0;
	let f = word(state, 5) | 0;
	let g = word(state, 6) | 0;
	let h = word(state, 7) | 0;
	for (let i = 0; i < 64; i++) {
		const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
		const t1 = (h + s1 + ((e & f) ^ (~e & g)) + word(K, i) + word(w, i)) | 0;
		const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
		const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
		h = g;
		g = f;
		f = e;
		e = (d + t1) | 0;
		d = c;
		c = b;
		b = a;
		a = (t1 + t2) | 0;
	}
	state[0] = word(state, 0) + a;
	state[1] = word(state, 1) + b;
	state[2] = word(state, 2) + c;
	state[3] = word(state, 3) + d;
	state[4] = word(state, 4) + e;
	state[5] = word(state, 5) + f;
	state[6] = word(state, 6) + g;
	state[7] = word(state, 7) + h;
}
