import { inputName, type TextEncoderConfig } from '@lorakit/runtime';
import type { ModuleShape } from './target-modules.js';

/**
 * Factors that nothing of the loss depends on: SDXL takes the states before the last layer of its first text encoder, and not its pooled state.
 * torch gives them no gradient and AdamW leaves them as they are, so diffusers' and kohya's files have them as they began; ours do too.
 * @returns names of trainable tensors
 */
export function unreachedFactors(modules: readonly ModuleShape[], textEncoders: readonly TextEncoderConfig[]): ReadonlySet<string> {
	const [first, second] = textEncoders;
	if (first === undefined || second === undefined) return new Set();
	const last = `text_model.encoder.layers.${first.layers - 1}.`;
	const dead = modules.filter(({ component, path }) => component === first.component && path.startsWith(last));
	return new Set(
		dead.flatMap(({ component, path }) => (['down', 'up', 'magnitude'] as const).map((part) => inputName(component, path, part))),
	);
}
