// Stored elements + deltas, rounded once; src/kernel/typescript-kernel.ts says the same in scalar words. AssemblyScript.

let overflowed: i32 = 0;
let nonFinite: i32 = 0;

/** Finite sums that the type cannot hold, of the last call. */
export function countOverflowed(): i32 {
	return overflowed;
}

/** Elements whose base or delta was not finite, of the last call. */
export function countNonFinite(): i32 {
	return nonFinite;
}

function count(base: f64, delta: f64): void {
	if (isFinite(base) && isFinite(delta)) overflowed++;
	else nonFinite++;
}

/** Four float32 from the low halves of four lanes of binary16 patterns; Inf and NaN come out wrong (as 65536 and more). */
@inline
function halfToSingle(h: v128): v128 {
	const magnitude = i32x4.shl(v128.and(h, i32x4.splat(0x7fff)), 13);
	const scaled = f32x4.mul(magnitude, f32x4.splat(5192296858534827628530496329220096.0)); // 2^112
	return v128.or(scaled, i32x4.shl(v128.and(h, i32x4.splat(0x8000)), 16));
}

function halfValue(h: u32): f64 {
	const exponent = (h >> 10) & 31;
	const sign: u32 = (h & 0x8000) << 16;
	if (exponent == 31) return <f64>reinterpret<f32>(sign | 0x7f800000 | ((h & 0x3ff) << 13));
	return <f64>(reinterpret<f32>((h & 0x7fff) << 13) * <f32>5192296858534827628530496329220096.0) * (sign ? -1.0 : 1.0);
}

@inline
function high(a: v128, b: v128): v128 {
	return i8x16.shuffle(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

@inline
function low(a: v128, b: v128): v128 {
	return i8x16.shuffle(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}

/** The lower 16 bits of four lanes, packed into 8 bytes. */
@inline
function narrow(x: v128): v128 {
	return i8x16.shuffle(x, x, 0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13);
}

/** The upper word of |sum| with "anything lost" in its last bit: the double rounded to odd. */
@inline
function oddMagnitude(hi: v128, lo: v128): v128 {
	const lost = v128.and(i32x4.ne(lo, i32x4.splat(0)), i32x4.splat(1));
	return v128.or(v128.and(hi, i32x4.splat(0x7fffffff)), lost);
}

/** Nearest multiple of 2^-24 in its low word, for sums below 2^-14: the pattern of a subnormal. */
const MAGIC: f64 = 402653184.0; // 1.5 * 2^28

@inline
function subnormals(a: v128, b: v128): v128 {
	const m = f64x2.splat(MAGIC);
	return low(f64x2.add(f64x2.abs(a), m), f64x2.add(f64x2.abs(b), m));
}

function roundHalf(sum: f64): u32 {
	if (isNaN(sum)) return 0x7e00;
	const bits = reinterpret<u64>(sum);
	const hi = <u32>(bits >> 32);
	const sign = (hi >> 16) & 0x8000;
	const magnitude = (hi & 0x7fffffff) | (<u32>bits != 0 ? 1 : 0);
	if (magnitude >= 0x40f00000) return sign | 0x7c00;
	if (magnitude >= 0x3f100000) return sign | ((magnitude - 0x3f000000 + 0x1ff + ((magnitude >> 10) & 1)) >> 10);
	return sign | <u32>reinterpret<u64>(abs(sum) + MAGIC);
}

function oneHalf(at: usize, delta: f64): void {
	const base = halfValue(load<u16>(at));
	const code = roundHalf(base + delta);
	if ((code & 0x7c00) == 0x7c00) count(base, delta);
	store<u16>(at, <u16>code);
}

export function addF16(at: usize, delta: usize, n: i32): void {
	overflowed = 0;
	nonFinite = 0;
	let i = 0;
	for (; i + 4 <= n; i += 4) {
		const h = v128.load16x4_u(at);
		const base = halfToSingle(h);
		const a = f64x2.add(f64x2.promote_low_f32x4(base), v128.load(delta));
		const b = f64x2.add(f64x2.promote_low_f32x4(i8x16.shuffle(base, base, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)), v128.load(delta, 16));
		const hi = high(a, b);
		const magnitude = oddMagnitude(hi, low(a, b));
		// 65520 and above, NaN and non-finite bases one by one.
		const rare = v128.or(
			i32x4.ge_s(magnitude, i32x4.splat(0x40effe00)),
			i32x4.eq(v128.and(h, i32x4.splat(0x7c00)), i32x4.splat(0x7c00)),
		);
		if (v128.any_true(rare)) {
			for (let k: usize = 0; k < 4; k++) oneHalf(at + (k << 1), load<f64>(delta + (k << 3)));
		} else {
			const even = v128.and(i32x4.shr_u(magnitude, 10), i32x4.splat(1));
			const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0x1ff - 0x3f000000)), even), 10);
			const code = v128.bitselect(normal, subnormals(a, b), i32x4.ge_s(magnitude, i32x4.splat(0x3f100000)));
			const sign = v128.and(i32x4.shr_u(hi, 16), i32x4.splat(0x8000));
			v128.store64_lane(at, narrow(v128.or(code, sign)), 0);
		}
		at += 8;
		delta += 32;
	}
	for (; i < n; i++) {
		oneHalf(at, load<f64>(delta));
		at += 2;
		delta += 8;
	}
}

