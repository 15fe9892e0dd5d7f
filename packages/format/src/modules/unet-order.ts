import type { BaseModule, UnetConfig } from './inventory.js';
import { structureOf, type UnetModule, unetModules, type Width } from './unet-structure.js';

/** A module with its shape and the classes it stands in. */
export interface OrderedModule extends BaseModule {
	/** Names of its ancestors' classes: `Transformer2DModel`, `CrossAttention` (old) or `Attention` (new), `GEGLU`, `ResnetBlock2D`, ... */
	readonly classes: readonly string[];
}

/**
 * The modules of a UNet in the order of torch's `named_modules()`, with the shapes of their weights: `old` for
 * diffusers <= 0.14 (attn1, ff, attn2 in a block), `new` from 0.15 (attn1, attn2, ff).
 */
export function unetModulesInOrder(config: UnetConfig, order: 'old' | 'new'): readonly OrderedModule[] {
	const widths = widthsOf(config);
	const modules: OrderedModule[] = [];
	for (const module of unetModules(structureOf(config), order)) {
		const shape = shapeOf(module, widths);
		if (module.onlyIfChanged && shape[0] === shape[1]) continue;
		modules.push({ path: module.path, kind: module.kind, shape, classes: module.classes });
	}
	return modules;
}

/** Named widths of a configuration. */
export function widthsOf(config: UnetConfig): ReadonlyMap<string, number> {
	const widths = new Map(config.blockOutChannels.map((n, i) => [`c${i}`, n]));
	widths.set('ctx', config.crossAttentionDim).set('in', config.inChannels).set('out', config.outChannels);
	if (config.projectionClassEmbeddingsInputDim !== undefined) widths.set('add', config.projectionClassEmbeddingsInputDim);
	return widths;
}

function shapeOf(module: UnetModule, widths: ReadonlyMap<string, number>): readonly number[] {
	const value = (width: Width): number => width.times * width.of.reduce((sum, name) => sum + (widths.get(name) ?? 0), 0);
	if (module.in === undefined) return [value(module.out)];
	const matrix = [value(module.out), value(module.in)];
	return module.kernel === 0 ? matrix : [...matrix, module.kernel, module.kernel];
}
