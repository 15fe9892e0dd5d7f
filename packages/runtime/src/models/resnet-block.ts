import type { Value } from '../graph/index.js';
import { add, reshape, silu, sizeOf } from '../graph/ops.js';
import type { Net } from './net.js';

export interface ResnetOptions {
	readonly out: number;
	readonly groups: number;
	readonly epsilon: number;
	/** (b, d) embedded timestep, before its activation; the VAE has none. */
	readonly time?: Value | undefined;
}

/** ResnetBlock2D of diffusers' models/resnet.py: x (b, c, h, w) -> (b, out, h, w). */
export function resnetBlock(net: Net, path: string, x: Value, { out, groups, epsilon, time }: ResnetOptions): Value {
	const { ops } = net;
	return net.module(path, () => {
		let y = net.conv(`${path}.conv1`, silu(ops, net.groupNorm(`${path}.norm1`, x, groups, epsilon)), out, { kernel: 3 });
		if (time !== undefined) {
			const shift = net.linear(`${path}.time_emb_proj`, silu(ops, time), out);
			y = add(ops, y, reshape(ops, shift, [sizeOf(shift, 0), out, 1, 1]));
		}
		y = net.conv(`${path}.conv2`, silu(ops, net.groupNorm(`${path}.norm2`, y, groups, epsilon)), out, { kernel: 3 });
		const skip = sizeOf(x, 1) === out ? x : net.conv(`${path}.conv_shortcut`, x, out, { kernel: 1 });
		return add(ops, skip, y);
	});
}

/** Convolution of stride 2. `padding` as diffusers has it: 1 all round in the UNet; one row and column after, in the VAE. */
export function downsample(net: Net, path: string, x: Value, padding: readonly [number, number, number, number]): Value {
	return net.module(path, () => net.conv(`${path}.conv`, x, sizeOf(x, 1), { kernel: 3, stride: [2, 2], padding }));
}

/** Nearest neighbour to (height, width), then a convolution. */
export function upsample(net: Net, path: string, x: Value, height: number, width: number): Value {
	return net.module(path, () =>
		net.conv(`${path}.conv`, net.ops.apply('upsampleNearest', [x], { height, width }), sizeOf(x, 1), { kernel: 3 }),
	);
}