/** bfloat16 nearest to a double: its upper word rounded to odd, then to 8 bits; below 2^-126 by a sum whose last place is 2^-133. */
function roundBrain(sum: f64): u32 {
	if (isNaN(sum)) return 0x7fc0;
	const bits = reinterpret<u64>(sum);
	const hi = <u32>(bits >> 32);
	const sign = (hi >> 16) & 0x8000;
	const magnitude = (hi & 0x7fffffff) | (<u32>bits != 0 ? 1 : 0);
	if (magnitude >= 0x47f00000) return sign | 0x7f80;
	if (magnitude >= 0x38100000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
	return sign | <u32>reinterpret<u64>(abs(sum) + reinterpret<f64>(0x3ae8000000000000)); // 1.5 * 2^-81
}

function oneBrain(at: usize, delta: f64): void {
	const base = <f64>reinterpret<f32>(<u32>load<u16>(at) << 16);
	const code = roundBrain(base + delta);
	if ((code & 0x7f80) == 0x7f80) count(base, delta);
	store<u16>(at, <u16>code);
}

export function addBF16(at: usize, delta: usize, n: i32): void {
	overflowed = 0;
	nonFinite = 0;
	let i = 0;
	for (; i + 4 <= n; i += 4) {
		const base = i32x4.shl(v128.load16x4_u(at), 16);
		const a = f64x2.add(f64x2.promote_low_f32x4(base), v128.load(delta));
		const b = f64x2.add(f64x2.promote_low_f32x4(i8x16.shuffle(base, base, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)), v128.load(delta, 16));
		const hi = high(a, b);
		const magnitude = oddMagnitude(hi, low(a, b));
		// Normal results and zeros together; the rest (tiny, too large, NaN) one by one.
		const zero = i32x4.eq(magnitude, i32x4.splat(0));
		const usual = i32x4.lt_u(i32x4.sub(magnitude, i32x4.splat(0x38100000)), i32x4.splat(0x47efe000 - 0x38100000));
		if (i32x4.all_true(v128.or(zero, usual))) {
			const even = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
			const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff - 0x38000000)), even), 13);
			const sign = v128.and(i32x4.shr_u(hi, 16), i32x4.splat(0x8000));
			v128.store64_lane(at, narrow(v128.or(v128.andnot(normal, zero), sign)), 0);
		} else {
			for (let k: usize = 0; k < 4; k++) oneBrain(at + (k << 1), load<f64>(delta + (k << 3)));
		}
		at += 8;
		delta += 32;
	}
	for (; i < n; i++) {
		oneBrain(at, load<f64>(delta));
		at += 2;
		delta += 8;
	}
}

function oneSingle(at: usize, delta: f64): void {
	const base = <f64>load<f32>(at);
	const sum = base + delta;
	const result = <f32>sum;
	if (!isFinite(result)) count(base, delta);
	if (isNaN(result)) store<u32>(at, 0x7fc00000);
	else store<f32>(at, result);
}

export function addF32(at: usize, delta: usize, n: i32): void {
	overflowed = 0;
	nonFinite = 0;
	const ones = i32x4.splat(0x7f800000);
	let i = 0;
	for (; i + 4 <= n; i += 4) {
		const base = v128.load(at);
		const a = f64x2.add(f64x2.promote_low_f32x4(base), v128.load(delta));
		const b = f64x2.add(f64x2.promote_low_f32x4(i8x16.shuffle(base, base, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)), v128.load(delta, 16));
		const x = f32x4.demote_f64x2_zero(a);
		const y = f32x4.demote_f64x2_zero(b);
		const both = i8x16.shuffle(x, y, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
		if (v128.any_true(i32x4.eq(v128.and(both, ones), ones))) {
			for (let k: usize = 0; k < 4; k++) oneSingle(at + (k << 2), load<f64>(delta + (k << 3)));
		} else v128.store(at, both);
		at += 16;
		delta += 32;
	}
	for (; i < n; i++) {
		oneSingle(at, load<f64>(delta));
		at += 4;
		delta += 8;
	}
}

export function addF64(at: usize, delta: usize, n: i32): void {
	overflowed = 0;
	nonFinite = 0;
	for (let i = 0; i < n; i++) {
		const base = load<f64>(at);
		const d = load<f64>(delta);
		const sum = base + d;
		if (!isFinite(sum)) count(base, d);
		if (isNaN(sum)) store<u64>(at, 0x7ff8000000000000);
		else store<f64>(at, sum);
		at += 8;
		delta += 8;
	}
}

/** binary16 patterns as doubles. */
export function decodeF16(from: usize, to: usize, n: i32): void {
	let i = 0;
	for (; i + 4 <= n; i += 4) {
		const h = v128.load16x4_u(from);
		if (v128.any_true(i32x4.eq(v128.and(h, i32x4.splat(0x7c00)), i32x4.splat(0x7c00)))) {
			for (let k: usize = 0; k < 4; k++) store<f64>(to + (k << 3), halfValue(load<u16>(from + (k << 1))));
		} else {
			const x = halfToSingle(h);
			v128.store(to, f64x2.promote_low_f32x4(x));
			v128.store(to, f64x2.promote_low_f32x4(i8x16.shuffle(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)), 16);
		}
		from += 8;
		to += 32;
	}
	for (; i < n; i++) {
		store<f64>(to, halfValue(load<u16>(from)));
		from += 2;
		to += 8;
	}
}
