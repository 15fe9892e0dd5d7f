import { readFileSync } from 'node:fs';
import type { PairShape } from '../../src/modules/index.js';

/** One row of fixtures/modules/*-unet.json. */
export type UnetRow = readonly [name: string, out: number, inn: number, kh?: number, kw?: number];
export type Lists = Readonly<Record<string, readonly number[]>>;
export type NamedShape = readonly [name: string, ...shape: number[]];

export function field<T>(file: string): T {
	return JSON.parse(readFileSync(new URL(`../../../../fixtures/modules/${file}`, import.meta.url), 'utf8')) as T;
}

/** Up and down shapes of a rank-r pair for a weight shape, as cloneofsimo makes them. */
export function pairOf(shape: readonly number[], r: number): PairShape {
	const [out = 0, inn = 0, ...kernel] = shape;
	const up = kernel.length === 0 ? [out, r] : [out, r, 1, 1];
	return [up, [r, inn, ...kernel]];
}
