import type { Shape } from '@lorakit/runtime';

/** Elements of a shape whose sizes are known. @throws TypeError where one has only a name. */
export function product(shape: Shape): number {
	return shape.reduce<number>((p, d) => {
		if (typeof d !== 'number') throw new TypeError(`a size of (${shape.join(', ')}) is not known`);
		return p * d;
	}, 1);
}
