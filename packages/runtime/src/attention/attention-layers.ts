import type { UnetConfig } from '../base/unet-config.js';
import { sizeOf } from '../graph/ops.js';
import { type AttentionCall, fusedAttention } from '../models/attention.js';
import { unetGraph } from '../models/unet.js';

/** Any latents do: the layers are the same for all. */
const SIDE = 64;

/** An attention layer of a UNet. */
export interface AttentionLayer extends Pick<AttentionCall, 'path' | 'kind' | 'heads'> {
	/** How often the latents were halved where it stands: it has about height * width / 4 ** halvings places. */
	readonly halvings: number;
}

/** The attention layers of a UNet in the order in which they run. */
export function attentionLayers(config: UnetConfig): readonly AttentionLayer[] {
	const layers: AttentionLayer[] = [];
	const fused = fusedAttention();
	unetGraph(
		config,
		{ batch: 1, height: SIDE, width: SIDE, tokens: 1 },
		{
			processor: (net, call) => {
				const halvings = Math.round(Math.log2(SIDE / Math.sqrt(sizeOf(call.query, 1))));
				layers.push({ path: call.path, kind: call.kind, heads: call.heads, halvings });
				return fused(net, call);
			},
		},
	);
	return layers;
}

/** The level whose maps say best where things are: 16 x 16 of 64 x 64 latents. */
const PLACE_HALVINGS = 2;
/** Places of a side, below which a map says too little. */
const LEAST_SIDE = 8;

/**
 * The cross-attention layers that google/prompt-to-prompt takes its maps from, for pictures as for the local blend: those of
 * the way down and the way up (not of the middle) where the latents are halved twice, 16 x 16 at 512 pixels. Where a UNet
 * has none there, or latents are so small that those are below 8 x 8, the nearest level of at least 8 x 8, else the finest.
 *
 * @param latents [height, width]
 */
export function placeLayers(config: UnetConfig, latents: readonly [number, number]): readonly AttentionLayer[] {
	const cross = attentionLayers(config).filter(({ kind, path }) => kind === 'cross' && !path.startsWith('mid_block.'));
	const large = cross.filter(({ halvings }) => Math.min(...latents) / 2 ** halvings >= LEAST_SIDE);
	const levels = (large.length > 0 ? large : cross).map(({ halvings }) => halvings);
	const goal = large.length > 0 ? PLACE_HALVINGS : 0;
	const level = levels.reduce((best, x) => (Math.abs(x - goal) < Math.abs(best - goal) ? x : best), levels[0] ?? 0);
	return cross.filter(({ halvings }) => halvings === level);
}
