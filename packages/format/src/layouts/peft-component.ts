import type { Naming } from '../adapter.js';
import { transformerDialect } from '../modules/index.js';

/**
 * Which component of a pipeline a bare module path belongs to, by its structure: UNet blocks, CLIP text encoders,
 * diffusion transformers. Undefined for paths that do not say (language models, anything else).
 */
export function componentOfPath(path: string): 'unet' | 'text_encoder' | 'transformer' | undefined {
	const dot = path.indexOf('.');
	const head = dot < 0 ? path : path.slice(0, dot);
	if (UNET_ROOTS.has(head)) return 'unet';
	if (path.startsWith('text_model.') || path.startsWith('encoder.layers.') || head === 'text_projection') return 'text_encoder';
	if (TRANSFORMER_ROOTS.has(head)) return 'transformer';
	if (
		/^blocks\.\d+\.(self_attn|cross_attn|attn\d?|ffn)\./.test(path) ||
		/^(layers|noise_refiner|context_refiner)\.\d+\.attention\./.test(path)
	) {
		return 'transformer';
	}
	return undefined;
}

const UNET_ROOTS: ReadonlySet<string> = new Set([
	'down_blocks',
	'up_blocks',
	'mid_block',
	'conv_in',
	'conv_out',
	'time_embedding',
	'add_embedding',
	'class_embedding',
]);

const TRANSFORMER_ROOTS: ReadonlySet<string> = new Set([
	'transformer_blocks',
	'single_transformer_blocks',
	'double_blocks',
	'single_blocks',
	'joint_blocks',
	'context_embedder',
	'x_embedder',
	'time_text_embed',
]);

/** In whose words the paths of one component are. */
export function namingOfPaths(component: string, paths: Iterable<string>): Naming {
	if (!component.startsWith('transformer')) return component === 'model' ? 'native' : 'diffusers';
	const list = [...paths];
	const dialect = transformerDialect(list);
	if (dialect !== undefined) return dialect.naming;
	return list.some((path) => /^(double_blocks|single_blocks|joint_blocks|blocks|layers)\./.test(path)) ? 'native' : 'diffusers';
}
