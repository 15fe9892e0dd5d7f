import type { UnetConfig } from '../base/unet-config.js';
import { type AttentionCall, fusedAttention } from '../models/attention.js';
import { unetGraph } from '../models/unet.js';

/** Any latents do: the layers are the same for all. */
const SIDE = 64;

/** The attention layers of a UNet in the order in which they run. */
export function attentionLayers(config: UnetConfig): readonly Pick<AttentionCall, 'path' | 'kind' | 'heads'>[] {
	const layers: Pick<AttentionCall, 'path' | 'kind' | 'heads'>[] = [];
	const fused = fusedAttention();
	unetGraph(
		config,
		{ batch: 1, height: SIDE, width: SIDE, tokens: 1 },
		{
			processor: (net, call) => {
				layers.push({ path: call.path, kind: call.kind, heads: call.heads });
				return fused(net, call);
			},
		},
	);
	return layers;
}
