import { randomInt } from 'node:crypto';
import { FormatError, quote } from '@lorakit/format';

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const LOWEST_SEED = -(2n ** 63n);
const HIGHEST_SEED = 2n ** 64n - 1n;

/** A number of a range. @throws {FormatError} `E_USAGE`. */
export function parseNumber(text: string, what: string, least: number, most: number): number {
	const value = NUMBER.test(text.trim()) ? Number(text) : Number.NaN;
	if (value >= least && value <= most) return value;
	const range = Number.isFinite(most) ? `from ${least} to ${most}` : `of at least ${least}`;
	throw new FormatError('E_USAGE', `${what} is ${quote(text)}; it is a number ${range}.`);
}

/** A whole number of a range. @throws {FormatError} `E_USAGE`. */
export function parseWhole(text: string, what: string, least: number, most: number): number {
	const value = /^[+-]?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
	if (value >= least && value <= most) return value;
	throw new FormatError('E_USAGE', `${what} is ${quote(text)}; it is a whole number from ${least} to ${most}.`);
}

/** A seed as torch takes it: -2^63 to 2^64 - 1. @throws {FormatError} `E_USAGE`. */
export function parseSeed(text: string): bigint {
	const value = /^[+-]?\d{1,20}$/.test(text.trim()) ? BigInt(text.trim().replace(/^\+/, '')) : undefined;
	if (value !== undefined && value >= LOWEST_SEED && value <= HIGHEST_SEED) return value;
	throw new FormatError('E_USAGE', `The seed is ${quote(text)}; it is a whole number from -2^63 to 2^64 - 1.`);
}

/** One of 2^32, as user interfaces draw them. */
export function randomSeed(): bigint {
	return BigInt(randomInt(2 ** 32));
}

/** `WIDTHxHEIGHT` in pixels. @throws {FormatError} `E_USAGE`. */
export function parseSize(text: string): { readonly width: number; readonly height: number } {
	const match = /^(\d{1,5})x(\d{1,5})$/i.exec(text.trim());
	if (match === null) throw new FormatError('E_USAGE', `The size is ${quote(text)}; write WIDTHxHEIGHT in pixels, for example 512x768.`);
	return { width: Number(match[1]), height: Number(match[2]) };
}
